import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { publishPolicy } from '../policy/index.ts';
import { createAuditLog } from '../audit/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import type { Store } from '../store/index.ts';
import { costOf, listUsage, priceLate, type Prices, readSpend } from './index.ts';
import { money } from './budgets.ts';

const PRICES: Prices = [{ model: 'opus*', price: { input: 5_000_000, output: 25_000_000, cacheRead: 500_000, cacheWrite: 6_250_000 } }];
const TOKENS = { input: 100, output: 20, cache_read: 1000, cache_write: 10, reasoning: 5 };

test('a cost is exact in millionths, and rounded once', () => {
  const [{ price }] = PRICES as [Prices[number]];
  assert.equal(costOf(TOKENS, price), 100 * 5 + 20 * 25 + 1000 * 0.5 + 63);
  const small = { input: 1, output: 0, cacheRead: 0, cacheWrite: 0 };
  const of = (input: number) => costOf({ input, output: 0, cache_read: 0, cache_write: 0, reasoning: 0 }, small);
  assert.deepEqual([of(499_999), of(500_000), of(1_499_999)], [0, 1, 1]);
  assert.equal(of(1e12), 1_000_000);
  assert.deepEqual([money(12_500_000), money(1), money(3_140_000)], ['12.50', '0.000001', '3.14']);
});

/** A turn whose harness says these tokens, with a model or without. */
function speaks(t: TestThreads, ...said: readonly { readonly usage: object; readonly model?: string }[]): void {
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    if (turn.status !== 'running') return;
    await threads.turns.append(owner, [
      { kind: 'session', data: { type: 'session', native_id: 'n', model: 'opus-5' } },
      ...said.map((each) => ({ kind: 'usage', data: { type: 'usage', ...each } })),
    ]);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
    // whoever has taken the turn over ends it once more
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
}

async function publish(store: Store, text: string): Promise<void> {
  await ensurePartitions(store, ['audit_log'], store.now());
  const audit = createAuditLog({ store, macKey: Buffer.alloc(32) });
  await publishPolicy({ store, audit }, 'test', { text });
  await audit.close();
}

test('a turn is counted once, by the model that its session names, and by thread, user and day', async () => {
  await using t = await createTestThreads();
  speaks(t, { usage: TOKENS }, { usage: TOKENS }, { usage: { ...TOKENS, input: '9', output: -1 }, model: 'mini' });
  const first = await t.say('a', 'hello', { user_id: 'alice' });
  await t.ended(first);
  await t.ended(await t.say('b', 'hello'));
  const by = async (dimension: 'thread' | 'user' | 'model' | 'workflow' | 'day') =>
    (await listUsage(t.store, { by: dimension, since: t.store.now(), limit: 10 })).items.map(
      ({ key, turns, input_tokens, cache_read_tokens }) => [key, turns, input_tokens, cache_read_tokens],
    );
  assert.deepEqual(await by('model'), [
    ['opus-5', 2, 400, 4000],
    ['mini', 2, 0, 2000],
  ]);
  assert.deepEqual(await by('thread'), [
    ['a', 1, 200, 3000],
    ['b', 1, 200, 3000],
  ]);
  assert.deepEqual(await by('user'), [
    ['alice', 1, 200, 3000],
    [null, 1, 200, 3000],
  ]);
  assert.deepEqual(await by('workflow'), [[null, 2, 400, 6000]]);
  assert.deepEqual(await by('day'), [[new Date(t.store.now()).toISOString().slice(0, 10), 2, 400, 6000]]);
  const { rows } = await t.store.query('select model from usage where execution_id = $1 order by 1', [first]);
  assert.deepEqual(
    rows.map(({ model }) => model),
    ['mini', 'opus-5'],
  );
});

test('without a price there is no cost; a price that is given later reaches back, once', async () => {
  await using t = await createTestThreads();
  speaks(t, { usage: TOKENS });
  await t.ended(await t.say('a', 'hello'));
  const total = async () => {
    const { cost_micros, unpriced_tokens } = (await listUsage(t.store, { by: 'day', since: t.store.now(), limit: 1 })).total;
    return [cost_micros, unpriced_tokens];
  };
  assert.deepEqual(await total(), [null, 1130]);
  assert.equal(await priceLate(t.store, [{ model: 'other', price: (PRICES[0] as Prices[number]).price }]), 0);
  assert.deepEqual(
    await Promise.all([priceLate(t.store, PRICES), priceLate(t.store, PRICES)]).then((all) => all.toSorted((a, b) => a - b)),
    [0, 1],
  );
  assert.deepEqual(await total(), [1563, 0]);
  const none = { tokens: 0, micros: 0 };
  const spent = { tokens: 1130, micros: 1563 };
  assert.deepEqual(await readSpend(t.store, { thread: 'a', user: 'bob' }, t.store.now()), {
    day: spent,
    month: spent,
    user: { day: none, month: none },
    all: { day: spent, month: spent },
  });
});

