/** What the events of a thread say: whose they are, and what an agent has said in them. */
import type { Reader, Seen } from './reader.ts';

export const idsOf = (events: readonly Seen[]): number[] => events.map(({ id }) => id);
export const isEnd = ({ data }: Seen): boolean => data['type'] === 'execution.state' && data['terminal_reason'] !== undefined;
export const turnOf = ({ data }: Seen): unknown => data['execution_id'];
export const turnsOf = ({ events }: Reader): unknown[] => [...new Set(events.map(turnOf).filter((turn) => turn !== undefined))];

/** What an agent has said in its n-th turn. */
export function wordsOf(reader: Reader, nth: number): Seen[] {
  const turn = turnsOf(reader)[nth];
  return reader.events.filter((event) => turnOf(event) === turn && event.kind === 'text.delta');
}

export const textOf = (words: readonly Seen[]): string => words.map(({ data }) => String(data['text'])).join('');

/** The numbers in a slow answer, as they came. */
export function ticksOf(words: readonly Seen[]): number[] {
  return [...textOf(words).matchAll(/tick (\d+)/g)].map(([, tick]) => Number(tick));
}

/** `1–31, 33`. In the order in which they came, so that a gap, a double and a step back are seen. */
export function rangesOf(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const range = ranges.at(-1);
    if (range !== undefined && range[1] + 1 === number) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(', ');
}
