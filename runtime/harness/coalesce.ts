/**
 * Smaller streams of the same content: deltas that follow each other become one, and a tool's big result is shortened for
 * the stream while the whole of it goes to the store of attachments.
 */
import type { ContentBlock, HarnessEvent } from './events.ts';

type Delta = Extract<HarnessEvent, { type: 'text.delta' | 'thinking.delta' | 'tool_output.delta' }>;
type ToolResult = Extract<HarnessEvent, { type: 'tool_result' }>;

/** UTF-16 units of one delta: a row of the store, and a frame of the stream. */
const LONGEST_DELTA = 16 * 1024;

/**
 * Merges the deltas of a message or tool within a batch, up to `maxLength` UTF-16 units each; longer ones are split. What
 * is between two deltas stays between them: only deltas of other messages and tools are passed over.
 */
export function coalesceDeltas(events: readonly HarnessEvent[], { maxLength = LONGEST_DELTA } = {}): HarnessEvent[] {
  const merged: HarnessEvent[] = [];
  /** The last delta of each message or tool since the last other event, as its place in `merged`. */
  let places = new Map<string, number>();
  for (const event of events) {
    if (!isDelta(event)) {
      merged.push(event);
      places = new Map();
      continue;
    }
    let rest = event.text;
    const key = keyOf(event);
    const place = places.get(key);
    const before = place === undefined ? undefined : (merged[place] as Delta);
    if (place !== undefined && before?.type === event.type && before.text.length < maxLength) {
      const piece = takePiece(rest, maxLength - before.text.length);
      rest = rest.slice(piece.length);
      merged[place] = { ...before, text: before.text + piece };
    }
    while (rest !== '') {
      const piece = takePiece(rest, maxLength) || rest.slice(0, 2);
      rest = rest.slice(piece.length);
      places.set(key, merged.length);
      merged.push({ ...event, text: piece });
    }
  }
  return merged;
}

function isDelta(event: HarnessEvent): event is Delta & { readonly parent_id?: string } {
  return event.type === 'text.delta' || event.type === 'thinking.delta' || event.type === 'tool_output.delta';
}

function keyOf(delta: Delta): string {
  return delta.type === 'tool_output.delta' ? `tool ${delta.id}` : `message ${delta.message_id}`;
}

/** At most so many units, and no half of a surrogate pair. */
function takePiece(words: string, length: number): string {
  if (words.length <= length) return words;
  const last = words.charCodeAt(length - 1);
  return words.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

export interface CappedResult {
  readonly event: ToolResult & { readonly parent_id?: string };
  /** The whole content, if the event has less: to be kept as an attachment. */
  readonly full?: readonly ContentBlock[];
}

const BIGGEST_RESULT = 64 * 1024;

/** A result of at most about `maxBytes`: two thirds from its beginning, one from its end, and between them how much is missing. */
export function capToolResult(event: ToolResult & { readonly parent_id?: string }, { maxBytes = BIGGEST_RESULT } = {}): CappedResult {
  const sizes = event.content.map(sizeOf);
  const total = sizes.reduce((all, size) => all + size, 0);
  if (total <= maxBytes) return { event };
  const tailBytes = Math.floor(maxBytes / 3);
  const head = takeBlocks(event.content, maxBytes - tailBytes, cutHead);
  const tail = takeBlocks(head.rest.toReversed(), tailBytes, cutTail);
  const gap: ContentBlock = { type: 'text', text: `[… ${total - head.bytes - tail.bytes} of ${total} bytes left out …]` };
  return { event: { ...event, content: [...head.taken, gap, ...tail.taken.toReversed()] }, full: event.content };
}

/** Whole blocks as long as they fit, and a part of the text that no longer does. */
function takeBlocks(blocks: readonly ContentBlock[], budget: number, cut: (words: string, bytes: number) => [string, string]) {
  const taken: ContentBlock[] = [];
  let bytes = 0;
  for (const [index, block] of blocks.entries()) {
    const size = sizeOf(block);
    if (bytes + size > budget) {
      const [part, remainder] = block.type === 'text' ? cut(block.text, budget - bytes) : ['', ''];
      if (part === '') return { taken, rest: blocks.slice(index), bytes };
      taken.push({ type: 'text', text: part });
      return {
        taken,
        rest: [{ type: 'text', text: remainder } as const, ...blocks.slice(index + 1)],
        bytes: bytes + Buffer.byteLength(part),
      };
    }
    taken.push(block);
    bytes += size;
  }
  return { taken, rest: [], bytes };
}

function sizeOf(block: ContentBlock): number {
  if (block.type === 'text') return Buffer.byteLength(block.text);
  return Buffer.byteLength(JSON.stringify(block));
}

/** At most so many bytes of UTF-8 from the beginning, in whole characters, and what remains. */
function cutHead(words: string, bytes: number): [string, string] {
  const part = Buffer.from(words)
    .subarray(0, bytes)
    .toString('utf8')
    .replace(/\uFFFD$/, '');
  return [part, words.slice(part.length)];
}

function cutTail(words: string, bytes: number): [string, string] {
  const buffer = Buffer.from(words);
  const part = buffer
    .subarray(Math.max(0, buffer.length - bytes))
    .toString('utf8')
    .replace(/^\uFFFD{1,3}/, '');
  return [part, words.slice(0, words.length - part.length)];
}
