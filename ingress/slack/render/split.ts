/** A whole answer as messages that Slack takes: cut where a reader would turn the page, the too long attached as a file. */
import {
  type Block,
  type Inline,
  inlineText,
  joinInlines,
  plainInlines,
  type RichTextElement,
  type RichTextSection,
  sizeOfElement,
  sizeOfInlines,
  type TableBlock,
  type TableCell,
} from './blocks.ts';
import { LIMITS } from './limits.ts';
import { type Piece, readMarkdown, readWords, type RenderOptions } from './markdown.ts';
import { toMrkdwn } from './mrkdwn.ts';
import { alignTable } from './table.ts';
import { clean, cutAt, safeEnd } from '../../chat/text.ts';

export interface SlackMessage {
  readonly blocks: readonly Block[];
  /** Mrkdwn, for where blocks are not shown. */
  readonly text: string;
}

export interface SplitAnswer {
  readonly messages: readonly SlackMessage[];
  /** The whole answer, when not all of it is shown. */
  readonly attachment?: { readonly filename: string; readonly content: string };
}

export interface SplitOptions extends RenderOptions {
  /** As its characters, and not many of them: for where Slack refused the blocks. */
  readonly as?: 'blocks' | 'words';
}

/** Characters of an answer of which Slack refused the blocks. */
const WORDS = 2_500;
/** Blocks that a message keeps for what stands around an answer: plan, notes, footer. */
const RESERVED_BLOCKS = 5;
const FILE = 'answer.md';

/** Never throws, and takes no longer for what is larger than can be shown. */
export function splitAnswer(markdown: string, options: SplitOptions = {}): SplitAnswer {
  const isWords = options.as === 'words';
  const most = isWords ? WORDS : LIMITS.answer;
  const whole = clean(markdown);
  const source = whole.length <= most ? whole : whole.slice(0, cutAt(whole, most));
  const packer = createPacker();
  const pieces = isWords ? readWords(source) : readMarkdown(source, options);
  const isAll = pieces.every((piece) => packer.add(piece)) && source.length === whole.length;
  if (isAll) return { messages: packer.messages() };
  packer.note(`The whole answer is in ${FILE}: ${whole.length.toLocaleString('en-GB')} characters.`);
  return { messages: packer.messages(), attachment: { filename: FILE, content: whole } };
}

interface Packer {
  /** False when no more of the answer fits. */
  add(piece: Piece): boolean;
  note(text: string): void;
  messages(): SlackMessage[];
}

function createPacker(): Packer {
  const messages: Block[][] = [[]];
  let used = 0;
  let total = 0;
  /** The rich text that the next element may join. */
  let open: RichTextElement[] = [];
  let openSize = 0;

  const current = (): Block[] => messages.at(-1) as Block[];

  function close(): void {
    if (open.length > 0) current().push({ type: 'rich_text', elements: open });
    open = [];
    openSize = 0;
  }

  /** Room for a block of this size, in this message or the next one. */
  function make(size: number): boolean {
    if (total + size > LIMITS.answer) return false;
    const blocks = current().length + (open.length > 0 ? 1 : 0);
    if (used + size > LIMITS.messageText || blocks + 1 > LIMITS.blocks - RESERVED_BLOCKS) {
      if (messages.length === LIMITS.messages) return false;
      close();
      // a heading goes with what it heads
      const heading = current().at(-1)?.type === 'header' && current().length > 1 ? current().splice(-1) : [];
      messages.push(heading);
      used = 0;
    }
    used += size;
    total += size;
    return true;
  }

  function addBlock(block: Block, size: number): boolean {
    if (!make(size)) return false;
    close();
    current().push(block);
    return true;
  }

  function addElement(element: RichTextElement): boolean {
    return cutElement(element, LIMITS.blockText).every((part) => {
      // what parts two paragraphs counts too
      const size = sizeOfElement(part) + 2;
      if (!make(size)) return false;
      if (openSize + size > LIMITS.blockText) close();
      join(open, part);
      openSize += size;
      return true;
    });
  }

  function addTable(table: Extract<Piece, { type: 'table' }>): boolean {
    const block = tableBlock(table);
    const hasOne = current().some((each) => each.type === 'table');
    if (block !== undefined && !hasOne && used + block.size <= LIMITS.messageText) return addBlock(block.block, block.size);
    return addElement({
      type: 'rich_text_preformatted',
      elements: inlineText(
        alignTable(
          table.rows.map((row) => row.map(plainInlines)),
          table.align,
        ),
      ),
    });
  }

  return {
    add(piece) {
      switch (piece.type) {
        case 'header':
          return addBlock({ type: 'header', text: { type: 'plain_text', text: piece.text, emoji: false } }, piece.text.length);
        case 'divider':
          return addBlock({ type: 'divider' }, 1);
        case 'table':
          return addTable(piece);
        case 'rich':
          return addElement(piece.element);
      }
    },
    note(text) {
      close();
      current().push({ type: 'context', elements: [{ type: 'mrkdwn', text }] });
    },
    messages() {
      close();
      return messages.filter((blocks) => blocks.length > 0).map((blocks) => ({ blocks, text: toMrkdwn(blocks, LIMITS.fallbackText) }));
    },
  };
}

