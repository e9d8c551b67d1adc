/** A model is asked for by one name, and its harness tells of another: budgets hold for both, and what nobody checked does no harm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { createAuditLog } from '../audit/index.ts';
import { publishPolicy } from '../policy/index.ts';
import type { Store } from '../store/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { listUsage, priceLate } from './index.ts';

const TOKENS = { input: 100, output: 20, cache_read: 1000, cache_write: 10, reasoning: 5 };
const ALL = 1130;

/** A turn whose harness says these events, after a session with this model. */
function speaks(t: TestThreads, session: string | null, ...said: readonly object[]): void {
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    if (turn.status !== 'running') return;
    await threads.turns.append(owner, [
      { kind: 'session', data: { type: 'session', native_id: 'n', ...(session === null ? {} : { model: session }) } },
      ...said.map((each) => ({ kind: 'usage', data: { type: 'usage', ...each } })),
    ]);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
}

async function budgets(store: Store, ...texts: readonly string[]): Promise<void> {
  await ensurePartitions(store, ['audit_log'], store.now());
  const audit = createAuditLog({ store, macKey: Buffer.alloc(32) });
  await publishPolicy({ store, audit }, 'test', {
    text: `version: 1\ndefault: deny\nrules: []\nbudgets:\n${texts.map((each) => `  - ${each}\n`).join('')}`,
  });
  await audit.close();
}

const why = async (t: TestThreads, thread: string, more: Record<string, unknown> = {}) => {
  const { status, error_text } = await t.ended(await t.say(thread, 'hello', more));
  return status === 'completed' ? 'done' : String(error_text).replace(/;.*/, '');
};

test('a budget of an alias holds, and so does one of the model that it stands for', async () => {
  await using t = await createTestThreads();
  await budgets(
    t.store,
    '{id: alias, model: opus, per: day, tokens: 1130}',
    '{id: real, model: "haiku-*", per: day, tokens: 1130}',
    '{id: unnamed, model: "gpt-*", per: day, tokens: 1130}',
  );
  speaks(t, 'opus-5', { usage: TOKENS });
  assert.equal(await why(t, 'a', { model: 'opus' }), 'done');
  assert.equal(await why(t, 'b', { model: 'opus' }), `the budget alias of model opus is used up: ${ALL} of 1130 tokens today`);
  // by its own name it has spent as much, and nobody has put a budget on that
  assert.equal(await why(t, 'c', { model: 'opus-5' }), 'done');
  speaks(t, 'haiku-5', { usage: TOKENS });
  assert.equal(await why(t, 'd', { model: 'small' }), 'done');
  assert.equal(await why(t, 'e', { model: 'small' }), `the budget real of model haiku-5 is used up: ${ALL} of 1130 tokens today`);
  // nobody names a model, so it is what the harness told of last
  speaks(t, 'gpt-6', { usage: TOKENS });
  assert.equal(await why(t, 'f'), 'done');
  assert.equal(await why(t, 'g'), `the budget unnamed of model gpt-6 is used up: ${ALL} of 1130 tokens today`);
});

test('a budget counts a token once, whichever name it was asked for by, and a sum of models has it once', async () => {
  await using t = await createTestThreads();
  await budgets(t.store, `{id: real, model: opus-5, per: day, tokens: ${3 * ALL}}`, `{id: paid, model: big, per: day, money: 0.01}`);
  speaks(t, 'opus-5', { usage: TOKENS }, { usage: TOKENS, model: 'mini' });
  assert.equal(await why(t, 'a', { model: 'opus' }), 'done');
  // one of mini, too, was spent by asking for it
  assert.equal(await why(t, 'b', { model: 'opus-5' }), 'done');
  assert.equal(await why(t, 'c', { model: 'opus-5' }), `the budget real of model opus-5 is used up: ${3 * ALL} of ${3 * ALL} tokens today`);
  const { items, total } = await listUsage(t.store, { by: 'model', since: t.store.now(), limit: 10 });
  assert.deepEqual(
    items.map(({ key, turns, input_tokens }) => [key, turns, input_tokens]),
    [
      ['mini', 2, 200],
      ['opus-5', 2, 200],
    ],
  );
  assert.equal(total.turns, 2);
  speaks(t, 'big-1', { usage: TOKENS });
  assert.equal(await why(t, 'd', { model: 'big' }), 'done');
  assert.match(await why(t, 'e', { model: 'big' }), /1130 tokens today were of models without a price/);
  // late, and under the alias too
  assert.equal(await priceLate(t.store, [{ model: 'big-*', price: { input: 1, output: 1, cacheRead: 1, cacheWrite: 1 } }]), 1);
  assert.equal(await why(t, 'f', { model: 'big' }), 'done');
});

test('the model of a persona is one that was asked for', async () => {
  await using t = await createTestThreads();
  await budgets(t.store, '{id: little, model: small, per: day, tokens: 1}');
  speaks(t, 'mini-3', { usage: TOKENS });
  const { assignment_generation } = await t.threads.spawn({ thread_key: 'a', persona_id: 'shopper' });
  const say = async () => {
    await t.threads.message({ thread_key: 'a', assignment_generation, parts: [{ type: 'text', text: 'x' }] });
    return (await t.ended((await t.threads.execute({ thread_key: 'a', assignment_generation })).execution_id)).terminal_reason;
  };
  assert.deepEqual([await say(), await say()], ['completed', 'budget_exceeded']);
});

test('whatever a harness says of tokens and models, the turn ends and the sums stay numbers', async () => {
  await using t = await createTestThreads();
  // in the session, which every later turn of the thread looks at, and in the event itself
  speaks(t, 'a\0b', { usage: TOKENS }, { usage: TOKENS, model: 'c\0d' }, { usage: TOKENS, model: '' });
  assert.equal(await why(t, 'nul'), 'done');
  assert.equal(await why(t, 'nul'), 'done');
  const models = async () =>
    (await listUsage(t.store, { by: 'model', since: t.store.now(), limit: 1000 })).items.map(({ key }) => String(key));
  assert.deepEqual(
    (await models()).toSorted((a, b) => (a < b ? -1 : 1)),
    ['a\ufffdb', 'c\ufffdd', 'unknown'],
  );

  speaks(
    t,
    'odd',
    { usage: { input: 1e300, output: -5, cache_read: 0.5, cache_write: Number.NaN, reasoning: [1] } },
    ...Array.from({ length: 12 }, () => ({ usage: { input: Number.MAX_SAFE_INTEGER }, cost_usd: 1e300 })),
    { usage: null },
    {},
  );
  assert.equal(await why(t, 'odd'), 'done');
  const { rows } = await t.store.query(`select input, output, cache_read, cache_write, reasoning from usage where model = 'odd'`);
  assert.deepEqual(rows, [{ input: 1e12, output: 0, cache_read: 1, cache_write: 0, reasoning: 0 }]);

  speaks(t, 'many', ...Array.from({ length: 300 }, (_, i) => ({ usage: TOKENS, model: `m${i}` })));
  assert.equal(await why(t, 'many'), 'done');
  assert.ok((await models()).length <= 25, 'one turn makes no more than so many names');
  assert.ok((await models()).includes('other'));

  // as much as fits, and more
  await t.store.query(`update usage_days set input = 9223372036854775807, cost_micros = 9223372036854775807 where dimension = 'all'`);
  speaks(t, 'last', { usage: TOKENS });
  assert.equal(await why(t, 'last'), 'done');
  const { total } = await listUsage(t.store, { by: 'day', since: t.store.now(), limit: 1 });
  assert.equal(total.input_tokens, Number.MAX_SAFE_INTEGER);
});
