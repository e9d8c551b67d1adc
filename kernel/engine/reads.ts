/** What the engine tells about runs, from the live table and the finished ones as if they were one. */
import type { Queryable } from '../store/index.ts';
import { approvalDetail } from './approvals.ts';
import { STEP_COLUMNS, type StepRecord } from './claim.ts';
import { EngineError } from './errors.ts';
import { kindName } from './frame.ts';
import { fromJson } from './json.ts';
import {
  type Page,
  RUN_STATUSES,
  type RunDetail,
  type RunFilter,
  type RunId,
  type RunStatus,
  type RunSummary,
  type StepKind,
  type StepStatus,
  type StepView,
  type StoredError,
  type WaitingOn,
} from './types.ts';

export interface RunRecord {
  run_id: string;
  workflow_name: string;
  workflow_version: string | null;
  letter: string;
  status: string;
  queue: string;
  priority: number;
  concurrency_key: string | null;
  attempt: number;
  parent_run_id: string | null;
  trace_id: string | null;
  seed: string | null;
  trigger_key: string | null;
  started_by: string | null;
  input: string | null;
  result: string | null;
  error: string | null;
  wake_at: number | null;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
}

const LIVE = `run_id, workflow_name, workflow_version, status::text as letter, queue, priority::int, concurrency_key, attempt::int,
  parent_run_id, trace_id, seed, trigger_key, started_by, input, null::json as result, error, wake_at, created_at, started_at, null::timestamptz as ended_at`;
const FINISHED = `run_id, workflow_name, workflow_version, status::text as letter, queue, priority::int, concurrency_key, attempt::int,
  parent_run_id, trace_id, seed, trigger_key, started_by, input, result, error, null::timestamptz as wake_at, created_at, started_at, ended_at`;

const STATUS: Record<string, RunStatus> = {
  q: 'queued',
  r: 'running',
  s: 'sleeping',
  w: 'waiting',
  x: 'stuck',
  c: 'completed',
  f: 'failed',
  n: 'cancelled',
};
const LETTER = Object.fromEntries(Object.entries(STATUS).map(([letter, status]) => [status, letter])) as Record<RunStatus, string>;

/** A delayed run that never began is queued, whatever keeps it. */
export function statusName(run: Pick<RunRecord, 'letter' | 'started_at'>): RunStatus {
  return run.letter === 's' && run.started_at === null ? 'queued' : (STATUS[run.letter] ?? 'queued');
}

/** @param store a transaction or the store; the two tables are read in one statement, so a run that just ends is in one of them */
export async function readRun(store: Queryable, runId: string): Promise<RunRecord | undefined> {
  const { rows } = await store.query<RunRecord>(
    `select ${LIVE} from workflow_runs where run_id = $1 union all select ${FINISHED} from workflow_runs_finished where run_id = $1`,
    [runId],
  );
  const row = rows[0];
  if (row !== undefined) row.status = statusName(row);
  return row;
}

/** Of the run; of a child from before children were told, that of the nearest run above it that has one. */
export async function startedByOf(store: Queryable, runId: RunId): Promise<string | null> {
  const { rows } = await store.query<{ started_by: string }>(
    `with recursive up (run_id, above) as (
       select $1::uuid, 0
       union all
       select p.parent_run_id, up.above + 1 from up cross join lateral (
         select parent_run_id from workflow_runs r where r.run_id = up.run_id
         union all select parent_run_id from workflow_runs_finished f where f.run_id = up.run_id) p
       where p.parent_run_id is not null)
     select s.started_by from up cross join lateral (
       select started_by from workflow_runs r where r.run_id = up.run_id
       union all select started_by from workflow_runs_finished f where f.run_id = up.run_id) s
     where s.started_by is not null order by up.above limit 1`,
    [runId],
  );
  return rows[0]?.started_by ?? null;
}

export async function mustRead(store: Queryable, runId: RunId): Promise<RunRecord> {
  const run = await readRun(store, runId);
  if (run === undefined) throw new EngineError('RUN_NOT_FOUND', `run ${runId} does not exist, or its retention has passed`);
  return run;
}

export function toSummary(run: RunRecord): RunSummary {
  return {
    run_id: run.run_id as RunId,
    workflow_name: run.workflow_name,
    workflow_version: run.workflow_version,
    status: statusName(run),
    queue: run.queue,
    priority: run.priority,
    concurrency_key: run.concurrency_key,
    attempt: run.attempt,
    parent_run_id: run.parent_run_id,
    trace_id: (run.trace_id ?? run.run_id).replaceAll('-', ''),
    trigger_key: run.trigger_key,
    started_by: run.started_by,
    created_at: time(run.created_at) as string,
    started_at: time(run.started_at),
    ended_at: time(run.ended_at),
    run_at: time(run.wake_at),
    error: fromJson(run.error) as StoredError | null,
  };
}

const STEP_STATUS: Record<string, StepStatus> = { p: 'pending', o: 'completed', e: 'failed', t: 'timed_out' };

export function toStepView(step: StepRecord): StepView {
  const value = fromJson(step.outcome);
  const failed = step.status === 'e' || (step.status === 'p' && value !== null);
  return {
    seq: step.seq,
    name: step.name,
    kind: kindName(step.kind) as StepKind,
    status: STEP_STATUS[step.status] ?? 'pending',
    result: failed ? null : value,
    error: failed ? (value as StoredError) : null,
    started_at: time(step.started_at) as string,
    ended_at: time(step.ended_at),
    attempts: step.attempts,
  };
}

