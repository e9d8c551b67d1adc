/** Following a run to its end, or to where only a person can help. */
import type { RunStatus, RunSummary, StoredError } from '@centaur/sdk';
import type { Api } from './api.ts';
import { EXIT } from './exit.ts';
import type { View } from './progress.ts';

export interface Outcome {
  readonly status: Extract<RunStatus, 'completed' | 'failed' | 'cancelled' | 'stuck'>;
  readonly error: StoredError | null;
  /** What the last event told of the run; undefined for a stuck one, which has not ended. */
  readonly run: (RunSummary & { readonly result: unknown }) | undefined;
}

/** @returns undefined when it was interrupted; the run goes on */
export async function follow(api: Api, runId: string, view: View, afterId?: string): Promise<Outcome | undefined> {
  const interrupt = new AbortController();
  const stop = () => interrupt.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    const events = api.tailRun(runId, { signal: interrupt.signal, onDisconnect: view.lost, ...(afterId === undefined ? {} : { afterId }) });
    for await (const event of events) {
      view.event(event);
      if (event.event === 'run.completed' || event.event === 'run.failed' || event.event === 'run.cancelled') {
        return { status: event.data.status as Outcome['status'], error: event.data.error, run: event.data };
      }
      // It would wait for new code, for as long as it takes
      if (event.event === 'run.status' && event.data.status === 'stuck')
        return { status: 'stuck', error: event.data.error, run: undefined };
    }
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
    view.end();
  }
  return undefined;
}

export function exitCodeOf(outcome: Outcome | undefined): number {
  if (outcome === undefined) return EXIT.interrupted;
  return outcome.status === 'completed' ? EXIT.ok : EXIT.failed;
}
