/** From what a harness says to the events of the thread: merged, shortened, in order, each with its place in the journal. */
import { uuidv7 } from '@centaur/kernel/store';
import { capToolResult, coalesceDeltas, type ContentBlock, type HarnessEvent } from '../harness/index.ts';
import type { NewEvent, Threads } from '@centaur/kernel/threads';

type Owner = Parameters<Threads['turns']['append']>[0];

export interface EventStream {
  /** Takes events that the journal has up to `offset`. Resolves at once, unless too much is on its way. */
  push(events: readonly HarnessEvent[], offset: number): Promise<void>;
  /** Resolves when all that was pushed is committed. @throws what an append threw */
  drained(): Promise<void>;
}

/** What may wait for its commit before the harness is read no further. */
const WAITING_BYTES = 8 * 1024 * 1024;
/** One event's: a harness says what it likes, and readers get whole events. */
const EVENT_BYTES = 512 * 1024;

/**
 * One append is under way at a time; what comes meanwhile forms the next: so the first delta is stored at once, and a flood
 * of them in few rows. After a failure nothing more is stored: what is missing is read again, from the journal.
 */
export function createEventStream(turns: Threads['turns'], owner: Owner): EventStream {
  let waiting: HarnessEvent[] = [];
  let bytes = 0;
  let offset = 0;
  let flushing: Promise<void> | undefined;
  let failure: Error | undefined;

  async function flush(): Promise<void> {
    while (waiting.length > 0 && failure === undefined) {
      const [batch, upTo] = [waiting, offset];
      waiting = [];
      bytes = 0;
      try {
        const stored: NewEvent[] = [];
        for (const event of coalesceDeltas(batch)) stored.push(await toStored(event));
        await turns.append(owner, stored, upTo);
      } catch (error) {
        failure = error as Error;
      }
    }
    flushing = undefined;
  }

  async function toStored(event: HarnessEvent): Promise<NewEvent> {
    const { event: shown, full } = shortened(event);
    const data = { ...shown, execution_id: owner.executionId };
    if (full === undefined) return { kind: event.type, data };
    const id = uuidv7(Date.now());
    const name = `${'id' in event ? event.id : event.type}.txt`.replaceAll(/[^A-Za-z0-9._-]/g, '_').slice(-120);
    await turns.keepAttachment(owner, { id, name, mimeType: 'text/plain; charset=utf-8', data: Buffer.from(full) });
    return { kind: event.type, data: { ...data, attachment_id: id } };
  }

  async function drained(): Promise<void> {
    while (flushing !== undefined) await flushing;
    if (failure !== undefined) throw failure;
  }

  return {
    async push(events, upTo) {
      if (failure !== undefined) throw failure;
      if (events.length === 0) return;
      for (const event of events) {
        waiting.push(event);
        bytes += sizeOf(event);
      }
      offset = upTo;
      flushing ??= flush();
      if (bytes > WAITING_BYTES) await drained();
    },
    drained,
  };
}

/** Near enough, without making the JSON of each delta twice. */
function sizeOf(event: HarnessEvent): number {
  return 'text' in event ? event.text.length + 200 : JSON.stringify(event).length;
}

/** An event as readers get it; and all of its text, when that is more. */
function shortened(event: HarnessEvent): { readonly event: HarnessEvent; readonly full?: string } {
  if (event.type === 'tool_result') {
    const capped = capToolResult(event);
    return capped.full === undefined ? { event } : { event: capped.event, full: textOf(capped.full) };
  }
  if ('text' in event || sizeOf(event) <= EVENT_BYTES) return { event };
  if (event.type === 'message') return { event: { ...event, content: event.content.map(shortBlock) }, full: textOf(event.content) };
  if (event.type === 'tool_use') return { event: { ...event, input: LEFT_OUT }, full: JSON.stringify(event.input) };
  if (event.type === 'approval.request') return { event: { ...event, input: LEFT_OUT }, full: JSON.stringify(event.input) };
  return { event: { type: 'notice', text: `a ${event.type} event was too large to be kept` } };
}

const LEFT_OUT = { left_out: 'it is in the attachment' };
const BLOCK_TEXT = 64 * 1024;

function shortBlock(block: ContentBlock): ContentBlock {
  const json = JSON.stringify(block);
  if (json.length <= BLOCK_TEXT) return block;
  const text = block.type === 'text' ? block.text : json;
  return {
    type: 'text',
    text: `${text.slice(0, BLOCK_TEXT).toWellFormed()} [… ${text.length - BLOCK_TEXT} characters are in the attachment]`,
  };
}

function textOf(content: readonly ContentBlock[]): string {
  return content.map((block) => (block.type === 'text' ? block.text : JSON.stringify(block))).join('\n');
}
