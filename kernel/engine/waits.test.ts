import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { connectStore, type Store } from '../store/index.ts';

/** A store for workers whose periodic repair finds nothing: it would cover up what is forgotten. */
const withoutRepair = (store: Store): Store => ({
  ...store,
  listener: store.listener,
  query: (sql, params) =>
    store.query(sql.includes('from (select * from workflow_waits where run_id > $1') ? `${sql} limit 0` : sql, params),
});

for (const what of ['event', 'run'] as const) {
  test(`what a run waits for comes while it is being evicted in mid-look: ${what}`, async (t) => {
    await using engines = await createTestEngine({ idle: true });
    const store = await connectStore({ url: engines.database.url, poolSize: 5 });
    t.after(() => store.close());
    let child = () => {};
    engines.registry.define('child', () => new Promise<string>((resolve) => (child = () => resolve('done'))), { queue: 'elsewhere' });
    engines.registry.define('parent', (_input, ctx) =>
      what === 'run'
        ? ctx.runWorkflow('child', { workflow: 'child' })
        : ctx.waitForEvent('news', { eventType: 'news', correlationId: '1' }),
    );
    const looks: { release(): void }[] = [];
    const parents = await engines.another({ store: slowLooks(store, looks), queues: ['default'], residentMs: 50 });
    await parents.work();
    const { run_id } = await parents.start({ workflow_name: 'parent' });
    if (what === 'run') await (await engines.another({ queues: ['elsewhere'] })).work();
    await eventually(() => looks.length >= 1);
    // the look has its answer, not there yet; now it comes, the run is evicted, and only then the look is over
    if (what === 'run') {
      await eventually(async () => (await engines.engine.getRun(run_id)).children[0]?.status === 'running');
      child();
      await eventually(async () => (await engines.engine.getRun(run_id)).children[0]?.status === 'completed');
    } else await engines.engine.emitEvent({ event_type: 'news', correlation_id: '1', payload: 'done' });
    await eventually(() => parents.stats().resident_runs === 0);
    for (const look of looks) look.release();
    await eventually(() => {
      for (const look of looks) look.release();
      return engines.engine.getRun(run_id).then((run) => run.status === 'completed');
    });
    assert.equal((await engines.engine.getRun(run_id)).result, 'done');
  });
}

/** A store whose answers to "is it there?" wait to be released. */
function slowLooks(store: Store, looks: { release(): void }[]): Store {
  return {
    ...withoutRepair(store),
    async query<Row extends object>(sql: string, params?: readonly unknown[]) {
      const answer = await withoutRepair(store).query<Row>(sql, params);
      if (/from workflow_runs_finished where run_id = any|from workflow_events e\s+where/.test(sql) && !sql.includes('waits'))
        await new Promise<void>((resolve) => looks.push({ release: resolve }));
      return answer;
    },
  };
}

test('a tree of runs over three workers loses no wake-up', async (test) => {
  await using t = await createTestEngine({ idle: true });
  t.registry.define('leaf', (_input, ctx) => ctx.step('work', () => 1));
  for (const [name, child, width] of [
    ['branch', 'leaf', 2],
    ['tree', 'branch', 3],
  ] as const) {
    t.registry.define(name, (_input, ctx) =>
      Promise.all(Array.from({ length: width }, (_, i) => ctx.runWorkflow(`child ${i}`, { workflow: child }))),
    );
  }
  // runs are evicted as soon as they wait: the worst case for whoever wakes them
  const stores = await Promise.all([1, 2, 3].map(() => connectStore({ url: t.database.url, poolSize: 5 })));
  test.after(() => Promise.all(stores.map((store) => store.close())));
  const workers = await Promise.all(stores.map((store) => t.another({ residentMs: 20, store: withoutRepair(store) })));
  await Promise.all(workers.map((worker) => worker.work()));
  await t.engine.startMany(Array.from({ length: 50 }, () => ({ workflow_name: 'tree' })));
  const left = async () => (await t.store.query<{ n: number }>('select count(*) as n from workflow_runs')).rows[0]?.n;
  await eventually(async () => (await left()) === 0);
});
