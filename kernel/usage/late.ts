/** Prices that come late: what was used before there was one is priced then. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Queryable } from '../store/index.ts';
import { repriceDay, type Repricing } from './days.ts';
import { costOf, priceOf, type Prices } from './prices.ts';
import { type Tokens, totalOf } from './types.ts';

/** How far back a price that was given later reaches. */
const REPRICED_DAYS = 32;
/** Rows of one transaction: turns that end on the same day wait for it. */
const BATCH = 500;
const AGAIN_MS = 250;

interface Transactions extends Queryable {
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
}

/**
 * Prices turns whose model had no price when they ended and has one now, of the last 32 days. Answers how many this process priced.
 *
 * In batches, each whole by itself: a process that is killed leaves the rest to the next one that starts. Any number of processes may do it: each
 * row is priced by one of them.
 */
export async function priceLate(
  store: Transactions,
  prices: Prices,
  options: { readonly batch?: number; readonly signal?: AbortSignal } = {},
): Promise<number> {
  const { batch = BATCH, signal } = options;
  if (prices.length === 0) return 0;
  // what ends from here on is not waited for: workers with another centaur.yaml may go on without a price for ever
  const { rows: times } = await store.query<{ until: string }>('select now()::text as until');
  const until = times[0]?.until ?? '';
  const { rows } = await store.query<{ model: string }>(`select distinct model from usage where ${UNPRICED} and at <= $1::timestamptz`, [
    until,
  ]);
  const models = rows.map(({ model }) => model).filter((model) => priceOf(prices, model) !== undefined);
  let priced = 0;
  while (models.length > 0 && signal?.aborted !== true) {
    const done = await store.transaction((tx) => priceSome(tx, prices, { models, until, batch }));
    priced += done;
    if (done > 0) continue;
    const { rowCount } = await store.query(`select 1 from usage where ${UNPRICED} and model = any($1) and at <= $2::timestamptz limit 1`, [
      models,
      until,
    ]);
    if (rowCount === 0) break;
    // of another process, which may die
    await pause(AGAIN_MS, undefined, { ...(signal === undefined ? {} : { signal }), ref: false }).catch(() => undefined);
  }
  return priced;
}

const UNPRICED = `cost_micros is null and at > now() - make_interval(days => ${REPRICED_DAYS})`;

interface Row extends Tokens {
  readonly execution_id: string;
  readonly model: string;
  readonly asked_model: string;
  readonly thread_key: string;
  readonly workflow: string | null;
  readonly user_id: string | null;
  readonly day: string;
}

/** Rows of one day, the oldest first. Those that somebody else holds are left to them, so this waits for nobody while it holds rows of `usage`. */
async function priceSome(
  tx: Queryable,
  prices: Prices,
  { models, until, batch }: { readonly models: readonly string[]; readonly until: string; readonly batch: number },
): Promise<number> {
  const { rows: found } = await tx.query<Row>(
    `select execution_id, model, asked_model, thread_key, workflow, user_id, input, output, cache_read, cache_write, reasoning,
       (at at time zone 'UTC')::date::text as day
     from usage where ${UNPRICED} and model = any($1) and at <= $3::timestamptz order by at limit $2 for update skip locked`,
    [models, batch, until],
  );
  const day = found[0]?.day;
  if (day === undefined) return 0;
  const rows = found
    .filter((row) => row.day === day)
    .flatMap((row) => {
      const price = priceOf(prices, row.model);
      return price === undefined ? [] : [{ ...row, cost: costOf(row, price) }];
    });
  await tx.query(
    `update usage u set cost_micros = p.cost from unnest($1::uuid[], $2::text[], $3::bigint[]) as p (id, model, cost)
     where u.execution_id = p.id and u.model = p.model`,
    [rows.map((row) => row.execution_id), rows.map(({ model }) => model), rows.map(({ cost }) => cost)],
  );
  const changes = new Map<string, Repricing>();
  for (const row of rows)
    for (const [dimension, key] of [
      ['all', ''],
      ['model', row.model],
      ['thread', row.thread_key],
      ['user', row.user_id ?? ''],
      ['workflow', row.workflow ?? ''],
      ...[...new Set([row.model, row.asked_model])].filter((name) => name !== '').map((name) => ['model_name', name] as const),
    ] as const) {
      const id = `${dimension} ${key}`;
      const before = changes.get(id);
      changes.set(id, {
        dimension,
        key,
        cost_micros: Math.min(Number.MAX_SAFE_INTEGER, (before?.cost_micros ?? 0) + row.cost),
        priced: (before?.priced ?? 0) + totalOf(row),
      });
    }
  await repriceDay(tx, day, [...changes.values()]);
  return rows.length;
}
