/**
 * Schedules: rows that start runs by the clock. Any number of processes look; the lock on the row and the trigger key
 * of the tick let each tick start at most one run. The database's clock decides.
 */
import { createHash } from 'node:crypto';
import type { Schedule } from '@centaur/sdk';
import { canonicalJson, type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { missedTicks, nextTick, parseSchedule } from './cron.ts';
import { time } from './reads.ts';
import type { RegisteredWorkflow, ScheduleView } from './types.ts';

interface Row {
  schedule_id: string;
  workflow_name: string;
  spec: string;
  enabled: boolean;
  next_at: number | null;
  last_at: number | null;
  last_run_id: string | null;
  skipped: number;
  now: number;
}

/** A tick this late is still on time, not a missed one. */
const GRACE_MS = 30_000;

/**
 * Brings the rows in line with what the workflow files declare. One bad schedule turns off only itself.
 *
 * Workers may have different files. So the schedules of a workflow that is not loaded here are turned off only when no
 * other worker is alive that may have it; a worker that starts later turns its own on again.
 */
export async function syncSchedules(
  store: Store,
  registered: readonly RegisteredWorkflow[],
  { workerId = null, now }: { readonly workerId?: number | null; readonly now?: Date } = {},
): Promise<{ readonly problems: string[] }> {
  const { wanted, problems } = wantedSchedules(registered);
  await store.transaction(async (tx) => {
    // one process at a time: two that sync the same files would otherwise wait on each other's rows in any order
    await tx.query('select pg_advisory_xact_lock(7226003)');
    const current = now?.getTime() ?? (await databaseNow(tx));
    for (const [id, { workflow, spec }] of wanted) await upsert(tx, id, workflow.name, spec, current);
    await tx.query(
      `update workflow_schedules set enabled = false, updated_at = now()
       where enabled and schedule_id <> all($1::text[]) and (workflow_name = any($2::text[])
         or not exists (select from workers where not dead and lease_until > now() and worker_id is distinct from $3))`,
      [[...wanted.keys()], registered.map((workflow) => workflow.name), workerId],
    );
  });
  return { problems };
}

interface Wanted {
  readonly workflow: RegisteredWorkflow;
  readonly spec: Schedule;
}

/** By id. An id that a file chose gives way to one that follows from a name: the clash is a problem of who chose. */
function wantedSchedules(registered: readonly RegisteredWorkflow[]): { wanted: Map<string, Wanted>; problems: string[] } {
  const problems: string[] = [];
  const wanted = new Map<string, Wanted>();
  const chosen: (Wanted & { readonly id: string })[] = [];
  for (const workflow of registered) {
    workflow.schedules?.forEach((declared, index) => {
      const id = index === 0 ? workflow.name : `${workflow.name}#${index + 1}`;
      try {
        const parsed = parseSchedule(declared);
        const queue = parsed.queue ?? (typeof workflow.queue === 'object' ? workflow.queue.name : workflow.queue);
        const spec = { ...parsed, ...(queue === undefined ? {} : { queue }) };
        if (spec.schedule_id === undefined) wanted.set(id, { workflow, spec });
        else chosen.push({ id: spec.schedule_id, workflow, spec });
      } catch (error) {
        problems.push(`${id}: ${(error as Error).message}`);
      }
    });
  }
  for (const { id, workflow, spec } of chosen) {
    const other = wanted.get(id);
    if (other === undefined) wanted.set(id, { workflow, spec });
    else
      problems.push(
        `${workflow.name}: schedule.schedule_id: "${id}" is also the id of a schedule of ${other.workflow.name}; choose another`,
      );
  }
  return { wanted, problems };
}

async function upsert(tx: Queryable, id: string, workflow: string, spec: Schedule, now: number): Promise<void> {
  const next = nextTick(spec, new Date(now));
  await tx.query(
    // an unchanged, enabled schedule keeps its next tick: what was missed while nobody ran is still owed
    `insert into workflow_schedules as s (schedule_id, workflow_name, spec, enabled, next_at)
     values ($1, $2, $3::json, $4, to_timestamp($5::float8 / 1000))
     on conflict (schedule_id) do update set
       next_at = case when s.enabled and s.spec::text = excluded.spec::text then s.next_at else excluded.next_at end,
       workflow_name = excluded.workflow_name, spec = excluded.spec, enabled = excluded.enabled, updated_at = now()`,
    [id, workflow, JSON.stringify(spec), spec.enabled !== false && next !== null, next?.getTime() ?? null],
  );
}

async function databaseNow(on: Queryable): Promise<number> {
  const { rows } = await on.query<{ now: number }>('select clock_timestamp() as now');
  return rows[0]?.now ?? Date.now();
}

/** Starts what is due of the workflows loaded here; answers with the number of runs started. */
export async function runDueSchedules(store: Store, loaded: readonly string[], now?: Date): Promise<number> {
  let started = 0;
  for (;;) {
    const runs = await store.transaction((tx) => runOne(tx, loaded, now));
    if (runs === undefined) return started;
    started += runs;
  }
}

async function runOne(tx: Queryable, loaded: readonly string[], now: Date | undefined): Promise<number | undefined> {
  const { rows } = await tx.query<Row>(
    `select schedule_id, workflow_name, spec, enabled, next_at, last_at, last_run_id, skipped, clock_timestamp() as now
     from workflow_schedules where enabled and next_at <= coalesce(to_timestamp($1::float8 / 1000), clock_timestamp())
       and workflow_name = any($2::text[])
     order by next_at limit 1 for update skip locked`,
    [now?.getTime() ?? null, loaded],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const spec = JSON.parse(row.spec) as Schedule;
  const current = now?.getTime() ?? row.now;
  const { ticks, skipped } = dueTicks(spec, row.next_at as number, current);
  let passed = skipped;
  let lastRun = row.last_run_id;
  let started = 0;
  for (const tick of ticks) {
    if (spec.allow_overlap !== true && lastRun !== null && (await isUnfinished(tx, lastRun))) {
      passed += 1;
      continue;
    }
    const runId = await insertRun(tx, row, spec, tick, current);
    if (runId === undefined) continue;
    lastRun = runId;
    started += 1;
  }
  const next = nextTick(spec, new Date(current));
  await tx.query(
    `update workflow_schedules set next_at = to_timestamp($2::float8 / 1000), enabled = $2 is not null, last_run_id = $3, skipped = skipped + $4,
       last_at = case when $5 then to_timestamp($6::float8 / 1000) else last_at end where schedule_id = $1`,
    [row.schedule_id, next?.getTime() ?? null, lastRun, passed, started > 0, ticks.at(-1)?.getTime() ?? null],
  );
  if (started > 0) await tx.query(`select pg_notify('centaur_work', '')`);
  return started;
}

/** The tick that is due now, or after an outage as many of the newest missed ones as `catchup` allows. */
function dueTicks(spec: Schedule, nextAt: number, now: number): { ticks: Date[]; skipped: number } {
  const limit = spec.catchup ?? 1;
  const all = missedTicks(spec, new Date(nextAt - 1), new Date(now), Math.max(1, limit));
  const last = all.ticks.at(-1);
  const onTime = last !== undefined && now - last.getTime() <= GRACE_MS;
  if (limit > 0 || onTime) return all;
  return { ticks: [], skipped: all.skipped + all.ticks.length };
}

async function isUnfinished(tx: Queryable, runId: string): Promise<boolean> {
  return (await tx.query('select 1 from workflow_runs where run_id = $1', [runId])).rowCount > 0;
}

async function insertRun(tx: Queryable, row: Row, spec: Schedule, tick: Date, now: number): Promise<string | undefined> {
  const runId = uuidv7(now);
  const input = tickInput(spec, row.workflow_name);
  const key = `schedule:${row.schedule_id}:${tick.toISOString()}`;
  const hash = createHash('sha256').update(canonicalJson(input)).digest();
  const claimed = await tx.query(
    'insert into workflow_triggers (workflow_name, trigger_key, run_id, input_hash) values ($1, $2, $3, $4) on conflict do nothing returning 1',
    [row.workflow_name, key, runId, hash],
  );
  if (claimed.rowCount === 0) return undefined;
  await tx.query(
    `insert into workflow_runs (run_id, workflow_name, status, queue, trigger_key, input) values ($1, $2, 'q', $3, $4, $5::json)`,
    [runId, row.workflow_name, spec.queue ?? 'default', key, JSON.stringify(input)],
  );
  return runId;
}

/** What a run of the schedule is given. A destination that is declared is in it the way that a thread's turn is told of one. */
export function tickInput(spec: Schedule, workflow: string): unknown {
  const input = spec.input ?? {};
  const { thread_key, slack_channel, no_delivery } = spec;
  if (thread_key === undefined && slack_channel === undefined && no_delivery !== true) return input;
  const own = input as { readonly metadata?: object };
  return {
    ...(thread_key === undefined ? {} : { thread_key }),
    ...(slack_channel === undefined ? {} : { delivery: { platform: 'slack', channel: slack_channel } }),
    ...own,
    metadata: {
      ...own.metadata,
      source: 'workflow_schedule',
      workflow_name: workflow,
      ...(no_delivery === true ? { no_delivery } : {}),
    },
  };
}

export async function listSchedules(store: Store): Promise<ScheduleView[]> {
  const { rows } = await store.query<Row>(
    'select schedule_id, workflow_name, spec, enabled, next_at, last_at, last_run_id, skipped from workflow_schedules order by schedule_id',
  );
  return rows.map((row) => ({
    schedule_id: row.schedule_id,
    workflow_name: row.workflow_name,
    spec: JSON.parse(row.spec) as Schedule,
    enabled: row.enabled,
    next_at: row.enabled ? time(row.next_at) : null,
    last_at: time(row.last_at),
    last_run_id: row.last_run_id,
    skipped: row.skipped,
  }));
}

export async function nextScheduleAt(store: Store, loaded: readonly string[]): Promise<Date | null> {
  const { rows } = await store.query<{ at: number | null }>(
    'select min(next_at) as at from workflow_schedules where enabled and workflow_name = any($1::text[])',
    [loaded],
  );
  const at = rows[0]?.at ?? null;
  return at === null ? null : new Date(at);
}
