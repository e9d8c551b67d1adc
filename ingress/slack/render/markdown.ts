/** Markdown as agents write it (CommonMark and GitHub's additions) into the pieces of which Slack's messages are made. */
import { type Inline, inlineText, joinInlines, plainInlines, type RichTextElement, type RichTextSection, type Style } from './blocks.ts';
import { LIMITS } from './limits.ts';
import { safeLabel, safeUrl } from './links.ts';
import { type Block, type BlockOf, parseMarkdown, type Phrasing, type Root } from '../../chat/parse.ts';
import { clean } from '../../chat/text.ts';

export interface RenderOptions {
  /** Ids of the people who may be mentioned, such as whoever asked. Nobody else is called, whatever the agent writes. */
  readonly mentions?: readonly string[];
}

/** A piece of an answer. None is cut yet. */
export type Piece =
  | { readonly type: 'rich'; readonly element: RichTextElement }
  | { readonly type: 'header'; readonly text: string }
  | { readonly type: 'divider' }
  | { readonly type: 'table'; readonly rows: readonly (readonly (readonly Inline[])[])[]; readonly align: readonly Align[] };

type Item = BlockOf<'list'>['children'][number];
type Node = Root | Block | Phrasing;

type Align = 'left' | 'center' | 'right';

export function readMarkdown(markdown: string, options: RenderOptions = {}): Piece[] {
  const text = clean(markdown);
  try {
    const root = parseMarkdown(text);
    if (root === undefined) return readWords(text);
    const context = { source: text, mentions: new Set(options.mentions), definitions: definitionsOf(root) };
    return [...root.children.flatMap((node) => readBlock(node, context, {})), ...readFootnotes(root, context)];
  } catch {
    // deeper than our stack: its words are what counts
    return readWords(text);
  }
}

/** As it is written. */
export function readWords(text: string): Piece[] {
  return text.trim() === '' ? [] : [section(inlineText(text))];
}

interface Context {
  readonly source: string;
  readonly mentions: ReadonlySet<string>;
  readonly definitions: ReadonlyMap<string, string>;
}

/** Where a block stands. */
interface Place {
  readonly border?: 1;
}

const section = (elements: readonly Inline[]): Piece => ({ type: 'rich', element: { type: 'rich_text_section', elements } });

function readBlock(node: Block, context: Context, place: Place): Piece[] {
  switch (node.type) {
    case 'paragraph':
      return text(readInlines(node.children, context), place);
    case 'heading':
      return readHeading(readInlines(node.children, context), node.depth, place);
    case 'code':
      return node.value === ''
        ? []
        : [{ type: 'rich', element: { type: 'rich_text_preformatted', elements: inlineText(node.value), ...place } }];
    case 'html':
      return text(inlineText(node.value), place);
    case 'list':
      return readList(node, context, place, 0);
    case 'blockquote':
      return joinQuotes(node.children.flatMap((child) => readBlock(child, context, { border: 1 })));
    case 'thematicBreak':
      return [{ type: 'divider' }];
    case 'table':
      return [readTable(node, context)];
    case 'definition':
    case 'footnoteDefinition':
      return [];
    default:
      return text(inlineText(sourceOf(node, context)), place);
  }
}

function text(inlines: readonly Inline[], place: Place): Piece[] {
  if (inlines.length === 0) return [];
  return [place.border === 1 ? { type: 'rich', element: { type: 'rich_text_quote', elements: inlines } } : section(inlines)];
}

/** One bar beside all of its paragraphs. */
function joinQuotes(pieces: readonly Piece[]): Piece[] {
  const joined: Piece[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (isQuote(piece) && last !== undefined && isQuote(last)) {
      const elements = joinInlines([...last.element.elements, ...inlineText('\n\n'), ...piece.element.elements]);
      joined[joined.length - 1] = { type: 'rich', element: { type: 'rich_text_quote', elements } };
    } else joined.push(piece);
  }
  return joined;
}

type Quote = { readonly type: 'rich'; readonly element: Extract<RichTextElement, { type: 'rich_text_quote' }> };
const isQuote = (piece: Piece): piece is Quote => piece.type === 'rich' && piece.element.type === 'rich_text_quote';

/** The larger ones as headers of Slack's, which hold neither links nor much. */
function readHeading(inlines: readonly Inline[], depth: number, place: Place): Piece[] {
  const plain = plainInlines(inlines).trim();
  const isPlain = inlines.every((inline) => inline.type === 'text');
  if (depth <= 2 && isPlain && plain !== '' && plain.length <= LIMITS.headerText && place.border === undefined) {
    return [{ type: 'header', text: plain }];
  }
  const bold = inlines.map((inline) => ({ ...inline, style: { ...inline.style, bold: true as const } }));
  return text(bold, place);
}

