import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listApprovals, publishPolicy } from '../policy/index.ts';
import { addGrant, ownSecretName, putSecret } from '../vault/index.ts';
import { approve, createTestTools, inTurnOf, KEY, refused, SHOP, shop, Told } from '../../test/support/tools.ts';
import { eventually } from '../../test/support/wait.ts';

const CANARY = 'CANARY-of-an-argument';

test('a call that a person approves while it is held is made', async () => {
  await using t = await createTestTools();
  const said: string[] = [];
  const answer = t.tools.call(KEY, shop('remove', { id: CANARY }, { onWaits: ({ approvalId }) => said.push(approvalId) }));
  const id = await approve(t);
  await answer;
  assert.deepEqual(said, [id]);
  const [intent] = await t.entries('tool.call');
  assert.equal(intent?.details['approval_id'], id);
  // a person sees what is to be done; the log never does
  const { items } = await listApprovals(t.store);
  assert.match(JSON.stringify(items[0]?.summary), new RegExp(CANARY));
});

test('nobody decides in time: the same call takes the approval later, once, and no other call does', async () => {
  await using t = await createTestTools();
  await assert.rejects(t.tools.call(KEY, shop('remove', { id: '7' }, { waitMs: 50 })), refused('APPROVAL_REQUIRED', { gate: 'default' }));
  const id = await approve(t);
  const other = { waitMs: 0 };
  await assert.rejects(t.tools.call(KEY, shop('remove', { id: '8' }, other)), refused('APPROVAL_REQUIRED'));
  await assert.rejects(t.tools.call({ principal: 'key:other' }, shop('remove', { id: '7' }, other)), refused('APPROVAL_REQUIRED'));
  assert.equal(t.runner.dispatched.length, 0);
  await t.tools.call(KEY, shop('remove', { id: '7' }));
  assert.equal((await t.entries('tool.call'))[0]?.details['approval_id'], id);
  await assert.rejects(t.tools.call(KEY, shop('remove', { id: '7' }, other)), refused('APPROVAL_REQUIRED'));
  assert.equal(t.runner.dispatched.length, 1);
});

test('whoever goes away while a person decides has asked for nothing, and the approval stays for who asks again', async () => {
  await using t = await createTestTools();
  for (const key of [undefined, 'k1']) {
    const gone = new AbortController();
    const args = { id: `gone-${key}` };
    const answer = t.tools.call(KEY, shop('remove', args, { signal: gone.signal, ...(key === undefined ? {} : { idempotencyKey: key }) }));
    answer.catch(() => {});
    await eventually(async () => (await listApprovals(t.store, { state: 'pending' })).items.length > 0);
    gone.abort();
    await assert.rejects(answer, refused('TOOL_CANCELLED'));
    await approve(t);
    assert.equal(t.runner.dispatched.length, 0);
    await eventually(async () => (await t.store.query('select from tool_calls')).rowCount === 0);
    await t.tools.call(KEY, shop('remove', args, key === undefined ? {} : { idempotencyKey: key }));
    t.runner.dispatched.length = 0;
    await t.store.query('delete from tool_calls');
  }
});

test('many that ask a person under one key ask once, and one approval does', async () => {
  await using t = await createTestTools();
  const answers = Promise.all(Array.from({ length: 5 }, () => t.tools.call(KEY, shop('remove', { id: '7' }, { idempotencyKey: 'k' }))));
  await approve(t);
  await answers;
  assert.equal(t.runner.dispatched.length, 1);
});

test('two calls that are alike are two, and each is approved: the one whose approval the other took is asked for again', async () => {
  await using t = await createTestTools();
  const calls = ['one', 'two'].map((key) =>
    t.tools.call(KEY, shop('remove', { id: 'x' }, { idempotencyKey: key, waitMs: Number.POSITIVE_INFINITY })),
  );
  const first = await approve(t);
  await Promise.race(calls);
  assert.notEqual(await approve(t), first);
  await Promise.all(calls);
  assert.equal(t.runner.dispatched.length, 2);
});

test('an approval that was given long ago counts no more: a person is asked again', async () => {
  await using t = await createTestTools();
  const remove = (waitMs: number) => t.tools.call(KEY, shop('remove', { id: 'x' }, { waitMs }));
  await assert.rejects(remove(0), refused('APPROVAL_REQUIRED'));
  const old = await approve(t);
  await t.store.query(`update approvals set use_by = now() where approval_id = $1`, [old]);
  await assert.rejects(remove(0), refused('APPROVAL_REQUIRED'));
  const { items } = await listApprovals(t.store, { state: 'pending' });
  assert.equal(items.length, 1);
  assert.notEqual(items[0]?.approval_id, old);
  assert.equal(t.runner.dispatched.length, 0);
});

