import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { person, sessionOf } from '../../test/support/people.ts';
import { eventually } from '../../test/support/wait.ts';
import { canonicalJson } from '../store/index.ts';
import {
  askApproval,
  consumeApproval,
  getApproval,
  givenApproval,
  listApprovals,
  takeApproval,
  useApproval,
  withdrawApprovals,
} from './approvals.ts';
import { sweepApprovals } from './expiry.ts';
import { publishPolicy } from './versions.ts';
import { castVote, castVotes, overrideApproval, type Vote } from './votes.ts';

const NO_ID = '0198c0de-0000-7000-8000-000000000000';
const SUMMARY = { method: 'POST', url: 'https://api.stripe.com:443/v1/refunds', secrets: ['STRIPE'], bytes: 20 };

const open = () => startTestApi({ idle: true, vault: 'alone' });
const [ann, bob, cleo] = [person('ann'), person('bob'), person('cleo')];
const yes = (more: Partial<Vote> = {}): Vote => ({ verdict: 'approve', channel: 'api', ...more });
const no = (more: Partial<Vote> = {}): Vote => ({ verdict: 'deny', reason: 'no', channel: 'api', ...more });

/** For all but those that look at whatever there is. */
let api: TestApi;
before(async () => (api = await open()));
after(() => api[Symbol.asyncDispose]());

let asked = 0;

/** As the firewall asks. */
async function ask({ installation }: TestApi, over: Partial<Parameters<typeof askApproval>[1]> = {}): Promise<string> {
  const digest = createHash('sha256')
    .update(`question ${(asked += 1)}`)
    .digest();
  const question = {
    digest,
    gate: 'default',
    rule: 'refunds',
    principal: `key:${asked}`,
    summary: SUMMARY,
    audited: {},
    askAgainAfter: 3600,
  };
  return (await askApproval(installation, { ...question, ...over })).approvalId;
}

async function gates(api: TestApi, text: string, author = 'user:zoe'): Promise<void> {
  const policy = `version: 1
default: deny
gates:
${text}
rules:
  - {id: never, tool: shop.pay, effect: deny, when: args.amount > 1000}
  - {id: much, tool: shop.pay, effect: approve, gate: more, when: args.amount > 500}
  - {id: some, tool: shop.pay, effect: approve, gate: money}
`;
  await publishPolicy(api.installation, author, { text: policy });
}

/** As a call of `shop.pay` asks. */
async function askToPay(api: TestApi, args: object, over: Partial<Parameters<typeof askApproval>[1]> = {}): Promise<string> {
  const bound = { kind: 'tool', principal: 'key:1', tool: 'shop', method: 'pay', risk: 'write' };
  const digest = createHash('sha256')
    .update(canonicalJson({ ...bound, args }))
    .digest();
  const request = { kind: 'tool', principal: 'key:1', tool: { name: 'shop.pay', risk: 'write' } } as const;
  return ask(api, {
    digest,
    gate: 'money',
    kind: 'tool',
    risk: 'write',
    principal: 'key:1',
    editing: { args, request, bound, sensitive: [] },
    ...over,
  });
}

interface Entry {
  readonly action: string;
  readonly actor: string;
  readonly resource: string;
  readonly decision: string;
  readonly lease_id: string;
  readonly details: {
    readonly reason?: string;
    readonly digest?: string;
    readonly voters?: readonly string[];
    readonly override?: boolean;
  };
}

async function entry(api: TestApi, auditId: string | null): Promise<Entry> {
  const { rows } = await api.t.store.query<{ entry: string }>('select entry from audit_log where audit_id = $1', [auditId]);
  return JSON.parse(rows[0]?.entry as string) as Entry;
}

test('a vote is one transaction with its audit entry and what it leads to, and whoever waits is told', async () => {
  const { store } = api.installation;
  const told: string[] = [];
  await store.listener.on('centaur_approvals', (payload) => void told.push(payload));
  const id = await ask(api, { leaseId: NO_ID });
  const decided = await castVote(api.installation, bob, id, yes({ reason: 'ticket 4711' }));
  assert.deepEqual([decided.state, decided.reason, decided.decided_by, decided.summary], ['approved', 'ticket 4711', 'user:bob', SUMMARY]);
  assert.deepEqual(await getApproval(store, id), decided);
  const done = await entry(api, decided.decided_audit_id);
  assert.deepEqual(
    [done['action'], done['actor'], done['resource'], done['decision'], done['lease_id'], done['details'].reason, done['details'].digest],
    ['approval.decide', 'user:bob', `approval:${id}`, 'approve', NO_ID, 'ticket 4711', decided.digest],
  );
  const [vote] = decided.votes;
  assert.deepEqual([vote?.voter, vote?.verdict, vote?.channel, vote?.counts], ['bob', 'approve', 'api', true]);
  assert.deepEqual((await entry(api, vote?.audit_id ?? null))['action'], 'approval.vote');
  await eventually(async () => told.filter((each) => each === id).length >= 2);
});

