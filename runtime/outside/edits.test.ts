/** What people may change of what a workflow asks about, and what the run hears of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { castVote, getApproval, publishPolicy, type Vote, type VotingParts } from '@centaur/kernel/policy';
import { checkSchema } from '@centaur/kernel/tools';
import { type ApprovalOptions, requireApproved } from '@centaur/sdk';
import { type Engine, replayRun } from '../../kernel/engine/index.ts';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { person } from '../../test/support/people.ts';
import { eventually } from '../../test/support/wait.ts';
import { createApprovals } from './index.ts';

const POLICY = `version: 1
default: deny
gates:
  open: {}
  two: {quorum: 2}
  narrow: {editable: ["to.name", "items.*"]}
rules: []
`;
const ARGS = { amount: 2000, note: 'as agreed', to: { name: 'ann', account: '1' }, items: [{ price: 1 }] };
const SCHEMA = {
  type: 'object',
  properties: { amount: { type: 'integer', minimum: 1, maximum: 5000 }, card: { type: 'string', 'x-sensitive': true } },
} as const;
const QUESTION: ApprovalOptions = {
  summary: 'Refund it?',
  tool: 'stripe.refund',
  args: ARGS,
  gate: 'open',
  editable: ['amount', 'note', 'to'],
};
const [ann, bob] = [person('ann'), person('bob')];

interface Lab extends AsyncDisposable {
  readonly api: TestApi;
  readonly engine: Engine;
  readonly parts: VotingParts;
  /** Starts a run that asks this, and waits until it has. */
  asked(question?: object): Promise<{ readonly run: string; readonly id: string }>;
  vote(voter: typeof ann, id: string, vote?: Partial<Vote>): ReturnType<typeof castVote>;
}

