/** Turns that are shown while they run, by processes that die, on a platform that goes away for a while. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createClient } from '@centaur/sdk';
import { ADMIN, startTestApi, type TestApi } from '../../test/support/api.ts';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { eventually } from '../../test/support/wait.ts';
import { type LiveOptions, type LiveTurn, showLive, Undeliverable } from './live.ts';
import { answerOf, isOver } from './turn.ts';

describe('a turn that is shown while it runs', () => {
  let t: TestThreads;
  let api: TestApi;
  let count = 0;
  /** What the turn of each thread waits for before its answer. */
  const gates = new Map<string, PromiseWithResolvers<void>>();
  before(async () => {
    t = await createTestThreads();
    api = await startTestApi({ threads: t.threads, on: t.engine });
    t.onTurn(async (owner, threads) => {
      const { executionId: execution_id } = owner;
      await threads.turns.begin(owner);
      await threads.turns.append(owner, [
        { kind: 'text.delta', data: { type: 'text.delta', execution_id, message_id: 'm', text: 'Some words.' } },
      ]);
      await gates.get(owner.threadKey)?.promise;
      await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'The answer.' });
    });
  });
  after(async () => {
    for (const gate of gates.values()) gate.resolve();
    await api[Symbol.asyncDispose]();
    await t[Symbol.asyncDispose]();
  });

  interface Seen {
    readonly live: LiveTurn;
    readonly texts: string[];
    outcome?: 'shown' | 'lost';
  }

  /** One consumer, with a platform of its own; it goes wherever the API is now. */
  function consumer(
    name: string,
    platform: string,
    show: (seen: Seen) => Promise<void> = toTheEnd,
    timing: LiveOptions['timing'] = {},
    most = 5,
  ) {
    const stop = new AbortController();
    const seen: Seen[] = [];
    const troubles: string[] = [];
    /** Ends of the addresses that give no answer. */
    const swallowed: string[] = [];
    const client = createClient({
      url: 'http://platform.test',
      apiKey: ADMIN,
      fetch: (input, init) => {
        const url = (input as string).replace('http://platform.test', api.url);
        if (!swallowed.some((part) => url.endsWith(part))) return fetch(url, init);
        return new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(new Error('aborted'))));
      },
    });
    const running = showLive({
      deliveries: client.deliveries,
      threads: client.threads,
      platform,
      consumerId: name,
      most,
      signal: stop.signal,
      timing,
      async show(live) {
        const one: Seen = { live, texts: [] };
        seen.push(one);
        await show(one);
      },
      onTrouble: (error) => troubles.push(error.message),
    });
    return {
      seen,
      troubles,
      swallowed,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await running;
      },
    };
  }

  async function toTheEnd(seen: Seen): Promise<void> {
    const { live, texts } = seen;
    for (;;) {
      const turn = live.turn();
      if (texts.at(-1) !== answerOf(turn)) texts.push(answerOf(turn));
      if (isOver(turn)) break;
      await live.changed();
      if (live.signal.aborted) {
        seen.outcome = 'lost';
        return;
      }
    }
    seen.outcome = 'shown';
  }

  async function ask(): Promise<{ platform: string; key: string; id: string; gate: PromiseWithResolvers<void> }> {
    const platform = `chat${(count += 1)}`;
    const key = `thread-${count}`;
    const gate = Promise.withResolvers<void>();
    gates.set(key, gate);
    const id = await t.say(key, 'hello', { platform, delivery: { channel: 'C1' } });
    return { platform, key, id, gate };
  }

  const stateOf = async (id: string): Promise<{ state: string; attempts: number; progress: string | null }> => {
    const { rows } = await t.store.query<{ state: string; attempts: number; progress: string | null }>(
      'select state, attempt_count as attempts, progress::text from agent_final_delivery_outbox where execution_id = $1',
      [id],
    );
    return rows[0] as (typeof rows)[0];
  };
  const delivered = (id: string) => eventually(async () => (await stateOf(id)).state === 'delivered', { timeoutMs: 60_000 });
  const endLease = (id: string) =>
    t.store.query('update agent_final_delivery_outbox set lease_expires_at = now() where execution_id = $1', [id]);

  it('is seen from its first word to its last, and owed to nobody then', async () => {
    const { platform, id, gate } = await ask();
    await using one = consumer('one', platform);
    await eventually(() => one.seen[0]?.texts.includes('Some words.'));
    gate.resolve();
    await delivered(id);
    assert.deepEqual([one.seen.length, one.seen[0]?.texts.at(-1), one.troubles], [1, 'The answer.', []]);
  });

  it('is another’s when the claim is lost, and the first one is told by its next note', async () => {
    const { platform, id, gate } = await ask();
    // it asks for no other one, so it does not get the same one again
    await using one = consumer('first', platform, undefined, {}, 1);
    const [first] = await eventually(() => (one.seen.length > 0 ? one.seen : undefined));
    await first?.live.note({ shown: 1 });
    await endLease(id);
    await using other = consumer('second', platform);
    const [second] = await eventually(() => (other.seen.length > 0 ? other.seen : undefined));
    assert.deepEqual(second?.live.delivery.progress, { shown: 1 });
    await assert.rejects(async () => first?.live.note({ shown: 2 }), /not claimed/);
    await eventually(() => first?.outcome === 'lost');
    gate.resolve();
    await delivered(id);
    assert.deepEqual([second?.outcome, JSON.parse((await stateOf(id)).progress ?? 'null')], ['shown', { shown: 1 }]);
  });

  it('may not be drawn any more when heartbeats go unanswered, which is noticed before anything is heard', async () => {
    const { platform, gate } = await ask();
    const timing = { oursMs: 2_000, heartbeatMs: 100 };
    await using one = consumer('held up', platform, undefined, timing);
    const [first] = await eventually(() => (one.seen.length > 0 ? one.seen : undefined));
    one.swallowed.push('/heartbeat');
    await assert.rejects(async () => first?.live.note({ shown: 1 }), /not answered/);
    // nothing else of this process runs meanwhile
    const until = performance.now() + timing.oursMs;
    while (performance.now() < until);
    assert.throws(() => first?.live.throwIfLost(), /could not be kept/);
    await eventually(() => first?.outcome === 'lost');
    gate.resolve();
  });

  it('is claimed when the claim before was never answered', async () => {
    const { platform, id, gate } = await ask();
    gate.resolve();
    await t.ended(id);
    await using one = consumer('swallowed', platform, undefined, { claimMs: 2000 });
    one.swallowed.push('/claim');
    await eventually(() => one.troubles.length > 0);
    one.swallowed.length = 0;
    await delivered(id);
  });

  it('goes on where it is when the API restarts in mid-answer', async () => {
    const { platform, id, gate } = await ask();
    await using one = consumer('steady', platform);
    await eventually(() => one.seen[0]?.texts.includes('Some words.'));
    await api[Symbol.asyncDispose]();
    const missing = one.seen[0]?.live.note({ shown: 1 });
    await assert.rejects(async () => missing, /no answer/);
    api = await startTestApi({ threads: t.threads, on: t.engine });
    gate.resolve();
    await delivered(id);
    assert.deepEqual([one.seen.length, one.seen[0]?.texts.at(-1), (await stateOf(id)).attempts], [1, 'The answer.', 1]);
  });

  it('is not shown again because the API was away when it was to hear of the end', async () => {
    const { platform, id, gate } = await ask();
    await using one = consumer('patient', platform, async (seen) => {
      await toTheEnd(seen);
      await api[Symbol.asyncDispose]();
      setTimeout(() => {
        void startTestApi({ threads: t.threads, on: t.engine }).then((next) => (api = next));
      }, 300);
    });
    await eventually(() => one.seen.length > 0);
    gate.resolve();
    await delivered(id);
    assert.equal(one.seen.length, 1);
  });

  it('ends as its execution does when its events are gone', async () => {
    const { platform, key, id, gate } = await ask();
    gate.resolve();
    await t.ended(id);
    await t.store.query('delete from agent_execution_events where thread_key = $1', [key]);
    await using one = consumer('late', platform);
    await delivered(id);
    assert.equal(one.seen[0]?.texts.at(-1), 'The answer.');
  });

  it('is given up when there is no place for it, and tried again when showing failed', async () => {
    const nowhere = await ask();
    nowhere.gate.resolve();
    await t.ended(nowhere.id);
    await using one = consumer('nowhere', nowhere.platform, () => Promise.reject(new Undeliverable('no such channel')));
    await eventually(async () => (await stateOf(nowhere.id)).state === 'dead_letter');
    assert.deepEqual(one.troubles, ['no such channel']);
    const again = await ask();
    again.gate.resolve();
    await t.ended(again.id);
    await using two = consumer('clumsy', again.platform, () => Promise.reject(new Error('oops')));
    await eventually(async () => (await stateOf(again.id)).state === 'retry_wait');
    assert.deepEqual(two.troubles, ['oops']);
  });
});