test('of many who decide at once, one does', async () => {
  await using api = await open();
  const id = await ask(api);
  const outcomes = await Promise.allSettled(
    ['a', 'b', 'c', 'd'].map((name, i) => castVote(api.installation, person(name), id, i % 2 === 0 ? yes() : no())),
  );
  const done = outcomes.filter((each) => each.status === 'fulfilled');
  assert.equal(done.length, 1);
  for (const each of outcomes)
    if (each.status === 'rejected') {
      assert.equal(each.reason.code, 'APPROVAL_DECIDED');
      assert.ok(each.reason.message.includes(String(done[0]?.value.decided_by)), each.reason.message);
    }
  const { rows } = await api.t.store.query<{ n: number }>(`select count(*)::int as n from audit_log where action = 'approval.decide'`);
  assert.equal(rows[0]?.n, 1);
});

test('what was not decided in time is expired, used what was used, and neither is decided any more', async () => {
  await using api = await open();
  const { store } = api.installation;
  const [late, open2, used, gone] = [await ask(api, { seconds: 0 }), await ask(api), await ask(api), await ask(api, { runId: NO_ID })];
  await castVote(api.installation, bob, used, yes());
  assert.equal(await consumeApproval(store, used), true);
  assert.equal(await consumeApproval(store, used), false, 'once');
  await withdrawApprovals(store, { runId: NO_ID });
  const ids = async (filter: Parameters<typeof listApprovals>[1]) =>
    (await listApprovals(store, filter)).items.map((each) => each.approval_id);
  assert.deepEqual(
    await Promise.all((['pending', 'expired', 'consumed', 'cancelled', undefined] as const).map((state) => ids({ state }))),
    [[open2], [late], [used], [gone], [gone, used, open2, late]],
  );
  const page = await listApprovals(store, { limit: 2 });
  assert.deepEqual([page.next, await ids({ limit: 2, after: page.next ?? '' })], [used, [open2, late]]);
  for (const [id, message] of [
    [late, /expired at .*, undecided/],
    [used, /was approved by user:bob/],
    [gone, /not waited for/],
  ] as const)
    await assert.rejects(castVote(api.installation, ann, id, no()), { code: 'APPROVAL_DECIDED', message });
  await assert.rejects(castVote(api.installation, ann, NO_ID, no()), { code: 'APPROVAL_NOT_FOUND' });
});

test('a gate asks for its quorum of different people, and one who denies is enough', async () => {
  await gates(api, '  money: {quorum: 2}\n  more: {}');
  const { installation } = api;
  const id = await ask(api, { gate: 'money' });
  assert.equal((await castVote(installation, ann, id, yes())).state, 'pending');
  const again = await castVote(installation, ann, id, yes({ reason: 'really' }));
  assert.deepEqual([again.state, again.approvals, again.version], ['pending', 1, 3]);
  assert.equal((await castVote(installation, cleo, id, yes({ verdict: 'abstain' }))).approvals, 1);
  // a later vote takes the place of the one before
  assert.equal((await castVote(installation, ann, id, yes({ verdict: 'abstain' }))).approvals, 0);
  await castVote(installation, ann, id, yes());
  const done = await castVote(installation, bob, id, yes());
  assert.deepEqual([done.state, done.approvals], ['approved', 2]);
  assert.deepEqual((await entry(api, done.decided_audit_id))['details'].voters, ['ann', 'bob']);
  const other = await ask(api, { gate: 'money' });
  await castVote(installation, ann, other, yes());
  const denied = await castVote(installation, bob, other, no({ reason: 'too much' }));
  assert.deepEqual([denied.state, denied.reason], ['denied', 'too much']);
});

