/** Of one turn with one model. `input` is without what was read from or written to a cache; `reasoning` is part of `output`. */
export interface Tokens {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
  readonly reasoning: number;
}

export function totalOf({ input, output, cache_read, cache_write }: Tokens): number {
  return input + output + cache_read + cache_write;
}

/**
 * What usage is summed by. `model` is what the harness says that it used, so that each token is there once; `model_name` is that and what
 * was asked for, which budgets are held to: a token is there under both names where they differ.
 */
export type Dimension = 'all' | 'thread' | 'workflow' | 'user' | 'model' | 'model_name';

const NAME_MOST = 200;

/** A model's name as it is kept: nobody has checked what a harness says, and Postgres keeps no zero byte. */
export function modelName(text: string): string {
  return text.slice(0, NAME_MOST).toWellFormed().replaceAll('\0', '\ufffd');
}

/** The day in UTC: `2026-01-31`. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

export function monthOf(ms: number): string {
  return `${dayOf(ms).slice(0, 7)}-01`;
}