test('a call that cannot be recorded is not made, and uses no approval', async () => {
  await using t = await createTestTools();
  await t.store.query(`create function refuse() returns trigger language plpgsql as $$ begin raise 'no entry'; end $$;
    create trigger refuse before insert on audit_log for each row when (new.action = 'tool.call') execute function refuse()`);
  const calls = ['k', undefined].map((idempotencyKey) => t.tools.call(KEY, shop('remove', { id: 'x' }, { idempotencyKey, waitMs: 5000 })));
  const ended = Promise.allSettled(calls);
  const id = await approve(t);
  assert.deepEqual(
    (await ended).map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal(t.runner.dispatched.length, 0);
  await t.store.query('create or replace function refuse() returns trigger language plpgsql as $$ begin return new; end $$');
  await t.tools.call(KEY, shop('remove', { id: 'x' }, { waitMs: 0 }));
  assert.equal((await t.entries('tool.call'))[0]?.details['approval_id'], id);
});

test('what was approved and not begun may be called again without asking, once', async () => {
  await using t = await createTestTools();
  for (const idempotencyKey of ['k', undefined]) {
    const remove = (waitMs: number) => t.tools.call(KEY, shop('remove', { id: 'x' }, { waitMs, idempotencyKey }));
    t.runner.act = async () => {
      throw new Told({ ok: false, code: 'TOOL_CHANGED', message: 'changed', retryable: true, started: false });
    };
    const unmade = assert.rejects(remove(Number.POSITIVE_INFINITY), refused('TOOL_FAILED', { tool_code: 'TOOL_CHANGED' }));
    const id = await approve(t);
    await unmade;
    assert.equal((await t.entries('tool.outcome')).at(-1)?.details['approval_returned'], id);
    t.runner.act = async () => {
      throw new Told({ ok: false, code: 'TOOL_CRASHED', message: 'crashed', retryable: true, started: true });
    };
    await assert.rejects(remove(0));
    assert.equal((await t.entries('tool.call')).at(-1)?.details['approval_id'], id);
    const { rows } = await t.store.query<{ state: string }>('select state from approvals where approval_id = $1', [id]);
    assert.equal(rows[0]?.state, 'consumed');
  }
});

test('what the policy forbids by the time a person has approved it is not made', async () => {
  await using t = await createTestTools();
  const removed = t.tools.call(KEY, shop('remove', { id: 'x' }, { waitMs: Number.POSITIVE_INFINITY }));
  const unmade = assert.rejects(removed, refused('POLICY_DENIED', { rule: 'closed' }));
  await eventually(async () => (await listApprovals(t.store, { state: 'pending' })).items.length > 0);
  const text = 'version: 1\ndefault: deny\nrules: [{ id: closed, tool: "*", effect: deny }]';
  await publishPolicy(t.installation, 'user:ada', { text });
  await approve(t);
  await unmade;
  assert.equal(t.runner.dispatched.length, 0);
  assert.deepEqual((await t.store.query(`select from approvals where state = 'approved'`)).rowCount, 1);
  await publishPolicy(t.installation, 'user:ada', { text: text.replace('closed', 'asked').replace('deny }', 'approve }') });
  await t.tools.call(KEY, shop('remove', { id: 'x' }));
  const [intent] = await t.entries('tool.call');
  assert.deepEqual([intent?.details['policy'], intent?.details['rule']], [2, 'asked']);
});

test('whoever comes back under a key just after everybody has left is no one that left', async () => {
  await using t = await createTestTools();
  const leaving = new AbortController();
  const left = t.tools.call(KEY, shop('remove', { id: 'x' }, { idempotencyKey: 'k', signal: leaving.signal }));
  await eventually(async () => (await listApprovals(t.store, { state: 'pending' })).items.length === 1);
  leaving.abort();
  const back = t.tools.call(KEY, shop('remove', { id: 'x' }, { idempotencyKey: 'k' }));
  await assert.rejects(left, refused('TOOL_CANCELLED'));
  await approve(t);
  await back;
});

test('what was approved for one user is not approved for another', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['shop.example.com'] }] });
  for (const user of ['ana', 'bo']) {
    const own = ownSecretName('SHOP_KEY', user);
    await putSecret(t.installation, 'test', own, { hosts: ['shop.example.com'], value: `the-key-of-${user}-alone` });
    await addGrant(t.installation, 'test', `user:${user}`, own);
  }
  const [ana, bo] = [inTurnOf('ana'), inTurnOf('bo')];
  const call = shop('remove', { id: '1' }, { waitMs: 0 });
  await assert.rejects(t.tools.call(ana, call), refused('APPROVAL_REQUIRED'));
  await approve(t);
  await assert.rejects(t.tools.call(bo, call), refused('APPROVAL_REQUIRED'));
  await t.tools.call(ana, call);
});

test('whoever approves sees whose turn it is, and so does the policy', async () => {
  await using t = await createTestTools();
  const call = shop('remove', { id: '1' }, { waitMs: 0 });
  await assert.rejects(t.tools.call(inTurnOf('ana'), call), refused('APPROVAL_REQUIRED'));
  const { rows } = await t.store.query<{ summary: string }>('select summary from approvals');
  assert.deepEqual(
    rows.map(({ summary }) => (JSON.parse(summary) as { user: string }).user),
    ['ana'],
  );
  const text = `version: 1
default: deny
rules:
  - {id: all, tool: shop.create, effect: allow}
  - {id: bo-buys-nothing, tool: shop.create, effect: deny, when: 'has(run.user) && run.user == "bo"'}
`;
  await publishPolicy(t.installation, 'user:ada', { text });
  await assert.rejects(t.tools.call(inTurnOf('bo'), shop('create', { item: 'tea' })), refused('POLICY_DENIED'));
  for (const user of ['ana', undefined]) await t.tools.call(inTurnOf(user), shop('create', { item: 'tea' }));
});