test('who may vote: those whom the gate names, or approvers and admins; viewers and operators only by name', async () => {
  await gates(api, '  money: {approvers: ["role:finance", "user:Vic"]}\n  more: {}');
  const voters = [person('v', 'viewer'), person('o', 'operator'), ann, person('root', 'admin')];
  for (const [gate, expected] of [
    ['default', [false, false, true, true]],
    ['money', [false, false, false, false]],
  ] as const)
    for (const [i, voter] of voters.entries()) {
      const vote = castVote(api.installation, voter, await ask(api, { gate }), yes());
      if (expected[i]) assert.equal((await vote).state, 'approved');
      else await assert.rejects(vote, { code: 'NOT_AN_APPROVER' });
    }
  for (const voter of [person('vic', 'viewer'), person('f', 'operator', { roles: ['finance'] })])
    assert.equal((await castVote(api.installation, voter, await ask(api, { gate: 'money' }), yes())).state, 'approved');
});

test('whoever has a part in it does not decide, where the gate says so', async () => {
  await gates(
    api,
    '  money: {exclude: [requester]}\n  owner: {exclude: [run_owner]}\n  trigger: {exclude: [trigger_actor]}\n  rule: {exclude: [policy_author]}\n  named: {exclude: ["role:finance", "user:bob"]}\n  more: {}',
    'user:zoe',
  );
  const { run_id: run } = await api.t.engine.start({ workflow_name: 'other' }, undefined, 'user:ann');
  const refused = async (gate: string, voter: typeof ann, over: Parameters<typeof ask>[1] = {}) => {
    const id = await ask(api, { gate, ...over });
    await assert.rejects(castVote(api.installation, voter, id, yes()), { code: 'NOT_AN_APPROVER', message: /excludes/ });
    // it is not theirs to deny either
    await assert.rejects(castVote(api.installation, voter, id, no()), { code: 'NOT_AN_APPROVER' });
    assert.equal((await castVote(api.installation, cleo, id, yes())).state, 'approved');
  };
  await refused('money', bob, { principal: 'user:Bob' });
  await refused('money', bob, { user: 'bob' });
  for (const gate of ['money', 'owner', 'trigger']) await refused(gate, ann, { runId: run });
  await refused('rule', person('zoe'));
  await refused('named', bob);
  await refused('named', person('f', 'admin', { roles: ['finance'] }));
});

test('whoever asks what is asked already has a part in it, too', async () => {
  await gates(api, '  money: {exclude: [requester]}\n  more: {}');
  const { run_id: run } = await api.t.engine.start({ workflow_name: 'other' }, undefined, 'user:ann');
  const digest = createHash('sha256').update('asked by several').digest();
  const id = await ask(api, { gate: 'money', digest, user: 'dan' });
  assert.equal(await ask(api, { gate: 'money', digest, principal: 'user:Bob' }), id);
  assert.equal(await ask(api, { gate: 'money', digest, runId: run }), id);
  assert.deepEqual([...(await getApproval(api.installation.store, id)).involved.requester].toSorted(), ['ann', 'bob', 'dan']);
  for (const voter of [ann, bob, person('dan')])
    await assert.rejects(castVote(api.installation, voter, id, yes()), { code: 'NOT_AN_APPROVER', message: /excludes/ });
  assert.equal((await castVote(api.installation, cleo, id, yes())).state, 'approved');
});

test('a vote counts no more once its voter asks for it, too', async () => {
  await gates(api, '  money: {quorum: 2, exclude: [requester]}\n  more: {}');
  const digest = createHash('sha256').update('voted on, then asked for').digest();
  const id = await ask(api, { gate: 'money', digest, user: 'dan' });
  const voted = await castVote(api.installation, bob, id, yes());
  assert.equal(await ask(api, { gate: 'money', digest, principal: 'user:bob' }), id);
  const { votes, approvals, version } = await getApproval(api.installation.store, id);
  assert.deepEqual([votes[0]?.counts, approvals, version], [false, 0, voted.version + 1]);
  assert.equal((await castVote(api.installation, ann, id, yes())).state, 'pending');
  // who asks once more ends nobody's vote
  assert.equal(await ask(api, { gate: 'money', digest, principal: 'user:bob' }), id);
  assert.equal((await castVote(api.installation, cleo, id, yes())).state, 'approved');
});