/** Paragraphs are parted by an empty line, which Slack does not put between its sections. */
function join(elements: RichTextElement[], next: RichTextElement): void {
  const last = elements.at(-1);
  if (last?.type === 'rich_text_section' && next.type === 'rich_text_section') {
    elements[elements.length - 1] = { ...last, elements: joinInlines([...last.elements, ...inlineText('\n\n'), ...next.elements]) };
  } else elements.push(next);
}

// ---- cutting what is too large for a block

function cutElement(element: RichTextElement, limit: number): RichTextElement[] {
  if (sizeOfElement(element) + 2 <= limit) return [element];
  // for the marks that `sizeOfElement` and the packer count
  const room = limit - 3;
  if (element.type === 'rich_text_list') return cutList(element, room);
  const isCode = element.type === 'rich_text_preformatted';
  return cutInlines(element.elements, room, isCode ? 'line' : 'word').map((elements) => ({ ...element, elements }));
}

function cutList(list: Extract<RichTextElement, { type: 'rich_text_list' }>, limit: number): RichTextElement[] {
  const parts: RichTextElement[] = [];
  let items: RichTextSection[] = [];
  let size = 0;
  let offset = list.offset ?? 0;
  const flush = (): void => {
    if (items.length > 0) parts.push({ ...list, ...(list.style === 'ordered' && offset > 0 ? { offset } : {}), elements: items });
    offset += items.length;
    [items, size] = [[], 0];
  };
  for (const item of list.elements) {
    const [first = [], ...rest] = cutInlines(item.elements, limit - 1, 'word');
    const own = sizeOfInlines(first) + 1;
    if (size + own > limit) flush();
    items.push({ ...item, elements: first });
    size += own;
    if (rest.length === 0) continue;
    flush();
    parts.push(...rest.map((elements): RichTextSection => ({ type: 'rich_text_section', elements })));
  }
  flush();
  return parts;
}

/** In runs within the limit. Links and mentions stay whole, but for a label that is longer than a text may be. */
function cutInlines(inlines: readonly Inline[], limit: number, between: 'line' | 'word'): Inline[][] {
  const runs: Inline[][] = [];
  let run: Inline[] = [];
  let room = limit;
  const flush = (): void => {
    if (run.length > 0) runs.push(run);
    [run, room] = [[], limit];
  };
  for (const inline of inlines) {
    if (inline.type === 'user' || (inline.type === 'link' && sizeOfInlines([inline]) <= limit)) {
      const size = sizeOfInlines([inline]);
      if (size > room) flush();
      run.push(inline);
      room -= size;
      continue;
    }
    const own = inline.type === 'link' ? inline.url.length : 0;
    // a link that has to be cut gets runs of its own
    if (own > 0) flush();
    let at = 0;
    while (at < inline.text.length) {
      const end = at + cutText(inline.text.slice(at, at + limit + 1), room - own, run.length > 0, between);
      if (end > at) {
        const text = inline.text.slice(at, end);
        run.push({ ...inline, text: between === 'line' && end < inline.text.length ? text.replace(/\n$/, '') : text });
        room -= text.length + own;
        at = end;
      }
      if (at < inline.text.length) flush();
    }
  }
  flush();
  return runs.map((each) => each.filter((inline) => inline.type !== 'text' || inline.text !== '')).filter((each) => each.length > 0);
}

/** How much of the text goes into the room: nothing, where it is better whole in the next run. */
function cutText(text: string, room: number, hasBefore: boolean, between: 'line' | 'word'): number {
  if (text.length <= room) return text.length;
  if (room < 2) return hasBefore ? 0 : safeEnd(text, 2);
  if (between === 'line') {
    const line = text.lastIndexOf('\n', room - 1);
    return line > 0 ? line + 1 : safeEnd(text, room);
  }
  const end = cutAt(text, room);
  // with something before, a cut in mid-word can wait
  return hasBefore && !/\s$/.test(text.slice(0, end)) && room < LIMITS.blockText / 2 ? 0 : end;
}

// ---- tables

function tableBlock({ rows, align }: Extract<Piece, { type: 'table' }>): { block: TableBlock; size: number } | undefined {
  if (rows.length > LIMITS.tableRows || align.length > LIMITS.tableColumns) return undefined;
  const size = rows.flat().reduce((sum, cell) => sum + Math.max(1, sizeOfInlines(cell)), 0);
  if (size > LIMITS.tableText) return undefined;
  return {
    size,
    block: {
      type: 'table',
      rows: rows.map((row) => row.map(tableCell)),
      column_settings: align.map((each) => ({ align: each, is_wrapped: true })),
    },
  };
}

function tableCell(inlines: readonly Inline[]): TableCell {
  const isPlain = inlines.every((inline) => inline.type === 'text' && inline.style === undefined);
  if (isPlain) return { type: 'raw_text', text: plainInlines(inlines) || ' ' };
  return { type: 'rich_text', elements: [{ type: 'rich_text_section', elements: inlines }] };
}
