/**
 * Claiming: how runs come from the tables into this worker.
 *
 * Runs whose time has come (timers, woken waits, runs of dead workers) go first, since they are work already begun;
 * then each queue gives what it has, by priority, turn and age. `skip locked` lets workers claim side by side. A queue
 * with limits is counted under a lock on its row, so its limits hold across all workers. A run whose workflow is not
 * loaded here stays where it is, for a worker that has it: during a deployment the old workers lack what is new.
 */
import { binary, lookUp, type Queryable } from '../store/index.ts';
import type { Core } from './core.ts';
import { roomForRuns } from './core.ts';
import { FencedError } from './flush.ts';
import type { FrameRun, HistoryRow } from './frame.ts';
import { HAS_LIMITS } from './queues.ts';

const { uuidArray, textArray } = binary;

interface ClaimedRow {
  run_id: string;
  workflow_name: string;
  workflow_version: string | null;
  attempt: number;
  seed: string | null;
  trace_id: string | null;
  queue: string;
  concurrency_key: string | null;
  input: string | null;
  started_at: number;
  recoveries: number;
  recovered_steps: number;
  turn: number;
  fresh: boolean;
}

export interface ClaimedRun {
  readonly run: FrameRun & { readonly crashes: number };
  readonly history: readonly HistoryRow[];
}

const COLUMNS = `r.run_id, r.workflow_name, r.workflow_version, r.attempt, r.seed, r.trace_id, r.queue, r.concurrency_key, r.input,
  r.started_at, r.recoveries, r.recovered_steps, r.turn`;

/** Most runs of one statement. */
const CLAIM_BATCH = 500;

/** Claims up to the free room. Answers with the runs, and when to look again at the latest. */
export async function claimRuns(core: Core): Promise<{ readonly claimed: readonly ClaimedRun[]; readonly more: boolean }> {
  const room = Math.min(CLAIM_BATCH, roomForRuns(core));
  if (room === 0) return { claimed: [], more: false };
  const limited = core.queues.limited();
  if (limited.length > 0) await promote(core, limited);
  const due = await claimDue(core, room);
  let left = room - due.length;
  let more = left === 0;
  const rows = [...due];
  if (left > 0) {
    const queues = (await readyQueues(core)).filter((queue) => core.options.queues === undefined || core.options.queues.includes(queue));
    for (const [index, queue] of queues.entries()) {
      // each queue its share of what is left; a queue with little leaves its share to the next
      const share = Math.max(1, Math.ceil(left / (queues.length - index)));
      const taken = core.queues.isLimited(queue) ? await claimLimited(core, queue, share) : await claimReady(core, queue, share);
      rows.push(...taken);
      left -= taken.length;
      if (taken.length === share && !core.queues.isLimited(queue)) more = true;
      if (left <= 0) break;
    }
  }
  return { claimed: await withHistory(core, rows), more };
}

/** When the next parked run is due; null when none is. */
export async function nextDue(core: Core): Promise<number | null> {
  const { rows } = await core.store.query<{ at: number }>(
    `select r.wake_at as at from workflow_runs r
     where r.status in ('s', 'w') and r.wake_at is not null and ($1::text[] is null or r.queue = any($1::text[])) and $2::jsonb ? r.workflow_name
     order by r.wake_at limit 1`,
    [servedQueues(core), versions(core)],
  );
  return rows[0]?.at ?? null;
}

async function claimDue(core: Core, limit: number): Promise<ClaimedRow[]> {
  const { rows } = await core.store.query<ClaimedRow>(
    `with me as materialized (select worker_id from workers where worker_id = $1 and not dead for key share),
     due as (
       select r.run_id, r.started_at is null and r.seed is null as fresh from workflow_runs r, me
       where r.status in ('s', 'w') and r.wake_at <= now() and ($3::text[] is null or r.queue = any($3::text[]))
         and $4::jsonb ? r.workflow_name and r.queue <> all(array(select q.name from workflow_queues q where ${HAS_LIMITS}))
       order by r.wake_at limit $2 for update of r skip locked)
     update workflow_runs r set status = 'r', owner = me.worker_id, wake_at = null, started_at = coalesce(r.started_at, now()),
       workflow_version = coalesce(r.workflow_version, $4::jsonb ->> r.workflow_name)
     from due, me where ${lookUp('r.run_id', 'due.run_id')}
     returning ${COLUMNS}, due.fresh`,
    [core.workerId, limit, servedQueues(core), versions(core)],
  );
  return rows;
}

/** A due run of a limited queue goes to the head of that queue, to be counted there. */
async function promote(core: Core, limited: readonly string[]): Promise<void> {
  await core.store.query(
    `with due as (
       select run_id from workflow_runs where status in ('s', 'w') and wake_at <= now() and queue = any($1::text[]) and $2::jsonb ? workflow_name
       order by wake_at limit 1000 for update skip locked)
     update workflow_runs r set status = 'q', wake_at = null, turn = case when r.started_at is null then r.turn else -1 end
     from due where ${lookUp('r.run_id', 'due.run_id')}`,
    [textArray(limited), versions(core)],
  );
}

