/**
 * The one statement in which the engine's writes commit.
 *
 * A flush carries whatever the runs of this worker produced since the last one: outcomes of steps, parked waits,
 * starts, ends. Each kind is one CTE over arrays; a statement is put together from the kinds that are present and
 * prepared once per combination. Its first CTE takes a key share lock on this worker's own row and finds it alive, and
 * every other CTE joins it: a takeover marks the row dead first, which conflicts with that lock. So either the flush
 * commits before the takeover, or it writes nothing at all.
 */
import type pg from 'pg';
import { binary, lookUp, type Queryable, statementName } from '../store/index.ts';
import type { Beside, Companion } from './types.ts';

/** Reading guide: `ord` null is a row that is written before its outcome is known. */
export interface StepRow {
  readonly runId: string;
  readonly seq: number;
  readonly ord: number | null;
  readonly attempt: number;
  readonly attempts: number;
  readonly kind: string;
  readonly status: string;
  readonly name: string;
  readonly outcome: string | null;
  readonly detail: string | null;
  readonly wakeAt: number | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

export interface StartRow {
  readonly runId: string;
  readonly workflow: string;
  readonly version: string | null;
  /** `r` starts in this process, `q` queues, `s` sleeps until wakeAt. */
  readonly status: 'r' | 'q' | 's';
  readonly queue: string;
  readonly priority: number;
  readonly key: string | null;
  readonly wakeAt: number | null;
  /** Set for a run that starts here: ctx.now() begins with it, on every replay. */
  readonly startedAt: number | null;
  readonly parent: string | null;
  readonly traceId: string | null;
  readonly startedBy: string | null;
  readonly triggerKey: string | null;
  readonly inputHash: Buffer | null;
  readonly input: string;
}

interface WriteBase {
  readonly group: string;
  readonly bytes: number;
  settle(error?: Error): void;
}

export type Write = WriteBase &
  (
    | { readonly type: 'step'; readonly row: StepRow }
    /** The outcome, or the next retry, of a row that was inserted as pending. */
    | { readonly type: 'settleStep'; readonly row: StepRow }
    | { readonly type: 'wait'; readonly runId: string; readonly seq: number; readonly eventType: string; readonly correlationId: string }
    | { readonly type: 'watch'; readonly runId: string }
    /** `refused` is set when the trigger key was taken, or the parent run has ended. */
    | { readonly type: 'start'; readonly row: StartRow; readonly beside?: Beside | undefined; refused?: boolean }
    | { readonly type: 'park'; readonly runId: string; readonly status: 's' | 'w'; readonly wakeAt: number | null }
    /** `watched` is set when some run waits for this one. */
    | {
        readonly type: 'finish';
        readonly runId: string;
        readonly status: 'c' | 'f';
        readonly result: string | null;
        readonly error: string | null;
        readonly hadWaits: boolean;
        watched?: boolean;
      }
  );

export class FencedError extends Error {
  constructor(message = 'this worker lost its lease; another one may have taken over its runs') {
    super(message);
    this.name = 'FencedError';
  }
}

/** Of the life in which the work was begun: the process may have another one by now. @throws FencedError */
export async function assertAlive(tx: Queryable, workerId: number | null): Promise<void> {
  const { rowCount } = await tx.query('select 1 from workers where worker_id = $1 and not dead for key share', [workerId]);
  if (rowCount !== 1) throw new FencedError();
}

type Kind =
  | 'plain'
  | 'step'
  | 'settleStep'
  | 'wait'
  | 'watch'
  | 'start'
  | 'trigger'
  | 'key'
  | 'parent'
  | 'park'
  | 'finish'
  | 'unwait'
  | 'notify';

const { int2Array, int4Array, uuidArray, textArray, jsonArray, charArray, timestampArray, byteaArray } = binary;

/** The CTEs of each kind; `$` stands for the next parameter. */
const FRAGMENTS: Record<Kind, string> = {
  plain: `plain as (insert into workflow_steps (run_id, seq, ord, attempt, name, outcome, started_at, ended_at)
    select u.* from unnest($::uuid[], $::int[], $::int[], $::smallint[], $::text[], $::json[], $::timestamptz[], $::timestamptz[]) u, me)`,
  step: `step as (insert into workflow_steps
      (run_id, seq, ord, attempt, attempts, kind, status, name, outcome, detail, wake_at, started_at, ended_at)
    select u.* from unnest($::uuid[], $::int[], $::int[], $::smallint[], $::smallint[], $::"char"[], $::"char"[], $::text[],
      $::json[], $::json[], $::timestamptz[], $::timestamptz[], $::timestamptz[]) u, me)`,
  settleStep: `settle_step as (update workflow_steps s
    set ord = u.ord, attempts = u.attempts, status = u.status, outcome = u.outcome, detail = u.detail, wake_at = u.wake_at, ended_at = u.ended_at
    from unnest($::uuid[], $::int[], $::int[], $::smallint[], $::"char"[], $::json[], $::json[], $::timestamptz[], $::timestamptz[])
      u(run_id, seq, ord, attempts, status, outcome, detail, wake_at, ended_at), me
    where ${lookUp('s.run_id', 'u.run_id')} and s.seq = u.seq and s.status = 'p')`,
  wait: `wait as (insert into workflow_waits (run_id, seq, event_type, correlation_id)
    select u.* from unnest($::uuid[], $::int[], $::text[], $::text[]) u, me
    on conflict (run_id, seq) do update set event_type = excluded.event_type, correlation_id = excluded.correlation_id)`,
  watch: `watch as (update workflow_runs r set watched = true from unnest($::uuid[]) u(run_id), me where ${lookUp('r.run_id', 'u.run_id')})`,
  trigger: `claimed as (insert into workflow_triggers (workflow_name, trigger_key, run_id, input_hash)
    select u.* from unnest($::text[], $::text[], $::uuid[], $::bytea[]) u, me on conflict do nothing returning run_id)`,
  // queue turns of keyed runs: each key's runs line up behind its own last turn, but never before the queue's present one
  key: `flow as (insert into workflow_flows as f (queue, concurrency_key, turn)
    select k.queue, k.key, coalesce(q.turn, 0) + k.runs
    from unnest($::text[], $::text[], $::int[]) k(queue, key, runs) cross join me left join workflow_queues q on q.name = k.queue
    on conflict (queue, concurrency_key) do update set turn = greatest(
      f.turn + excluded.turn - coalesce((select q.turn from workflow_queues q where q.name = excluded.queue), 0), excluded.turn)
    returning queue, concurrency_key, turn)`,
  // the lock makes a start by a run and the cancellation of that run wait for each other
  parent: `parent as (select p.run_id, p.started_by from workflow_runs p, me where p.run_id = any($::uuid[]) and coalesce(p.owner, 0) = me.worker_id for key share of p)`,
  start: '',
  park: `park as (update workflow_runs r set status = u.status, wake_at = u.wake_at, owner = null
    from unnest($::uuid[], $::"char"[], $::timestamptz[]) u(run_id, status, wake_at), me
    where ${lookUp('r.run_id', 'u.run_id')} and coalesce(r.owner, 0) = me.worker_id and r.status = 'r')`,
  // "coalesce" keeps the planner from the owner index, which all of a worker's runs share
  finish: `gone as (delete from workflow_runs r
      using unnest($::uuid[], $::"char"[], $::json[], $::json[]) u(run_id, status, result, error), me
      where ${lookUp('r.run_id', 'u.run_id')} and coalesce(r.owner, 0) = me.worker_id
      returning r.run_id, r.workflow_name, r.workflow_version, u.status, r.queue, r.priority, r.concurrency_key, r.attempt,
        r.parent_run_id, r.trace_id, r.seed, r.trigger_key, r.input, u.result, u.error, r.created_at, r.started_at, r.started_by, r.watched),
    finished as (insert into workflow_runs_finished (run_id, workflow_name, workflow_version, status, queue, priority,
        concurrency_key, attempt, parent_run_id, trace_id, seed, trigger_key, input, result, error, created_at, started_at, started_by)
      select run_id, workflow_name, workflow_version, status, queue, priority, concurrency_key, attempt, parent_run_id, trace_id,
        seed, trigger_key, input, result, error, created_at, started_at, started_by from gone)`,
  unwait: `unwait as (delete from workflow_waits w using unnest($::uuid[]) u(run_id), me where ${lookUp('w.run_id', 'u.run_id')})`,
  notify: `note as (select pg_notify('centaur_work', '') from me)`,
};

function startFragment(kinds: ReadonlySet<Kind>, isReferred: boolean): string {
  // a child is whose its parent is: it may outlive that, and the record of it
  const startedBy = kinds.has('parent')
    ? 'coalesce(u.started_by, (select p.started_by from parent p where p.run_id = u.parent))'
    : 'u.started_by';
  return `started as (insert into workflow_runs (run_id, workflow_name, workflow_version, status, owner, queue, priority,
      concurrency_key, wake_at, parent_run_id, trace_id, trigger_key, input, started_at, started_by, turn)
    select u.run_id, u.workflow, u.version, u.status, case when u.status = 'r' then me.worker_id end, u.queue, u.priority, u.key,
      u.wake_at, u.parent, u.trace_id, u.trigger_key, u.input, u.started_at, ${startedBy},
      coalesce(${kinds.has('key') ? '(select f.turn - u.key_runs + u.key_index from flow f where f.queue = u.queue and f.concurrency_key = u.key), ' : ''}q.turn, 0)
    from unnest($::uuid[], $::text[], $::text[], $::"char"[], $::text[], $::smallint[], $::text[], $::timestamptz[], $::uuid[], $::uuid[],
      $::text[], $::json[], $::int[], $::int[], $::timestamptz[], $::text[])
      u(run_id, workflow, version, status, queue, priority, key, wake_at, parent, trace_id, trigger_key, input, key_runs, key_index, started_at, started_by)
    cross join me left join workflow_queues q on q.name = u.queue
    where true ${kinds.has('trigger') ? 'and (u.trigger_key is null or u.run_id in (select run_id from claimed))' : ''}
      ${kinds.has('parent') ? 'and (u.parent is null or u.parent in (select run_id from parent))' : ''}
    ${isReferred || kinds.has('trigger') || kinds.has('parent') ? 'returning run_id' : ''})`;
}

/** Order of the CTEs, and so of their parameters. */
const ORDER: readonly Kind[] = [
  'plain',
  'step',
  'settleStep',
  'wait',
  'watch',
  'trigger',
  'key',
  'parent',
  'start',
  'park',
  'finish',
  'unwait',
  'notify',
];

const statements = new Map<string, string>();

/** @param fenced false for a process that is no worker: it only starts runs, which needs no lease */
function statementFor(kinds: ReadonlySet<Kind>, companions: readonly Companion[], fenced: boolean): string {
  const id = `${fenced} ${ORDER.filter((kind) => kinds.has(kind)).join(' ')} ${companions.map(({ sql: each }) => each).join(' ')}`;
  let sql = statements.get(id);
  if (sql === undefined) {
    const me = fenced
      ? 'me as materialized (select worker_id from workers where worker_id = $ and not dead for key share)'
      : 'me as materialized (select $::int as worker_id)';
    const ctes = ORDER.filter((kind) => kinds.has(kind)).map((kind) =>
      kind === 'start' ? startFragment(kinds, companions.length > 0) : FRAGMENTS[kind],
    );
    let parameter = 0;
    sql = `with ${[me, ...ctes, ...companions.map(({ sql: each }) => each)].join(',\n')}
select (select count(*)::int from me) as alive
  ${kinds.has('notify') ? ', (select count(*) from note) as notified' : ''}
  ${kinds.has('trigger') || kinds.has('parent') ? ', (select array_agg(run_id) from started) as started' : ''}
  ${kinds.has('finish') ? ', (select array_agg(run_id) from gone where watched) as watched' : ''}`.replace(
      /\$(?!\d)/g,
      () => `$${++parameter}`,
    );
    statements.set(id, sql);
  }
  return sql;
}

/**
 * Commits a batch and marks what the statement said about it.
 *
 * @throws FencedError when this worker's row is dead: nothing was written
 */
export async function flush(client: pg.Client, workerId: number | null, batch: readonly Write[]): Promise<void> {
  const by = group(batch);
  const kinds = new Set<Kind>();
  const params = new Map<Kind, unknown[]>();
  const add = (kind: Kind, values: unknown[]) => {
    kinds.add(kind);
    params.set(kind, values);
  };
  if (by.plain.length > 0) add('plain', plainParams(by.plain));
  if (by.step.length > 0) add('step', stepParams(by.step));
  if (by.settleStep.length > 0) add('settleStep', settleParams(by.settleStep));
  if (by.wait.length > 0) {
    add('wait', [
      uuidArray(by.wait.map((w) => w.runId)),
      int4Array(by.wait.map((w) => w.seq)),
      textArray(by.wait.map((w) => w.eventType)),
      textArray(by.wait.map((w) => w.correlationId)),
    ]);
  }
  // one order for all who lock several runs, so that two flushes cannot lock each other out
  if (by.watch.length > 0) add('watch', [uuidArray(by.watch.map((w) => w.runId).sort())]);
  if (by.start.length > 0)
    addStarts(
      by.start.map((w) => w.row),
      add,
    );
  if (by.park.length > 0) {
    add('park', [
      uuidArray(by.park.map((w) => w.runId)),
      charArray(by.park.map((w) => w.status)),
      timestampArray(by.park.map((w) => w.wakeAt)),
    ]);
  }
  if (by.finish.length > 0) {
    add('finish', [
      uuidArray(by.finish.map((w) => w.runId)),
      charArray(by.finish.map((w) => w.status)),
      jsonArray(by.finish.map((w) => w.result)),
      jsonArray(by.finish.map((w) => w.error)),
    ]);
    const waiting = by.finish.filter((w) => w.hadWaits);
    if (waiting.length > 0) add('unwait', [uuidArray(waiting.map((w) => w.runId))]);
  }

  const companions = companionsOf(by.start);
  const text = statementFor(kinds, [...companions.keys()], workerId !== null);
  const besides = [...companions].flatMap(([companion, rows]) => companion.params(rows));
  const values = [workerId, ...ORDER.flatMap((kind) => params.get(kind) ?? []), ...besides];
  const { rows } = await client.query<{ alive: number; started?: string[] | null; watched?: string[] | null }>({
    name: statementName(text),
    text,
    values,
  });
  const row = rows[0];
  if (row?.alive !== 1) throw new FencedError();
  if (row.started !== undefined) {
    const started = new Set(row.started);
    for (const write of by.start) write.refused = !started.has(write.row.runId);
  }
  if (row.watched) {
    const watched = new Set(row.watched);
    for (const write of by.finish) write.watched = watched.has(write.runId);
  }
}

function companionsOf(starts: readonly Of<'start'>[]): Map<Companion, { readonly runId: string; readonly row: unknown }[]> {
  const found = new Map<Companion, { readonly runId: string; readonly row: unknown }[]>();
  for (const {
    row: { runId },
    beside,
  } of starts) {
    if (beside === undefined) continue;
    const rows = found.get(beside.companion);
    if (rows === undefined) found.set(beside.companion, [{ runId, row: beside.row }]);
    else rows.push({ runId, row: beside.row });
  }
  return found;
}

/** The writes of one kind. */
export type Of<Type extends Write['type']> = Extract<Write, { type: Type }>;

function group(batch: readonly Write[]) {
  const by = {
    plain: [] as StepRow[],
    step: [] as StepRow[],
    settleStep: [] as StepRow[],
    wait: [] as Of<'wait'>[],
    watch: [] as Of<'watch'>[],
    start: [] as Of<'start'>[],
    park: [] as Of<'park'>[],
    finish: [] as Of<'finish'>[],
  };
  for (const write of batch) {
    if (write.type === 'step') {
      const { row } = write;
      if (row.kind === 's' && row.status === 'o' && row.attempts === 1 && row.detail === null) by.plain.push(row);
      else by.step.push(row);
    } else if (write.type === 'settleStep') by.settleStep.push(write.row);
    else (by[write.type] as Write[]).push(write);
  }
  return by;
}

function plainParams(rows: readonly StepRow[]): unknown[] {
  return [
    uuidArray(rows.map((r) => r.runId)),
    int4Array(rows.map((r) => r.seq)),
    int4Array(rows.map((r) => r.ord)),
    int2Array(rows.map((r) => r.attempt)),
    textArray(rows.map((r) => r.name)),
    jsonArray(rows.map((r) => r.outcome)),
    timestampArray(rows.map((r) => r.startedAt)),
    timestampArray(rows.map((r) => r.endedAt)),
  ];
}

function stepParams(rows: readonly StepRow[]): unknown[] {
  return [
    uuidArray(rows.map((r) => r.runId)),
    int4Array(rows.map((r) => r.seq)),
    int4Array(rows.map((r) => r.ord)),
    int2Array(rows.map((r) => r.attempt)),
    int2Array(rows.map((r) => r.attempts)),
    charArray(rows.map((r) => r.kind)),
    charArray(rows.map((r) => r.status)),
    textArray(rows.map((r) => r.name)),
    jsonArray(rows.map((r) => r.outcome)),
    jsonArray(rows.map((r) => r.detail)),
    timestampArray(rows.map((r) => r.wakeAt)),
    timestampArray(rows.map((r) => r.startedAt)),
    timestampArray(rows.map((r) => r.endedAt)),
  ];
}

function settleParams(rows: readonly StepRow[]): unknown[] {
  return [
    uuidArray(rows.map((r) => r.runId)),
    int4Array(rows.map((r) => r.seq)),
    int4Array(rows.map((r) => r.ord)),
    int2Array(rows.map((r) => r.attempts)),
    charArray(rows.map((r) => r.status)),
    jsonArray(rows.map((r) => r.outcome)),
    jsonArray(rows.map((r) => r.detail)),
    timestampArray(rows.map((r) => r.wakeAt)),
    timestampArray(rows.map((r) => r.endedAt)),
  ];
}

const triggerOf = (row: StartRow) => `${row.workflow}\0${row.triggerKey}`;

function addStarts(rows: readonly StartRow[], add: (kind: Kind, values: unknown[]) => void): void {
  // in one order in all processes: two starts of the same keys then wait for each other, never both ways
  const triggered = rows.filter((row) => row.triggerKey !== null).sort((a, b) => (triggerOf(a) < triggerOf(b) ? -1 : 1));
  if (triggered.length > 0) {
    add('trigger', [
      textArray(triggered.map((row) => row.workflow)),
      textArray(triggered.map((row) => row.triggerKey)),
      uuidArray(triggered.map((row) => row.runId)),
      byteaArray(triggered.map((row) => row.inputHash)),
    ]);
  }
  const keys = new Map<string, { queue: string; key: string; runs: number }>();
  const place = rows.map((row) => {
    if (row.key === null) return 0;
    const id = `${row.queue}\0${row.key}`;
    const entry = keys.get(id) ?? { queue: row.queue, key: row.key, runs: 0 };
    keys.set(id, entry);
    entry.runs += 1;
    return entry.runs;
  });
  if (keys.size > 0) {
    const sorted = [...keys.keys()].sort().map((id) => keys.get(id) as { queue: string; key: string; runs: number });
    add('key', [textArray(sorted.map((k) => k.queue)), textArray(sorted.map((k) => k.key)), int4Array(sorted.map((k) => k.runs))]);
  }
  const parents = [...new Set(rows.flatMap((row) => row.parent ?? []))].sort();
  if (parents.length > 0) add('parent', [uuidArray(parents)]);
  add('start', [
    uuidArray(rows.map((r) => r.runId)),
    textArray(rows.map((r) => r.workflow)),
    textArray(rows.map((r) => r.version)),
    charArray(rows.map((r) => r.status)),
    textArray(rows.map((r) => r.queue)),
    int2Array(rows.map((r) => r.priority)),
    textArray(rows.map((r) => r.key)),
    timestampArray(rows.map((r) => r.wakeAt)),
    uuidArray(rows.map((r) => r.parent)),
    uuidArray(rows.map((r) => r.traceId)),
    textArray(rows.map((r) => r.triggerKey)),
    jsonArray(rows.map((r) => r.input)),
    int4Array(rows.map((r) => (r.key === null ? 0 : (keys.get(`${r.queue}\0${r.key}`)?.runs ?? 0)))),
    int4Array(place),
    timestampArray(rows.map((r) => r.startedAt)),
    textArray(rows.map((r) => r.startedBy)),
  ]);
  if (rows.some((row) => row.status !== 'r')) add('notify', []);
}

/**
 * Whether a batch whose connection broke had committed: one look at one of its rows tells for all. The lock on our own
 * row waits for the broken flush to end on the server, so the answer does not change afterwards.
 */
export async function wasCommitted(client: pg.Client, workerId: number | null, batch: readonly Write[]): Promise<boolean> {
  if (workerId !== null) {
    const { rows } = await client.query<{ dead: boolean }>('select dead from workers where worker_id = $1 for update', [workerId]);
    if (rows[0]?.dead !== false) throw new FencedError();
  }
  const done = await probe(client, batch);
  // what the lost reply held: assume that every ended run is waited for, and look which starts are there
  if (done) {
    for (const write of batch) if (write.type === 'finish') write.watched = true;
    const starts = batch.filter((write): write is Of<'start'> => write.type === 'start');
    const present = await presentRuns(client, starts);
    for (const write of starts) write.refused = !present.has(write.row.runId);
  }
  return done;
}

/** Looks for evidence that only this batch can have left. Without any, sending it again changes nothing twice. */
async function probe(client: pg.Client, batch: readonly Write[]): Promise<boolean> {
  for (const write of batch) {
    const question = questionFor(write);
    if (question === undefined) continue;
    const { rows } = await client.query<{ done: boolean }>(question[0], question[1]);
    return rows[0]?.done === true;
  }
  const starts = batch.filter((write): write is Of<'start'> => write.type === 'start');
  return (await presentRuns(client, starts)).size > 0;
}

async function presentRuns(client: pg.Client, starts: readonly Of<'start'>[]): Promise<ReadonlySet<string>> {
  if (starts.length === 0) return new Set();
  const { rows } = await client.query<{ run_id: string }>(
    `select run_id from workflow_runs where run_id = any($1::uuid[])
     union all select run_id from workflow_runs_finished where run_id = any($1::uuid[])`,
    [uuidArray(starts.map((write) => write.row.runId))],
  );
  return new Set(rows.map((row) => row.run_id));
}

function questionFor(write: Write): [string, unknown[]] | undefined {
  switch (write.type) {
    case 'step':
      return ['select exists (select from workflow_steps where run_id = $1 and seq = $2) as done', [write.row.runId, write.row.seq]];
    case 'settleStep':
      return [
        `select exists (select from workflow_steps where run_id = $1 and seq = $2
           and ord is not distinct from $3::int and attempts = $4 and status = $5) as done`,
        [write.row.runId, write.row.seq, write.row.ord, write.row.attempts, write.row.status],
      ];
    case 'finish':
      return ["select exists (select from workflow_runs_finished where run_id = $1 and status in ('c', 'f')) as done", [write.runId]];
    case 'park':
      return ['select exists (select from workflow_runs where run_id = $1 and owner is null) as done', [write.runId]];
    // these leave no evidence of their own, or may be refused for another reason
    case 'wait':
    case 'watch':
    case 'start':
      return undefined;
  }
}
