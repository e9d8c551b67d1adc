import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
import { createInboxWrites } from './inbox-writes.ts';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { eventually } from '../../test/support/wait.ts';

const refuses = (code: string) => (error: Error) => (error as { code?: string }).code === code;
const put = ({ threads }: TestThreads, conversation: string, event_id: string, body: unknown = { text: event_id }) =>
  threads.inbox.put({ platform: 'slack', event_id, conversation, body });
const claim = ({ threads }: TestThreads, consumer_id: string, more: object = {}) =>
  threads.inbox.claim({ consumer_id, platform: 'slack', limit: 10, lease_seconds: 60, ...more });
const ids = (events: readonly { readonly event_id: string }[]) => events.map(({ event_id }) => event_id);
const late = ({ store }: TestThreads) =>
  store.query(`update agent_inbox set lease_expires_at = now() - interval '1 s' where state = 'claimed'`);

test('an event is stored once, however often it is sent, and what it said goes when it was acted on', async () => {
  await using t = await createTestThreads();
  const sent = await Promise.all(Array.from({ length: 8 }, () => put(t, 'C1', 'Ev1', { text: 'first \u0000 \ud800' })));
  assert.equal(sent.filter(({ created }) => created).length, 1);
  const [event] = await claim(t, 'bot');
  assert.deepEqual(
    [event?.event_id, event?.conversation, event?.body, event?.attempt_count],
    ['Ev1', 'C1', { text: 'first \u0000 \ud800' }, 1],
  );
  assert.deepEqual(await t.threads.inbox.settle('slack', 'Ev1', 'bot'), { idempotent: false });
  assert.deepEqual(await t.threads.inbox.settle('slack', 'Ev1', 'bot'), { idempotent: true });
  assert.deepEqual(await put(t, 'C1', 'Ev1'), { created: false, state: 'done' });
  assert.deepEqual(await claim(t, 'bot'), []);
  const { rows } = await t.store.query<{ body: unknown }>('select body from agent_inbox');
  assert.deepEqual(rows, [{ body: null }]);
});

test('events of a conversation are handed out in their order, one at a time; those of others meanwhile', async () => {
  await using t = await createTestThreads();
  for (const id of ['a1', 'b1', 'a2', 'a3', 'b2']) await put(t, id.slice(0, 1), id);
  assert.deepEqual(ids(await claim(t, 'one')), ['a1', 'b1']);
  assert.deepEqual(await claim(t, 'two'), [], 'nobody overtakes');
  await t.threads.inbox.settle('slack', 'b1', 'one');
  assert.deepEqual(ids(await claim(t, 'two')), ['b2']);
  assert.deepEqual(await t.threads.inbox.fail('slack', 'a1', { consumer_id: 'one', error: 'no' }), { state: 'retry_wait' });
  assert.deepEqual(await claim(t, 'two'), [], 'the first one of it is waited for');
  await t.threads.inbox.retry('slack', 'a1');
  assert.deepEqual(ids(await claim(t, 'two')), ['a1']);
  assert.deepEqual(await t.threads.inbox.fail('slack', 'a1', { consumer_id: 'two', error: 'never', non_retryable: true }), {
    state: 'dead_letter',
  });
  assert.deepEqual(ids(await claim(t, 'two')), ['a2'], 'what was given up holds nothing up');
});

test('a consumer that is silent loses its claim, and only who has it may settle it', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await claim(t, 'one');
  await assert.rejects(t.threads.inbox.settle('slack', 'Ev1', 'two'), refuses('EVENT_NOT_CLAIMED'));
  await t.threads.inbox.renew('slack', 'Ev1', 'one', 60);
  assert.deepEqual(await claim(t, 'two'), []);
  await late(t);
  assert.equal((await claim(t, 'two'))[0]?.attempt_count, 2);
  await assert.rejects(t.threads.inbox.renew('slack', 'Ev1', 'one', 60), refuses('EVENT_NOT_CLAIMED'));
  await assert.rejects(t.threads.inbox.settle('slack', 'Ev1', 'one'), refuses('EVENT_NOT_CLAIMED'));
  await assert.rejects(t.threads.inbox.fail('slack', 'Ev1', { consumer_id: 'one', error: 'x' }), refuses('EVENT_NOT_CLAIMED'));
  await t.threads.inbox.settle('slack', 'Ev1', 'two');
});

