/** Text as people see it: where it may be cut, and what in it would reach people or pretend to be something else. */

/** Joins words so that no line breaks there, and cannot be seen: what stands on both sides is no longer one token. */
const JOINER = '\u2060';

/** NUL ends strings in places, and half a character is no character. All else stays, also what is written from right to left. */
export function clean(text: string): string {
  return text.replaceAll('\0', '').replaceAll('\r\n', '\n').toWellFormed();
}

/** For `text` fields of Slack, where these three begin mentions, links and entities. */
export function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** So that nobody is called: neither everyone in the channel, nor the members of a group, nor a person. Looks the same. */
export function withoutPings(text: string): string {
  return text.replace(/<(?=[@#][A-Z\d]|!(?:channel|here|everyone|subteam|date)\b)|@(?=channel\b|here\b|everyone\b)/gi, `$&${JOINER}`);
}

/** How much of a text that still grows can be said already: what may become a ping with its next characters is held back. */
export function settledLength(text: string): number {
  return text.length - (/(?:<(?:[@#]|![a-z]{0,8})?|@[a-z]{0,8}|[\ud800-\udbff])$/i.exec(text)?.[0].length ?? 0);
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
