/** Figures of the database: the same in every process. */
import type { Queryable } from '../store/index.ts';
import { type Family, family, type Sample } from '../telemetry/index.ts';
import { usageByModel } from '../usage/index.ts';

/** Models with labels of their own; the others are one. */
const MODELS_MOST = 50;
/** Queues, gates and platforms with labels of their own. */
const LABELS_MOST = 200;

/**
 * Each statement reads what is unfinished, owed or pending by an index or in a table of unfinished things, and nothing that
 * grows with the past. Unfinished runs themselves may be many: how often they are counted is up to the caller.
 */
export async function readDatabase(store: Queryable): Promise<readonly Family[]> {
  const [runs, approvals, waits, seal, outbox, dead, inbox, givenUp, sandboxes, models] = await Promise.all([
    readRuns(store),
    store.query<{ gate: string; count: number; age: number }>(
      `select gate, count(*) as count, extract(epoch from now() - min(created_at))::float8 as age
       from approvals where state = 'pending' and expires_at > now() group by gate order by 2 desc limit ${LABELS_MOST}`,
    ),
    store.query<{ gate: string; half: number; most: number }>(
      `select gate, percentile_cont(0.5) within group (order by s) as half, percentile_cont(0.95) within group (order by s) as most
       from (select gate, extract(epoch from decided_at - created_at)::float8 as s from approvals
         where decided_at > now() - interval '1 hour' order by decided_at desc limit 10000) lately group by gate limit ${LABELS_MOST}`,
    ),
    // the first entry behind the last batch: an id begins with its time
    store.query<{ lag: number | null }>(
      `select extract(epoch from now())::float8 - ('x' || substr(replace(a.audit_id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0 as lag
       from (select coalesce((select last_xid from audit_batches order by n desc limit 1), '0'::xid8) as xid,
           coalesce((select last_id from audit_batches order by n desc limit 1), '00000000-0000-0000-0000-000000000000') as id) b,
         lateral (select audit_id from audit_log a where (a.xid, a.audit_id) > (b.xid, b.id) order by a.xid, a.audit_id limit 1) a`,
    ),
    store.query<{ platform: string; count: number; age: number }>(
      `select platform, count(*) as count, extract(epoch from now() - min(created_at))::float8 as age from agent_final_delivery_outbox
       where state in ('pending', 'sending', 'retry_wait') group by platform order by 2 desc limit ${LABELS_MOST}`,
    ),
    store.query<{ count: number }>(
      `select count(*) as count from (select from agent_final_delivery_outbox where state = 'dead_letter' limit 10000) dead`,
    ),
    store.query<{ platform: string; count: number; age: number }>(
      `select platform, count(*) as count, extract(epoch from now() - min(received_at))::float8 as age from agent_inbox
       where settled_at is null group by platform order by 2 desc limit ${LABELS_MOST}`,
    ),
    store.query<{ count: number }>(
      `select count(*) as count from (select from agent_inbox where settled_at is not null and state = 'dead_letter' limit 10000) dead`,
    ),
    store.query<{ state: string; count: number }>(
      `select state, count(*) as count from sandbox_sessions where sandbox_id is not null group by state`,
    ),
    usageByModel(store),
  ]);
  const gates = <Row extends { readonly gate: string }>(rows: readonly Row[], of: (row: Row) => number) =>
    rows.map((row): Sample => [{ gate: row.gate }, of(row)]);
  const platforms = (of: 'count' | 'age', { rows } = outbox) => rows.map((row): Sample => [{ platform: row.platform }, row[of]]);
  return [
    ...runs,
    family(
      'centaur_approvals_pending',
      gates(approvals.rows, ({ count }) => count),
    ),
    family(
      'centaur_approvals_oldest_seconds',
      gates(approvals.rows, ({ age }) => age),
    ),
    family(
      'centaur_approval_wait_seconds',
      waits.rows.flatMap(({ gate, half, most }): Sample[] => [
        [{ gate, quantile: '0.5' }, half],
        [{ gate, quantile: '0.95' }, most],
      ]),
    ),
    family('centaur_audit_seal_lag_seconds', Math.max(0, seal.rows[0]?.lag ?? 0)),
    family('centaur_outbox_owed', platforms('count')),
    family('centaur_outbox_lag_seconds', platforms('age')),
    family('centaur_outbox_dead', dead.rows[0]?.count ?? 0),
    family('centaur_inbox_waiting', platforms('count', inbox)),
    family('centaur_inbox_lag_seconds', platforms('age', inbox)),
    family('centaur_inbox_dead', givenUp.rows[0]?.count ?? 0),
    family(
      'centaur_sandboxes',
      sandboxes.rows.map(({ state, count }): Sample => [{ state }, count]),
    ),
    ...modelFamilies(models),
  ];
}