test('of workers that go on with one answer at once, each has used it', async () => {
  await gates(api, '  money: {}\n  more: {}');
  const args = { amount: 1 };
  for (let round = 0; round < 20; round++) {
    const id = await askToPay(api, { ...args, round });
    await castVote(api.installation, ann, id, yes());
    const used = await Promise.all(Array.from({ length: 5 }, () => useApproval(api.installation.store, id, { ...args, round })));
    assert.deepEqual(used, [true, true, true, true, true]);
    assert.equal((await getApproval(api.installation.store, id)).state, 'consumed');
    await assert.rejects(useApproval(api.installation.store, id, { amount: 2, round }), { code: 'APPROVAL_TAMPERED' });
  }
});

test('the gate counts as it was when it was asked: a later policy makes nothing easier', async () => {
  await gates(api, '  money: {quorum: 2}\n  more: {}');
  const id = await ask(api, { gate: 'money' });
  await gates(api, '  money: {quorum: 1}\n  more: {}');
  assert.equal((await castVote(api.installation, ann, id, yes())).state, 'pending');
});

test('a vote names what it is for, and the version where it wants to', async () => {
  const id = await ask(api);
  const { digest, version } = await getApproval(api.t.store, id);
  for (const [vote, code] of [
    [yes({ digest: '00'.repeat(32) }), 'STALE_DIGEST'],
    [no({ digest: '00'.repeat(32) }), 'STALE_DIGEST'],
    [yes({ version: version + 1 }), 'STALE_VERSION'],
    [no({ reason: ' ' }), 'REASON_REQUIRED'],
  ] as const)
    await assert.rejects(castVote(api.installation, ann, id, vote), { code });
  const { votes } = await getApproval(api.t.store, id);
  assert.deepEqual(votes, [], 'what is refused changes nothing');
  assert.equal((await castVote(api.installation, ann, id, yes({ digest: digest.toUpperCase(), version }))).state, 'approved');
});

test('what is destructive or moves money is approved with a reason', async () => {
  for (const risk of ['destructive', 'financial']) {
    const id = await ask(api, { risk });
    await assert.rejects(castVote(api.installation, ann, id, yes()), { code: 'REASON_REQUIRED' });
    assert.equal((await castVote(api.installation, ann, id, yes({ reason: 'ticket 1' }))).state, 'approved');
  }
});

test('an edit is a vote for what was edited, ends those before it, and is held against schema and policy', async () => {
  await gates(api, '  money: {quorum: 2, editable: [amount, to.name]}\n  more: {quorum: 5}');
  const parts = {
    ...api.installation,
    checkArguments: (tool: string, args: unknown) =>
      tool === 'shop.pay' && typeof (args as { amount: unknown }).amount === 'number' ? [] : ['arguments amount: expected a number'],
  };
  const id = await askToPay(api, { amount: 40, to: { name: 'x', account: '1' } });
  await castVote(parts, ann, id, yes());
  for (const [patch, message] of [
    [{ 'to.account': '2' }, /"to.account" may not be changed; these may be: amount, to.name/],
    [{ to: { name: 'x', account: '2' } }, /"to" may not be changed/],
    [{ amount: 'many' }, /expected a number/],
    [{ amount: 2000 }, /the policy denies it \(rule never\)/],
    [{ amount: 600 }, /it would need the gate more/],
    [{ amount: 40 }, /it changes nothing/],
    [{}, /it changes nothing/],
  ] as const)
    await assert.rejects(castVote(parts, bob, id, yes({ patch })), { code: 'EDIT_REFUSED', message });
  await assert.rejects(castVote(api.installation, bob, id, yes({ patch: { amount: 1 } })), {
    code: 'EDIT_REFUSED',
    message: /does not serve/,
  });
  await assert.rejects(castVote(parts, bob, id, no({ patch: { amount: 1 } })), { code: 'EDIT_REFUSED' });
  const before = await getApproval(api.t.store, id);
  const edited = await castVote(parts, bob, id, yes({ digest: before.digest, patch: { amount: 20 } }));
  assert.deepEqual(
    [edited.state, edited.approvals, edited.edited_by, edited.changed, edited.edited_args],
    ['pending', 1, 'bob', ['amount'], { amount: 20, to: { name: 'x', account: '1' } }],
  );
  assert.notEqual(edited.digest, before.digest);
  assert.deepEqual(Object.fromEntries(edited.votes.map(({ voter, counts }) => [voter, counts])), { ann: false, bob: true });
  // who looked at it before has to look again
  await assert.rejects(castVote(parts, ann, id, yes({ digest: before.digest })), { code: 'STALE_DIGEST', message: /bob has edited it/ });
  await assert.rejects(castVote(parts, ann, id, yes()), { code: 'STALE_DIGEST' });
  const done = await castVote(parts, ann, id, yes({ digest: edited.digest }));
  assert.equal(done.state, 'approved');
  const given = await givenApproval(api.t.store, await digestAsked(api, id));
  assert.deepEqual(given, {
    approvalId: id,
    edited: { args: { amount: 20, to: { name: 'x', account: '1' } }, changed: ['amount'], by: 'bob' },
  });
  const audited = JSON.stringify((await api.t.store.query('select entry from audit_log')).rows);
  assert.ok(!audited.includes('account'), 'no argument is in the log');
});

