/** Work that has to be stored: tried again while the database is away. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isTransient } from './errors.ts';

const AGAIN_MS = [100, 250, 500, 1000, 2000];

export interface AgainOptions {
  /** How long it is tried, ms. Default: as long as it takes. */
  readonly forMs?: number;
  /** Aborts when the process stops: then it is tried no more. */
  readonly signal?: AbortSignal | undefined;
  /** It failed, and is tried again. */
  onFailure?(error: Error): void;
}

/**
 * Of a try that broke nobody knows whether it was committed, so `work` is told that it is not the first.
 *
 * @throws what the last try failed with
 */
export async function untilStored<T>(work: (isAgain: boolean) => Promise<T>, options: AgainOptions = {}): Promise<T> {
  const { forMs = Number.POSITIVE_INFINITY, signal, onFailure } = options;
  const until = performance.now() + forMs;
  for (let attempt = 0; ; attempt++) {
    try {
      return await work(attempt > 0);
    } catch (error) {
      if (!isTransient(error) || signal?.aborted === true || performance.now() >= until) throw error;
      onFailure?.(error as Error);
      // one that is ended early tries once more, and fails with what it meets
      await sleep(AGAIN_MS[Math.min(attempt, AGAIN_MS.length - 1)], undefined, signal === undefined ? {} : { signal }).catch(() => {});
    }
  }
}
