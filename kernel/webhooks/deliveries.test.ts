import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { connectStore, type Store, uuidv7 } from '../store/index.ts';
import { ensurePartitions, partitionName, uuidAt, WEEK_MS, weekStart } from '../store/partitions.ts';
import { createDeliveries, type Deliveries, type DeliveryRow, dropOldDeliveries } from './deliveries.ts';

let database: TestDatabase;
let store: Store;
let deliveries: Deliveries;

before(async () => {
  database = await createTestDatabase();
  store = await connectStore({ url: database.url });
  deliveries = await createDeliveries({ store, log: () => {}, retentionDays: 30 });
});

after(async () => {
  await deliveries.close();
  await store.close();
  await database.drop();
});

function row(more: Partial<DeliveryRow> = {}): DeliveryRow {
  return {
    deliveryId: uuidv7(store.now()),
    slug: 'a',
    workflow: 'w',
    receivedAt: store.now(),
    triggerKey: 'k',
    runId: uuidv7(store.now()),
    created: true,
    method: 'POST',
    sourceIp: '2001:db8::1',
    contentType: 'application/json',
    bodySha256: Buffer.alloc(32, 7),
    bodyBytes: 12,
    provider: null,
    event: null,
    redeliveryOf: null,
    ...more,
  };
}

test('deliveries are listed newest first, page by page, of one webhook or of some workflows', async () => {
  const rows = Array.from({ length: 7 }, (_, i) => row({ slug: i % 2 === 0 ? 'even' : 'odd', workflow: `w${i % 3}` }));
  await Promise.all(rows.map((each) => deliveries.add(each)));
  const all: string[] = [];
  let after: string | undefined;
  do {
    const page = await deliveries.list({ limit: 3, after });
    all.push(...page.items.map((each) => each.delivery_id));
    after = page.next ?? undefined;
  } while (after !== undefined);
  assert.deepEqual(all, rows.map((each) => each.deliveryId).toReversed());
  const bySlug = await deliveries.list({ slug: 'odd', limit: 2 });
  assert.deepEqual([bySlug.items.map((each) => each.slug), bySlug.next !== null], [['odd', 'odd'], true]);
  const byWorkflow = await deliveries.list({ workflows: ['w0', 'w1'], slug: 'even' });
  assert.deepEqual(
    byWorkflow.items.map((each) => each.workflow_name),
    ['w0', 'w1', 'w0'],
  );
  assert.deepEqual((await deliveries.list({ workflows: [] })).items, []);
  const one = await deliveries.get(all[0] as string);
  assert.deepEqual([one.source_ip, one.body_sha256, one.created], ['2001:db8::1', '07'.repeat(32), true]);
  await assert.rejects(deliveries.get('no id'), { code: 'DELIVERY_NOT_FOUND' });
});

test('a row that Postgres refuses fails alone', async () => {
  const outcomes = await Promise.allSettled([row(), row({ sourceIp: 'nonsense' }), row()].map((each) => deliveries.add(each)));
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
});

test('weeks that are past their retention are dropped, and nothing else', async () => {
  const old = store.now() - 60 * 86_400_000;
  await ensurePartitions(store, ['webhook_deliveries'], old);
  await deliveries.add(row({ deliveryId: uuidAt(old), slug: 'old' }));
  await deliveries.add(row({ slug: 'new' }));
  const ancient = store.now() - 4000 * 86_400_000;
  await deliveries.add(row({ deliveryId: uuidAt(ancient), slug: 'ancient' }));
  const { dropped } = await dropOldDeliveries(store, { retentionDays: 30, now: new Date(store.now()) });
  assert.ok(dropped.includes(partitionName('webhook_deliveries', weekStart(old))));
  assert.ok(!dropped.includes(partitionName('webhook_deliveries', weekStart(store.now() - 4 * WEEK_MS))));
  for (const [slug, left] of [
    ['old', 0],
    ['ancient', 0],
    ['new', 1],
  ] as const)
    assert.equal((await deliveries.list({ slug })).items.length, left, slug);
});

test('weeks that are past their retention are dropped at the start, too', async () => {
  const old = store.now() - 60 * 86_400_000;
  const week = partitionName('webhook_deliveries', weekStart(old));
  await ensurePartitions(store, ['webhook_deliveries'], old);
  await deliveries.add(row({ deliveryId: uuidAt(old), slug: 'before-the-start' }));
  const isThereAfterAStart = async (retentionDays: number) => {
    await (await createDeliveries({ store, log: () => {}, retentionDays })).close();
    const { rows } = await store.query<{ there: boolean }>('select to_regclass($1) is not null as there', [week]);
    return rows[0]?.there;
  };
  assert.equal(await isThereAfterAStart(90), true, 'as long as it is kept');
  assert.equal((await deliveries.list({ slug: 'before-the-start' })).items.length, 1);
  assert.equal(await isThereAfterAStart(30), false);
  assert.equal((await deliveries.list({ slug: 'before-the-start' })).items.length, 0);
});

test('old weeks that cannot be dropped keep nothing from starting', async () => {
  const logs: string[] = [];
  const failing: Store = {
    ...store,
    now: store.now,
    query: (sql, values) => (sql.includes('pg_inherits') ? Promise.reject(new Error('no catalogue')) : store.query(sql, values)),
  };
  const started = await createDeliveries({ store: failing, log: ({ message }) => logs.push(message), retentionDays: 30 });
  assert.deepEqual(logs, ['tidying up the deliveries failed; trying again']);
  await started.close();
});

test('closing waits for what is being committed', async () => {
  const closing = await createDeliveries({ store, log: () => {}, retentionDays: 30 });
  let isCommitted = false;
  const added = closing.add(row({ slug: 'last' })).then(() => (isCommitted = true));
  // its write is with the writer
  await setImmediate();
  await closing.close();
  assert.equal(isCommitted, true);
  await added;
  assert.equal((await deliveries.list({ slug: 'last' })).items.length, 1);
});

test('closing does not wait for a database that is away', async () => {
  const tried = Promise.withResolvers<void>();
  const away: Store = {
    ...store,
    now: store.now,
    connect() {
      tried.resolve();
      return Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }));
    },
  };
  const stuck = await createDeliveries({ store: away, log: () => {}, retentionDays: 30, closeMs: 20 });
  const added = stuck.add(row()).then(
    () => 'added',
    () => 'refused',
  );
  await tried.promise;
  const closed = await Promise.race([stuck.close().then(() => true), delay(30_000, false, { ref: false })]);
  assert.equal(closed, true);
  assert.equal(await Promise.race([added, delay(30_000, 'waiting', { ref: false })]), 'refused', 'nobody is told that it was accepted');
});