async function digestAsked(api: TestApi, id: string): Promise<Buffer> {
  const { rows } = await api.t.store.query<{ digest: Buffer }>('select digest from approvals where approval_id = $1', [id]);
  return rows[0]?.digest as Buffer;
}

test('an edit that is edited back counts no vote that was cast before it', async () => {
  await gates(api, '  money: {quorum: 2, editable: [amount]}\n  more: {}');
  const parts = { ...api.installation, checkArguments: () => [] };
  const id = await askToPay(api, { amount: 40 });
  await castVote(parts, ann, id, yes());
  await castVote(parts, bob, id, yes({ patch: { amount: 20 } }));
  const { digest } = await getApproval(api.t.store, id);
  const back = await castVote(parts, cleo, id, yes({ digest, patch: { amount: 40 } }));
  assert.deepEqual([back.state, back.approvals], ['pending', 1]);
});

test('what is approved is to be used soon, and is over then', async () => {
  await gates(api, '  money: {use_by: 1m}\n  more: {}');
  const id = await ask(api, { gate: 'money' });
  await castVote(api.installation, ann, id, yes());
  const digest = await digestAsked(api, id);
  assert.equal((await givenApproval(api.t.store, digest))?.approvalId, id);
  await api.t.store.query(`update approvals set use_by = use_by - interval '1 minute' where approval_id = $1`, [id]);
  assert.equal((await getApproval(api.t.store, id)).state, 'expired');
  assert.equal(await givenApproval(api.t.store, digest), undefined);
  assert.equal(await takeApproval(api.t.store, digest), undefined);
  assert.equal(await consumeApproval(api.t.store, id), false);
  assert.notEqual(await ask(api, { digest, gate: 'money' }), id, 'it is asked anew');
});

test('what waits long is asked of more people, never of fewer at a time; and what nobody decides is over', async () => {
  await using api = await open();
  await gates(api, '  money: {quorum: 2, approvers: ["user:ann"], expires: 1h, escalate: {after: 30m, to: ["user:bob"]}}\n  more: {}');
  const id = await ask(api, { gate: 'money' });
  await castVote(api.installation, ann, id, yes());
  await assert.rejects(castVote(api.installation, bob, id, yes()), { code: 'NOT_AN_APPROVER' });
  const age = (interval: string) =>
    api.t.store.query(
      'update approvals set escalate_at = escalate_at - $2::interval, expires_at = expires_at - $2::interval where approval_id = $1',
      [id, interval],
    );
  await age('40 minutes');
  const { store, audit } = api.installation;
  const sweeps = await Promise.all([sweepApprovals({ store, audit }), sweepApprovals({ store, audit })]);
  assert.equal(
    sweeps.reduce((sum, { escalated }) => sum + escalated, 0),
    1,
    'written down once',
  );
  const later = await getApproval(store, id);
  assert.deepEqual([later.approvers, later.quorum, later.state], [['user:ann', 'user:bob'], 2, 'pending']);
  await age('40 minutes');
  const over = await Promise.all([sweepApprovals({ store, audit }), sweepApprovals({ store, audit })]);
  assert.equal(
    over.reduce((sum, { expired }) => sum + expired, 0),
    1,
  );
  await assert.rejects(castVote(api.installation, bob, id, yes()), { code: 'APPROVAL_DECIDED', message: /expired/ });
});

test('a gate that escalates when nobody answers gives others the same time again', async () => {
  await using api = await open();
  await gates(api, '  money: {approvers: ["user:ann"], expires: 1h, on_expiry: escalate}\n  more: {}');
  const id = await ask(api, { gate: 'money' });
  const { created_at, expires_at, escalate_at } = await getApproval(api.t.store, id);
  assert.equal(Date.parse(expires_at) - Date.parse(created_at), 7_200_000);
  assert.equal(Date.parse(escalate_at ?? '') - Date.parse(created_at), 3_600_000);
  await api.t.store.query('update approvals set escalate_at = now()');
  assert.equal((await castVote(api.installation, person('root', 'admin'), id, yes())).state, 'approved');
});

