/** Consumers of the inbox of a real API: they fail, hang, are killed, and lose their API. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, createClient, type InboxEvent } from '@centaur/sdk';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { eventually } from '../../test/support/wait.ts';
import { consume, type ConsumeOptions, Hopeless, type Trouble } from './index.ts';

let threads: TestThreads;
let api: TestApi;
let key: string;
let client: Client;

before(async () => {
  threads = await createTestThreads();
  api = await startTestApi({ on: threads.engine, threads: threads.threads });
  key = await api.keyWith('inbox.use');
  client = createClient({ url: api.url, apiKey: key });
});
after(async () => {
  await api[Symbol.asyncDispose]();
  await threads[Symbol.asyncDispose]();
});
/** Each test has its own: a claim that one has left may still be on its way, and takes what is there. */
let platform = '';
let tests = 0;
beforeEach(() => {
  platform = `chat${(tests += 1)}`;
});

const put = (conversation: string, eventId: string) => client.inbox.put({ platform, eventId, conversation, body: { eventId } });

async function states(): Promise<Readonly<Record<string, string>>> {
  const { rows } = await threads.store.query<{ event_id: string; state: string }>(
    'select event_id, state from agent_inbox where platform = $1 order by position',
    [platform],
  );
  return Object.fromEntries(rows.map(({ event_id, state }) => [event_id, state]));
}

function start(act: ConsumeOptions['act'], more: Partial<ConsumeOptions> = {}) {
  const stop = new AbortController();
  const troubles: Trouble[] = [];
  const dropped = Promise.withResolvers<never>();
  dropped.promise.catch(() => {});
  const ended = consume({
    inbox: client.inbox,
    platform,
    consumerId: `test:${Math.random()}`,
    most: 5,
    signal: stop.signal,
    act: (event) => Promise.race([act(event), dropped.promise]),
    onTrouble: (trouble) => troubles.push(trouble),
    ...more,
  });
  return {
    troubles,
    async stop() {
      stop.abort();
      await ended;
    },
    /** Also where a test fails, and nobody ends what it has under way. */
    [Symbol.dispose]() {
      stop.abort();
      dropped.reject(new Error('the test is over'));
    },
  };
}

test('events of a conversation are acted on in their order, those of others beside them, and each is told to be done', async () => {
  for (const id of ['a1', 'b1', 'a2', 'b2', 'a3']) await put(id.slice(0, 1), id);
  const acted: string[] = [];
  const other = Promise.withResolvers<void>();
  using consumer = start(async ({ event_id: id }) => {
    if (id === 'b1') other.resolve();
    // ends only when another conversation has begun beside it
    if (id === 'a1') await other.promise;
    acted.push(id);
  });
  await eventually(async () => Object.values(await states()).every((state) => state === 'done'), { what: 'all to be done' });
  // one that comes while it waits for one
  await put('c', 'c1');
  await eventually(() => acted.includes('c1'), { what: 'the late one' });
  await consumer.stop();
  const of = (letter: string) => acted.filter((id) => id.startsWith(letter));
  assert.deepEqual(
    [of('a'), of('b')],
    [
      ['a1', 'a2', 'a3'],
      ['b1', 'b2'],
    ],
  );
  assert.deepEqual(consumer.troubles, []);
});

test('one that fails is tried again and holds up its own conversation; one without hope is given up at once', async () => {
  for (const [conversation, id] of [
    ['a', 'a1'],
    ['a', 'a2'],
    ['b', 'b1'],
    ['b', 'b2'],
  ] as const)
    await put(conversation, id);
  const acted: string[] = [];
  using consumer = start(async ({ event_id: id, attempt_count: attempt }) => {
    acted.push(`${id}#${attempt}`);
    if (id === 'a1' && attempt === 1) throw new Error('not now');
    if (id === 'b1') throw new Hopeless('never');
  });
  await eventually(async () => (await states())['a2'] === 'done' && (await states())['b2'] === 'done', {
    what: 'the others',
  });
  await consumer.stop();
  assert.deepEqual(
    acted.filter((id) => id.startsWith('a')),
    ['a1#1', 'a1#2', 'a2#1'],
  );
  assert.deepEqual(await states(), { a1: 'done', a2: 'done', b1: 'dead_letter', b2: 'done' });
  assert.deepEqual(consumer.troubles.map(({ error, event }) => `${event?.event_id}: ${error.message}`).toSorted(), [
    'a1: not now',
    'b1: never',
  ]);
});

