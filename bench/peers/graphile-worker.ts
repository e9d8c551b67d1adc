import { Logger, makeWorkerUtils, run, type TaskList } from 'graphile-worker';
import pg from 'pg';
import type { Adapter } from '../adapter.ts';

/** Jobs fetched and completed in batches, its fastest way, when throughput is measured; at its defaults for latency. */
const BATCHED = {
  localQueue: { size: 500, ttl: 300_000, refetchDelay: { durationMs: 100, threshold: 20, maxAbortThreshold: 100 } },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
const CONCURRENT_JOBS = 24;

export async function create(url: string): Promise<Adapter> {
  const pgPool = new pg.Pool({ connectionString: url, max: 30 });
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  const taskList: TaskList = {};
  const batched = process.env['BENCH_WORKLOAD']?.startsWith('A') === true;
  let started = 0;
  return {
    define(name, handler) {
      // a job queue: a step is a plain call
      const calls = { step: <T>(_step: string, fn: () => Promise<T>) => fn(), sleepUntil: refuse, waitFor: refuse };
      taskList[name] = async (payload) => void (await handler(payload as never, calls));
    },
    async launch() {
      const worker = { concurrentJobs: CONCURRENT_JOBS, ...(batched ? BATCHED : {}) };
      await run({ pgPool, taskList, logger, noHandleSignals: true, preset: { worker } });
    },
    async start(name, input) {
      started++;
      return (await utils.addJob(name, input)).id;
    },
    async startMany(name, inputs) {
      started += inputs.length;
      await utils.addJobs(inputs.map((payload) => ({ identifier: name, payload })));
    },
    // it deletes what is done
    async done() {
      const { rows } = await pgPool.query<{ n: number }>('select count(*)::int as n from graphile_worker._private_jobs');
      return started - (rows[0]?.n ?? 0);
    },
  };
}

async function refuse(): Promise<never> {
  throw new Error('a job queue has no such call');
}
