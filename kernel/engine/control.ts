/** What an operator does to a run: cancel, retry, fork. Each is one transaction. */
import { binary, type Queryable, uuidv7 } from '../store/index.ts';
import { withdrawOf } from './approvals.ts';
import { addAsker, passAskers } from './askers.ts';
import type { Core } from './core.ts';
import { EngineError } from './errors.ts';
import { toJson } from './json.ts';
import { mustRead } from './reads.ts';
import { copyHistory, rewindForRetry } from './rewind.ts';
import { workflowFor } from './core.ts';
import { unknownWorkflow } from './start.ts';
import type { RunId, StartedRun } from './types.ts';
import type { Waits } from './waits.ts';

const FINISHED_COLUMNS = `run_id, workflow_name, workflow_version, status, queue, priority, concurrency_key, attempt, parent_run_id,
  trace_id, seed, trigger_key, input, error, created_at, started_at, started_by`;

/** Ends a run and its unfinished descendants. Their workers are told afterwards: what they still write finds no run. */
export async function cancelRun(core: Core, waits: Waits, runId: RunId): Promise<void> {
  const ended = await core.store.transaction(async (tx) => {
    const tree = await lockTree(tx, runId);
    if (tree.length === 0) return [];
    const { rows } = await tx.query<{ run_id: string; owner: number | null; watched: boolean }>(
      `with gone as (delete from workflow_runs where run_id = any($1::uuid[]) returning *),
       finished as (
         insert into workflow_runs_finished (${FINISHED_COLUMNS})
         select run_id, workflow_name, workflow_version, 'n', queue, priority, concurrency_key, attempt, parent_run_id, trace_id, seed,
           trigger_key, input, '{"code":"RUN_CANCELLED","message":"the run was cancelled"}'::json, created_at, started_at, started_by from gone),
       unwait as (delete from workflow_waits where run_id = any($1::uuid[]))
       select run_id, owner, watched from gone`,
      [binary.uuidArray(tree)],
    );
    await withdrawOf(core, tx, tree);
    for (const row of rows)
      if (row.owner !== null) await tx.query('select pg_notify($1, $2)', [`centaur_worker_${row.owner}`, `cancel:${row.run_id}`]);
    await tx.query(`select pg_notify('centaur_work', '')`);
    return rows;
  });
  if (ended.length === 0) {
    const run = await mustRead(core.store, runId);
    throw new EngineError('RUN_FINISHED', `run ${runId} has already ended (${run.status}); it cannot be cancelled`);
  }
  core.counters.cancelled += ended.length;
  for (const row of ended) core.touched(row.run_id);
  await waits.wake(ended.filter((row) => row.watched).map((row) => ({ eventType: '$run', correlationId: row.run_id })));
}

/** Level by level, each with a fresh look: a locked parent starts no more children. */
async function lockTree(tx: Queryable, root: string): Promise<string[]> {
  const found: string[] = [];
  let { rows } = await tx.query<{ run_id: string }>('select run_id from workflow_runs where run_id = $1 for update', [root]);
  while (rows.length > 0) {
    const level = rows.map((row) => row.run_id);
    found.push(...level);
    ({ rows } = await tx.query<{ run_id: string }>(
      'select run_id from workflow_runs where parent_run_id = any($1::uuid[]) order by run_id for update',
      [binary.uuidArray(level)],
    ));
  }
  return found;
}

export async function retryRun(core: Core, runId: RunId, by: string | null): Promise<void> {
  await core.store.transaction(async (tx) => {
    const stuck = await tx.query(
      `update workflow_runs set status = 's', wake_at = now(), error = null, workflow_version = null where run_id = $1 and status = 'x' returning 1`,
      [runId],
    );
    if (stuck.rowCount === 0) await reviveFinished(tx, runId);
    await addAsker(tx, runId, by);
    await tx.query(`select pg_notify('centaur_work', '')`);
  });
  core.kick();
}

