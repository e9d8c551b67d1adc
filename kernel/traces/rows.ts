/** The rows that a trace is made of. Each kind is read up to a limit, and what was left out is told of. */
import type { Queryable } from '../store/index.ts';
import type { ApprovalRow, AttemptRow, EntryDetails, EntryRow, Rows, RunRow, StepRow, TakeoverRow, TurnRow, WebhookRow } from './types.ts';

/** Most rows of each kind. */
export interface RowLimits {
  readonly runs: number;
  readonly steps: number;
  readonly turns: number;
  readonly entries: number;
}

export interface ReadRows {
  readonly rows: Rows;
  /** Kinds of which there are more. */
  readonly cut: readonly (keyof RowLimits)[];
}

/** With fractions: a Date has none. */
const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`;
/** Postgres refuses to take a field out of a JSON text that has a zero byte or half of a pair anywhere in it, and with it the whole page of rows. */
const field = (column: string, name: string, most: number) =>
  `case when ${column}::text !~* '\\\\u(0000|d[89a-f])' then left(${column}->>'${name}', ${most}) end`;
const code = (column: string) => field(column, 'code', 64);

const RUN = (ended: string, error: string) => `run_id as "runId", workflow_name as workflow, status::text as status, queue,
  attempt::int as attempt, parent_run_id as parent, ${code(error)} as error, trigger_key is not null as "hasTrigger",
  ${ms('created_at')} as "createdAt", ${ms('started_at')} as "startedAt", ${ended} as "endedAt"`;
const LIVE = RUN('null::float8', 'error');
export const FINISHED = RUN(ms('ended_at'), 'error');

/** @returns the trace of a run or a turn by its id, else the id itself as that of a trace; undefined when there is nothing under it */
export async function resolveTrace(store: Queryable, id: string): Promise<string | undefined> {
  const { rows } = await store.query<{ trace: string }>(
    `select trace from (
       (select 1 as place, coalesce(trace_id, run_id) as trace from workflow_runs where run_id = $1)
       union all (select 1, coalesce(trace_id, run_id) from workflow_runs_finished where run_id = $1)
       union all (select 2, coalesce(trace_id, execution_id) from agent_execution_requests where execution_id = $1)
       union all (select 3, $1::uuid where exists (select from workflow_runs where trace_id = $1)
         or exists (select from workflow_runs_finished where trace_id = $1)
         or exists (select from agent_execution_requests where trace_id = $1)
         or exists (select from audit_log where trace_id = $1))) found order by place limit 1`,
    [id],
  );
  return rows[0]?.trace;
}

/** @param trace UUID */
export async function readTraceRows(store: Queryable, trace: string, limits: RowLimits): Promise<ReadRows> {
  const runs = await readRuns(store, trace, limits.runs + 1);
  const [kept, moreRuns] = most(runs, limits.runs);
  const ids = kept.map((run) => run.runId);
  const [steps, turns, entries] = await Promise.all([
    readSteps(store, ids, limits.steps + 1),
    readTurns(store, 'e.trace_id = $1', [trace], limits.turns + 1),
    readEntries(store, trace, ids, limits.entries + 1),
  ]);
  const [keptSteps, moreSteps] = most(steps, limits.steps);
  const [keptTurns, moreTurns] = most(turns, limits.turns);
  const [keptEntries, moreEntries] = most(entries, limits.entries);
  const cut = (
    [
      ['runs', moreRuns],
      ['steps', moreSteps],
      ['turns', moreTurns],
      ['entries', moreEntries],
    ] as const
  ).flatMap(([kind, more]) => (more ? [kind] : []));
  return {
    rows: { runs: kept, steps: keptSteps, turns: keptTurns, entries: keptEntries, ...(await readBeside(store, kept, keptEntries)) },
    cut,
  };
}

/** Of runs and entries that are known: what belongs to them. */
export async function readBeside(
  store: Queryable,
  runs: readonly RunRow[],
  entries: readonly EntryRow[],
): Promise<Pick<Rows, 'attempts' | 'takeovers' | 'webhooks' | 'approvals'>> {
  const ids = runs.map((run) => run.runId);
  const [attempts, takeovers, webhooks, approvals] = await Promise.all([
    readAttempts(
      store,
      runs.filter((run) => run.attempt > 1).map((run) => run.runId),
    ),
    readTakeovers(store, ids),
    readWebhooks(
      store,
      runs.filter((run) => run.hasTrigger && run.parent === null),
    ),
    readApprovals(store, approvalIds(entries)),
  ]);
  return { attempts, takeovers, webhooks, approvals };
}

/** Oldest first. One statement, so a run that just ends is in one of the two tables. */
async function readRuns(store: Queryable, trace: string, limit: number): Promise<RunRow[]> {
  const { rows } = await store.query<RunRow>(
    `(select ${LIVE} from workflow_runs where run_id = $1 and coalesce(trace_id, run_id) = $1)
     union all (select ${FINISHED} from workflow_runs_finished where run_id = $1 and coalesce(trace_id, run_id) = $1)
     union all (select ${LIVE} from workflow_runs where trace_id = $1 and run_id <> $1 order by run_id limit $2)
     union all (select ${FINISHED} from workflow_runs_finished where trace_id = $1 and run_id <> $1 order by run_id limit $2)`,
    [trace, limit],
  );
  return rows.toSorted((a, b) => (a.runId < b.runId ? -1 : 1));
}

const STEP = `s.run_id as "runId", s.seq, s.name, s.kind::text as kind, s.status::text as status, s.attempts::int as attempts,
  ${ms('s.started_at')} as "startedAt", ${ms('s.ended_at')} as "endedAt", ${ms('s.wake_at')} as "wakeAt",
  case when s.status = 'e' then ${code('s.outcome')} end as error,
  case s.kind when 'c' then ${field('s.outcome', 'run_id', 36)} when 'w' then ${field('s.detail', 'run_id', 36)} end as other`;

export async function readSteps(store: Queryable, runIds: readonly string[], limit: number): Promise<StepRow[]> {
  if (runIds.length === 0) return [];
  const { rows } = await store.query<StepRow>(
    `select ${STEP}
     from unnest($1::uuid[]) with ordinality r(id, n) cross join lateral (
       select * from workflow_steps w where w.run_id = r.id and w.kind <> 'p' order by w.seq limit $2) s
     order by r.n, s.seq limit $2`,
    [runIds, limit],
  );
  return rows;
}

/** Of one run, those after that one. */
export async function readStepsAfter(store: Queryable, runId: string, after: number, limit: number): Promise<StepRow[]> {
  const { rows } = await store.query<StepRow>(
    `select ${STEP} from workflow_steps s where s.run_id = $1 and s.seq > $2 and s.kind <> 'p' order by s.seq limit $3`,
    [runId, after, limit],
  );
  return rows;
}

async function readAttempts(store: Queryable, runIds: readonly string[]): Promise<AttemptRow[]> {
  if (runIds.length === 0) return [];
  const { rows } = await store.query<AttemptRow>(
    `select run_id as "runId", attempt::int as attempt, ${ms('started_at')} as "startedAt", ${ms('ended_at')} as "endedAt", ${code('error')} as error
     from workflow_attempts where run_id = any($1::uuid[]) order by run_id, attempt limit 1000`,
    [runIds],
  );
  return rows;
}

async function readTakeovers(store: Queryable, runIds: readonly string[]): Promise<TakeoverRow[]> {
  if (runIds.length === 0) return [];
  const { rows } = await store.query<TakeoverRow>(
    `select run_id as "runId", ${ms('taken_at')} as "takenAt" from workflow_takeovers where run_id = any($1::uuid[]) order by taken_at limit 1000`,
    [runIds],
  );
  return rows;
}

/** A delivery has no index on its run: but it came just before the run, to the run's workflow. */
const BEFORE_MS = 60_000;
const WEBHOOKS_MOST = 100;

async function readWebhooks(store: Queryable, runs: readonly RunRow[]): Promise<WebhookRow[]> {
  if (runs.length === 0) return [];
  const some = runs.slice(0, WEBHOOKS_MOST);
  const { rows } = await store.query<WebhookRow>(
    `select d.run_id as "runId", d.slug, d.provider, d.event, ${ms('d.received_at')} as "receivedAt"
     from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[]) r(run_id, workflow, low, high)
     cross join lateral (select * from webhook_deliveries w where w.workflow_name = r.workflow and w.delivery_id between r.low and r.high
       and w.run_id = r.run_id and w.created limit 1) d`,
    [
      some.map((run) => run.runId),
      some.map((run) => run.workflow),
      some.map((run) => uuidAt(run.createdAt - BEFORE_MS)),
      some.map((run) => uuidAt(run.createdAt + BEFORE_MS)),
    ],
  );
  return rows;
}

function uuidAt(at: number): string {
  const hex = Math.max(0, Math.floor(at)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** Of turns by the runs that they are: those are started under the id of the execution. */
export const TURNS_OF_RUNS = `e.execution_id = any(array(
  select f.trigger_key::uuid from workflow_runs_finished f where f.run_id = any($1::uuid[]) and f.workflow_name = 'centaur.turn'))`;

export async function readTurns(store: Queryable, where: string, values: readonly unknown[], limit: number): Promise<TurnRow[]> {
  const { rows } = await store.query<TurnRow>(
    `select e.execution_id as "executionId", e.thread_key as "threadKey", e.execute_id as "executeId", e.run_id as "runId",
       e.asked_by as "askedBy", e.status, left(e.terminal_reason, 64) as reason, e.harness, left(e.model, 128) as model,
       (e.usage->>'input')::float8 as "inputTokens", (e.usage->>'output')::float8 as "outputTokens",
       ${ms('e.created_at')} as "createdAt", ${ms('e.started_at')} as "startedAt", ${ms('e.completed_at')} as "completedAt",
       d.state as "deliveryState", d.platform as "deliveryPlatform", d.attempt_count as "deliveryAttempts",
       ${ms('d.created_at')} as "deliveryFrom", ${ms('d.delivered_at')} as "deliveredAt"
     from agent_execution_requests e left join agent_final_delivery_outbox d using (thread_key, execution_id)
     where ${where} order by e.created_at, e.execution_id limit $${values.length + 1}`,
    [...values, limit],
  );
  return rows;
}

/** Of details, what spans tell; of a request's address, no path: what stands in one is somebody's data. */
export const ENTRY = `a.audit_id as "auditId", ${ms("(j.entry->>'at')::timestamptz")} as at, a.action, a.actor, a.decision,
  a.intent_id as "intentId", a.lease_id as "leaseId", a.run_id as "runId", a.thread_key as "threadKey", a.trace_id as trace,
  left(substring(a.resource from '^(?:[a-z]+://[^/]+|[a-z_]+:[^/]*)'), 300) as resource,
  json_build_object('step', j.d->>'step', 'caused_by', j.d->>'caused_by', 'approval_id', j.d->>'approval_id', 'code', left(j.d->>'code', 64),
    'error', left(j.d->>'error', 64), 'ok', j.d->'ok', 'risk', j.d->>'risk', 'method', left(j.d->>'method', 64), 'rule', left(j.d->>'rule', 128),
    'call_id', j.d->>'call_id', 'status', j.d->'status', 'bytes', j.d->'bytes', 'ms', j.d->'ms', 'policy_ms', j.d->'policy_ms',
    'audit_ms', j.d->'audit_ms', 'lease_ms', j.d->'lease_ms', 'dispatch_ms', j.d->'dispatch_ms',
    'secrets', case jsonb_typeof(j.d->'secrets') when 'array' then jsonb_array_length(j.d->'secrets') end) as details`;
/**
 * Each entry is parsed once: without the offsets it would be for each field. What Postgres cannot hold as text, such as a zero byte, may stand in
 * the details of one: then its time is all that is told of it.
 */
export const ENTRY_FROM = `cross join lateral (
  select case when a.entry ~ '\\\\u(0000|d[89a-f])' then jsonb_build_object('at', substring(a.entry from '"at":"([^"]{24})"')) else a.entry::jsonb end as entry
  offset 0) e cross join lateral (select e.entry, e.entry->'details' as d offset 0) j`;

/** Oldest first. What says of which trace it is comes by that; what does not, by its run. */
async function readEntries(store: Queryable, trace: string, runIds: readonly string[], limit: number): Promise<EntryRow[]> {
  const { rows } = await store.query<RawEntry>(
    `select ${ENTRY} from (
       (select * from audit_log where trace_id = $1 order by audit_id limit $3)
       union all
       (select l.* from unnest($2::uuid[]) r(id) cross join lateral (
          select * from audit_log b where b.run_id = r.id and b.trace_id is null order by b.audit_id limit $3) l limit $3)) a
     ${ENTRY_FROM} order by a.audit_id limit $3`,
    [trace, runIds, limit],
  );
  return rows.map(toEntry);
}

export type RawEntry = Omit<EntryRow, 'details'> & { readonly details: string };

export function toEntry(row: RawEntry): EntryRow {
  return { ...row, details: JSON.parse(row.details) as EntryDetails };
}

export function approvalIds(entries: readonly EntryRow[]): readonly string[] {
  const ids = entries.flatMap(({ action, resource, details }) => [
    ...(action.startsWith('approval.') && resource?.startsWith('approval:') === true ? [resource.slice('approval:'.length)] : []),
    ...(details.approval_id == null ? [] : [details.approval_id]),
  ]);
  return [...new Set(ids.filter((id) => /^[\da-f-]{36}$/.test(id)))];
}

export async function readApprovals(store: Queryable, ids: readonly string[]): Promise<ApprovalRow[]> {
  if (ids.length === 0) return [];
  const { rows } = await store.query<ApprovalRow>(
    `select approval_id as "approvalId", case when state = 'pending' and expires_at <= now() then 'expired' else state end as state, gate,
       principal, run_id as "runId", audit_id as "auditId", decided_audit_id as "decidedAuditId",
       ${ms('created_at')} as "createdAt", ${ms('decided_at')} as "decidedAt", ${ms('expires_at')} as "expiresAt"
     from approvals where approval_id = any($1::uuid[]) order by approval_id limit 5000`,
    [ids],
  );
  return rows;
}

function most<T>(rows: readonly T[], limit: number): [readonly T[], boolean] {
  return rows.length > limit ? [rows.slice(0, limit), true] : [rows, false];
}
