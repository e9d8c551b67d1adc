/** Two texts held against each other, line by line. */

export interface DiffLine {
  readonly mark: ' ' | '-' | '+';
  /** In the text after; of a line that is gone, in the text before. */
  readonly line: number;
  readonly text: string;
}

/** Lines around a change that are shown with it. */
const CONTEXT = 2;

/** What differs, with some lines around it. Empty when nothing does. */
export function diffLines(before: string, after: string): DiffLine[] {
  const old = linesOf(before);
  const now = linesOf(after);
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let tail = 0;
  while (tail < old.length - start && tail < now.length - start && old.at(-1 - tail) === now.at(-1 - tail)) tail += 1;
  const whole: DiffLine[] = [
    ...now.slice(0, start).map((text, i): DiffLine => ({ mark: ' ', line: i + 1, text })),
    ...middle(old.slice(start, old.length - tail), now.slice(start, now.length - tail), start),
    ...now.slice(now.length - tail).map((text, i): DiffLine => ({ mark: ' ', line: now.length - tail + i + 1, text })),
  ];
  const shown = new Set<number>();
  for (const [i, { mark }] of whole.entries()) if (mark !== ' ') for (let near = i - CONTEXT; near <= i + CONTEXT; near++) shown.add(near);
  return whole.filter((_, i) => shown.has(i));
}

/** Above so many pairs of lines, all are shown as changed: a table of them would take too long. */
const PAIRS_MOST = 25_000_000;

/** By the longest common subsequence. */
function middle(old: readonly string[], now: readonly string[], offset: number): DiffLine[] {
  if (old.length * now.length > PAIRS_MOST)
    return [
      ...old.map((text, i): DiffLine => ({ mark: '-', line: offset + i + 1, text })),
      ...now.map((text, i): DiffLine => ({ mark: '+', line: offset + i + 1, text })),
    ];
  const width = now.length + 1;
  const common = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      common[i * width + j] =
        old[i] === now[j]
          ? (common[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(common[(i + 1) * width + j] ?? 0, common[i * width + j + 1] ?? 0);
  const lines: DiffLine[] = [];
  for (let i = 0, j = 0; i < old.length || j < now.length;) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      lines.push({ mark: ' ', line: offset + j + 1, text: now[j] as string });
      i += 1;
      j += 1;
    } else if (j >= now.length || (i < old.length && (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0))) {
      lines.push({ mark: '-', line: offset + i + 1, text: old[i] as string });
      i += 1;
    } else {
      lines.push({ mark: '+', line: offset + j + 1, text: now[j] as string });
      j += 1;
    }
  }
  return lines;
}

function linesOf(text: string): string[] {
  return text.replace(/\n$/, '').split('\n');
}