async function reviveFinished(tx: Queryable, runId: RunId): Promise<void> {
  const { rows } = await tx.query<{ status: string; attempt: number; error: string | null; started_at: number | null; ended_at: number }>(
    `delete from workflow_runs_finished where run_id = $1 and status in ('f', 'n')
     returning status::text, attempt, error, started_at, ended_at, workflow_name, queue, priority, concurrency_key, parent_run_id, trace_id, seed,
       trigger_key, input, created_at, started_by`,
    [runId],
  );
  const row = rows[0] as
    | (Record<string, unknown> & { status: string; attempt: number; error: string | null; started_at: number | null; ended_at: number })
    | undefined;
  if (row === undefined) {
    const run = await mustRead(tx, runId);
    throw new EngineError('RUN_NOT_RETRYABLE', `run ${runId} is ${run.status}; only failed, cancelled and stuck runs are retried`);
  }
  const failed = row.error === null ? undefined : (JSON.parse(row.error) as { step_seq?: number });
  if (row.status === 'f') await rewindForRetry(tx, runId, failed?.step_seq ?? null);
  // what people were asked was withdrawn when the run ended: it asks again
  await tx.query(`delete from workflow_steps where run_id = $1 and status = 'p' and detail->>'approval_id' is not null`, [runId]);
  await tx.query(
    `insert into workflow_attempts (run_id, attempt, error, started_at, ended_at)
     values ($1, $2, $3::json, to_timestamp($4::float8 / 1000), to_timestamp($5::float8 / 1000))`,
    [runId, row.attempt, row.error, row.started_at, row.ended_at],
  );
  await tx.query(
    `insert into workflow_runs (run_id, workflow_name, status, queue, priority, concurrency_key, wake_at, attempt, parent_run_id, trace_id,
       seed, trigger_key, input, created_at, started_at, started_by)
     values ($1, $2, 's', $3, $4, $5, now(), $6, $7, $8, $9, $10, $11::json, to_timestamp($12::float8 / 1000), to_timestamp($13::float8 / 1000), $14)`,
    [
      runId,
      row.workflow_name,
      row.queue,
      row.priority,
      row.concurrency_key,
      row.attempt + 1,
      row.parent_run_id,
      row.trace_id,
      row.seed ?? runId,
      row.trigger_key,
      row.input,
      row.created_at,
      row.started_at,
      row.started_by,
    ],
  );
  await tx.query(
    `insert into workflow_waits (run_id, seq, event_type, correlation_id)
     select run_id, seq, coalesce(detail->>'event_type', '$run'), coalesce(detail->>'correlation_id', detail->>'run_id')
     from workflow_steps where run_id = $1 and status = 'p' and kind in ('e', 'w') on conflict do nothing`,
    [runId],
  );
}

export async function forkRun(
  core: Core,
  runId: RunId,
  fork: { readonly from_step: string | number; readonly input?: unknown },
  by: string | null,
  beside?: (tx: Queryable, forkId: string) => Promise<unknown>,
): Promise<StartedRun> {
  const origin = await mustRead(core.store, runId);
  if (workflowFor(core, origin.workflow_name, null) === undefined) throw unknownWorkflow(core, origin.workflow_name);
  const step = await findStep(core, runId, fork.from_step);
  const newId = uuidv7(core.store.now()) as RunId;
  const input = fork.input === undefined ? origin.input : toJson(fork.input, 'input');
  if (fork.input !== undefined) await workflowFor(core, origin.workflow_name, null)?.parseInput?.(fork.input);
  await core.store.transaction(async (tx) => {
    await holdOrigin(tx, runId);
    await refuseApproved(tx, runId, step.ord);
    await copyHistory(tx, runId, newId, step.ord, step.seq);
    await tx.query(
      `insert into workflow_runs (run_id, workflow_name, status, queue, priority, concurrency_key, trace_id, seed, input, started_by)
       values ($1, $2, 'q', $3, $4, $5, $6, $7, $8::json, $9)`,
      [
        newId,
        origin.workflow_name,
        origin.queue,
        origin.priority,
        origin.concurrency_key,
        origin.trace_id ?? runId,
        origin.seed ?? runId,
        input,
        by,
      ],
    );
    // its seed is the first of the forks only: who made those in between is told by nothing else
    await passAskers(tx, runId, newId);
    await beside?.(tx, newId);
    await tx.query(`select pg_notify('centaur_work', '')`);
  });
  core.kick();
  return { run_id: newId, workflow_name: origin.workflow_name, status: 'queued', created: true, idempotent: false };
}

/** Whoever erases it waits for the copy, and takes that too; or has erased it, and there is nothing to copy. */
async function holdOrigin(tx: Queryable, runId: RunId): Promise<void> {
  const { rowCount: ended } = await tx.query('select 1 from workflow_runs_finished where run_id = $1 for key share', [runId]);
  if (ended === 0) await mustRead(tx, runId);
}

/** What people approved, they approved for that run: a copy of it would be done a second time. What they refused stays refused. */
async function refuseApproved(tx: Queryable, runId: RunId, ord: number): Promise<void> {
  const { rows } = await tx.query<{ name: string }>(
    `select name from workflow_steps where run_id = $1 and ord < $2 and kind = 'a' and status = 'o' and outcome->>'verdict' = 'approved'
     order by seq limit 1`,
    [runId, ord],
  );
  if (rows[0] === undefined) return;
  const { name } = rows[0];
  throw new EngineError(
    'FORK_AFTER_APPROVAL',
    `from_step: "${name}" was approved for run ${runId} alone; fork from "${name}" or earlier, so that people are asked again, or retry the run`,
  );
}

async function findStep(core: Core, runId: RunId, from: string | number): Promise<{ ord: number; seq: number }> {
  const { rows } = await core.store.query<{ seq: number; ord: number | null }>(
    `select seq, coalesce(ord, (select min(n.ord) from workflow_steps n where n.run_id = s.run_id and n.seq > s.seq)) as ord
     from workflow_steps s where run_id = $1 and ${typeof from === 'number' ? 'seq = $2' : 'name = $2'} order by seq limit 1`,
    [runId, from],
  );
  const step = rows[0];
  if (step === undefined)
    throw new EngineError('STEP_NOT_FOUND', `from_step: run ${runId} has no step ${JSON.stringify(from)}; GET the run to see its steps`);
  return { seq: step.seq, ord: step.ord ?? 2 ** 31 - 1 };
}
