/** An event with a key: sent twice, at once, with another payload, and by somebody who dies in its middle. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { connectStore, type Store } from '../store/index.ts';

const PAID = { event_type: 'paid', correlation_id: 'o1', payload: { by: 'ann', cents: 5 }, event_key: 'k1' };

const counts = async (store: Store) =>
  (
    await store.query<{ events: number; keys: number }>(
      'select (select count(*) from workflow_events)::int as events, (select count(*) from workflow_event_keys)::int as keys',
    )
  ).rows[0];

test('sent again it is the first one, and no other wait gets it', async () => {
  await using t = await createTestEngine();
  t.registry.define('listens', async (_: unknown, ctx) => {
    const first = await ctx.waitForEvent('one', { eventType: 'paid', correlationId: 'o1' });
    const second = await ctx.waitForEvent('two', { eventType: 'paid', correlationId: 'o1' });
    return [first, second];
  });
  const first = await t.engine.emitEvent(PAID);
  const again = await t.engine.emitEvent({ ...PAID, payload: { cents: 5, by: 'ann' } });
  assert.deepEqual([first.idempotent, again.idempotent, again.event_id], [false, true, first.event_id]);
  await t.engine.emitEvent({ ...PAID, payload: 'next', event_key: 'k2' });
  assert.deepEqual((await t.run('listens')).result, [{ by: 'ann', cents: 5 }, 'next']);
});

test('one that is sent by many at once is one', async () => {
  await using t = await createTestEngine({ idle: true });
  const engines = [t.engine, await t.another()];
  const emitted = await Promise.all(Array.from({ length: 20 }, (_, i) => (engines[i % 2] ?? t.engine).emitEvent(PAID)));
  assert.equal(new Set(emitted.map((each) => each.event_id)).size, 1);
  assert.equal(emitted.filter((each) => !each.idempotent).length, 1);
  assert.deepEqual(await counts(t.store), { events: 1, keys: 1 });
});

test('the key with something else is refused; without a key, or of another type, it is another event', async () => {
  await using t = await createTestEngine({ idle: true });
  const { event_id } = await t.engine.emitEvent(PAID);
  for (const other of [{ payload: { by: 'bob', cents: 5 } }, { payload: undefined }, { correlation_id: 'o2' }])
    await assert.rejects(t.engine.emitEvent({ ...PAID, ...other }), { code: 'EVENT_KEY_MISMATCH', details: { event_id } });
  for (const key of ['', 'x'.repeat(513), 'a\0', 'a\ud800'])
    await assert.rejects(t.engine.emitEvent({ ...PAID, event_key: key }), { code: 'INVALID_REQUEST', message: /^event_key: / });
  assert.deepEqual(await counts(t.store), { events: 1, keys: 1 });
  const long = { event_type: '付'.repeat(500), event_key: '鍵'.repeat(512) };
  for (const other of [{ event_key: undefined }, { event_type: 'refunded' }, long])
    assert.equal((await t.engine.emitEvent({ ...PAID, ...other })).idempotent, false);
  assert.deepEqual(await counts(t.store), { events: 4, keys: 3 });
});

test('an event that could not be stored leaves no key behind', async () => {
  await using t = await createTestEngine({ idle: true });
  await t.store.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$`);
  await t.store.query('create trigger refuse before insert on workflow_events for each row execute function refuse()');
  await assert.rejects(t.engine.emitEvent(PAID), /not now/);
  await t.store.query('drop trigger refuse on workflow_events');
  assert.equal((await t.engine.emitEvent(PAID)).idempotent, false);
  assert.deepEqual(await counts(t.store), { events: 1, keys: 1 });
});

test('whoever sends it again wakes the run that nobody has told of it', async (t) => {
  // without a worker: it would find it by itself, some time
  await using own = await createTestEngine({ idle: true });
  own.registry.define('parked', async () => {});
  const { run_id } = await own.engine.start({ workflow_name: 'parked' });
  await own.store.query(
    `with parked as (update workflow_runs set status = 'w' where run_id = $1)
     insert into workflow_waits (run_id, seq, event_type, correlation_id) values ($1, 0, 'paid', 'o1')`,
    [run_id],
  );
  const store = await connectStore({ url: own.database.url, poolSize: 2 });
  t.after(() => store.close());
  const mute: Store = {
    ...store,
    listener: store.listener,
    query: (sql, params) => (sql.includes('with hit as') ? Promise.reject(new Error('it died')) : store.query(sql, params)),
  };
  const dying = await own.another({ store: mute });
  assert.equal((await dying.emitEvent(PAID)).runs_woken, 0);
  const again = await own.engine.emitEvent(PAID);
  assert.deepEqual([again.idempotent, again.runs_woken], [true, 1]);
});