test('a turn does not begin when a budget of its thread is used up: it ends, and the thread hears why', async () => {
  await using t = await createTestThreads();
  await publish(t.store, 'version: 1\ndefault: deny\nrules: []\nbudgets: [{id: small, thread: "slack:*", per: day, tokens: 1130}]\n');
  speaks(t, { usage: TOKENS });
  assert.equal((await t.ended(await t.say('slack:a', 'one'))).status, 'completed');
  const refused = await t.ended(await t.say('slack:a', 'two'));
  assert.deepEqual([refused.status, refused.terminal_reason], ['failed_permanent', 'budget_exceeded']);
  assert.match(String(refused.error_text), /^the budget small of thread slack:a is used up: 1130 of 1130 tokens today; it begins anew at /);
  const last = (await t.events('slack:a')).at(-1);
  assert.deepEqual([last?.kind, last?.data['terminal_reason']], ['execution_state', 'budget_exceeded']);
  // each thread has its own, and others have none
  assert.equal((await t.ended(await t.say('slack:b', 'one'))).status, 'completed');
  assert.equal((await t.ended(await t.say('web:a', 'one'))).status, 'completed');
  assert.equal((await t.ended(await t.say('web:a', 'two'))).status, 'completed');
});

test('a budget in money lets nothing begin while it cannot tell what was spent', async () => {
  await using t = await createTestThreads();
  await publish(t.store, 'version: 1\ndefault: deny\nrules: []\nbudgets: [{id: all, per: month, money: 0.01}]\n');
  speaks(t, { usage: TOKENS });
  assert.equal((await t.ended(await t.say('a', 'one'))).status, 'completed');
  assert.match(String((await t.ended(await t.say('a', 'two'))).error_text), /1130 tokens this month were of models without a price/);
  await priceLate(t.store, PRICES);
  assert.equal((await t.ended(await t.say('a', 'three'))).status, 'completed');
});

test('a rule reads what was spent, and what cannot be told counts against the request', async () => {
  const { compilePolicy, policyTime } = await import('../policy/index.ts');
  const rule = '{id: cheap, tool: "*", effect: allow, when: spend.day.tokens < 1000 && spend.all.month.micros < 5000000}';
  const { policy, problems } = compilePolicy(
    `version: 1\ndefault: deny\nrules:\n  - ${rule}\ntests:\n  - {request: {tool: a, spend: {day: {tokens: 999}}}, expect: allow}\n` +
      '  - {request: {tool: a, spend: {day: {tokens: 1000}}}, expect: deny}\n  - {request: {tool: a, spend: {all: {month: {micros: 5000000}}}}, expect: deny}\n',
  );
  assert.ok(policy, JSON.stringify(problems));
  assert.equal(policy.readsSpend, true);
  const request = { kind: 'tool', principal: 'thread:a', tool: { name: 'a', risk: 'write' }, args: {}, now: policyTime(0) } as const;
  assert.deepEqual([policy.decide(request).effect, policy.decide(request).errors.length], ['deny', 1]);
  for (const [text, wrong] of [
    ['{id: a, per: day}', 'expected tokens or money'],
    ['{id: a, per: week, tokens: 5}', 'expected day, month'],
    ['{id: a, per: day, tokens: 0}', 'whole number'],
    ['{id: a, per: day, money: 0.0000001}', 'six decimals'],
    ['{id: a, per: day, tokens: 5, user: a, thread: b}', 'expected one of'],
    ['{id: a, per: day, token: 5}', 'unknown key "token"'],
  ] as const) {
    const { policy: none, problems: found } = compilePolicy(`version: 1\ndefault: deny\nbudgets: [${text}]\nrules: []\n`);
    assert.equal(none, undefined);
    assert.ok(
      found.some(({ message, line }) => message.includes(wrong) && line === 3),
      JSON.stringify(found),
    );
  }
});
