/**
 * What has not been exported yet: runs in the order in which they ended, and entries of the audit log in the order of their commits. Both are
 * read only as far as nothing can still appear before it.
 */
import type { Queryable } from '../store/index.ts';
import type { TracedSpan } from './otlp.ts';
import {
  approvalIds,
  ENTRY,
  ENTRY_FROM,
  FINISHED,
  type RawEntry,
  readApprovals,
  readBeside,
  readSteps,
  readStepsAfter,
  readTurns,
  toEntry,
  TURNS_OF_RUNS,
} from './rows.ts';
import { entrySpans, runSpans, stepSpans } from './spans.ts';
import type { EntryRow, RunRow, StepRow, TurnRow } from './types.ts';

/** A place in both orders: what is up to it has been exported. */
export interface Cursor {
  /** To the microsecond. */
  readonly endedAt: string;
  readonly runId: string;
  readonly auditXid: string;
  readonly auditId: string;
}

export interface Batch {
  readonly cursor: Cursor;
  readonly spans: readonly TracedSpan[];
  /** There is more already. */
  readonly more: boolean;
}

const RUNS = 100;
const ENTRIES = 500;
/** Steps that are held in memory. */
const STEPS = 5000;
const NOBODY = '00000000-0000-0000-0000-000000000000';

/**
 * A run's `ended_at` is the beginning of the transaction that ended it, so what ended before every open transaction began is all there. One that
 * is open for ten minutes is not ours, and does not hold this up.
 */
const SAFE = `(select greatest(least(now(), min(xact_start)), now() - interval '10 minutes') - interval '1 second'
  from pg_stat_activity where backend_type = 'client backend' and datname = current_database() and pid <> pg_backend_pid())`;
/** At a time, so that a long past is not sorted over and over. */
const WINDOW = `interval '10 minutes'`;

type EndedRun = RunRow & { readonly trace: string; readonly at: string };

/** Spans of runs that have ended, in pieces. @param take whether a trace is among those that are exported */
export async function* endedRuns(store: Queryable, cursor: Cursor, take: (trace: string) => boolean): AsyncGenerator<Batch> {
  const { rows: bounds } = await store.query<{ upto: string; more: boolean }>(
    `select least(safe, $1::timestamptz + ${WINDOW})::text as upto, safe > $1::timestamptz + ${WINDOW} as more from (select ${SAFE} as safe) s`,
    [cursor.endedAt],
  );
  const { upto, more } = bounds[0] as { upto: string; more: boolean };
  const { rows: runs } = await store.query<EndedRun>(
    `select ${FINISHED}, coalesce(trace_id, run_id) as trace, ended_at::text as at from workflow_runs_finished f
     where ended_at >= $1::timestamptz and ended_at < $3::timestamptz and (ended_at, run_id) > ($1::timestamptz, $2::uuid)
     order by ended_at, run_id limit $4`,
    [cursor.endedAt, cursor.runId, upto, RUNS + 1],
  );
  const some = runs.slice(0, RUNS);
  const taken = some.filter((run) => take(run.trace));
  const last = some.at(-1);
  const after: Cursor =
    runs.length > RUNS && last !== undefined
      ? { ...cursor, endedAt: last.at, runId: last.runId }
      : // nothing in the window is left
        { ...cursor, ...((await isLater(store, upto, cursor.endedAt)) ? { endedAt: upto, runId: NOBODY } : {}) };
  for await (const spans of spansOf(store, taken)) yield { cursor, spans, more: true };
  yield { cursor: after, spans: [], more: more || runs.length > RUNS };
}

async function isLater(store: Queryable, a: string, b: string): Promise<boolean> {
  const { rows } = await store.query<{ later: boolean }>('select $1::timestamptz > $2::timestamptz as later', [a, b]);
  return rows[0]?.later === true;
}

async function* spansOf(store: Queryable, runs: readonly EndedRun[]): AsyncGenerator<TracedSpan[]> {
  if (runs.length === 0) return;
  const ids = runs.map((run) => run.runId);
  const traces = new Map(runs.map((run) => [run.runId, run.trace]));
  const [beside, turns, steps] = await Promise.all([
    readBeside(store, runs, []),
    readTurns(store, TURNS_OF_RUNS, [ids], runs.length),
    readSteps(store, ids, STEPS + 1),
  ]);
  const traced = (spans: ReturnType<typeof runSpans>): TracedSpan[] =>
    // what has not ended is told of when it has
    spans.flatMap((span) => (span.end === null || span.runId === null ? [] : [{ trace: traces.get(span.runId) as string, span }]));
  const whole = steps.length <= STEPS;
  yield traced(runSpans({ runs, steps: whole ? steps : [], turns, ...beside }));
  if (whole) return;
  for (const run of runs) {
    const takeovers = beside.takeovers.filter((taken) => taken.runId === run.runId);
    for (let after = -1, page: StepRow[] = []; ; after = page.at(-1)?.seq ?? after) {
      page = await readStepsAfter(store, run.runId, after, STEPS);
      yield traced(stepSpans(run, page, takeovers));
      if (page.length < STEPS) break;
    }
  }
}

