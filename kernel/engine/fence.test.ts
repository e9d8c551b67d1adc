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
      await beat.query(`set local lock_timeout = '1s'`);
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
