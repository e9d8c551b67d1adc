import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { PARTITIONED } from './engine.ts';
import { applyRetention } from './retention.ts';

const MONTHS = 60 * 86_400_000;

async function peopleOf({ store }: TestEngine, run: string): Promise<readonly string[]> {
  const { rows } = await store.query<{ actor: string }>('select actor from people_of_runs(array[$1::uuid]) order by 1', [run]);
  return rows.map(({ actor }) => actor);
}

async function asked({ store }: TestEngine): Promise<readonly (readonly [string, string])[]> {
  const { rows } = await store.query<{ run_id: string; actor: string }>('select run_id, actor from run_askers order by run_id, actor');
  return rows.map(({ run_id: run, actor }) => [run, actor] as const);
}

async function prune(t: TestEngine): Promise<void> {
  const now = new Date(Date.now() + MONTHS);
  await ensurePartitions(t.store, PARTITIONED, now.getTime());
  await applyRetention(t.store, { retentionDays: 30, now });
}

test('what runs in processes of their own start is of whoever has a part in the one that asks, new or not', async () => {
  await using t = await createTestEngine();
  t.registry.define('quick', async () => 1);
  const start = async (by: string) =>
    (await t.engine.start({ workflow_name: 'quick', run_at: '2100-01-01T00:00:00Z' }, undefined, by)).run_id;
  const [first, second] = [await start('user:ann'), await start('user:dan')];
  await t.engine.cancelRun(first);
  await t.engine.retryRun(first, 'user:bob');
  await t.engine.cancelRun(second);
  await t.engine.retryRun(second, 'user:eve');
  const from = (run: string) => t.engine.startFrom(run, { workflow_name: 'quick', trigger_key: 'k' });
  const one = await from(first);
  assert.deepEqual(await peopleOf(t, one.run_id), ['user:ann', 'user:bob']);
  const again = await from(second);
  assert.deepEqual([again.run_id, again.idempotent], [one.run_id, true]);
  assert.deepEqual(await peopleOf(t, one.run_id), ['user:ann', 'user:bob', 'user:dan', 'user:eve']);
});

test('keys, webhooks and this process are nobody', async () => {
  await using t = await createTestEngine();
  t.registry.define('fails', async () => assert.fail('as it should'));
  const start = (by?: string) => t.engine.start({ workflow_name: 'fails', trigger_key: 'k' }, undefined, by);
  const { run_id: run } = await start('user:ann');
  for (const by of ['key:ck_1', 'webhook:w', 'user:ann', undefined]) await start(by);
  await t.ended(run);
  for (const by of ['key:ck_1', 'system', undefined]) {
    await t.engine.retryRun(run, by);
    await t.ended(run);
  }
  assert.deepEqual(await asked(t), []);
  // and what is refused asks for nothing
  t.registry.define('works', async () => 1);
  const done = await t.run('works');
  await assert.rejects(t.engine.retryRun(done.run_id, 'user:bob'), { code: 'RUN_NOT_RETRYABLE' });
  assert.deepEqual(await asked(t), []);
});

test('who had a part in a run goes with it, unless something that it led to is alive', async () => {
  await using t = await createTestEngine({ residentMs: 20 });
  t.registry.define('last', async (_: unknown, ctx) => ctx.sleep('z', '1h'));
  t.registry.define('middle', async (_: unknown, ctx) => void (await ctx.startWorkflow('next', { workflow: 'last' })));
  t.registry.define('first', async (_: unknown, ctx) => void (await ctx.startWorkflow('next', { workflow: 'middle' })));
  const later = { workflow_name: 'first', run_at: '2100-01-01T00:00:00Z' };
  const { run_id: first } = await t.engine.start(later, undefined, 'user:ann');
  await t.engine.cancelRun(first);
  await t.engine.retryRun(first, 'user:bob');
  await t.ended(first);
  const last = await eventually(async () => (await t.engine.listRuns({ status: 'sleeping' })).items[0]?.run_id);
  assert.deepEqual(await asked(t), [[first, 'user:bob']]);

  await prune(t);
  await assert.rejects(t.engine.getRun(first), { code: 'RUN_NOT_FOUND' });
  assert.deepEqual(await asked(t), [[last, 'user:bob']]);
  assert.deepEqual(await peopleOf(t, last), ['user:ann', 'user:bob']);

  await t.engine.cancelRun(last);
  await prune(t);
  assert.deepEqual(await asked(t), []);
});
