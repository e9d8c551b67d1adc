import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { connectStore, type Store } from '../store/index.ts';
import { createEngine } from './index.ts';

/** The store, but what this statement answers is held back when it is a row, until it may go. */
function holding(own: Store, statement: string): { readonly store: Store; answered(): boolean; go(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isAnswered = false;
  const store = {
    ...own,
    listener: own.listener,
    async query(text: string, values?: unknown[]) {
      const answer = await own.query(text, values);
      if (text.includes(statement) && answer.rowCount === 1) {
        isAnswered = true;
        await promise;
      }
      return answer;
    },
  } as Store;
  return { store, answered: () => isAnswered, go: resolve };
}

test('a worker that is drained while it asks when the next run is due leaves no clock behind', async (c) => {
  await using t = await createTestEngine({ idle: true });
  t.registry.define('sleeps', (_input, ctx) => ctx.sleep('long', '1h'));
  const own = await connectStore({ url: t.database.url, poolSize: 5 });
  const { store, answered, go } = holding(own, 'order by r.wake_at limit 1');
  const engine = await createEngine({ store, registry: t.registry, log: () => undefined, residentMs: 0 });
  await engine.work();
  await engine.start({ workflow_name: 'sleeps', input: {} });
  await eventually(answered);
  await engine.drain(1000);
  const begun = c.mock.method(globalThis, 'setTimeout');
  go();
  for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate);
  assert.deepEqual(
    begun.mock.calls.map(({ arguments: [, ms] }) => ms).filter((ms) => ms === 60_000),
    [],
  );
  await own.close();
});

test('a run whose claim is answered after the worker was drained does not run there, and is handed back', async () => {
  await using t = await createTestEngine({ idle: true });
  let ran = 0;
  t.registry.define('counts', () => (ran += 1));
  const own = await connectStore({ url: t.database.url, poolSize: 5 });
  const { store, answered, go } = holding(own, `set status = 'r', owner = me.worker_id`);
  const engine = await createEngine({ store, registry: t.registry, log: () => undefined });
  await engine.work();
  const { run_id } = await t.engine.start({ workflow_name: 'counts', input: {} });
  await eventually(answered);
  await engine.drain(1000);
  go();
  // what it began would have begun by then
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(ran, 0);
  const other = await t.another();
  await other.work();
  assert.equal((await t.ended(run_id)).result, 1);
  await own.close();
});
