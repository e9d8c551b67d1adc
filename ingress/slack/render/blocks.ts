/** The Block Kit that we write: rich text, whose words are never read as markup, and what it cannot say. */

export interface Style {
  readonly bold?: true;
  readonly italic?: true;
  readonly strike?: true;
  readonly code?: true;
}

export type Inline =
  | { readonly type: 'text'; readonly text: string; readonly style?: Style }
  | { readonly type: 'link'; readonly url: string; readonly text: string; readonly style?: Style }
  | { readonly type: 'user'; readonly user_id: string; readonly style?: Style };

export interface RichTextSection {
  readonly type: 'rich_text_section';
  readonly elements: readonly Inline[];
}

export type RichTextElement =
  | RichTextSection
  | {
      readonly type: 'rich_text_list';
      readonly style: 'bullet' | 'ordered';
      readonly indent?: number;
      /** How many numbers of the list come before the first one. */
      readonly offset?: number;
      readonly border?: 1;
      readonly elements: readonly RichTextSection[];
    }
  | { readonly type: 'rich_text_preformatted'; readonly elements: readonly Inline[]; readonly border?: 1 }
  | { readonly type: 'rich_text_quote'; readonly elements: readonly Inline[] };

export interface RichText {
  readonly type: 'rich_text';
  readonly elements: readonly RichTextElement[];
}

export type TableCell = { readonly type: 'raw_text'; readonly text: string } | RichText;

export interface TableBlock {
  readonly type: 'table';
  readonly rows: readonly (readonly TableCell[])[];
  readonly column_settings: readonly { readonly align: 'left' | 'center' | 'right'; readonly is_wrapped: true }[];
}

export type Block =
  | RichText
  | TableBlock
  | { readonly type: 'header'; readonly text: { readonly type: 'plain_text'; readonly text: string; readonly emoji: false } }
  | { readonly type: 'divider' }
  | { readonly type: 'context'; readonly elements: readonly { readonly type: 'mrkdwn'; readonly text: string }[] }
  | { readonly type: 'actions'; readonly elements: readonly Button[] };

export interface Button {
  readonly type: 'button';
  readonly text: { readonly type: 'plain_text'; readonly text: string; readonly emoji: false };
  readonly action_id: string;
  readonly value: string;
}

/** Inline text with a style, none where there is nothing to say: Slack refuses empty texts. */
export function inlineText(text: string, style: Style = {}): Inline[] {
  if (text === '') return [];
  return [Object.keys(style).length === 0 ? { type: 'text', text } : { type: 'text', text, style }];
}

/** Neighbours of one style become one. */
export function joinInlines(inlines: readonly Inline[]): Inline[] {
  const joined: Inline[] = [];
  for (const inline of inlines) {
    const last = joined.at(-1);
    if (inline.type === 'text' && last?.type === 'text' && isSameStyle(inline.style, last.style)) {
      joined[joined.length - 1] = { ...last, text: last.text + inline.text };
    } else joined.push(inline);
  }
  return joined;
}

function isSameStyle(a: Style = {}, b: Style = {}): boolean {
  return a.bold === b.bold && a.italic === b.italic && a.strike === b.strike && a.code === b.code;
}

/** What a person reads of it. */
export function plainInlines(inlines: readonly Inline[]): string {
  return inlines.map((inline) => (inline.type === 'user' ? `<@${inline.user_id}>` : inline.text)).join('');
}

/** What a person reads of blocks, a line for each of their elements. */
export function plainText(blocks: readonly Block[]): string {
  return blocks.map(plainBlock).join('\n');
}

function plainBlock(block: Block): string {
  switch (block.type) {
    case 'header':
      return block.text.text;
    case 'divider':
    case 'actions':
      return '';
    case 'context':
      return block.elements.map((element) => element.text).join('\n');
    case 'table':
      return block.rows.map((row) => row.map((cell) => (cell.type === 'raw_text' ? cell.text : plainBlock(cell))).join('\t')).join('\n');
    case 'rich_text':
      return block.elements.map(plainElement).join('\n');
  }
}

export function plainElement(element: RichTextElement): string {
  return element.type === 'rich_text_list'
    ? element.elements.map((item) => plainInlines(item.elements)).join('\n')
    : plainInlines(element.elements);
}

/** How much of a limit it uses: links count with their addresses. */
export function sizeOfInlines(inlines: readonly Inline[]): number {
  return inlines.reduce(
    (sum, inline) =>
      sum + (inline.type === 'user' ? inline.user_id.length + 3 : inline.text.length + (inline.type === 'link' ? inline.url.length : 0)),
    0,
  );
}

export function sizeOfElement(element: RichTextElement): number {
  return element.type === 'rich_text_list'
    ? element.elements.reduce((sum, item) => sum + sizeOfInlines(item.elements) + 1, 0)
    : sizeOfInlines(element.elements) + 1;
}