test('many consumers at once: each event once, and never two of a conversation', async () => {
  await using t = await createTestThreads();
  const conversations = Array.from({ length: 12 }, (_, i) => `C${i}`);
  for (let round = 0; round < 8; round++) await Promise.all(conversations.map((each) => put(t, each, `${each}.${round}`)));
  const held = new Map<string, string>();
  const done: string[] = [];
  async function consume(name: string): Promise<void> {
    while (done.length < conversations.length * 8) {
      for (const { event_id, conversation } of await claim(t, name, { limit: 3, wait_ms: 200 })) {
        assert.equal(held.get(conversation), undefined, `${conversation} is at ${held.get(conversation)}`);
        held.set(conversation, event_id);
        await pause(1);
        done.push(event_id);
        held.delete(conversation);
        await t.threads.inbox.settle('slack', event_id, name);
      }
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => consume(`bot${i}`)));
  assert.equal(new Set(done).size, conversations.length * 8);
  assert.equal(done.length, conversations.length * 8);
  for (const each of conversations)
    assert.deepEqual(
      done.filter((id) => id.startsWith(`${each}.`)),
      Array.from({ length: 8 }, (_, round) => `${each}.${round}`),
    );
});

test('whoever waits is told at once, and takes nothing when they have gone', async () => {
  await using t = await createTestThreads();
  const before = performance.now();
  const waiting = claim(t, 'one', { wait_ms: 20_000 });
  await pause(100);
  await put(t, 'C1', 'Ev1');
  assert.deepEqual(ids(await waiting), ['Ev1']);
  assert.ok(performance.now() - before < 18_000);
  const gone = new AbortController();
  const left = t.threads.inbox.claim({ consumer_id: 'two', platform: 'slack', limit: 1, lease_seconds: 60, wait_ms: 20_000 }, gone.signal);
  await pause(50);
  gone.abort();
  assert.deepEqual(await left, []);
  await put(t, 'C2', 'Ev2');
  await pause(50);
  assert.deepEqual(ids(await claim(t, 'three')), ['Ev2']);
});

test('what never works is given up after ten tries, and may be tried again by hand; what is old is forgotten', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  for (let i = 1; i <= 10; i++) {
    await t.store.query('update agent_inbox set next_attempt_at = now()');
    assert.equal((await claim(t, 'one'))[0]?.attempt_count, i);
    const { state } = await t.threads.inbox.fail('slack', 'Ev1', { consumer_id: 'one', error: 'a\u0000b' });
    assert.equal(state, i < 10 ? 'retry_wait' : 'dead_letter');
  }
  const { items } = await t.threads.inbox.list({ platform: 'slack', state: 'dead_letter', limit: 5 });
  assert.deepEqual([items[0]?.event_id, items[0]?.last_error, items[0]?.attempt_count], ['Ev1', 'ab', 10]);
  await t.threads.inbox.retry('slack', 'Ev1');
  assert.deepEqual(ids(await claim(t, 'one')), ['Ev1']);
  await t.threads.inbox.settle('slack', 'Ev1', 'one');
  await assert.rejects(t.threads.inbox.retry('slack', 'Ev1'), refuses('EVENT_NOT_CLAIMED'));
  await t.store.query(`update agent_inbox set settled_at = now() - interval '4 days'`);
  await eventually(async () => (await t.threads.inbox.list({ limit: 5 })).items.length === 0);
});

/** Somebody else who gives an event a place, and has not committed yet. */
async function other({ store }: TestThreads, conversation: string) {
  const client = await store.connect('test');
  await client.query('begin');
  await client.query('select pg_advisory_xact_lock(7226015, hashtext($1))', [JSON.stringify(['slack', conversation])]);
  return {
    put: (id: string) =>
      client.query(`insert into agent_inbox (platform, event_id, conversation, body) values ('slack', $1, $2, '{}')`, [id, conversation]),
    commit: () => client.query('commit'),
    [Symbol.asyncDispose]: () => client.end(),
  };
}

const isWaiting = ({ store }: TestThreads) =>
  eventually(async () => {
    const { rowCount } = await store.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%pg_advisory_xact_lock%'`,
    );
    return rowCount === 1;
  });

