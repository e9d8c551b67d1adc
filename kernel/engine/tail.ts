/**
 * A run's event stream, made from its rows: there is no second log to keep in step. An event's id is its attempt and
 * its ord, which only grow, so a reader that names the last id it saw gets exactly what followed.
 */
import { STEP_COLUMNS, type StepRecord } from './claim.ts';
import type { Core } from './core.ts';
import { EngineError } from './errors.ts';
import { fromJson } from './json.ts';
import { mustRead, readSteps, type RunRecord, statusName, toStepView, toSummary, waitingOn } from './reads.ts';
import type { RunEvent, RunId, StoredError } from './types.ts';

/** How often the rows are looked at when nothing in this process says that they changed. */
const POLL_MS = 250;

export interface Watchers {
  touched(runId: string): void;
  /** Watches a run for as long as the answer is not closed: a touch between two waits is not lost. */
  watch(runId: string): Watch;
}

interface Watch {
  /** Resolves when the run was touched since the last wait, or after `ms`, or when the signal aborts. */
  wait(ms: number, signal: AbortSignal | undefined): Promise<void>;
  close(): void;
}

export function createWatchers(): Watchers {
  const watching = new Map<string, Set<() => void>>();
  return {
    touched(runId) {
      for (const touch of watching.get(runId) ?? []) touch();
    },
    watch(runId) {
      let dirty = false;
      let wake: (() => void) | undefined;
      const touch = () => {
        dirty = true;
        wake?.();
      };
      const set = watching.get(runId) ?? new Set();
      watching.set(runId, set);
      set.add(touch);
      return {
        async wait(ms, signal) {
          if (!dirty && signal?.aborted !== true) {
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, ms);
              wake = () => {
                clearTimeout(timer);
                resolve();
              };
              signal?.addEventListener('abort', wake, { once: true });
            });
            if (wake !== undefined) signal?.removeEventListener('abort', wake);
            wake = undefined;
          }
          dirty = false;
        },
        close() {
          set.delete(touch);
          if (set.size === 0) watching.delete(runId);
        },
      };
    },
  };
}

interface Cursor {
  attempt: number;
  ord: number;
}

export async function* tailRun(
  core: Core,
  watchers: Watchers,
  runId: RunId,
  afterId: string | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<RunEvent> {
  const cursor = parseCursor(afterId);
  const watch = watchers.watch(runId);
  let shown = '';
  try {
    while (signal?.aborted !== true) {
      // the run first: rows that its end made visible are then surely read
      const run = await mustRead(core.store, runId);
      for (const event of await newEvents(core, run, cursor)) yield event;
      if (run.ended_at !== null) {
        yield terminalEvent(run, cursor);
        return;
      }
      const status = await statusEvent(core, run);
      const text = JSON.stringify(status.data);
      if (text !== shown) {
        shown = text;
        yield status;
      }
      await watch.wait(POLL_MS, signal);
    }
  } finally {
    watch.close();
  }
}

function parseCursor(afterId: string | undefined): Cursor {
  if (afterId === undefined || afterId === '' || afterId === '0') return { attempt: 0, ord: -1 };
  const match = /^(\d{1,9})-(\d{1,10})$/.exec(afterId);
  if (match === null) throw new EngineError('INVALID_REQUEST', 'after_event_id: expected the id of an earlier event, such as 1-12');
  return { attempt: Number(match[1]), ord: Number(match[2]) };
}

async function newEvents(core: Core, run: RunRecord, cursor: Cursor): Promise<RunEvent[]> {
  const { rows } = await core.store.query<StepRecord>(
    `select ${STEP_COLUMNS} from workflow_steps
     where run_id = $1 and ord is not null and (attempt, ord) > ($2::int, $3::int) order by attempt, ord`,
    [run.run_id, cursor.attempt, cursor.ord],
  );
  const events: RunEvent[] = [];
  const { rows: attempts } =
    run.attempt > Math.max(1, cursor.attempt)
      ? await core.store.query<{ attempt: number; error: string | null }>(
          'select attempt::int, error from workflow_attempts where run_id = $1 and attempt >= $2 order by attempt',
          [run.run_id, Math.max(1, cursor.attempt)],
        )
      : { rows: [] };
  const retries = attempts
    .map((row) => ({ ...row, next: row.attempt + 1 }))
    .filter((row) => row.next > cursor.attempt && row.next <= run.attempt);
  for (const step of rows) {
    while (retries[0] !== undefined && retries[0].next <= step.attempt)
      events.push(retryEvent(retries.shift() as (typeof retries)[number], cursor));
    cursor.attempt = step.attempt;
    cursor.ord = step.ord as number;
    const name = step.status === 'o' ? 'step.completed' : step.status === 't' ? 'step.timed_out' : 'step.failed';
    events.push({ id: `${step.attempt}-${step.ord}`, event: name, data: toStepView(step) });
  }
  for (const retry of retries) events.push(retryEvent(retry, cursor));
  return events;
}

/** The first event of an attempt; steps of that attempt follow it, since their ords are never 0 again. */
function retryEvent(retry: { next: number; error: string | null }, cursor: Cursor): RunEvent {
  cursor.attempt = retry.next;
  cursor.ord = -1;
  return {
    id: `${retry.next}-0`,
    event: 'run.retrying',
    data: { attempt: retry.next, error: fromJson(retry.error) as StoredError | null },
  };
}

function terminalEvent(run: RunRecord, cursor: Cursor): RunEvent {
  const status = statusName(run);
  const event = status === 'completed' ? 'run.completed' : status === 'cancelled' ? 'run.cancelled' : 'run.failed';
  return { id: `${run.attempt}-${Math.max(cursor.ord, 0) + 1}`, event, data: { ...toSummary(run), result: fromJson(run.result) } };
}

async function statusEvent(core: Core, run: RunRecord): Promise<RunEvent> {
  const parked = run.letter === 's' || run.letter === 'w' || run.letter === 'r';
  const waiting = parked ? waitingOn(await readSteps(core.store, run.run_id)) : [];
  return { id: null, event: 'run.status', data: { status: statusName(run), waiting_on: waiting, error: toSummary(run).error } };
}
