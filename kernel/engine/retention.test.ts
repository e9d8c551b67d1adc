import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { applyRetention } from './retention.ts';
import { PARTITIONED } from './engine.ts';

test('old weeks are dropped whole, and what live runs or late ends hold back stays', async () => {
  await using t = await createTestEngine({ residentMs: 20 });
  t.registry.define('short', async (_: unknown, ctx) => ctx.step('s', () => 1));
  t.registry.define('long', async (_: unknown, ctx) => {
    await ctx.step('s', () => 1);
    await ctx.sleep('z', '1h');
  });
  await t.run('short');
  const sleeper = await t.engine.start({ workflow_name: 'long' });
  await eventually(async () => (await t.engine.getRun(sleeper.run_id)).status === 'sleeping');
  const inTwoMonths = new Date(Date.now() + 60 * 86_400_000);
  await ensurePartitions(t.store, PARTITIONED, inTwoMonths.getTime());

  await applyRetention(t.store, { retentionDays: 30, now: inTwoMonths });
  assert.equal((await t.engine.getRun(sleeper.run_id)).steps.length, 2, 'the sleeper pins its week');
  assert.equal((await t.engine.listRuns({ status: 'completed' })).items.length, 0, 'the finished run was deleted by row');

  await t.engine.cancelRun(sleeper.run_id);
  await applyRetention(t.store, { retentionDays: 30, now: new Date(Date.now() + 10 * 86_400_000) });
  assert.equal((await t.engine.getRun(sleeper.run_id)).status, 'cancelled', 'not old enough yet');
  const { dropped } = await applyRetention(t.store, { retentionDays: 30, now: inTwoMonths });
  assert.ok(dropped.some((name) => name.startsWith('workflow_steps_')));
  await assert.rejects(t.engine.getRun(sleeper.run_id), /does not exist/);
});

test('the key of an event is forgotten when runs of its time are', async () => {
  await using t = await createTestEngine({ idle: true });
  await t.engine.emitEvent({ event_type: 'go', correlation_id: 'a', event_key: 'k1' });
  const keys = async () => (await t.store.query('select from workflow_event_keys')).rowCount;
  const inDays = (days: number) => ({ retentionDays: 30, now: new Date(Date.now() + days * 86_400_000) });
  await applyRetention(t.store, inDays(29));
  assert.equal(await keys(), 1);
  await applyRetention(t.store, inDays(31));
  assert.equal(await keys(), 0);
});