test('an event that is stored while an earlier one is not committed yet comes after it', async () => {
  await using t = await createTestThreads();
  await using earlier = await other(t, 'C1');
  const second = put(t, 'C1', 'Ev2');
  await put(t, 'C2', 'Ev3');
  assert.deepEqual(ids(await claim(t, 'bot')), ['Ev3'], 'others go on');
  await isWaiting(t);
  await earlier.put('Ev1');
  await earlier.commit();
  assert.equal((await second).created, true);
  assert.deepEqual(ids(await claim(t, 'bot')), ['Ev1']);
});

test('what is tried again by hand while an earlier one is not committed yet comes after it', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await claim(t, 'bot');
  await t.threads.inbox.fail('slack', 'Ev1', { consumer_id: 'bot', error: 'no', non_retryable: true });
  await using earlier = await other(t, 'C1');
  const again = t.threads.inbox.retry('slack', 'Ev1');
  await isWaiting(t);
  await earlier.put('Ev2');
  await earlier.commit();
  await again;
  assert.deepEqual(ids(await claim(t, 'bot')), ['Ev2']);
});

test('of those who settle an event at once, one has done it, and whoever does not have it is told', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await put(t, 'C2', 'Ev2');
  await claim(t, 'one');
  const { inbox } = t.threads;
  const settled = await Promise.allSettled([
    inbox.settle('slack', 'Ev1', 'two'),
    inbox.settle('slack', 'Ev1', 'one'),
    inbox.settle('slack', 'Ev1', 'one'),
    inbox.settle('slack', 'Ev2', 'one'),
  ]);
  assert.deepEqual(
    settled.map((each) => (each.status === 'fulfilled' ? each.value.idempotent : (each.reason as { code: string }).code)),
    ['EVENT_NOT_CLAIMED', false, true, false],
  );
});

test('events that come at once are stored in the order in which they came', async () => {
  await using t = await createTestThreads();
  const sent = Array.from({ length: 60 }, (_, i) => `Ev${i}`);
  await Promise.all(sent.map((id, i) => put(t, i % 2 === 0 ? 'C1' : `C${i}`, id)));
  const { rows } = await t.store.query<{ event_id: string }>('select event_id from agent_inbox order by position');
  assert.deepEqual(ids(rows), sent);
});

test('an event that Postgres refuses fails alone', async () => {
  await using t = await createTestThreads();
  const before = put(t, 'C1', 'Ev1');
  const refused = put(t, 'C1', 'Ev\u0000');
  const after = ['Ev2', 'Ev3'].map((id) => put(t, id === 'Ev3' ? 'C2' : 'C1', id));
  await assert.rejects(refused, /invalid byte sequence/);
  for (const { created } of await Promise.all([before, ...after])) assert.ok(created);
  const { rows } = await t.store.query<{ event_id: string }>('select event_id from agent_inbox order by position');
  assert.deepEqual(ids(rows), ['Ev1', 'Ev2', 'Ev3']);
});

test('a line to the database on which no answer comes is given up, and another one taken', async () => {
  await using t = await createTestThreads();
  let lines = 0;
  const connect = (name: string) => {
    lines += 1;
    return t.store.connect(name);
  };
  const writes = createInboxWrites({ store: { transaction: t.store.transaction, connect }, log: () => {}, waitMs: 100 });
  await t.store.transaction(async (tx) => {
    await tx.query('lock table agent_inbox in exclusive mode');
    await assert.rejects(writes.put({ platform: 'slack', event_id: 'Ev1', conversation: 'C1', body: {} }), refuses('UNAVAILABLE'));
    await eventually(() => lines > 1);
  });
  await writes.close();
});

/** A database that answers when it is told to. */
function away({ store }: TestThreads, limits: { readonly waitMs?: number; readonly closeMs?: number } = {}) {
  let isThere = false;
  const writes = createInboxWrites({
    store: {
      transaction: store.transaction,
      async connect(name) {
        if (!isThere) throw new Error('connect ECONNREFUSED');
        return store.connect(name);
      },
    },
    log: () => {},
    ...limits,
  });
  const answer = () => {
    isThere = true;
  };
  return { writes, answer };
}