/** A lone sleep's end is not stored; it shows once the history has gone past it, or when it was over before its run was. */
function completeSleeps(steps: readonly StepRecord[], endedAt: number | null): StepRecord[] {
  let last = -1;
  for (const step of steps) if (step.ord !== null) last = Math.max(last, step.seq);
  return steps.map((step) =>
    step.kind === 'z' && step.status === 'p' && step.wake_at !== null && (step.seq < last || (endedAt !== null && step.wake_at <= endedAt))
      ? { ...step, status: 'o', ended_at: step.wake_at }
      : step,
  );
}

export function waitingOn(steps: readonly StepRecord[]): WaitingOn[] {
  return completeSleeps(steps, null).flatMap((step): WaitingOn[] => {
    if (step.status !== 'p') return [];
    const { name } = step;
    const until = time(step.wake_at);
    const detail = (fromJson(step.detail) ?? {}) as Record<string, string>;
    if (step.kind === 'z') return [{ type: 'sleep', name, until: until as string }];
    const asked = approvalDetail(step.detail);
    if (asked !== undefined) return [{ type: 'approval', name, approval_id: asked.approval_id, gate: asked.gate, deadline: until }];
    if (step.kind === 'e')
      return [
        { type: 'event', name, event_type: detail.event_type as string, correlation_id: detail.correlation_id as string, deadline: until },
      ];
    if (step.kind === 'w') return [{ type: 'workflow', name, run_id: detail.run_id as string, deadline: until }];
    return [{ type: 'retry', name, until: until as string, attempts: step.attempts, error: fromJson(step.outcome) as StoredError | null }];
  });
}

export async function readSteps(store: Queryable, runId: string): Promise<StepRecord[]> {
  const { rows } = await store.query<StepRecord>(`select ${STEP_COLUMNS} from workflow_steps where run_id = $1 order by seq`, [runId]);
  return rows;
}

export async function getRun(store: Queryable, runId: RunId): Promise<RunDetail> {
  const run = await mustRead(store, runId);
  const [steps, attempts, children] = await Promise.all([
    readSteps(store, runId),
    store.query<{ attempt: number; error: string | null; started_at: number | null; ended_at: number }>(
      'select attempt::int, error, started_at, ended_at from workflow_attempts where run_id = $1 order by attempt',
      [runId],
    ),
    store.query<{ run_id: string; workflow_name: string; letter: string; started_at: number | null }>(
      // children that ended are found through the steps that started them: the finished table has no index for it
      `select run_id, workflow_name, status::text as letter, started_at from workflow_runs where parent_run_id = $1
       union select f.run_id, f.workflow_name, f.status::text, f.started_at from workflow_steps s
         join workflow_runs_finished f on f.run_id = (s.outcome->>'run_id')::uuid
       where s.run_id = $1 and s.kind = 'c' and s.status = 'o' order by 1`,
      [runId],
    ),
  ]);
  const ended = run.ended_at !== null;
  return {
    ...toSummary(run),
    input: fromJson(run.input),
    result: fromJson(run.result),
    waiting_on: ended || run.letter === 'q' ? [] : waitingOn(steps),
    steps: completeSleeps(steps, run.ended_at).map(toStepView),
    attempts: attempts.rows.map((row) => ({
      attempt: row.attempt,
      error: fromJson(row.error) as StoredError | null,
      started_at: time(row.started_at),
      ended_at: time(row.ended_at) as string,
    })),
    children: children.rows.map((row) => ({ run_id: row.run_id, workflow_name: row.workflow_name, status: statusName(row) })),
  };
}

export async function listRuns(store: Queryable, filter: RunFilter): Promise<Page<RunSummary>> {
  const limit = filter.limit ?? 50;
  if (!Number.isInteger(limit) || limit < 1 || limit > 200)
    throw new EngineError('INVALID_REQUEST', 'limit: expected a whole number from 1 to 200');
  if (filter.status !== undefined && !RUN_STATUSES.includes(filter.status))
    throw new EngineError('INVALID_REQUEST', `status: expected one of ${RUN_STATUSES.join(', ')}`);
  const after = filter.after ?? null;
  if (after !== null && !/^[0-9a-f-]{36}$/.test(after))
    throw new EngineError('INVALID_REQUEST', 'after: expected the cursor of an earlier answer');
  const letters = filter.status === undefined ? null : filter.status === 'queued' ? ['q', 's'] : [LETTER[filter.status]];
  const where = `($1::text is null or workflow_name = $1) and ($2::text[] is null or status::text = any($2::text[])) and ($3::uuid is null or run_id < $3::uuid)`;
  const page = async (table: string, columns: string) =>
    (
      await store.query<RunRecord>(
        `select ${columns} from ${table} where ${where} ${table === 'workflow_runs' && filter.status === 'queued' ? "and (status = 'q' or started_at is null)" : ''}
           ${table === 'workflow_runs' && filter.status === 'sleeping' ? 'and started_at is not null' : ''}
         order by run_id desc limit $4`,
        [filter.workflow_name ?? null, letters, after, limit + 1],
      )
    ).rows;
  const [live, finished] = await Promise.all([page('workflow_runs', LIVE), page('workflow_runs_finished', FINISHED)]);
  // a run that ended between the two reads may be in both: the finished row is the later truth
  const byId = new Map([...live, ...finished].map((row) => [row.run_id, row]));
  const rows = [...byId.values()].sort((a, b) => (a.run_id < b.run_id ? 1 : -1));
  const items = rows.slice(0, limit).map(toSummary);
  return { items, next: rows.length > limit ? (items.at(-1)?.run_id ?? null) : null };
}

export function time(ms: number | null): string | null {
  if (ms === null) return null;
  // beyond what a Date holds: a row like that must not keep the others from being read
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : '9999-12-31T23:59:59.999Z';
}
