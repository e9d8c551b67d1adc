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
/** Of emphasis and links that are open within each other the time grows with the square: the sum of these, over all paragraphs. */
const NESTING_MOST = 500 ** 2;
/** Of headings that are underlined it does so, too. */
const UNDERLINED_MOST = 400;

/** Nothing, where it is written to be hard to read: show it as text. */
export function parseMarkdown(markdown: string): Root | undefined {
  if (isHostile(markdown)) return undefined;
  try {
    return fromMarkdown(markdown, { extensions: [gfm()], mdastExtensions: [gfmFromMarkdown()] });
  } catch {
    // what nobody has thought of: it takes any text, and so goes too deep
    return undefined;
  }
}

function isHostile(markdown: string): boolean {
  let length = 0;
  let markup = 0;
  let nesting = 0;
  let underlined = 0;
  let open = createOpen();
  // each row of a table is read by itself
  let isTable = false;
  for (const line of markdown.split('\n')) {
    if (isDeep(line)) return true;
    const isEmpty = line.trim() === '';
    isTable = !isEmpty && (isTable || /^(?=.*\|)[\s|:-]*-[\s|:-]*$/.test(line));
    if (isEmpty || isTable) {
      [length, markup] = [0, 0];
      nesting += open.deepest() ** 2;
      open = createOpen();
    }
    if (length > 0 && /^ {0,3}(?:=+|-+)\s*$/.test(line) && ++underlined > UNDERLINED_MOST) return true;
    open.take(line);
    if (nesting + open.deepest() ** 2 > NESTING_MOST) return true;
    length += line.length;
    markup += line.replaceAll(/[^*_~[\]`<>!]/g, '').length;
    if (length > DENSE_FROM && markup > length * MARKUP_SHARE) return true;
  }
  return false;
}

/** What begins emphasis or a link and is not closed yet, or ends what never began, roughly as CommonMark counts it. */
function createOpen() {
  const open = { '*': 0, _: 0, '~': 0, '[': 0 };
  let deepest = 0;
  let astray = 0;
  return {
    deepest: () => deepest,
    take(line: string): void {
      for (const { 0: run, index } of line.matchAll(/\\.|\*+|_+|~+|[[\]]/g)) {
        if (run.startsWith('\\')) continue;
        const mark = (run[0] === ']' ? '[' : run[0]) as keyof typeof open;
        const before = kindOf(line[index - 1]);
        const after = kindOf(line[index + run.length]);
        const closes = mark === '[' ? run === ']' : before !== 'space' && (before === 'word' || after !== 'word');
        const opens = mark === '[' ? run === '[' : after !== 'space' && (after === 'word' || before !== 'word');
        if (closes && open[mark] > 0) open[mark]--;
        else if (opens) open[mark]++;
        else if (closes) astray++;
        deepest = Math.max(deepest, astray + open['*'] + open._ + open['~'] + open['[']);
      }
    },
  };
}

function kindOf(character: string | undefined): 'space' | 'mark' | 'word' {
  if (character === undefined || /\s/.test(character)) return 'space';
  return /[\p{P}\p{S}]/u.test(character) ? 'mark' : 'word';
}

function isDeep(line: string): boolean {
  const lead = /^(?:[ \t]|>|[-+*](?=[ \t>])|\d{1,9}[.)](?=[ \t]))*/.exec(line)?.[0] ?? '';
  if (lead.replaceAll(/[ \t]/g, '').length > DEEPEST * (/\d/.test(lead) ? 4 : 1)) return true;
  // a list so far to the right; code stands there too, and begins otherwise
  return lead.length > LONGEST_INDENT && /[>*+-]|\d[.)]/.test(lead);
}