/** Slack's lists are flat, each with its indent: one that holds others or code comes as several, and goes on counting. */
function readList(list: BlockOf<'list'>, context: Context, place: Place, depth: number): Piece[] {
  const pieces: Piece[] = [];
  const style = list.ordered === true ? 'ordered' : 'bullet';
  let items: RichTextSection[] = [];
  let offset = list.ordered === true ? (list.start ?? 1) - 1 : 0;
  const flush = (): void => {
    if (items.length === 0) return;
    const indent = Math.min(depth, LIMITS.listIndent);
    const shape = { ...(indent > 0 ? { indent } : {}), ...(style === 'ordered' && offset > 0 ? { offset } : {}), ...place };
    pieces.push({ type: 'rich', element: { type: 'rich_text_list', style, ...shape, elements: items } });
    offset += items.length;
    items = [];
  };
  for (const item of list.children) {
    const { inlines, rest } = readItem(item, context);
    items.push({ type: 'rich_text_section', elements: inlines.length === 0 ? inlineText(' ') : inlines });
    if (rest.length > 0) flush();
    for (const child of rest)
      pieces.push(...(child.type === 'list' ? readList(child, context, place, depth + 1) : readBlock(child, context, place)));
  }
  flush();
  return pieces;
}

/** The paragraphs with which an item begins, and what comes after. */
function readItem(item: Item, context: Context): { inlines: Inline[]; rest: Item['children'] } {
  const inlines: Inline[] = typeof item.checked === 'boolean' ? inlineText(item.checked ? '☑ ' : '☐ ') : [];
  let taken = 0;
  for (const child of item.children) {
    if (child.type !== 'paragraph') break;
    if (taken > 0) inlines.push(...inlineText('\n'));
    inlines.push(...readInlines(child.children, context));
    taken++;
  }
  return { inlines: joinInlines(inlines), rest: item.children.slice(taken) };
}

function readTable(table: BlockOf<'table'>, context: Context): Piece {
  const columns = Math.max(...table.children.map((row) => row.children.length));
  const rows = table.children.map((row) =>
    Array.from({ length: columns }, (_, index) => readInlines(row.children[index]?.children ?? [], context)),
  );
  return { type: 'table', rows, align: Array.from({ length: columns }, (_, index) => table.align?.[index] ?? 'left') };
}

function readFootnotes(root: Root, context: Context): Piece[] {
  const notes = footnotesOf(root).flatMap((note) => {
    const pieces = note.children.flatMap((child) => readBlock(child, context, {}));
    const [first, ...rest] = pieces;
    const mark = inlineText(`[${note.label ?? note.identifier}] `);
    return first?.type === 'rich' && first.element.type === 'rich_text_section'
      ? [section(joinInlines([...mark, ...first.element.elements])), ...rest]
      : [section(mark), ...pieces];
  });
  return notes.length === 0 ? [] : [{ type: 'divider' }, ...notes];
}

// ---- within a line

function readInlines(nodes: readonly Phrasing[], context: Context): Inline[] {
  return joinInlines(nodes.flatMap((node) => readInline(node, context, {})));
}

function readInline(node: Phrasing, context: Context, style: Style): Inline[] {
  const within = (children: readonly Phrasing[], more: Style): Inline[] =>
    children.flatMap((child) => readInline(child, context, { ...style, ...more }));
  switch (node.type) {
    case 'text':
      return readText(node.value, context, style);
    case 'strong':
      return within(node.children, { bold: true });
    case 'emphasis':
      return within(node.children, { italic: true });
    case 'delete':
      return within(node.children, { strike: true });
    case 'inlineCode':
      return inlineText(node.value, { ...style, code: true });
    case 'break':
      return inlineText('\n', style);
    case 'html':
      return inlineText(node.value, style);
    case 'link':
      return link(node.url, plainInlines(within(node.children, {})), style);
    case 'image':
      return link(node.url, node.alt ?? '', style);
    case 'linkReference':
      return link(context.definitions.get(node.identifier), plainInlines(within(node.children, {})), style);
    case 'imageReference':
      return link(context.definitions.get(node.identifier), node.alt ?? '', style);
    case 'footnoteReference':
      return inlineText(`[${node.label ?? node.identifier}]`, style);
    default:
      return inlineText(sourceOf(node, context), style);
  }
}

/** Only people on the list become mentions. All else stays the characters that it is: rich text reads no markup. */
function readText(value: string, context: Context, style: Style): Inline[] {
  return value.split(/(<@[UW][A-Z0-9]+(?:\|[^<>]*)?>)/).flatMap((part): Inline[] => {
    const id = /^<@([UW][A-Z0-9]+)/.exec(part)?.[1];
    if (id === undefined || !context.mentions.has(id)) return inlineText(part, style);
    return [{ type: 'user', user_id: id, ...(Object.keys(style).length > 0 ? { style } : {}) }];
  });
}

function link(url: string | undefined, label: string, style: Style): Inline[] {
  const safe = url === undefined ? undefined : safeUrl(url);
  if (safe === undefined) return inlineText(url === undefined || url === '' || url === label ? label : `${label} (${url})`, style);
  const shown = { type: 'link' as const, url: safe, text: safeLabel(label, safe) };
  return [Object.keys(style).length === 0 ? shown : { ...shown, style }];
}

function sourceOf(node: Node, context: Context): string {
  return context.source.slice(node.position?.start.offset ?? 0, node.position?.end.offset ?? 0);
}

function definitionsOf(root: Root): Map<string, string> {
  const found = new Map<string, string>();
  // of two with one name the first counts
  for (const node of everyNode(root)) if (node.type === 'definition' && !found.has(node.identifier)) found.set(node.identifier, node.url);
  return found;
}

function footnotesOf(root: Root): BlockOf<'footnoteDefinition'>[] {
  return everyNode(root).filter((node) => node.type === 'footnoteDefinition');
}

function everyNode(node: Node): Node[] {
  return [node, ...('children' in node ? node.children.flatMap(everyNode) : [])];
}
