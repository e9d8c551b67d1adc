import pg from 'pg';
import { PgBoss } from 'pg-boss';
import type { Adapter } from '../adapter.ts';

/** Jobs per fetch when throughput is measured; one for latency. */
const BATCH = 500;

export async function create(url: string): Promise<Adapter> {
  const boss = new PgBoss({ connectionString: url, max: 20, useListenNotify: true });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  const client = new pg.Client(url);
  await client.connect();
  const batchSize = process.env['BENCH_WORKLOAD']?.startsWith('A') === true ? BATCH : 1;
  const handlers = new Map<string, (input: unknown) => Promise<unknown>>();
  return {
    define(name, handler) {
      // a job queue: a step is a plain call
      const calls = { step: <T>(_step: string, fn: () => Promise<T>) => fn(), sleepUntil: refuse, waitFor: refuse };
      handlers.set(name, (input) => handler(input as never, calls));
    },
    async launch() {
      for (const [name, handler] of handlers) {
        await boss.createQueue(name, { notify: true });
        await boss.work(
          name,
          { batchSize, burstWhenBatchFull: batchSize > 1, pollingIntervalSeconds: 0.5, localConcurrency: 2 },
          async (jobs: readonly { data: unknown }[]) => void (await Promise.all(jobs.map((job) => handler(job.data)))),
        );
      }
    },
    start: async (name, input) => (await boss.send(name, input as object)) ?? '',
    async startMany(name, inputs) {
      await boss.insert(
        name,
        inputs.map((data) => ({ data: data as object })),
      );
    },
    async done() {
      const names = [...handlers.keys()];
      const { rows } = await client.query<{ n: number }>(
        "select count(*)::int as n from pgboss.job where state = 'completed' and name = any($1)",
        [names],
      );
      return rows[0]?.n ?? 0;
    },
  };
}

async function refuse(): Promise<never> {
  throw new Error('a job queue has no such call');
}
