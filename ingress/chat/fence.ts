/** Fences of code in Markdown that is shown in pieces: what is open at the end of one is closed there, and opened again in the next. */

/** The fence of code that is open, as it was written, such as "```ts". */
export type Fence = string | null;

/** Which fence is open after the text. */
export function fenceAfter(text: string, before: Fence): Fence {
  let fence = before;
  for (const line of text.split('\n')) fence = nextFence(line, fence);
  return fence;
}

/** Of one line. */
export function nextFence(line: string, open: Fence): Fence {
  const mark = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$/.exec(line);
  if (mark === null) return open;
  const [, ticks = '', info = ''] = mark;
  if (open === null) return `${ticks}${info.trim().slice(0, 40)}`;
  return ticks[0] === open[0] && ticks.length >= closeFence(open).length && info.trim() === '' ? null : open;
}

/** What ends it. */
export function closeFence(fence: Fence): string {
  return fence === null ? '' : (/^(?:`+|~+)/.exec(fence)?.[0] ?? '');
}
