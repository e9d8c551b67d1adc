/** Of one turn with one model. `input` is without what was read from or written to a cache; `reasoning` is part of `output`. */
export interface Tokens {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
  readonly reasoning: number;
}

/** What usage is summed by. */
export type Dimension = 'all' | 'thread' | 'workflow' | 'user' | 'model';

/** The day in UTC: `2026-01-31`. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

export function monthOf(ms: number): string {
  return `${dayOf(ms).slice(0, 7)}-01`;
}