/** Queues that have something ready, found by hopping from name to name on the index. */
async function readyQueues(core: Core): Promise<string[]> {
  const { rows } = await core.store.query<{ queue: string }>(
    `with recursive names as (
       (select queue from workflow_runs where status = 'q' order by queue limit 1)
       union all
       select (select r.queue from workflow_runs r where r.status = 'q' and r.queue > names.queue order by r.queue limit 1)
       from names where names.queue is not null)
     select queue from names where queue is not null`,
  );
  return rows.map((row) => row.queue);
}

async function claimReady(core: Core, queue: string, limit: number): Promise<ClaimedRow[]> {
  const { rows } = await core.store.query<ClaimedRow>(
    // nothing from a queue that was given limits a moment ago
    `with me as materialized (select worker_id from workers where worker_id = $1 and not dead
       and not exists (select from workflow_queues q where q.name = $2 and ${HAS_LIMITS}) for key share),
     next as (
       select r.run_id, r.started_at is null and r.seed is null as fresh, row_number() over () as place from (
         select r.run_id, r.started_at, r.seed from workflow_runs r, me
         where r.status = 'q' and r.queue = $2 and $4::jsonb ? r.workflow_name order by r.priority desc, r.turn, r.run_id limit $3 for update of r skip locked) r)
     update workflow_runs r set status = 'r', owner = me.worker_id, started_at = coalesce(r.started_at, now()),
       workflow_version = coalesce(r.workflow_version, $4::jsonb ->> r.workflow_name)
     from next, me where ${lookUp('r.run_id', 'next.run_id')}
     returning ${COLUMNS}, next.fresh, next.place`,
    [core.workerId, queue, limit, versions(core)],
  );
  sortByPlace(rows);
  const turn = Math.max(0, ...rows.map((row) => row.turn));
  if (turn > 0) await advanceTurn(core.store, queue, turn);
  return rows;
}

/** Null for a worker that serves all queues. */
function servedQueues(core: Core): Buffer | null {
  return core.options.queues === undefined ? null : textArray(core.options.queues);
}

/** The code's version by the name of each loaded workflow: a run keeps the one with which it first begins. */
function versions(core: Core): string {
  return JSON.stringify(Object.fromEntries(core.registry.list().map((workflow) => [workflow.name, workflow.version])));
}

function sortByPlace(rows: ClaimedRow[]): void {
  (rows as (ClaimedRow & { place: number })[]).sort((a, b) => a.place - b.place);
}

/** New keys line up from here on, not behind the backlog of the others and not before all of it. */
async function advanceTurn(on: Queryable, queue: string, turn: number): Promise<void> {
  await on.query(
    `insert into workflow_queues as q (name, turn) values ($1, $2)
     on conflict (name) do update set turn = excluded.turn where q.turn < excluded.turn`,
    [queue, turn],
  );
}

/** How far down a limited queue one claim looks past runs whose key is at its limit. */
const WINDOW = 500;

async function claimLimited(core: Core, queue: string, limit: number): Promise<ClaimedRow[]> {
  return core.store.transaction(async (tx) => {
    const alive = await tx.query('select 1 from workers where worker_id = $1 and not dead for key share', [core.workerId]);
    if (alive.rowCount !== 1) throw new FencedError();
    const { rows: locked } = await tx.query<{
      concurrency: number | null;
      concurrency_per_key: number | null;
      allowed: number | null;
      fresh_starts: Date[];
    }>(
      `select concurrency, concurrency_per_key,
         rate_limit - (select count(*) from unnest(rate_starts) at where at > clock_timestamp() - make_interval(secs => rate_period_ms / 1000.0)) as allowed
       from workflow_queues where name = $1 for update skip locked`,
      [queue],
    );
    const limits = locked[0];
    // another worker is claiming from it right now; it takes what there is
    if (limits === undefined) return [];
    const room = Math.min(limit, await freeSlots(tx, queue, limits.concurrency));
    if (room <= 0) return [];
    const chosen = await chooseRuns(core, tx, queue, { room, perKey: limits.concurrency_per_key, allowedStarts: limits.allowed });
    if (chosen.length === 0) return [];
    const { rows } = await tx.query<ClaimedRow>(
      // the clock by which the rate is counted: the transaction may have begun earlier than the start before was over its period
      `update workflow_runs r set status = 'r', owner = $1, started_at = coalesce(r.started_at, clock_timestamp()),
         workflow_version = coalesce(r.workflow_version, $4::jsonb ->> r.workflow_name)
       from unnest($2::uuid[], $3::boolean[]) with ordinality u(run_id, fresh, place) where ${lookUp('r.run_id', 'u.run_id')}
       returning ${COLUMNS}, u.fresh, u.place`,
      [core.workerId, uuidArray(chosen.map((run) => run.run_id)), chosen.map((run) => run.fresh), versions(core)],
    );
    sortByPlace(rows);
    const started = chosen.filter((run) => run.unstarted).length;
    await tx.query(
      `update workflow_queues set turn = greatest(turn, $2), rate_starts = case when rate_limit is null then '{}' else (
           select array_agg(at order by at) from (
             select at from unnest(rate_starts) at where at > clock_timestamp() - make_interval(secs => rate_period_ms / 1000.0)
             union all select clock_timestamp() from generate_series(1, $3::int)) kept(at)) end
       where name = $1`,
      [queue, Math.max(0, ...rows.map((row) => row.turn)), started],
    );
    return rows;
  });
}

