/** Text as people read it: what is dropped of it, and where it may be cut. */

/** NUL ends strings in places, and half a character is no character. All else stays, also what is written from right to left. */
export function clean(text: string): string {
  return text.replaceAll('\0', '').replaceAll('\r\n', '\n').toWellFormed();
}

/** At most `limit` characters, with an ellipsis for what was left out. */
export function clip(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, safeEnd(text, limit - 1)).trimEnd()}…`;
}

/** The first line of it. */
export function clipLine(text: string, limit: number): string {
  return clip(text.trim().replaceAll(/\s+/g, ' '), limit);
}

/** Where to cut at or before `end`, so that no character is cut in two and no accent parted from its letter. */
export function safeEnd(text: string, end: number): number {
  let at = Math.min(end, text.length);
  if (at <= 0 || at === text.length) return Math.max(at, 0);
  if (isLow(text.charCodeAt(at)) && isHigh(text.charCodeAt(at - 1))) at--;
  // an emoji of many parts may be longer than what fits: then it is cut between two of its characters
  for (let back = at, steps = 0; steps < LONGEST_CLUSTER && back > 0; steps++) {
    const next = String.fromCodePoint(text.codePointAt(back) as number);
    if (!/^(?:\p{M}|\u200d)/u.test(next) && text[back - 1] !== '\u200d') return back;
    back -= isLow(text.charCodeAt(back - 1)) ? 2 : 1;
  }
  return at === 0 ? Math.min(2, text.length) : at;
}

const LONGEST_CLUSTER = 16;
const isHigh = (code: number): boolean => code >= 0xd800 && code <= 0xdbff;
const isLow = (code: number): boolean => code >= 0xdc00 && code <= 0xdfff;

/** Where to cut at or before `limit`: rather after a paragraph, a line, a sentence or a word than anywhere, if that keeps half. */
export function cutAt(text: string, limit: number): number {
  if (text.length <= limit) return text.length;
  const window = text.slice(0, limit);
  for (const end of ['\n\n', '\n', '. ', ' ']) {
    const at = window.lastIndexOf(end);
    if (at >= limit / 2) return at + end.length;
  }
  return safeEnd(text, limit);
}

export const utf8Length = (text: string): number => Buffer.byteLength(text, 'utf8');
