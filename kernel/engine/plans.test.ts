/**
 * A flush must touch each row of its batch a few times, whatever the planner believes about the tables: they are empty,
 * huge or full of dead rows from one minute to the next, and plans are prepared once. Postgres itself counts the rows.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type pg from 'pg';
import { connectStore, uuidv7 } from '../store/index.ts';
import { createTestDatabase } from '../../test/support/database.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { PARTITIONED } from './engine.ts';
import { flush, type StartRow, type StepRow, type Write } from './flush.ts';

const BATCH = 300;
/** A row is looked up in an index, fetched, joined, written and returned. */
const VISITS_PER_ROW = 4;

const STATISTICS: Readonly<Record<string, (client: pg.Client, workerId: number) => Promise<void>>> = {
  'never analysed': async () => undefined,
  'analysed while empty': async (client) => void (await client.query('vacuum analyze')),
  'prepared on small tables': async (client, workerId) => cycle(client, workerId, 1),
  'analysed between two waves of runs': async (client, workerId) => {
    await cycle(client, workerId, BATCH);
    await client.query('analyze');
  },
  'analysed while full': async (client, workerId) => {
    const ids = await start(client, workerId, 10 * BATCH);
    await client.query('analyze');
    await finish(client, workerId, ids);
  },
};

for (const [statistics, prepare] of Object.entries(STATISTICS)) {
  test(`a flush visits each row a few times: ${statistics}`, async (t) => {
    await using database = await createTestDatabase();
    const store = await connectStore({ url: database.url, poolSize: 1 });
    t.after(() => store.close());
    await ensurePartitions(store, PARTITIONED, store.now());
    const client = await store.connect('plans');
    t.after(() => client.end());
    const { rows } = await client.query<{ worker_id: number }>(
      "insert into workers (lease_until, host, pid) values (now() + interval '1 hour', 'test', 1) returning worker_id",
    );
    const workerId = rows[0]?.worker_id ?? 0;
    await prepare(client, workerId);

    const visits = await countVisits(client, () => cycle(client, workerId, BATCH));
    assert.ok(visits.length >= 8, `plans with nodes were seen: ${visits.length}`);
    const worst = visits.reduce((a, b) => (b.rows > a.rows ? b : a));
    assert.ok(worst.rows <= VISITS_PER_ROW * BATCH, `${worst.node} visited ${worst.rows} rows for a batch of ${BATCH}`);
  });
}

/** One life of runs: started, a step parked and settled, parked and taken up, finished. */
async function cycle(client: pg.Client, workerId: number, n: number): Promise<void> {
  const ids = await start(client, workerId, n);
  const pending = ids.map((runId) => step(runId, 'p'));
  await flush(
    client,
    workerId,
    pending.map((row) => ({ type: 'step', row, ...base(row.runId) })),
  );
  await flush(
    client,
    workerId,
    pending.map(({ runId }) => ({ type: 'settleStep', row: step(runId, 'o'), ...base(runId) })),
  );
  await flush(
    client,
    workerId,
    ids.map((runId) => ({ type: 'watch', runId, ...base(runId) })),
  );
  await flush(
    client,
    workerId,
    ids.map((runId) => ({ type: 'park', runId, status: 's', wakeAt: Date.now(), ...base(runId) })),
  );
  await client.query("update workflow_runs set status = 'r', owner = $1, wake_at = null where status = 's'", [workerId]);
  await finish(client, workerId, ids);
}

async function start(client: pg.Client, workerId: number, n: number): Promise<string[]> {
  const ids = Array.from({ length: n }, () => uuidv7(Date.now()));
  await flush(
    client,
    workerId,
    ids.map((runId) => ({ type: 'start', row: startRow(runId), ...base(runId) })),
  );
  return ids;
}

async function finish(client: pg.Client, workerId: number, ids: readonly string[]): Promise<void> {
  const ends = ids.map((runId): Write => ({
    type: 'finish',
    runId,
    status: 'c',
    result: '1',
    error: null,
    hadWaits: true,
    ...base(runId),
  }));
  await flush(client, workerId, ends);
}

interface Visits {
  readonly node: string;
  readonly rows: number;
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows'?: number;
  readonly 'Actual Loops'?: number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Join Filter'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** Rows that each node of each statement's plan gave or threw away, as Postgres counted them while it ran. */
async function countVisits(client: pg.Client, work: () => Promise<void>): Promise<Visits[]> {
  const visits: Visits[] = [];
  const visit = (node: PlanNode): void => {
    const perLoop = (node['Actual Rows'] ?? 0) + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Join Filter'] ?? 0);
    visits.push({ node: `${node['Node Type']} ${node['Relation Name'] ?? ''}`, rows: perLoop * (node['Actual Loops'] ?? 0) });
    node.Plans?.forEach(visit);
  };
  const onNotice = ({ message = '' }: { message?: string | undefined }) => {
    const plan = /plan:\n([^]*)/.exec(message)?.[1];
    if (plan !== undefined) visit((JSON.parse(plan) as { Plan: PlanNode }).Plan);
  };
  await client.query(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
    set auto_explain.log_timing = off; set auto_explain.log_format = json; set auto_explain.log_level = notice`);
  client.on('notice', onNotice);
  await work();
  client.off('notice', onNotice);
  return visits;
}

function base(group: string): { group: string; bytes: number; settle(): void } {
  return { group, bytes: 100, settle: () => undefined };
}

function startRow(runId: string): StartRow {
  const none = { key: null, wakeAt: null, parent: null, traceId: null, startedBy: null, triggerKey: null, inputHash: null };
  return { ...none, runId, workflow: 'w', version: '1', status: 'r', queue: 'default', priority: 0, startedAt: Date.now(), input: '{}' };
}

function step(runId: string, status: 'p' | 'o'): StepRow {
  const at = Date.now();
  const place = { runId, seq: 1, ord: status === 'o' ? 1 : null, attempt: 1, attempts: 1, kind: 'z', name: 'nap' };
  return { ...place, status, outcome: null, detail: null, wakeAt: at, startedAt: at, endedAt: status === 'o' ? at : null };
}