test('what waits for a database that does not answer is limited, and what was taken is stored when it does', async () => {
  await using t = await createTestThreads();
  const { writes, answer } = away(t, { waitMs: 600_000 });
  const event = (event_id: string, size: number) => ({ platform: 'slack', event_id, conversation: 'C1', body: 'x'.repeat(size) });
  const taken = Array.from({ length: 7 }, (_, i) => writes.put(event(`Ev${i}`, 9 * 1024 * 1024)));
  await assert.rejects(writes.put(event('Ev7', 9 * 1024 * 1024)), refuses('UNAVAILABLE'));
  const small = writes.put(event('Ev8', 10));
  answer();
  assert.deepEqual(new Set(await Promise.all([...taken, small])), new Set([true]));
  assert.equal(await writes.put(event('Ev7', 9 * 1024 * 1024)), true, 'there is room again');
  await writes.close();
});

test('what has waited for too long is told so, and is not written any more', async () => {
  await using t = await createTestThreads();
  const { writes, answer } = away(t, { waitMs: 50 });
  const event = (event_id: string) => ({ platform: 'slack', event_id, conversation: 'C1', body: {} });
  await put(t, 'C2', 'Ev1');
  await claim(t, 'bot');
  const late = await Promise.allSettled([writes.put(event('Ev2')), writes.settle({ platform: 'slack', event_id: 'Ev1' }, 'bot')]);
  for (const each of late) assert.ok(each.status === 'rejected' && refuses('UNAVAILABLE')(each.reason as Error));
  answer();
  await eventually(() =>
    writes.put(event('Ev3')).then(
      () => true,
      () => false,
    ),
  );
  const { rows } = await t.store.query('select event_id, state from agent_inbox order by event_id');
  assert.deepEqual(rows, [
    { event_id: 'Ev1', state: 'claimed' },
    { event_id: 'Ev3', state: 'pending' },
  ]);
  await writes.close();
});

test('closing does not wait for a database that is away', async () => {
  await using t = await createTestThreads();
  const { writes } = away(t, { waitMs: 600_000, closeMs: 50 });
  void writes.put({ platform: 'slack', event_id: 'Ev1', conversation: 'C1', body: {} }).catch(() => {});
  await writes.close();
});

test('an event that comes again while somebody changes it waits for nobody, and holds up no others', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await t.store.transaction(async (tx) => {
    await tx.query(`update agent_inbox set last_error = 'x'`);
    const sent = await Promise.all([put(t, 'C1', 'Ev1'), put(t, 'C2', 'Ev2')]);
    assert.deepEqual(
      sent.map(({ created }) => created),
      [false, true],
    );
  });
});

test('what is tried again by hand comes last in its conversation, after the one that is being acted on', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await put(t, 'C1', 'Ev2');
  await put(t, 'C1', 'Ev3');
  await claim(t, 'one');
  await t.threads.inbox.fail('slack', 'Ev1', { consumer_id: 'one', error: 'no', non_retryable: true });
  assert.deepEqual(ids(await claim(t, 'two')), ['Ev2']);
  await t.threads.inbox.retry('slack', 'Ev1');
  assert.deepEqual(await claim(t, 'one'), []);
  await t.threads.inbox.settle('slack', 'Ev2', 'two');
  assert.deepEqual(ids(await claim(t, 'one')), ['Ev3']);
  await t.threads.inbox.settle('slack', 'Ev3', 'one');
  assert.deepEqual(ids(await claim(t, 'one')), ['Ev1'], 'it comes last');
});

test('an event that kills whoever acts on it is given up, and its conversation goes on', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await put(t, 'C1', 'Ev2');
  for (let i = 1; i <= 10; i++) {
    assert.deepEqual(ids(await claim(t, 'one')), ['Ev1'], `${i}`);
    await late(t);
  }
  assert.deepEqual(await claim(t, 'one'), []);
  await eventually(async () => ids(await claim(t, 'one')).includes('Ev2'));
  const { items } = await t.threads.inbox.list({ state: 'dead_letter', limit: 5 });
  assert.match(items[0]?.last_error ?? '', /fell silent 10 times/);
});