const STATUSES = ['queued', 'running', 'sleeping', 'waiting', 'stuck'];

/** Unfinished runs only, once over all of them: they are as many as there is work, while finished ones are as many as a month made. */
async function readRuns(store: Queryable): Promise<readonly Family[]> {
  const { rows } = await store.query<{ queue: string; status: string; count: number; ready: number; age: number | null }>(
    `select queue, case when status = 'q' or (status = 's' and started_at is null) then 'queued' when status = 'r' then 'running'
         when status = 's' then 'sleeping' when status = 'w' then 'waiting' else 'stuck' end as status, count(*) as count,
       count(*) filter (where status = 'q') as ready, extract(epoch from now() - min(created_at) filter (where status = 'q'))::float8 as age
     from workflow_runs group by 1, 2`,
  );
  const { rows: limited } = await store.query<{ name: string }>('select name from workflow_queues order by name limit $1', [LABELS_MOST]);
  const queues = [...new Set([...limited.map(({ name }) => name), ...rows.map(({ queue }) => queue)])].toSorted().slice(0, LABELS_MOST);
  const sum = (of: readonly { readonly count: number }[]) => of.reduce((all, { count }) => all + count, 0);
  const ofQueue = (of: (name: string) => number) => queues.map((queue): Sample => [{ queue }, of(queue)]);
  const rowOf = (queue: string, status: string) => rows.find((row) => row.queue === queue && row.status === status);
  return [
    family(
      'centaur_runs',
      STATUSES.map((status): Sample => [{ status }, sum(rows.filter((row) => row.status === status))]),
    ),
    family(
      'centaur_queue_queued',
      ofQueue((queue) => rowOf(queue, 'queued')?.ready ?? 0),
    ),
    family(
      'centaur_queue_running',
      ofQueue((queue) => rowOf(queue, 'running')?.count ?? 0),
    ),
    family(
      'centaur_queue_oldest_seconds',
      ofQueue((queue) => rowOf(queue, 'queued')?.age ?? 0),
    ),
  ];
}

function modelFamilies(models: Awaited<ReturnType<typeof usageByModel>>): readonly Family[] {
  const sums = new Map<
    string,
    { input: number; output: number; cache_read: number; cache_write: number; cost: number; unpriced: number }
  >();
  for (const [i, row] of models.entries()) {
    const model = i < MODELS_MOST ? row.model : 'other';
    const before = sums.get(model);
    sums.set(model, {
      input: (before?.input ?? 0) + row.input_tokens,
      output: (before?.output ?? 0) + row.output_tokens,
      cache_read: (before?.cache_read ?? 0) + row.cache_read_tokens,
      cache_write: (before?.cache_write ?? 0) + row.cache_write_tokens,
      cost: (before?.cost ?? 0) + row.cost_micros,
      unpriced: (before?.unpriced ?? 0) + row.unpriced_tokens,
    });
  }
  const all = [...sums];
  const kinds = ['input', 'output', 'cache_read', 'cache_write'] as const;
  return [
    family(
      'centaur_tokens_total',
      all.flatMap(([model, sum]) => kinds.map((kind): Sample => [{ model, kind }, sum[kind]])),
    ),
    family(
      'centaur_cost_micros_total',
      all.map(([model, { cost }]): Sample => [{ model }, cost]),
    ),
    family(
      'centaur_unpriced_tokens_total',
      all.map(([model, { unpriced }]): Sample => [{ model }, unpriced]),
    ),
  ];
}