test('a gate may end the run that nobody has decided on', async () => {
  await using api = await open();
  await gates(api, '  money: {on_expiry: cancel_run}\n  more: {}');
  const { store, audit } = api.installation;
  const id = await ask(api, { gate: 'money', runId: NO_ID, seconds: 0 });
  const ended: unknown[] = [];
  // a process that dies in the middle leaves it to the next
  await assert.rejects(
    sweepApprovals({
      store,
      audit,
      cancelRun: async () => {
        throw new Error('killed');
      },
    }),
  );
  const cancelRun = async (of: unknown) => {
    // what ends a run locks its questions
    await store.query('select 1 from approvals where approval_id = $1 for update nowait', [id]);
    ended.push(of);
  };
  assert.deepEqual(await sweepApprovals({ store, audit, cancelRun }), { escalated: 0, expired: 1, cancelled: 1 });
  assert.deepEqual(await sweepApprovals({ store, audit, cancelRun }), { escalated: 0, expired: 0, cancelled: 0 });
  const { created_at } = await getApproval(store, id);
  assert.deepEqual(ended, [{ runId: NO_ID, threadKey: null, askedAt: Date.parse(created_at) }]);
});

test('the same question is one, however often it is asked; and one run asks only so many at a time', async () => {
  await gates(api, '  money: {pending: 3}\n  more: {}');
  const digest = Buffer.alloc(32, 9);
  const ids = await Promise.all([1, 2, 3].map(() => ask(api, { digest, gate: 'money', threadKey: 't' })));
  assert.equal(new Set(ids).size, 1);
  assert.equal((await getApproval(api.t.store, ids[0] as string)).asked, 3);
  const more = await Promise.allSettled([1, 2, 3, 4].map(() => ask(api, { gate: 'money', threadKey: 't' })));
  assert.deepEqual(more.map(({ status }) => status).toSorted(), ['fulfilled', 'fulfilled', 'rejected', 'rejected']);
  for (const each of more)
    if (each.status === 'rejected')
      assert.match(`${each.reason.code} ${each.reason.message}`, /^TOO_MANY_PENDING 3 questions of thread:t wait/);
  await ask(api, { gate: 'money', threadKey: 'u' });
  await castVote(api.installation, ann, ids[0] as string, no({ reason: 'not now' }));
  await ask(api, { gate: 'money', threadKey: 't' });
  // what was denied less than an hour ago is denied without asking anybody
  const { installation } = api;
  const question = { digest, gate: 'money', rule: 'r', principal: 'key:1', summary: {}, audited: {}, askAgainAfter: 3600 };
  const again = await askApproval(installation, question);
  assert.deepEqual([again.state, again.reason, again.isNew], ['denied', 'not now', false]);
});

test('one administrator decides past the gate, who has proved who they are, says why, and leaves a mark', async () => {
  await gates(api, '  money: {quorum: 3, approvers: ["role:finance"], exclude: [requester]}\n  more: {}');
  const { installation } = api;
  const told: string[] = [];
  await installation.store.listener.on('centaur_overrides', (payload) => void told.push(payload));
  const id = await ask(api, { gate: 'money', risk: 'financial' });
  const { digest } = await getApproval(api.t.store, id);
  const root = person('root', 'admin');
  const why = { reason: 'the site is down', channel: 'api' } as const;
  for (const [voter, vote, code] of [
    [ann, why, 'NOT_AN_APPROVER'],
    [{ ...root, provenAt: Date.now() - 6 * 60_000 }, why, 'PROOF_REQUIRED'],
    [{ ...root, provenAt: Number.NaN }, why, 'PROOF_REQUIRED'],
    [root, { ...why, reason: '  ' }, 'REASON_REQUIRED'],
    [root, { ...why, digest: '00'.repeat(32) }, 'STALE_DIGEST'],
    [root, { ...why, version: 9 }, 'STALE_VERSION'],
  ] as const)
    await assert.rejects(overrideApproval(installation, voter, id, vote), { code });
  const done = await overrideApproval(installation, root, id, { ...why, digest });
  assert.deepEqual([done.state, done.overridden, done.decided_by, done.digest], ['approved', true, 'user:root', digest]);
  const written = await entry(api, done.decided_audit_id);
  assert.deepEqual([written['action'], written['details'].override, written['details'].reason], ['approval.override', true, why.reason]);
  await eventually(async () => told.includes(id));
  await assert.rejects(overrideApproval(installation, root, id, why), { code: 'APPROVAL_DECIDED' });
});

