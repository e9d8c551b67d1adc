import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
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

test('an event that is stored while an earlier one is not committed yet comes after it', async () => {
  await using t = await createTestThreads();
  const slow = await t.store.connect('test');
  await slow.query('begin');
  await slow.query('select pg_advisory_xact_lock(7226015, hashtext($1))', [JSON.stringify(['slack', 'C1'])]);
  await slow.query(`insert into agent_inbox (platform, event_id, conversation, body) values ('slack', 'Ev1', 'C1', '{}')`);
  const second = put(t, 'C1', 'Ev2');
  await put(t, 'C2', 'Ev3');
  assert.deepEqual(ids(await claim(t, 'bot')), ['Ev3'], 'others go on');
  await slow.query('commit');
  await slow.end();
  await second;
  assert.deepEqual(ids(await claim(t, 'bot')), ['Ev1']);
});

test('what is tried again by hand waits for the one of its conversation that is being acted on', async () => {
  await using t = await createTestThreads();
  await put(t, 'C1', 'Ev1');
  await put(t, 'C1', 'Ev2');
  await claim(t, 'one');
  await t.threads.inbox.fail('slack', 'Ev1', { consumer_id: 'one', error: 'no', non_retryable: true });
  assert.deepEqual(ids(await claim(t, 'two')), ['Ev2']);
  await t.threads.inbox.retry('slack', 'Ev1');
  assert.deepEqual(await claim(t, 'one'), []);
  await t.threads.inbox.settle('slack', 'Ev2', 'two');
  assert.deepEqual(ids(await claim(t, 'one')), ['Ev1']);
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
