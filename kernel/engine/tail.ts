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
  const steps = await withSleeps(core, run, cursor, rows);
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
  for (const step of steps) {
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

/**
 * The end of a lone sleep takes an ord and writes nothing: see `frame.ts`. Such sleeps end in the order in which they were called, so the
 * first ord that no row has is that of the first of them. Where rows follow each other without a gap there is none to look for.
 */
async function withSleeps(core: Core, run: RunRecord, cursor: Cursor, rows: readonly StepRecord[]): Promise<readonly StepRecord[]> {
  const hasGap = rows.some((step, i) => step.ord !== ((i === 0 ? cursor.ord : rows[i - 1]?.ord) as number) + 1);
  if (!hasGap && run.ended_at === null) return rows;
  const { rows: sleeps } = await core.store.query<StepRecord & Free>(SLEPT, [run.run_id]);
  // of a run that goes on, no further than the rows that were read: there may be others since
  const isOver = ({ ord, trails, wake_at }: Free) =>
    run.ended_at === null ? ord <= (rows.at(-1)?.ord ?? -1) : !trails || wake_at <= run.ended_at;
  const isNew = ({ attempt, ord }: Free) => attempt > cursor.attempt || (attempt === cursor.attempt && ord > cursor.ord);
  const ended = sleeps.filter((step) => isOver(step) && isNew(step)).map((step) => ({ ...step, status: 'o', ended_at: step.wake_at }));
  return [...rows, ...ended].sort((a, b) => a.attempt - b.attempt || (a.ord as number) - (b.ord as number));
}

interface Free {
  readonly ord: number;
  readonly attempt: number;
  readonly wake_at: number;
  /** No row has a higher ord: nothing but the time says that it has ended. */
  readonly trails: boolean;
}

/** Each with the ord that its end took, or would take, and with the attempt in which that was. */
const SLEPT = `with steps as (select * from workflow_steps where run_id = $1),
  free as (select ord, row_number() over (order by ord) as n from (
    select generate_series(0, (select coalesce(max(ord), -1) + count(*) filter (where ord is null) from steps)) as ord
    except select ord from steps) missing),
  sleeps as (select *, row_number() over (order by seq) as n from steps where kind = 'z' and ord is null)
  select s.run_id, s.seq, f.ord::int as ord,
    greatest(s.attempt, coalesce((select b.attempt from steps b where b.ord < f.ord order by b.ord desc limit 1), 1))::int as attempt,
    s.attempts, s.kind::text, s.status::text, s.name, s.outcome, s.detail, s.wake_at, s.started_at, s.ended_at,
    f.ord > (select coalesce(max(ord), -1) from steps) as trails
  from sleeps s join free f using (n) where s.status = 'p' and s.wake_at is not null`;

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