test('many at once: each is a vote by itself', async () => {
  const [first, second] = [await ask(api), await ask(api)];
  const votes = [
    { approvalId: first, ...yes() },
    { approvalId: NO_ID, ...yes() },
    { approvalId: second, ...yes({ digest: '00'.repeat(32) }) },
  ];
  const outcomes = await castVotes(api.installation, ann, votes);
  assert.deepEqual(
    outcomes.map((each) => (each.ok ? each.approval.state : each.code)),
    ['approved', 'APPROVAL_NOT_FOUND', 'STALE_DIGEST'],
  );
});

test('over HTTP a person votes under their own name; whoever is none sees what waits, and no more', async () => {
  const key = await api.keyWith('approvals.decide');
  const [first, second, third] = [await ask(api), await ask(api), await ask(api)];
  const mine = await sessionOf(api, ann);
  const send = (path: string, body: object, by = mine, headers = {}) => api.call('POST', `/approvals/${path}`, body, { key: by, headers });
  for (const by of [key, await api.keyWith('admin'), await api.keyWith('policy.write')])
    for (const [path, body] of [
      [`${first}/approve`, {}],
      [`${first}/deny`, { reason: 'no' }],
      [`${first}/override`, { reason: 'no' }],
      [`${first}/votes`, { verdict: 'approve', digest: '00'.repeat(32) }],
      ['votes', { votes: [{ approval_id: first, verdict: 'approve', digest: '00'.repeat(32) }] }],
    ] as const) {
      const answer = await send(path, body, by);
      assert.deepEqual([answer.status, answer.body.code], [403, 'FORBIDDEN']);
      assert.match(answer.body.message, /centaur login/);
    }
  const approved = await send(`${first.toUpperCase()}/approve`, {});
  assert.deepEqual([approved.status, approved.body.state, approved.body.decided_by], [200, 'approved', 'user:ann']);
  assert.match((await send(`${second}/deny`, {})).body.message, /^reason: is required/);
  assert.equal((await send(`${second}/deny`, { reason: 'no' })).body.reason, 'no');
  const again = await send(`${second}/approve`, {});
  assert.deepEqual([again.status, again.body.code], [409, 'APPROVAL_DECIDED']);
  const listed = (await api.call('GET', '/approvals?state=denied&limit=1', undefined, { key })).body.items;
  assert.deepEqual([listed.length, listed[0].approval_id], [1, second]);
  const read = (by: string) => api.call('GET', `/approvals/${third}`, undefined, { key: by });
  const seen = await read(await sessionOf(api, person('v', 'viewer')));
  assert.deepEqual(
    [seen.headers.get('etag'), seen.body.you.may_vote, (await read(mine)).body.you, (await read(key)).body.you],
    ['"1"', false, { may_vote: true, why_not: null }, null],
  );
  const vote = { verdict: 'approve', digest: seen.body.digest };
  assert.deepEqual((await send(`${third}/votes`, vote, mine, { 'if-match': '"2"' })).status, 412);
  assert.deepEqual((await send(`${third}/votes`, vote, mine, { 'if-match': 'x' })).status, 422);
  assert.deepEqual((await send(`${third}/votes`, vote, await sessionOf(api, person('v', 'viewer')))).body.code, 'NOT_AN_APPROVER');
  assert.deepEqual((await send(`${third}/votes`, vote, mine, { 'if-match': '"1"' })).body.state, 'approved');
  const many = await send('votes', { votes: [{ approval_id: third, ...vote }] });
  assert.deepEqual(many.body.items, [{ approval_id: third, ok: false, code: 'APPROVAL_DECIDED', message: many.body.items[0].message }]);
  const tooMany = Array.from({ length: 21 }, () => ({ approval_id: third, ...vote }));
  assert.equal((await send('votes', { votes: tooMany })).status, 422);
  for (const id of [NO_ID, 'nope']) {
    assert.equal((await api.call('GET', `/approvals/${id}`)).body.code, 'APPROVAL_NOT_FOUND');
    assert.equal((await send(`${id}/approve`, {})).status, 404);
  }
});
