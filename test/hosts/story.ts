/**
 * What is stored of a run: enough to play it again in another host. One row per checkpoint, in the order of the calls
 * (`seq`); those that ended carry the order of their outcomes (`ord`).
 */
import type { ResponseError } from '../../runtime/hosts/protocol/messages.ts';

export type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: ResponseError };

export interface Row {
  readonly seq: number;
  readonly kind: string;
  readonly name: string;
  outcome: Outcome | null;
  ord: number | null;
  endedAt: number;
  /** Attempts of a step that failed. */
  attempts: number;
  /** When a sleep, a wait or the pause before a retry is over. */
  wakeAt: number | null;
}

export interface Story {
  readonly runId: string;
  readonly workflow: string;
  input: unknown;
  readonly seed: string;
  readonly startedAt: number;
  readonly rows: Row[];
  /** Outcomes stored so far. */
  ords: number;
  /** The clock of this run: it moves only when something ends. */
  clock: number;
}

let stories = 0;

export function newStory(workflow: string, input: unknown, seed = 'seed'): Story {
  const startedAt = Date.parse('2026-01-31T12:00:00Z');
  stories += 1;
  return { runId: `run-${stories}`, workflow, input, seed, startedAt, rows: [], ords: 0, clock: startedAt };
}

/** The same history, as another run. */
export function copyStory(story: Story): Story {
  stories += 1;
  return { ...structuredClone(story), runId: `run-${stories}` };
}

/** Its first rows, as if the worker had stored no more. */
export function cutStory(story: Story, rows: number): Story {
  const cut = copyStory(story);
  cut.rows.length = Math.min(rows, cut.rows.length);
  const ended = cut.rows.filter(({ ord }) => ord !== null).sort((a, b) => (a.ord as number) - (b.ord as number));
  for (const [ord, row] of ended.entries()) row.ord = ord;
  cut.ords = ended.length;
  return cut;
}

export const namesOf = ({ rows }: Story): string[] => rows.map(({ name }) => name);