test('a process of the release before ends a turn that is shown, and cancels one that is not', async () => {
  await using t = await createTestThreads();
  const { promise: go, resolve: end } = Promise.withResolvers<void>();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await go;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  const { deliveries } = t.threads;
  const first = await t.say('slack:C1:1', 'one', { platform: 'slack' });
  const second = await t.say('slack:C1:1', 'two', { platform: 'slack' });
  await deliveries.claim({ consumer_id: 'bot', limit: 1, lease_seconds: 60, live: true });
  await deliveries.renew(first, 'bot', 60, { ts: '1' });
  // as it wrote them
  await t.store.query(
    `insert into agent_final_delivery_outbox (thread_key, execution_id, platform, delivery, final_payload) values ('slack:C1:1', $1, 'slack', '{}', '{"n": 1}')`,
    [first],
  );
  assert.deepEqual(await deliveries.renew(first, 'bot', 60), { state: 'sending' });
  const { rows } = await t.store.query<{ progress: string }>('select progress from agent_final_delivery_outbox where execution_id = $1', [
    first,
  ]);
  assert.deepEqual(JSON.parse(rows[0]?.progress ?? 'null'), { ts: '1' });
  await t.store.query(
    `update agent_execution_requests set status = 'cancelled', terminal_reason = 'cancelled', completed_at = now() - interval '6 seconds' where execution_id = $1`,
    [second],
  );
  await eventually(async () => {
    const [owed] = await deliveries.claim({ consumer_id: 'bot', limit: 5, lease_seconds: 60 });
    return owed?.execution_id === second && (owed.final_payload as { status: string }).status === 'cancelled';
  });
  await t.store.query('delete from agent_final_delivery_outbox where execution_id = $1', [first]);
  end();
  await t.ended(first);
});

test('an answer may be claimed while its turn runs, and stays with who has it', async () => {
  await using t = await createTestThreads();
  const { promise: go, resolve: end } = Promise.withResolvers<void>();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await go;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  const { deliveries } = t.threads;
  const request = { limit: 5, lease_seconds: 60, platform: 'slack' };
  const waiting = deliveries.claim({ ...request, consumer_id: 'one', live: true, wait_ms: 20_000 });
  const executionId = await t.say('slack:C1:1', 'one', { platform: 'slack', delivery: { channel: 'C1' } });
  const [live] = await waiting;
  assert.deepEqual([live?.execution_id, live?.final_payload, live?.delivery, live?.progress], [executionId, null, { channel: 'C1' }, null]);
  assert.deepEqual(
    await deliveries.claim({ ...request, consumer_id: 'old' }),
    [],
    'who does not ask for it gets no answer that is not there',
  );
  assert.deepEqual(await deliveries.claim({ ...request, consumer_id: 'two', live: true }), [], 'it is claimed');
  assert.deepEqual(await deliveries.renew(executionId, 'one', 60, { ts: '1.2' }), { state: 'live' });
  await assert.rejects(deliveries.settle(executionId, 'one'), refuses('DELIVERY_NOT_CLAIMED'));
  // its consumer dies
  await t.store.query(`update agent_final_delivery_outbox set lease_expires_at = now() - interval '1 s'`);
  const [taken] = await deliveries.claim({ ...request, consumer_id: 'two', live: true });
  assert.deepEqual([taken?.execution_id, taken?.progress], [executionId, { ts: '1.2' }]);
  await assert.rejects(deliveries.renew(executionId, 'one', 60), refuses('DELIVERY_NOT_CLAIMED'));
  end();
  await t.ended(executionId);
  assert.deepEqual(await deliveries.claim({ ...request, consumer_id: 'old' }), [], 'it stays with who has shown it');
  assert.deepEqual(await deliveries.renew(executionId, 'two', 60), { state: 'sending' });
  await deliveries.settle(executionId, 'two');
});

test('a turn that is cancelled before it began is owed an answer that says so', async () => {
  await using t = await createTestThreads();
  const { promise: go, resolve: end } = Promise.withResolvers<void>();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await go;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  const first = await t.say('slack:C1:1', 'one', { platform: 'slack' });
  const second = await t.say('slack:C1:1', 'two', { platform: 'slack' });
  await t.threads.cancel(second);
  const [owed] = await t.threads.deliveries.claim({ consumer_id: 'bot', limit: 5, lease_seconds: 60, platform: 'slack' });
  assert.deepEqual([owed?.execution_id, (owed?.final_payload as { status: string } | undefined)?.status], [second, 'cancelled']);
  end();
  await t.ended(first);
});
