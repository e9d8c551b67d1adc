/**
 * Markdown into a tree. The parser takes time that grows with the square of some inputs, and goes as deep as they do; what is
 * written to exhaust it is not parsed at all, and shown as it stands.
 */
import { fromMarkdown } from 'mdast-util-from-markdown';
import { gfmFromMarkdown } from 'mdast-util-gfm';
import { gfm } from 'micromark-extension-gfm';

export type Root = ReturnType<typeof fromMarkdown>;
export type Block = Root['children'][number];
export type BlockOf<Type extends Block['type']> = Extract<Block, { type: Type }>;
export type Phrasing = BlockOf<'paragraph'>['children'][number];

/** Quotes and lists within each other on one line, and the indentation by which lists nest. */
const DEEPEST = 12;
const LONGEST_INDENT = 80;
/** In text without an empty line between; people and agents write a hundredth of it. */
const DENSE_FROM = 4_000;
const MARKUP_SHARE = 0.25;

/** Nothing, where it is written to be hard to read: show it as text. */
export function parseMarkdown(markdown: string): Root | undefined {
  if (isHostile(markdown)) return undefined;
  return fromMarkdown(markdown, { extensions: [gfm()], mdastExtensions: [gfmFromMarkdown()] });
}

function isHostile(markdown: string): boolean {
  let length = 0;
  let markup = 0;
  // each row of a table is read by itself
  let isTable = false;
  for (const line of markdown.split('\n')) {
    if (isDeep(line)) return true;
    const isEmpty = line.trim() === '';
    isTable = !isEmpty && (isTable || /^(?=.*\|)[\s|:-]*-[\s|:-]*$/.test(line));
    if (isEmpty || isTable) [length, markup] = [0, 0];
    length += line.length;
    markup += line.replaceAll(/[^*_~[\]`<>!]/g, '').length;
    if (length > DENSE_FROM && markup > length * MARKUP_SHARE) return true;
  }
  return false;
}

function isDeep(line: string): boolean {
  const lead = /^(?:[ \t]|>|[-+*](?=[ \t>])|\d{1,9}[.)](?=[ \t]))*/.exec(line)?.[0] ?? '';
  if (lead.replaceAll(/[ \t]/g, '').length > DEEPEST * (/\d/.test(lead) ? 4 : 1)) return true;
  // a list so far to the right; code stands there too, and begins otherwise
  return lead.length > LONGEST_INDENT && /[>*+-]|\d[.)]/.test(lead);
}