async function freeSlots(tx: Queryable, queue: string, concurrency: number | null): Promise<number> {
  if (concurrency === null) return Number.POSITIVE_INFINITY;
  const { rows } = await tx.query<{ running: number }>(
    `select count(*) as running from workflow_runs where owner is not null and status = 'r' and queue = $1`,
    [queue],
  );
  return concurrency - (rows[0]?.running ?? 0);
}

interface Limits {
  readonly room: number;
  readonly perKey: number | null;
  readonly allowedStarts: number | null;
}

async function chooseRuns(core: Core, tx: Queryable, queue: string, { room, perKey, allowedStarts }: Limits) {
  const { rows } = await tx.query<{ run_id: string; concurrency_key: string | null; unstarted: boolean; fresh: boolean; holding: number }>(
    `select r.run_id, r.concurrency_key, r.started_at is null as unstarted, r.started_at is null and r.seed is null as fresh,
       case when $3::int is null or r.concurrency_key is null then 0 else (
         select count(*) from workflow_runs k
         where k.queue = r.queue and k.concurrency_key = r.concurrency_key and k.concurrency_key is not null and k.started_at is not null) end as holding
     from workflow_runs r where r.status = 'q' and r.queue = $1 and $4::jsonb ? r.workflow_name
     order by r.priority desc, r.turn, r.run_id limit $2 for update of r skip locked`,
    [queue, WINDOW, perKey, versions(core)],
  );
  const chosen: typeof rows = [];
  const holding = new Map<string, number>();
  let starts = allowedStarts ?? Number.POSITIVE_INFINITY;
  for (const row of rows) {
    if (chosen.length >= room) break;
    // a run that began already holds its key's place and has been counted by the rate
    if (row.unstarted) {
      if (starts <= 0) continue;
      if (perKey !== null && row.concurrency_key !== null) {
        const held = holding.get(row.concurrency_key) ?? row.holding;
        if (held >= perKey) continue;
        holding.set(row.concurrency_key, held + 1);
      }
      starts -= 1;
    }
    chosen.push(row);
  }
  return chosen;
}

export interface StepRecord {
  run_id: string;
  seq: number;
  ord: number | null;
  attempt: number;
  attempts: number;
  kind: string;
  status: string;
  name: string;
  outcome: string | null;
  detail: string | null;
  wake_at: number | null;
  started_at: number;
  ended_at: number | null;
}

export const STEP_COLUMNS =
  'run_id, seq, ord, attempt, attempts, kind::text, status::text, name, outcome, detail, wake_at, started_at, ended_at';

/** One query for the histories of all claimed runs; a run that never began has none. */
async function withHistory(core: Core, rows: readonly ClaimedRow[]): Promise<ClaimedRun[]> {
  const begun = rows.filter((row) => !row.fresh);
  const histories = new Map<string, HistoryRow[]>();
  if (begun.length > 0) {
    const { rows: steps } = await core.store.query<StepRecord>(
      `select ${STEP_COLUMNS} from workflow_steps where run_id = any($1::uuid[]) order by run_id, seq`,
      [uuidArray(begun.map((row) => row.run_id))],
    );
    for (const step of steps) {
      let history = histories.get(step.run_id);
      if (history === undefined) histories.set(step.run_id, (history = []));
      history.push({ ...step, wakeAt: step.wake_at, startedAt: step.started_at, endedAt: step.ended_at });
    }
  }
  const advanced: { runId: string; steps: number }[] = [];
  const claimed = rows.map((row): ClaimedRun => {
    const history = histories.get(row.run_id) ?? [];
    let crashes = row.recoveries;
    if (crashes > 0 && history.length > row.recovered_steps) {
      crashes = 1;
      advanced.push({ runId: row.run_id, steps: history.length });
    }
    const run = {
      runId: row.run_id,
      workflow: row.workflow_name,
      version: row.workflow_version,
      attempt: row.attempt,
      seed: row.seed ?? row.run_id,
      traceId: row.trace_id ?? row.run_id,
      queue: row.queue,
      key: row.concurrency_key,
      input: row.input,
      startedAt: Math.round(row.started_at),
      crashes,
    };
    return { run, history };
  });
  if (advanced.length > 0) await noteProgress(core, advanced);
  return claimed;
}

/** Crashes are counted from the last one after which the run got further. */
async function noteProgress(core: Core, runs: readonly { runId: string; steps: number }[]): Promise<void> {
  await core.store.query(
    `update workflow_runs r set recoveries = 1, recovered_steps = u.steps from unnest($1::uuid[], $2::int[]) u(run_id, steps)
     where ${lookUp('r.run_id', 'u.run_id')} and coalesce(r.owner, 0) = $3`,
    [uuidArray(runs.map((run) => run.runId)), binary.int4Array(runs.map((run) => run.steps)), core.workerId],
  );
}