async function open(): Promise<Lab> {
  const api = await startTestApi({ idle: true, vault: 'alone' });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  api.t.registry.define('refund', async (question: object, ctx) => {
    const before = await ctx.step('before', () => 'done');
    const answer = await ctx.approval('sign off', { ...QUESTION, ...question });
    await ctx.sleep('rest', 30);
    return [before, answer, await ctx.step('refund', () => requireApproved(answer))];
  });
  // out of memory at once, so that it is replayed
  const engine = await api.t.another({ approvals: createApprovals(api.installation), residentMs: 1 });
  await engine.work();
  const parts = { ...api.installation, checkSchema };
  return {
    api,
    engine,
    parts,
    async asked(question = {}) {
      const { run_id: run } = await engine.start({ workflow_name: 'refund', input: question });
      const id = await eventually(async () => {
        const { waiting_on: waits, error } = await engine.getRun(run);
        if (error !== null) assert.fail(error.message);
        return waits.flatMap((wait) => (wait.type === 'approval' ? wait.approval_id : []))[0];
      });
      return { run, id };
    },
    vote: (voter, id, vote = {}) => castVote(parts, voter, id, { verdict: 'approve', reason: 'looked at it', channel: 'api', ...vote }),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

test('an edit is bound to a digest of its own, and the run hears what was asked, what was approved and who edited it', async () => {
  await using lab = await open();
  const { run, id } = await lab.asked({ gate: 'two' });
  const before = await getApproval(lab.api.t.store, id);
  assert.deepEqual([before.args, before.edited_args, before.editable], [ARGS, null, ['amount', 'note', 'to']]);
  await lab.vote(ann, id);
  const edited = await lab.vote(bob, id, { patch: { amount: 1000, 'to.name': 'bo' } });
  const args = { ...ARGS, amount: 1000, to: { name: 'bo', account: '1' } };
  assert.deepEqual(
    [edited.state, edited.approvals, edited.edited_by, edited.changed, edited.edited_args, edited.args],
    ['pending', 1, 'bob', ['amount', 'to.name'], args, ARGS],
  );
  assert.notEqual(edited.digest, before.digest);
  // a vote before it counts no more, nor does one for what was asked
  await assert.rejects(lab.vote(ann, id, { digest: before.digest }), { code: 'STALE_DIGEST' });
  await assert.rejects(lab.vote(ann, id), { code: 'STALE_DIGEST' });
  await lab.vote(ann, id, { digest: edited.digest });
  const ended = await lab.api.t.ended(run);
  const voters = ['bob', 'ann'].map((name) => ({ name, verdict: 'approve' }));
  const told = { verdict: 'approved', args, asked: ARGS, edited: true, edited_by: 'bob', reason: 'looked at it', voters, approval_id: id };
  assert.deepEqual(ended.result, ['done', told, args], JSON.stringify(ended.error));
  const { rows } = await lab.api.t.store.query('select entry from audit_log');
  assert.ok(!JSON.stringify(rows).includes('as agreed'), 'no argument is in the log');
  const replayed = await replayRun({ store: lab.api.t.store, registry: lab.api.t.registry }, run, { stallMs: 2000 });
  assert.equal(replayed.verdict, 'same', JSON.stringify(replayed));
});

test('what is not declared, does not fit, or is too much is refused, and changes nothing', async () => {
  await using lab = await open();
  const [plain, schema, narrow, none] = await Promise.all([
    lab.asked(),
    lab.asked({ schema: SCHEMA, editable: ['amount', 'note', 'card'] }),
    lab.asked({ gate: 'narrow', editable: ['amount', 'to', 'to.name', 'items.0.price'] }),
    lab.asked({ editable: [] }),
  ]);
  const deep = JSON.parse(`${'['.repeat(200)}${']'.repeat(200)}`) as unknown;
  for (const [{ id }, patch, message] of [
    [plain, { items: [] }, /"items" may not be changed; these may be: amount, note, to/],
    [plain, { 'amount.x': 1 }, /there is nothing at "amount.x"/],
    [plain, { __proto__x: 1 }, /may not be changed/],
    [plain, JSON.parse('{"__proto__": {"amount": 1}}'), /"__proto__" may not be changed/],
    [plain, { 'to.__proto__': { name: 'x' } }, /"to.__proto__": expected nothing/],
    [plain, { amount: '1000' }, /"amount": expected a number, as it was asked with/],
    [plain, { 'to.iban': 'DE1' }, /"to.iban": expected nothing/],
    [plain, { to: [] }, /"to": expected an object/],
    [plain, { amount: 2000 }, /it changes nothing/],
    [plain, { note: 'x'.repeat(40_000) }, /bytes of JSON; 32768 are the most/],
    [plain, { to: { name: deep } }, /nested more than 64 deep/],
    [schema, { amount: 6000 }, /amount/],
    [schema, { amount: 1.5 }, /amount/],
    [schema, { amount: 10, to: {} }, /"to" may not be changed/],
    [narrow, { amount: 10 }, /"amount" may not be changed; these may be: to.name, items.0.price/],
    [narrow, { to: { name: 'x', account: '2' } }, /"to" may not be changed/],
    [none, { amount: 10 }, /no argument of it may be changed/],
  ] as const)
    await assert.rejects(
      lab.vote(ann, id, { patch: patch as Record<string, unknown> }),
      { code: 'EDIT_REFUSED', message },
      JSON.stringify(patch).slice(0, 80),
    );
  await assert.rejects(lab.vote(ann, plain.id, { verdict: 'deny', patch: { amount: 1 } }), { code: 'EDIT_REFUSED' });
  for (const { id } of [plain, schema, narrow, none]) {
    const { version, votes, edited_args: edited } = await getApproval(lab.api.t.store, id);
    assert.deepEqual([version, votes, edited], [1, [], null]);
  }
  // and what is in order goes through
  assert.equal((await lab.vote(ann, schema.id, { patch: { amount: 5000, card: 'x' } })).state, 'approved');
  assert.equal((await lab.vote(ann, narrow.id, { patch: { 'to.name': 'bo', 'items.0.price': 2 } })).state, 'approved');
});

test('what the schema marks as sensitive is shown to nobody, and stays what it was', async () => {
  await using lab = await open();
  const { run, id } = await lab.asked({ schema: SCHEMA, args: { amount: 1, card: '4711' }, editable: ['amount'] });
  const seen = await lab.vote(ann, id, { patch: { amount: 2 } });
  assert.ok(!JSON.stringify(seen).includes('4711'));
  assert.deepEqual(
    [seen.args, seen.edited_args],
    [
      { amount: 1, card: '[sensitive]' },
      { amount: 2, card: '[sensitive]' },
    ],
  );
  assert.deepEqual((await lab.api.t.ended(run)).result, [
    'done',
    (await lab.api.t.ended(run)).steps[1]?.result,
    { amount: 2, card: '4711' },
  ]);
});

test('who edits what is stored, and not what is asked, changes nothing that is done', async () => {
  await using lab = await open();
  const { store } = lab.api.t;
  const [voted, sent, added] = [await lab.asked({ gate: 'two' }), await lab.asked({ gate: 'two' }), await lab.asked({ gate: 'two' })];
  // before the last vote: those who see it do not approve it
  const { digest } = await lab.vote(ann, voted.id, { patch: { amount: 10 } });
  await store.query(`update approvals set edited_args = '{"amount": 4999}' where approval_id = $1`, [voted.id]);
  await assert.rejects(lab.vote(bob, voted.id, { digest }), { code: 'APPROVAL_TAMPERED' });
  await store.query(`update approvals set edited_args = null where approval_id = $1`, [voted.id]);
  await assert.rejects(lab.vote(bob, voted.id, { digest }), { code: 'APPROVAL_TAMPERED' });
  // on its way to the run
  await store.query(`create function tamper() returns trigger language plpgsql as $$ begin
    new.payload = (new.payload::jsonb || '{"edited": true, "args": {"amount": 4999}}')::json; return new; end $$`);
  await store.query(`create trigger tamper before insert on workflow_events for each row execute function tamper()`);
  const edit = await lab.vote(ann, sent.id, { patch: { amount: 10 } });
  await lab.vote(bob, sent.id, { digest: edit.digest });
  await lab.vote(ann, added.id);
  await lab.vote(bob, added.id);
  for (const { run, id } of [sent, added]) {
    const ended = await lab.api.t.ended(run);
    assert.deepEqual(
      [ended.status, ended.error?.code, ended.steps.map(({ name }) => name)],
      ['failed', 'APPROVAL_TAMPERED', ['before', 'sign off']],
    );
    assert.equal((await getApproval(store, id)).state, 'approved', 'it is not used');
  }
});

test('what cannot be edited as it says is refused by its field, before anybody is asked', async () => {
  await using lab = await open();
  for (const [question, message] of [
    [{ editable: 'amount' }, /editable: expected a list of at most 50 paths/],
    [{ editable: ['a..b'] }, /editable: expected a list/],
    [{ editable: ['x'.repeat(201)] }, /editable: expected a list/],
    [{ editable: Array.from({ length: 51 }, (_, i) => `f${i}`) }, /editable: expected a list/],
    [{ editable: [], schema: SCHEMA }, /schema: nothing can be edited/],
    [{ args: [1] }, /editable: args has to be an object/],
    [{ schema: { type: 'object', description: 'x'.repeat(20_000) } }, /schema: \d+ bytes of JSON; 16384 are the most/],
    [{ schema: { type: 'array' } }, /schema type: expected "object"/],
    [{ schema: { properties: { amount: { maximum: 5 } } } }, /args: amount/],
  ] as const) {
    const { run_id: run } = await lab.engine.start({ workflow_name: 'refund', input: question });
    const ended = await lab.api.t.ended(run);
    assert.match(ended.error?.message ?? '', message);
  }
  const { rows } = await lab.api.t.store.query('select 1 from approvals');
  assert.equal(rows.length, 0);
});