test('what a killed consumer had is acted on by another one when its lease is over, in its order', async () => {
  await put('a', 'a1');
  await put('a', 'a2');
  const child = fork(new URL('../../test/support/inbox-consumer.ts', import.meta.url), [api.url, key, platform], {
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  assert.deepEqual(await once(child, 'message').then(([id]) => id as string), 'a1');
  child.kill('SIGKILL');
  await once(child, 'exit');
  // until the API has heard that nobody waits for the claim that was made beside
  await sleep(300);
  const acted: string[] = [];
  using consumer = start(async ({ event_id: id, attempt_count: attempt }) => void acted.push(`${id}#${attempt}`));
  await put('b', 'b1');
  await eventually(() => acted.includes('b1#1'), { what: 'the other conversation' });
  assert.deepEqual(acted, ['b1#1'], 'nobody overtakes what was left');
  await threads.store.query("update agent_inbox set lease_expires_at = now() - interval '1 s' where event_id = 'a1' and platform = $1", [
    platform,
  ]);
  // whoever waits hears of the next thing that happens
  await put('c', 'c1');
  await eventually(() => acted.includes('a2#1'), { what: 'what was left' });
  await consumer.stop();
  assert.deepEqual(
    acted.filter((id) => id.startsWith('a')),
    ['a1#2', 'a2#1'],
  );
});

test('a claim that was lost meanwhile is not told to have failed: it is another’s', async () => {
  await put('a', 'a1');
  const release = Promise.withResolvers<void>();
  using consumer = start(async () => release.promise);
  await eventually(async () => (await states())['a1'] === 'claimed', { what: 'a claim' });
  await threads.store.query("update agent_inbox set lease_owner = 'another' where event_id = 'a1' and platform = $1", [platform]);
  release.resolve();
  await eventually(() => consumer.troubles.length > 0, { what: 'the loss to be noticed' });
  await consumer.stop();
  const { rows } = await threads.store.query<{ state: string; lease_owner: string; last_error: string | null }>(
    'select state, lease_owner, last_error from agent_inbox where platform = $1',
    [platform],
  );
  assert.deepEqual(rows, [{ state: 'claimed', lease_owner: 'another', last_error: null }]);
});

test('while the API is away it is asked again, and when told to stop, what is under way ends first', async () => {
  let away = true;
  let asked = 0;
  const inbox: ConsumeOptions['inbox'] = {
    ...client.inbox,
    claim: async (options) => {
      asked += 1;
      if (away) throw new Error('away');
      return client.inbox.claim(options);
    },
  };
  const acting = Promise.withResolvers<InboxEvent>();
  const release = Promise.withResolvers<void>();
  using consumer = start(
    async (event) => {
      acting.resolve(event);
      await release.promise;
    },
    { inbox },
  );
  await eventually(() => asked >= 2, { what: 'another try' });
  away = false;
  await put('a', 'a1');
  await acting.promise;
  let hasEnded = false;
  const stopping = consumer.stop().then(() => (hasEnded = true));
  // until the API has heard that nobody waits for the claim that was made beside
  await sleep(300);
  await put('b', 'b1');
  assert.equal(hasEnded, false);
  release.resolve();
  await stopping;
  assert.deepEqual(await states(), { a1: 'done', b1: 'pending' });
});

test('a claim that is never answered is given up, and made again', async () => {
  let asked = 0;
  const silent = createClient({
    url: api.url,
    apiKey: key,
    fetch: (input, init) => {
      asked += 1;
      if (asked > 1) return fetch(input, init);
      return new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(new Error('aborted'))));
    },
  });
  const acted: string[] = [];
  using consumer = start(async ({ event_id: id }) => void acted.push(id), { inbox: silent.inbox, claimMs: 2000 });
  await put('a', 'a1');
  // one that is taken by a claim that is given up too is there again when its lease is over
  await eventually(() => acted.includes('a1'), { what: 'the event', timeoutMs: 120_000 });
  await consumer.stop();
});
