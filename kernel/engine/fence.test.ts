import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';

test('a flush in flight holds up the takeover of its worker, but not the renewal of the lease', async () => {
  await using t = await createTestEngine();
  const { worker_id: id } = t.engine.stats();
  await t.store.transaction(async (flush) => {
    await flush.query('select 1 from workers where worker_id = $1 and not dead for key share', [id]);
    await t.store.transaction(async (beat) => {
      await beat.query(`set local lock_timeout = '10s'`);
      assert.equal((await beat.query('update workers set lease_until = now() where worker_id = $1', [id])).rowCount, 1);
    });
    const takeover = t.store.transaction(async (tx) => {
      await tx.query(`set local lock_timeout = '100ms'`);
      await tx.query('update workers set dead = true where worker_id = $1', [id]);
    });
    await assert.rejects(takeover, { code: '55P03' });
  });
});

test('a worker that was declared dead starts and finishes runs again in its next life, also when only starts came', async () => {
  await using t = await createTestEngine();
  t.registry.define('plain', () => 'done');
  const { worker_id: first } = t.engine.stats();
  await t.store.query('update workers set dead = true where worker_id = $1', [first]);
  await eventually(async () => {
    await t.engine.start({ workflow_name: 'plain' }).catch((error: Error & { code?: string }) => {
      assert.equal(error.code, 'STORE_UNAVAILABLE');
    });
    return t.engine.stats().worker_id !== first;
  });
  assert.equal((await t.run('plain')).result, 'done');
});

test('a worker that is declared dead while its claim is answered executes none of what it claimed', async () => {
  await using t = await createTestEngine({ leaseMs: 3000, residentMs: 0 });
  const executed: string[] = [];
  t.registry.define('sleeper', async (_: unknown, ctx) => {
    await ctx.sleep('first', '1h');
    await ctx.step('work', async () => {
      executed.push(ctx.runId);
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
  });
  const { worker_id: first } = t.engine.stats();
  const { run_id } = await t.engine.start({ workflow_name: 'sleeper' });
  const status = async () =>
    (await t.store.query<{ s: string }>('select status::text as s from workflow_runs where run_id = $1', [run_id])).rows[0]?.s;
  await eventually(async () => (await status()) === 's');
  await t.store.transaction(async (tx) => {
    await tx.query('lock table workflow_steps in access exclusive mode');
    // the hour is over
    await tx.query('update workflow_steps set wake_at = now() where run_id = $1', [run_id]);
    await t.store.query(
      `with due as (update workflow_runs set wake_at = now() where run_id = $1 returning 1) select pg_notify('centaur_work', '') from due`,
      [run_id],
    );
    // it is claimed, and its history cannot be read
    await eventually(async () => (await status()) === 'r');
    await t.store.query('update workers set dead = true where worker_id = $1', [first]);
    await t.store.query(`update workflow_runs set status = 's', owner = null, wake_at = now() where run_id = $1`, [run_id]);
    await eventually(() => t.engine.stats().worker_id !== first);
    await t.another().then((second) => second.work());
    await eventually(async () => (await status()) === 'r');
  });
  assert.equal((await t.ended(run_id)).status, 'completed');
  assert.deepEqual(executed, [run_id]);
});