type NewEntry = RawEntry & { readonly xid: string };

/** Entries that say that something is over: with what they are the end of. */
export async function newEntries(store: Queryable, cursor: Cursor, take: (trace: string) => boolean): Promise<Batch> {
  const { rows } = await store.query<NewEntry>(
    `select a.xid::text as xid, ${ENTRY} from (
       select * from audit_log where (xid, audit_id) > ($1::text::xid8, $2::uuid) and xid < audit_xmin() order by xid, audit_id limit $3) a
     ${ENTRY_FROM} order by a.xid, a.audit_id`,
    [cursor.auditXid, cursor.auditId, ENTRIES],
  );
  const last = rows.at(-1);
  if (last === undefined) return { cursor, spans: [], more: false };
  const entries = rows.map(toEntry).filter(({ action, intentId }) => intentId !== null || ENDS.has(action));
  const intents = await entriesById(
    store,
    entries.flatMap(({ intentId }) => (intentId === null ? [] : [intentId])),
  );
  const all = [...intents, ...entries];
  const traces = await tracesOf(store, all);
  const [steps, turns, approvals] = await Promise.all([
    namedSteps(store, all),
    turnsOf(store, all),
    readApprovals(store, approvalIds(all)),
  ]);
  const runs = new Set(all.flatMap(({ runId }) => (runId === null ? [] : [runId])));
  const spans: TracedSpan[] = [];
  for (const [trace, own] of Map.groupBy(all, ({ auditId }) => traces.get(auditId) ?? '')) {
    if (trace === '' || !take(trace)) continue;
    for (const span of entrySpans(own, approvals, { steps, turns, runs })) if (span.end !== null) spans.push({ trace, span });
  }
  return { cursor: { ...cursor, auditXid: last.xid, auditId: last.auditId }, spans, more: rows.length === ENTRIES };
}

const ENDS = new Set(['tool.deny', 'egress.deny', 'lease.create', 'approval.request', 'approval.decide']);

async function entriesById(store: Queryable, ids: readonly string[]): Promise<EntryRow[]> {
  if (ids.length === 0) return [];
  const { rows } = await store.query<RawEntry>(
    `select ${ENTRY} from (select l.* from unnest($1::uuid[]) r(id) cross join lateral (select * from audit_log b where b.audit_id = r.id) l) a
     ${ENTRY_FROM}`,
    [[...new Set(ids)]],
  );
  return rows.map(toEntry);
}

/** Its own, that of what it settles, or that of its run. */
async function tracesOf(store: Queryable, entries: readonly EntryRow[]): Promise<ReadonlyMap<string, string>> {
  const runs = [...new Set(entries.flatMap(({ trace, runId }) => (trace === null && runId !== null ? [runId] : [])))];
  const { rows } =
    runs.length === 0
      ? { rows: [] }
      : await store.query<{ run_id: string; trace: string }>(
          `select run_id, coalesce(trace_id, run_id) as trace from workflow_runs where run_id = any($1::uuid[])
           union all select run_id, coalesce(trace_id, run_id) from workflow_runs_finished where run_id = any($1::uuid[])`,
          [runs],
        );
  const ofRuns = new Map(rows.map((row) => [row.run_id, row.trace]));
  const found = new Map<string, string>();
  for (const { auditId, trace, runId } of entries) {
    const its = trace ?? (runId === null ? undefined : ofRuns.get(runId));
    if (its !== undefined) found.set(auditId, its);
  }
  return found;
}

async function namedSteps(store: Queryable, entries: readonly EntryRow[]): Promise<StepRow[]> {
  const asked = entries.filter(({ runId, details }) => runId !== null && details.step != null);
  if (asked.length === 0) return [];
  const { rows } = await store.query<StepRow>(
    `select distinct on (s.run_id, s.seq) s.run_id as "runId", s.seq, s.name, s.kind::text as kind, s.status::text as status,
       s.attempts::int as attempts, (extract(epoch from s.started_at) * 1000)::float8 as "startedAt",
       (extract(epoch from s.ended_at) * 1000)::float8 as "endedAt", null::float8 as "wakeAt", null as error, null as other
     from unnest($1::uuid[], $2::text[]) r(id, name) cross join lateral (
       select * from workflow_steps w where w.run_id = r.id and w.name = r.name order by w.seq limit 100) s order by s.run_id, s.seq`,
    [asked.map(({ runId }) => runId), asked.map(({ details }) => details.step)],
  );
  return rows;
}

async function turnsOf(store: Queryable, entries: readonly EntryRow[]): Promise<TurnRow[]> {
  const threads = [...new Set(entries.flatMap(({ threadKey }) => (threadKey === null ? [] : [threadKey])))];
  if (threads.length === 0) return [];
  return readTurns(
    store,
    `(e.thread_key, e.execution_id) in (select t.thread_key, t.execution_id from unnest($1::text[]) r(key) cross join lateral (
       select thread_key, execution_id from agent_execution_requests b where b.thread_key = r.key order by b.created_at desc limit 20) t)`,
    [threads],
    2000,
  );
}
