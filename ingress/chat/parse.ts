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
/** Emphasis and brackets within each other, in text without an empty line between. */
const DEEPEST_INLINE = 150;
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
  const open = new Map<string, number>();
  for (const line of markdown.split('\n')) {
    if (isDeep(line)) return true;
    const isEmpty = line.trim() === '';
    if (isEmpty) open.clear();
    else if (opens(line, open) > DEEPEST_INLINE) return true;
    isTable = !isEmpty && (isTable || /^(?=.*\|)[\s|:-]*-[\s|:-]*$/.test(line));
    if (isEmpty || isTable) [length, markup] = [0, 0];
    length += line.length;
    markup += line.replaceAll(/[^*_~[\]`<>!]/g, '').length;
    if (length > DENSE_FROM && markup > length * MARKUP_SHARE) return true;
  }
  return false;
}

/** How many marks of one kind are open at most in the line. @param open of the lines before; changed to those after it */
function opens(line: string, open: Map<string, number>): number {
  let most = 0;
  // in code nothing opens or closes
  for (const [run, mark, does] of marksOf(line.replaceAll(/`[^`]*`/g, ' x '))) {
    const before = open.get(mark) ?? 0;
    const now = does === 'opens' ? before + run : Math.max(0, before - run);
    open.set(mark, now);
    most = Math.max(most, now);
  }
  return most;
}

function* marksOf(line: string): Generator<readonly [run: number, mark: string, does: 'opens' | 'closes']> {
  for (const { 0: run, index } of line.matchAll(/\*+|_+|~+|\[|\]/g)) {
    const mark = run === ']' ? '[' : (run[0] ?? '');
    const isOpening =
      run === '[' ||
      (run !== ']' &&
        /^[^\s]/.test(line.slice(index + run.length, index + run.length + 1)) &&
        !/[^\s]/.test(line.slice(Math.max(0, index - 1), index)));
    yield [run.length, mark, isOpening ? 'opens' : 'closes'];
  }
}

function isDeep(line: string): boolean {
  const lead = /^(?:[ \t]|>|[-+*](?=[ \t>])|\d{1,9}[.)](?=[ \t]))*/.exec(line)?.[0] ?? '';
  if (lead.replaceAll(/[ \t]/g, '').length > DEEPEST * (/\d/.test(lead) ? 4 : 1)) return true;
  // a list so far to the right; code stands there too, and begins otherwise
  return lead.length > LONGEST_INDENT && /[>*+-]|\d[.)]/.test(lead);
}
