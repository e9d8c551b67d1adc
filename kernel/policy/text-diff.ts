/** What a text changes of another, line by line, for people who approve it: what is the same is left out but for a few lines around. */
import { diff } from 'node:util';

const AROUND = 3;
/** Lines that are compared: the work grows with the square of them. */
const COMPARED_MOST = 1000;

type Line = readonly [mark: ' ' | '-' | '+', text: string];

/** Lines with a space, `-` or `+` before them; `@@` and the number of the next line of the new text, where some are left out. Empty: the same. */
export function diffTexts(before: string, after: string): string {
  if (before === after) return '';
  const lines = changesOf(before.split('\n'), after.split('\n'));
  const isNear = nearChanges(lines);
  const shown: string[] = [];
  let at = 0;
  let isCut = false;
  for (const [i, [mark, text]] of lines.entries()) {
    if (mark !== '-') at += 1;
    if (!isNear[i]) isCut = true;
    else {
      if (isCut) shown.push(`@@ line ${mark === '-' ? at + 1 : at}`);
      isCut = false;
      shown.push(mark + text);
    }
  }
  return shown.join('\n');
}

function changesOf(before: readonly string[], after: readonly string[]): readonly Line[] {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const [old, now] = [before.slice(head, before.length - tail), after.slice(head, after.length - tail)];
  const same = (text: string): Line => [' ', text];
  return [...after.slice(0, head).map(same), ...compare(old, now), ...after.slice(after.length - tail).map(same)];
}

function compare(old: readonly string[], now: readonly string[]): readonly Line[] {
  if (old.length === 0 || now.length === 0 || old.length + now.length > COMPARED_MOST)
    return [...old.map((text): Line => ['-', text]), ...now.map((text): Line => ['+', text])];
  return diff(old, now).map(([mark, text]): Line => [mark === 0 ? ' ' : mark > 0 ? '-' : '+', text]);
}

function nearChanges(lines: readonly Line[]): readonly boolean[] {
  const isNear = lines.map(() => false);
  for (const [i, [mark]] of lines.entries()) if (mark !== ' ') isNear.fill(true, Math.max(0, i - AROUND), i + AROUND + 1);
  return isNear;
}
