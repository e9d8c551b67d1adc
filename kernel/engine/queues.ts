/** Queues: their limits, and which of them have any. */
import type { Store } from '../store/index.ts';
import { EngineError } from './errors.ts';
import type { QueueLimits, QueueView, RegisteredWorkflow } from './types.ts';
import { toMilliseconds } from '@centaur/sdk';

/** True of a row `q` of workflow_queues that has limits. Whoever takes runs past the limits asks the table, not the cache. */
export const HAS_LIMITS = 'num_nonnulls(q.concurrency, q.concurrency_per_key, q.rate_limit) > 0';

/** Which queues have limits, as last read; refreshed by notification and on each beat. */
export interface ChangedQueues {
  isLimited(queue: string): boolean;
  limited(): readonly string[];
  refresh(): Promise<void>;
}

export function createQueueCache(store: Store): ChangedQueues {
  let limited = new Set<string>();
  return {
    isLimited: (queue) => limited.has(queue),
    limited: () => [...limited],
    async refresh() {
      const { rows } = await store.query<{ name: string }>(`select q.name from workflow_queues q where ${HAS_LIMITS}`);
      limited = new Set(rows.map((row) => row.name));
    },
  };
}

export function checkQueueName(name: unknown): string {
  if (typeof name !== 'string' || !/^[A-Za-z0-9_.:-]{1,128}$/.test(name)) {
    throw new EngineError('INVALID_REQUEST', 'queue: expected 1 to 128 letters, digits, "_", ".", ":" or "-"');
  }
  return name;
}

export async function setQueue(store: Store, name: string, limits: QueueLimits): Promise<QueueView> {
  checkQueueName(name);
  for (const field of ['concurrency', 'concurrency_per_key'] as const) {
    const value = limits[field];
    if (value !== undefined && value !== null && (!Number.isInteger(value) || value < 1 || value > 1_000_000)) {
      throw new EngineError('INVALID_REQUEST', `${field}: expected a whole number from 1 to 1,000,000, or null for no limit`);
    }
  }
  const rate = limits.rate_limit;
  if (rate !== undefined && rate !== null) {
    if (!Number.isInteger(rate.limit) || rate.limit < 1 || rate.limit > 10_000) {
      throw new EngineError('INVALID_REQUEST', 'rate_limit.limit: expected a whole number from 1 to 10,000');
    }
    if (!Number.isInteger(rate.period_ms) || rate.period_ms < 1 || rate.period_ms > 86_400_000) {
      throw new EngineError('INVALID_REQUEST', 'rate_limit.period_ms: expected a whole number from 1 to 86,400,000');
    }
  }
  const given = (key: keyof QueueLimits) => limits[key] !== undefined;
  await store.query(
    `insert into workflow_queues as q (name, concurrency, concurrency_per_key, rate_limit, rate_period_ms)
     values ($1, $2, $3, $4, $5)
     on conflict (name) do update set
       concurrency = case when $6 then excluded.concurrency else q.concurrency end,
       concurrency_per_key = case when $7 then excluded.concurrency_per_key else q.concurrency_per_key end,
       rate_limit = case when $8 then excluded.rate_limit else q.rate_limit end,
       rate_period_ms = case when $8 then excluded.rate_period_ms else q.rate_period_ms end,
       updated_at = now()`,
    [
      name,
      limits.concurrency ?? null,
      limits.concurrency_per_key ?? null,
      rate?.limit ?? null,
      rate?.period_ms ?? null,
      given('concurrency'),
      given('concurrency_per_key'),
      given('rate_limit'),
    ],
  );
  await store.query(`select pg_notify('centaur_queues', '')`);
  const [view] = await listQueues(store, name);
  return view as QueueView;
}

/** Queues with limits or with unfinished runs. */
export async function listQueues(store: Store, only: string | null = null): Promise<readonly QueueView[]> {
  const { rows } = await store.query<{
    name: string;
    concurrency: number | null;
    concurrency_per_key: number | null;
    rate_limit: number | null;
    rate_period_ms: number | null;
    queued: number;
    running: number;
  }>(
    `with counts as (
       select queue, count(*) filter (where status = 'q') as queued, count(*) filter (where status = 'r') as running
       from workflow_runs group by queue)
     select coalesce(q.name, c.queue) as name, q.concurrency, q.concurrency_per_key, q.rate_limit, q.rate_period_ms,
       coalesce(c.queued, 0) as queued, coalesce(c.running, 0) as running
     from workflow_queues q full join counts c on c.queue = q.name
     where $1::text is null or coalesce(q.name, c.queue) = $1
     order by 1`,
    [only],
  );
  return rows.map((row) => ({
    name: row.name,
    concurrency: row.concurrency,
    concurrency_per_key: row.concurrency_per_key,
    rate_limit: row.rate_limit === null ? null : { limit: row.rate_limit, period_ms: row.rate_period_ms as number },
    queued: row.queued,
    running: row.running,
  }));
}

/** Stores the limits that workflow files declare. A limit set by an operator for a queue no file declares stays. */
export async function syncQueues(store: Store, workflows: readonly RegisteredWorkflow[]): Promise<void> {
  for (const { queue } of workflows) {
    if (queue === undefined || typeof queue === 'string') continue;
    await setQueue(store, queue.name, {
      concurrency: queue.concurrency ?? null,
      concurrency_per_key: queue.concurrencyPerKey ?? null,
      rate_limit:
        queue.rateLimit === undefined
          ? null
          : { limit: queue.rateLimit.limit, period_ms: toMilliseconds(queue.rateLimit.period, 'rateLimit.period') },
    });
  }
}
