import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { approvalValue, approvalViewMetadata } from '@centaur/sdk';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { button, CARD, noteCard, signed, SLACK_SECRET, view } from '../../test/support/slack-clicks.ts';
import { addPerson, person, type Person } from '../../test/support/people.ts';
import { askApproval, castVote, consumeApproval, publishPolicy, returnApproval, sweepApprovals } from '../policy/index.ts';
import { canonicalJson } from '../store/index.ts';
import { createUsers } from '../users/index.ts';
import { createChats } from './index.ts';

let api: TestApi;
let bot: string;
let ann: Person;
let bob: Person;

before(async () => {
  api = await startTestApi({ idle: true, vault: 'alone', slack: { signingSecret: SLACK_SECRET } });
  bot = await api.keyWith('chats.use');
  ann = await addPerson(api, 'ann', 'approver');
  bob = await addPerson(api, 'bob', 'viewer');
  await publishPolicy(api.installation, 'user:zoe', {
    text: `version: 1
default: deny
gates:
  two: {quorum: 2, exclude: [requester], editable: [amount, items, note]}
  one: {editable: [amount, items, note]}
rules:
  - {id: some, tool: "shop.*", effect: approve, gate: one}
`,
  });
});
after(() => api[Symbol.asyncDispose]());

const asBot = (method: string, path: string, body?: unknown) => api.call(method, path, body, { key: bot });
const slackUser = (user: string) => ({ platform: 'slack', team: 'T1', external_user: user });
const codeFor = async (whose: Person, platform = 'slack') => {
  const { status, body } = await api.call('POST', '/chats/links/codes', { platform }, whose.as);
  assert.equal(status, 201, JSON.stringify(body));
  return body.code as string;
};
/** Says the code by the account, and that the account is theirs. */
const confirm = (whose: Person, user: string) => api.call('POST', '/chats/links/confirm', slackUser(user), whose.as);
const entries = async (action: string) =>
  (await api.call('GET', `/audit?action=${action}&limit=200`)).body.items as {
    actor: string;
    resource: string | null;
    details: Record<string, unknown>;
  }[];

let asked = 0;
async function raise(over: Partial<Parameters<typeof askApproval>[1]> = {}, args: object = { amount: 10, note: 'n', items: ['a'] }) {
  const bound = { kind: 'tool', n: (asked += 1) };
  const digest = createHash('sha256')
    .update(canonicalJson({ ...bound, args }))
    .digest();
  const question = { digest, gate: 'one', rule: 'some', principal: 'key:1', summary: { tool: 'shop.pay' }, audited: {} };
  const editing = { args, bound, schema: null, sensitive: [] };
  const { approvalId } = await askApproval(api.installation, { ...question, askAgainAfter: 3600, risk: 'write', editing, ...over });
  return (await api.call('GET', `/approvals/${approvalId}`)).body;
}
const refOf = ({ approval_id, digest, version }: { approval_id: string; digest: string; version: number }) => ({
  approvalId: approval_id,
  digest,
  version,
});
const click = (user: string, verdict: 'approve' | 'deny' | 'abstain', approval: Parameters<typeof refOf>[0]) =>
  signed(button(user, verdict, approvalValue(refOf(approval))), api.t.store.now());
const send = (request: object) => asBot('POST', '/chats/slack/interactions', request);

describe('an account in a chat', () => {
  test('is linked by a code that only its person has, once, when they have said that it is theirs', async () => {
    const code = await codeFor(ann);
    assert.match(code, /^[A-Z2-9]{4}-[A-Z2-9]{4}$/);
    assert.deepEqual((await asBot('POST', '/chats/identities', slackUser('U1'))).body, {
      principal: 'slack:T1:U1',
      user: null,
      role: null,
    });
    const wrong = await asBot('POST', '/chats/links', { ...slackUser('U1'), code: 'AAAA-AAAA' });
    assert.deepEqual([wrong.status, wrong.body.code], [404, 'LINK_CODE_INVALID']);
    const linked = await asBot('POST', '/chats/links', {
      ...slackUser('U1'),
      code: code.toLowerCase().replace('-', ' '),
      display_name: 'Ann',
    });
    assert.deepEqual([linked.status, linked.body], [200, { user: null, pending: true }]);
    assert.equal((await asBot('POST', '/chats/identities', slackUser('U1'))).body.user, null);
    const waiting = (whose: Person) =>
      api.call('GET', '/chats/links/pending', undefined, whose.as).then(({ body }) => body.items as { expires_at: string }[]);
    const [one, ...more] = await waiting(ann);
    assert.deepEqual([{ ...one, expires_at: '' }, more], [{ ...slackUser('U1'), display_name: 'Ann', expires_at: '' }, []]);
    assert.deepEqual(await waiting(bob), []);
    for (const [whose, user] of [
      [bob, 'U1'],
      [ann, 'U2'],
    ] as const) {
      const refused = await confirm(whose, user);
      assert.deepEqual([refused.status, refused.body.code], [404, 'LINK_NOT_PENDING']);
    }
    assert.equal((await asBot('POST', '/chats/links/confirm', slackUser('U1'))).status, 403);
    assert.deepEqual((await asBot('POST', '/chats/links', { ...slackUser('U2'), code })).body.code, 'LINK_CODE_INVALID');
    const confirmed = await confirm(ann, 'U1');
    assert.deepEqual([confirmed.status, confirmed.body.user, confirmed.body.display_name], [200, 'ann', 'Ann']);
    assert.deepEqual(await waiting(ann), []);
    assert.deepEqual((await asBot('POST', '/chats/identities', slackUser('U1'))).body, {
      principal: 'user:ann',
      user: 'ann',
      role: 'approver',
    });
    const again = await asBot('POST', '/chats/links', { ...slackUser('U2'), code });
    assert.equal(again.body.code, 'LINK_CODE_INVALID');
    const once = await asBot('POST', '/chats/links', { ...slackUser('U1'), code: await codeFor(ann) });
    assert.deepEqual([once.body, await waiting(ann)], [{ user: 'ann', pending: false }, []]);
    const [entry] = await entries('chat.link');
    assert.deepEqual([entry?.actor, entry?.resource, entry?.details['how']], ['user:ann', 'chat:slack:T1:U1', 'code']);
    const stored = JSON.stringify((await api.t.store.query('select * from chat_link_codes')).rows) + JSON.stringify(entry);
    assert.ok(!stored.includes(code) && !stored.includes(code.replace('-', '')));
    // of another installation, that has read the database of this one
    const { store, audit, macKey } = api.installation;
    const elsewhere = createChats({ store, audit, macKey: Buffer.from(macKey.toReversed()), users: createUsers({ store, audit }) });
    const bringing = elsewhere.bringCode('key:x', { platform: 'slack', team: 'T1', externalUser: 'U2' }, { code: await codeFor(ann) });
    await assert.rejects(bringing, { code: 'LINK_CODE_INVALID' });
  });

  test('is nobody else’s while it is somebody’s, and a code that is refused for that is not used up', async () => {
    const code = await codeFor(bob);
    const taken = await asBot('POST', '/chats/links', { ...slackUser('U1'), code });
    assert.deepEqual([taken.status, taken.body.code], [409, 'LINK_TAKEN']);
    assert.ok(!taken.body.message.includes('ann'));
    assert.equal((await asBot('POST', '/chats/links', { ...slackUser('UB'), code })).body.pending, true);
    assert.equal((await confirm(bob, 'UB')).body.user, 'bob');
  });

  test('is not linked by a code for another platform, an old one, or one of somebody disabled', async () => {
    const other = await codeFor(bob, 'github');
    assert.equal((await asBot('POST', '/chats/links', { ...slackUser('U3'), code: other })).body.code, 'LINK_CODE_INVALID');
    const old = await codeFor(bob);
    await api.t.store.query(`update chat_link_codes set expires_at = now() - interval '1 second'`);
    assert.equal((await asBot('POST', '/chats/links', { ...slackUser('U3'), code: old })).body.code, 'LINK_CODE_INVALID');
    const code = await codeFor(bob);
    await api.call('POST', '/users/bob/disable');
    assert.equal((await asBot('POST', '/chats/links', { ...slackUser('U3'), code })).body.code, 'LINK_CODE_INVALID');
    assert.deepEqual((await asBot('POST', '/chats/identities', slackUser('UB'))).body, {
      principal: 'slack:T1:UB',
      user: null,
      role: null,
    });
    const late = await api.call('POST', '/chats/links/admin', { ...slackUser('U3'), user: 'bob' });
    assert.deepEqual([late.status, late.body.code], [409, 'USER_DISABLED']);
    await api.call('POST', '/users/bob/enable');
    bob = { ...bob, ...(await addSession(bob)) };
  });

  test('is listed and unlinked by whose it is, and by an admin; an admin links without a code', async () => {
    const own = await api.call('GET', '/chats/links', undefined, bob.as);
    assert.deepEqual(
      own.body.items.map((each: { external_user: string }) => each.external_user),
      ['UB'],
    );
    const others = await api.call('DELETE', '/chats/links/slack/T1/U1', undefined, bob.as);
    assert.deepEqual([others.status, others.body.code], [404, 'LINK_NOT_FOUND']);
    const github = { platform: 'github', team: 'github.com', external_user: 'OctoCat' };
    assert.equal((await api.call('POST', '/chats/links/admin', { ...github, user: 'bob' }, bob.as)).status, 403);
    const made = await api.call('POST', '/chats/links/admin', { ...github, user: 'bob' });
    assert.deepEqual([made.status, made.body.external_user, made.body.how], [201, 'octocat', 'admin']);
    assert.equal((await asBot('POST', '/chats/identities', { ...github, external_user: 'OCTOCAT' })).body.user, 'bob');
    assert.equal((await api.call('POST', '/chats/links/admin', { ...github, user: 'nobody' })).body.code, 'USER_NOT_FOUND');
    assert.equal((await api.call('DELETE', '/chats/links/github/github.com/octocat', undefined, bob.as)).status, 200);
    assert.equal((await api.call('DELETE', '/chats/links/slack/T1/UB')).status, 200);
    assert.equal((await api.call('GET', '/chats/links')).body.items.length, 1);
    assert.deepEqual(
      (await entries('chat.unlink')).map(({ actor, details }) => [actor.split(':')[0], details['user']]),
      [
        ['key', 'bob'],
        ['user', 'bob'],
      ],
    );
  });

  test('waits for its person for a while, which no second bringing prolongs', async () => {
    const code = await codeFor(ann);
    const bring = async () => (await asBot('POST', '/chats/links', { ...slackUser('UW'), code })).body;
    const waiting = async () => (await api.call('GET', '/chats/links/pending', undefined, ann.as)).body.items as { expires_at: string }[];
    assert.equal((await bring()).pending, true);
    await api.t.store.query(`update chat_link_codes set expires_at = now() + interval '5 minutes' where external_user = 'UW'`);
    const before = await waiting();
    assert.equal(before.length, 1);
    assert.equal((await bring()).pending, true);
    assert.deepEqual(await waiting(), before);
    await api.t.store.query(`update chat_link_codes set expires_at = now() - interval '1 second' where external_user = 'UW'`);
    assert.deepEqual(await waiting(), []);
    const late = await confirm(ann, 'UW');
    assert.deepEqual([late.status, late.body.code], [404, 'LINK_NOT_PENDING']);
    assert.equal((await asBot('POST', '/chats/identities', slackUser('UW'))).body.user, null);
  });

  test('that has brought the codes of two is the first’s who says yes, and no admin moves it', async () => {
    for (const whose of [ann, bob])
      assert.equal((await asBot('POST', '/chats/links', { ...slackUser('U2X'), code: await codeFor(whose) })).body.pending, true);
    assert.equal((await confirm(bob, 'U2X')).body.user, 'bob');
    for (const { status, body } of [
      await confirm(ann, 'U2X'),
      await api.call('POST', '/chats/links/admin', { ...slackUser('U2X'), user: 'ann' }),
    ])
      assert.deepEqual([status, body.code], [409, 'LINK_TAKEN']);
    assert.equal((await asBot('POST', '/chats/identities', slackUser('U2X'))).body.user, 'bob');
  });

  test('has codes only for people, few at once, and names that stand for nothing else', async () => {
    assert.equal((await api.call('POST', '/chats/links/codes', { platform: 'slack' })).status, 403);
    await api.t.store.query('delete from chat_link_codes');
    for (let i = 0; i < 5; i++) await codeFor(ann);
    const sixth = await api.call('POST', '/chats/links/codes', { platform: 'slack' }, ann.as);
    assert.deepEqual([sixth.status, sixth.body.code], [429, 'TOO_MANY_CODES']);
    // those that are over are none
    await api.t.store.query(`update chat_link_codes set expires_at = now() - interval '1 second'`);
    await codeFor(ann);
    for (const wrong of [{ platform: 'user' }, { team: 'T:1' }, { external_user: '*' }, { external_user: '' }, { team: 'a b' }])
      assert.equal((await asBot('POST', '/chats/identities', { ...slackUser('U1'), ...wrong })).status, 422, JSON.stringify(wrong));
    for (const scope of ['inbox.use', 'threads.write', 'approvals.decide'])
      assert.equal((await api.call('POST', '/chats/identities', slackUser('U1'), { key: await api.keyWith(scope) })).status, 403);
  });
});

async function addSession(whose: Person): Promise<Partial<Person>> {
  const { body } = await api.call('POST', '/auth/password', { name: whose.name, password: whose.password }, { key: null });
  return { token: body.token, as: { key: null, headers: { authorization: `Bearer ${body.token}` } } };
}

describe('a click in Slack', () => {
  /** And shows its card. */
  const ask = async (...question: Parameters<typeof raise>) => {
    const approval = await raise(...question);
    await noteCard(api.t.store, approval.approval_id);
    return approval;
  };
  after(() => api.t.store.query(`with notices as (delete from chat_notices) delete from chat_platforms`));

  test('is a vote of the person to whom the account is linked', async () => {
    const approval = await ask();
    const { status, body } = await send(click('U1', 'approve', approval));
    assert.deepEqual([status, body.outcome, body.approval.state, body.approval.decided_by], [200, 'voted', 'approved', 'user:ann']);
    assert.equal(body.approval.votes[0].channel, 'slack');
    const [vote] = await entries('approval.vote');
    assert.deepEqual([vote?.actor, vote?.details['channel'], vote?.details['account']], ['user:ann', 'slack', 'slack:T1:U1']);
  });

  test('says to whoever may not why not', async () => {
    const approval = await ask();
    const nobody = await send(click('U9', 'approve', approval));
    assert.deepEqual([nobody.status, nobody.body.outcome, nobody.body.code], [200, 'refused', 'NOT_LINKED']);
    assert.match(nobody.body.message, /centaur users link slack/);
    await api.call('POST', '/chats/links/admin', { ...slackUser('UV'), user: 'bob' });
    const viewer = await send(click('UV', 'approve', approval));
    assert.equal(viewer.body.code, 'NOT_AN_APPROVER');
    const other = await send(click('U1', 'approve', { ...approval, digest: 'a'.repeat(64) }));
    assert.equal(other.body.code, 'STALE_DIGEST');
    const gone = await send(click('U1', 'approve', { ...approval, approval_id: '0198c0de-0000-7000-8000-000000000000' }));
    assert.equal(gone.body.code, 'APPROVAL_NOT_FOUND');
    assert.equal((await api.call('GET', `/approvals/${approval.approval_id}`)).body.version, 1);
  });

  test('that denies has a reason, and where the risk asks for one, its own', async () => {
    const plain = await send(click('U1', 'deny', await ask()));
    assert.deepEqual([plain.body.approval.state, plain.body.approval.reason], ['denied', 'denied in Slack']);
    const money = await ask({ risk: 'financial' });
    assert.equal((await send(click('U1', 'deny', money))).body.code, 'REASON_REQUIRED');
    const payload = view('U1', approvalViewMetadata({ ...refOf(money), verdict: 'deny', paths: [], card: CARD }), {
      reason: 'over the limit',
    });
    const denied = await send(signed(payload, api.t.store.now()));
    assert.deepEqual([denied.body.approval.state, denied.body.approval.reason], ['denied', 'over the limit']);
  });

  test('in a view puts other arguments in place of those that were touched', async () => {
    const approval = await ask();
    const metadata = approvalViewMetadata({ ...refOf(approval), verdict: 'approve', paths: ['amount', 'note', 'items'], card: CARD });
    const values = (amount: string) => ({ reason: 'half', 'edit:0': amount, 'edit:1': 'n', 'edit:2': '["a"]' });
    const wrong = await send(signed(view('U1', metadata, values('five')), api.t.store.now()));
    assert.deepEqual([wrong.body.code, wrong.body.message.split(':')[0]], ['EDIT_REFUSED', 'amount']);
    const edited = await send(signed(view('U1', metadata, values('5')), api.t.store.now()));
    assert.deepEqual(
      [edited.body.outcome, edited.body.approval.edited_args, edited.body.approval.changed, edited.body.approval.edited_by],
      ['voted', { amount: 5, note: 'n', items: ['a'] }, ['amount'], 'ann'],
    );
    // a deny changes nothing, whatever was typed before it
    const another = await ask();
    const no = approvalViewMetadata({ ...refOf(another), verdict: 'deny', paths: ['amount'], card: CARD });
    const denied = await send(signed(view('U1', no, { reason: 'no', 'edit:0': '5' }), api.t.store.now()));
    assert.deepEqual([denied.body.approval.state, denied.body.approval.edited_by], ['denied', null]);
    const optional = approvalViewMetadata({ ...refOf(approval), verdict: 'approve', paths: ['more'], card: CARD });
    assert.equal((await send(signed(view('U1', optional, { 'edit:0': '' }), api.t.store.now()))).body.code, 'APPROVAL_DECIDED');
    const untouched = await ask();
    const same = approvalViewMetadata({ ...refOf(untouched), verdict: 'approve', paths: ['amount', 'note', 'items'], card: CARD });
    const voted = await send(signed(view('U1', same, values('10')), api.t.store.now()));
    assert.deepEqual([voted.body.approval.state, voted.body.approval.edited_by], ['approved', null]);
  });

  test('in a view leaves what is blanked as it is, and says no more than there is room for', async () => {
    const args = { amount: 10, note: 'n', items: ['a'] };
    const editing = { args, bound: { kind: 'tool', n: 'blanked' }, schema: null, sensitive: ['note'] };
    const digest = createHash('sha256')
      .update(canonicalJson({ ...editing.bound, args }))
      .digest();
    const approval = await ask({ editing, digest });
    assert.notEqual(approval.args.note, 'n');
    const metadata = approvalViewMetadata({ ...refOf(approval), verdict: 'approve', paths: ['note'], card: CARD });
    const values = (reason: string) => ({ reason, 'edit:0': String(approval.args.note) });
    const long = await send(signed(view('U1', metadata, values('x'.repeat(1001))), api.t.store.now()));
    assert.deepEqual([long.body.outcome, long.body.code], ['refused', 'REASON_REQUIRED']);
    const voted = await send(signed(view('U1', metadata, values('x'.repeat(1000))), api.t.store.now()));
    assert.deepEqual([voted.body.approval.state, voted.body.approval.edited_by], ['approved', null]);
  });

  test('is of the account that Slack has signed, and of its own team', async () => {
    const approval = await ask();
    const payload = button('U1', 'approve', approvalValue(refOf(approval)));
    const by = (user: object) => send(signed({ ...payload, user }, api.t.store.now())).then(({ body }) => body);
    assert.equal((await by({ id: 'U1', username: 'U1', team_id: 'T2' })).code, 'NOT_LINKED');
    assert.equal((await by({ id: 'U9', username: 'U1', name: 'ann', team_id: 'T1' })).code, 'NOT_LINKED');
    assert.equal((await by({ id: 'U1', username: 'U9' })).approval.decided_by, 'user:ann');
  });

  test('that comes again changes nothing, also when its person has voted otherwise since', async () => {
    const approval = await ask({ gate: 'two' });
    const yes = click('U1', 'approve', approval);
    const first = await send(yes);
    assert.deepEqual([first.body.approval.approvals, first.body.approval.version], [1, 2]);
    const repeated = await send(yes);
    assert.deepEqual([repeated.body.outcome, repeated.body.approval.version], ['voted', 2]);
    await send(click('U1', 'abstain', first.body.approval));
    // what is forgotten is over, and this one is not
    const { store, audit, macKey } = api.installation;
    await createChats({ store, audit, macKey, users: createUsers({ store, audit }) }).prune();
    const replayed = await send(yes);
    assert.deepEqual([replayed.body.approval.approvals, replayed.body.approval.version], [0, 3]);
    const { rows } = await api.t.store.query<{ n: number }>(
      `select count(*)::int as n from audit_log where action = 'approval.vote' and entry::jsonb->>'resource' = $1`,
      [`approval:${approval.approval_id}`],
    );
    assert.equal(rows[0]?.n, 2);
  });

  test('that was held back does not undo what its person has clicked since, nor stops what others click', async () => {
    const approval = await ask({ gate: 'two' });
    await addPerson(api, 'other', 'approver');
    await api.call('POST', '/chats/links/admin', { ...slackUser('UO'), user: 'other' });
    const at = (user: string, verdict: 'approve' | 'abstain', agoMs: number) =>
      signed(button(user, verdict, approvalValue(refOf(approval))), api.t.store.now() - agoMs);
    const held = at('U1', 'approve', 20_000);
    assert.equal((await send(at('U1', 'abstain', 10_000))).body.approval.approvals, 0);
    const late = await send(held);
    assert.deepEqual([late.body.outcome, late.body.approval.approvals, late.body.approval.version], ['voted', 0, 2]);
    // by the digest, whoever has voted meanwhile
    assert.equal((await send(at('UO', 'approve', 20_000))).body.approval.approvals, 1);
    assert.equal((await send(at('U1', 'approve', 0))).body.approval.state, 'approved');
  });

  test('that was refused is as little a vote later, and is refused for the same when it comes again', async () => {
    const approval = await ask();
    const early = click('UL', 'approve', approval);
    const first = await send(early);
    assert.equal(first.body.code, 'NOT_LINKED');
    await addPerson(api, 'lately', 'approver');
    await api.call('POST', '/chats/links/admin', { ...slackUser('UL'), user: 'lately' });
    assert.deepEqual((await send(early)).body, first.body);
    const before = signed(button('UL', 'approve', approvalValue(refOf(approval))), api.t.store.now() - 10_000);
    assert.equal((await send(before)).body.approval.approvals, 0);
    const later = signed(button('UL', 'approve', approvalValue(refOf(approval))), api.t.store.now() + 1_000);
    assert.equal((await send(later)).body.approval.state, 'approved');
  });

  test('counts on a card of this approval, and on no other message', async () => {
    const [one, other, unseen] = [await ask(), await raise(), await raise()];
    await noteCard(api.t.store, other.approval_id, { channel: 'C1', ts: '1700000000.000200' });
    const at = (payload: object) => send(signed(payload, api.t.store.now())).then(({ body }) => body);
    const value = approvalValue(refOf(one));
    for (const place of [
      { channel: 'C1', ts: '1700000000.000200' },
      { channel: 'C2', ts: CARD.ts },
      { channel: 'C1', ts: '1700000000.0001' },
    ]) {
      assert.equal((await at(button('U1', 'approve', value, place))).code, 'NOT_THE_CARD', JSON.stringify(place));
      const metadata = approvalViewMetadata({ ...refOf(one), verdict: 'approve', paths: [], card: place });
      assert.equal((await at(view('U1', metadata, {}))).code, 'NOT_THE_CARD', JSON.stringify(place));
    }
    const { container: _, ...nowhere } = button('U1', 'approve', value);
    assert.equal((await at(nowhere)).code, 'NOT_THE_CARD');
    assert.equal((await at(button('U1', 'approve', approvalValue(refOf(unseen))))).code, 'NOT_THE_CARD');
    assert.equal((await at(button('U1', 'approve', value))).approval.state, 'approved');
  });

  test('of many at once, each by its own person, is counted each', async () => {
    await Promise.all(
      [1, 2, 3, 4].map(async (i) => {
        await addPerson(api, `many${i}`, 'approver');
        await api.call('POST', '/chats/links/admin', { ...slackUser(`UM${i}`), user: `many${i}` });
      }),
    );
    for (let i = 0; i < 5; i++) {
      const approval = await ask();
      const outcomes = await Promise.all([1, 2, 3, 4].map((n) => send(click(`UM${n}`, n % 2 === 0 ? 'approve' : 'deny', approval))));
      assert.deepEqual(outcomes.map(({ body }) => String(body.code ?? body.outcome)).toSorted(), [
        'APPROVAL_DECIDED',
        'APPROVAL_DECIDED',
        'APPROVAL_DECIDED',
        'voted',
      ]);
    }
  });

  test('is refused as a whole when it is not about an approval, not signed, or the server cannot tell', async () => {
    const approval = await ask();
    const payload = button('U1', 'approve', approvalValue(refOf(approval)));
    const now = api.t.store.now();
    const metadata = approvalViewMetadata({ ...refOf(approval), verdict: 'approve', paths: [], card: CARD });
    const { view: shown, ...submitted } = view('U1', metadata, {});
    const { body: said } = signed(payload, now);
    const at = (timestamp: string) => {
      const signature = `v0=${createHmac('sha256', SLACK_SECRET).update(`v0:${timestamp}:${said}`).digest('hex')}`;
      return { body: said, timestamp, signature };
    };
    const codes: readonly (readonly [object | (() => object), number, string])[] = [
      [signed({ ...payload, actions: [{ action_id: 'other', value: 'x' }] }, now), 422, 'NOT_AN_APPROVAL'],
      [signed({ ...payload, actions: [...payload.actions, ...payload.actions] }, now), 422, 'NOT_AN_APPROVAL'],
      [signed({ ...payload, type: 'shortcut' }, now), 422, 'NOT_AN_APPROVAL'],
      [signed(view('U1', '{"a":1}', {}), now), 422, 'NOT_AN_APPROVAL'],
      [signed({ ...submitted, view: { ...shown, callback_id: 'other' } }, now), 422, 'NOT_AN_APPROVAL'],
      [at('NaN'), 401, 'SIGNATURE_INVALID'],
      [at(`0x${Math.floor(now / 1000).toString(16)}`), 401, 'SIGNATURE_INVALID'],
      [{ ...signed(payload, now), signature: `v0=${'0'.repeat(64)}` }, 401, 'SIGNATURE_INVALID'],
      [() => signed(payload, api.t.store.now() - 301_000), 401, 'SIGNATURE_INVALID'],
      [() => signed(payload, api.t.store.now() + 302_000), 401, 'SIGNATURE_INVALID'],
      [{ payload, socket: true }, 403, 'SIGNATURE_REQUIRED'],
      [{ payload }, 422, 'INVALID_REQUEST'],
    ];
    for (const [entry, status, code] of codes) {
      const request = typeof entry === 'function' ? (entry as () => object)() : entry;
      const refused = await send(request);
      assert.deepEqual([refused.status, refused.body.code], [status, code], JSON.stringify(request));
    }
    assert.equal((await api.call('GET', `/approvals/${approval.approval_id}`)).body.version, 1);
    assert.equal((await send(signed(payload, api.t.store.now() - 290_000))).body.outcome, 'voted');
  });

  test('by Socket Mode counts where an admin has said so, and without a secret nothing else does', async () => {
    const { store, audit, macKey } = api.installation;
    const trusting = createChats({ store, audit, macKey, users: createUsers({ store, audit }), slack: { socketMode: 'trusted' } });
    const approval = await ask();
    const payload = button('U1', 'approve', approvalValue(refOf(approval)));
    await assert.rejects(trusting.voteBySlack({}, signed(payload, store.now())), { code: 'CHAT_NOT_CONFIGURED' });
    for (const _ of ['once', 'again']) {
      const outcome = await trusting.voteBySlack({}, { payload, socket: true });
      assert.ok(outcome.outcome === 'voted' && outcome.approval.state === 'approved' && outcome.approval.version === 2);
    }
  });

  test('of whoever asked by an account of theirs is not theirs to approve, linked before or since', async () => {
    const words = async (user: string) => {
      const approval = await ask({ gate: 'two', user });
      return (await send(click('U1', 'approve', approval))).body;
    };
    assert.equal((await words('slack:T1:U1')).code, 'NOT_AN_APPROVER');
    assert.equal((await words('slack:T1:U8')).outcome, 'voted');
    const before = await ask({ gate: 'two', user: 'slack:T1:U7' });
    await api.call('POST', '/chats/links/admin', { ...slackUser('U7'), user: 'ann' });
    const since = await send(click('U1', 'approve', before));
    assert.deepEqual([since.body.code, since.body.message.includes('requester')], ['NOT_AN_APPROVER', true]);
    const asked = await ask({ gate: 'two', user: 'slack:T1:U7' });
    await api.call('DELETE', '/chats/links/slack/T1/U7');
    assert.equal((await send(click('U1', 'approve', asked))).body.code, 'NOT_AN_APPROVER');
    // nor what was asked by it while it was nobody's
    assert.equal((await words('slack:T1:U7')).code, 'NOT_AN_APPROVER');
  });
});

describe('an approval', () => {
  const ask = raise;
  const claim = async (more: object = {}) => {
    const { status, body } = await asBot('POST', '/chats/approvals/claim', { platform: 'slack', consumer_id: 'bot-1', limit: 50, ...more });
    assert.equal(status, 200, JSON.stringify(body));
    return body.notices as Notice[];
  };
  interface Notice {
    approval: { approval_id: string; version: number; state: string; digest: string };
    thread_key: string | null;
    delivery: unknown;
    shown: { version: number; ref: unknown } | null;
  }
  const shown = ({ approval }: Pick<Notice, 'approval'>, ref: unknown = { ts: '1' }, consumer = 'bot-1', places: readonly object[] = []) =>
    asBot('POST', `/chats/approvals/${approval.approval_id}/shown`, {
      platform: 'slack',
      consumer_id: consumer,
      version: approval.version,
      ref,
      places,
    });
  const failed = (approvalId: string, more: object = {}) =>
    asBot('POST', `/chats/approvals/${approvalId}/failed`, { platform: 'slack', consumer_id: 'bot-1', error: 'no', ...more });
  const only = (notices: readonly Notice[], approvalId: string) => notices.filter(({ approval }) => approval.approval_id === approvalId);
  /** Shows what there is, so that each test begins with nothing. */
  const drain = async () => {
    for (let notices = await claim(); notices.length > 0; notices = await claim()) for (const each of notices) await shown(each);
  };
  const all = person('cleo');

  test('that was decided before anybody showed any is not told, one that waits is', async () => {
    await api.t.store.query(`update approvals set state = 'cancelled' where state = 'pending'`);
    const old = await ask();
    await castVote(api.installation, all, old.approval_id, { verdict: 'approve', channel: 'api' });
    const waiting = await ask();
    assert.equal((await api.t.store.query('select 1 from chat_notices')).rowCount, 0);
    const notices = await claim();
    assert.deepEqual(
      notices.map(({ approval, shown: before }) => [approval.approval_id, before]),
      [[waiting.approval_id, null]],
    );
    const { rows } = await api.t.store.query<{ platform: string }>('select distinct platform from chat_notices');
    assert.deepEqual(rows, [{ platform: 'slack' }]);
  });

  test('is told again with each version until its end is shown, with where it was shown before', async () => {
    await drain();
    const { approval_id: id } = await ask({ gate: 'two' });
    const [first] = await claim();
    assert.deepEqual([first?.approval.approval_id, first?.approval.version, first?.shown], [id, 1, null]);
    assert.deepEqual(await claim({ consumer_id: 'bot-2' }), []);
    assert.equal((await shown(first as Notice, { channel: 'C1', ts: '17.1' })).body.state, 'shown');
    assert.deepEqual(await claim(), []);
    await castVote(api.installation, all, id, { verdict: 'approve', channel: 'api' });
    const [second] = await claim();
    assert.deepEqual([second?.approval.version, second?.shown], [2, { version: 1, ref: { channel: 'C1', ts: '17.1' } }]);
    // it changes while it is shown: what was shown is not the last
    await castVote(api.installation, person('dora'), id, { verdict: 'approve', channel: 'api' });
    await shown(second as Notice, null);
    const [third] = await claim();
    assert.deepEqual([third?.approval.state, third?.shown], ['approved', { version: 2, ref: null }]);
    await shown(third as Notice);
    await consumeApproval(api.t.store, id);
    const [used] = await claim();
    assert.equal(used?.approval.state, 'consumed');
    await shown(used);
    await returnApproval(api.t.store, id);
    assert.equal((await claim())[0]?.approval.state, 'approved');
    await api.t.store.query(`update approvals set use_by = now() - interval '1 second' where approval_id = $1`, [id]);
    await sweepApprovals(api.installation);
    await api.t.store.query('update chat_notices set lease_expires_at = null where approval_id = $1', [id]);
    assert.deepEqual(
      (await claim()).map(({ approval }) => [approval.approval_id, approval.state]),
      [[id, 'expired']],
    );
  });

  test('is voted on where it is shown, and a click that is faster than the note is to be sent again', async () => {
    await drain();
    const approval = await ask({ gate: 'two' });
    const [notice] = await claim();
    const early = click('U1', 'abstain', approval);
    const unnoted = await send(early);
    assert.deepEqual([unnoted.status, unnoted.body.code], [409, 'CARD_NOT_NOTED']);
    assert.equal((await shown(notice as Notice, {}, 'bot-2', [CARD])).body.code, 'NOTICE_NOT_CLAIMED');
    assert.equal((await send(early)).body.code, 'CARD_NOT_NOTED');
    await shown(notice as Notice, {}, 'bot-1', [{ channel: 'C1', ts: '1.1' }, CARD]);
    assert.equal((await send(early)).body.outcome, 'voted');
    // what is said of an old version ends no lease of a newer one
    const [second] = await claim();
    await shown(notice as Notice, {}, 'bot-1', [CARD]);
    assert.deepEqual([second?.approval.version, await claim()], [2, []]);
  });

  test('that was erased while it was being shown is noted to be nowhere once that is shown', async () => {
    await drain();
    const { approval_id: id } = await ask({ gate: 'two' });
    const [notice] = await claim();
    await api.t.store.query(
      `update approvals set summary = '{"erased": true}', state = 'cancelled', version = version + 1 where approval_id = $1`,
      [id],
    );
    assert.equal((await shown(notice as Notice, { ts: '1' }, 'bot-1', [CARD])).status, 200);
    const [last] = await claim();
    assert.deepEqual([last?.approval.state, last?.shown], ['cancelled', { version: 1, ref: { ts: '1' } }]);
    await shown(last as Notice, { ts: '1' }, 'bot-1', [CARD]);
    const { rows } = await api.t.store.query('select ref, places, shown_version from chat_notices where approval_id = $1', [id]);
    assert.deepEqual(rows, [{ ref: null, places: [], shown_version: 2 }]);
  });

  test('that was asked and decided between two claims is told, escalations and ends without a decision, too', async () => {
    await drain();
    const quick = await ask();
    await castVote(api.installation, all, quick.approval_id, { verdict: 'deny', reason: 'no', channel: 'api' });
    const late = await ask();
    await api.t.store.query(`update approvals set expires_at = now() - interval '1 second' where approval_id = $1`, [late.approval_id]);
    await sweepApprovals(api.installation);
    assert.deepEqual(
      (await claim()).map(({ approval }) => approval.state),
      ['denied', 'expired'],
    );
  });

  test('is waited for', async () => {
    await drain();
    const waiting = claim({ wait_ms: 30_000 });
    const { approval_id: id } = await ask();
    assert.equal(only(await waiting, id).length, 1);
  });

  test('is another’s when a lease ends, and nobody else says that it was shown', async () => {
    await drain();
    const { approval_id: id } = await ask();
    const [notice] = await claim();
    assert.equal((await shown(notice as Notice, {}, 'bot-2')).body.code, 'NOTICE_NOT_CLAIMED');
    await api.t.store.query(`update chat_notices set lease_expires_at = now() - interval '1 second' where approval_id = $1`, [id]);
    assert.equal((await claim({ consumer_id: 'bot-2' })).length, 1);
    assert.equal((await shown(notice as Notice)).body.code, 'NOTICE_NOT_CLAIMED');
    assert.equal((await failed(id)).body.code, 'NOTICE_NOT_CLAIMED');
    assert.equal((await shown(notice as Notice, {}, 'bot-2')).status, 200);
    assert.equal((await shown(notice as Notice, {}, 'bot-2')).status, 200);
    const ahead = { approval: { ...(notice as Notice).approval, version: 9 } };
    assert.equal((await shown(ahead, {}, 'bot-2')).body.code, 'NOTICE_NOT_CLAIMED');
    assert.equal(
      (await asBot('POST', '/chats/approvals/none/shown', { platform: 'slack', consumer_id: 'x', version: 1, ref: null })).status,
      409,
    );
    assert.equal((await shown(notice as Notice, 'x'.repeat(9000), 'bot-2')).status, 422);
  });

  test('that cannot be shown is tried again after a while, and in the end not before it changes', async () => {
    await drain();
    const { approval_id: id } = await ask({ gate: 'two' });
    await claim();
    assert.equal((await failed(id, { retry_after_seconds: 60 })).body.state, 'retry_wait');
    assert.deepEqual(await claim(), []);
    for (let state = 'retry_wait', tries = 1; state !== 'given_up';) {
      await api.t.store.query('update chat_notices set next_attempt_at = now() where approval_id = $1', [id]);
      assert.equal((await claim()).length, 1);
      state = (await failed(id)).body.state;
      assert.ok((tries += 1) <= 20);
    }
    await api.t.store.query('update chat_notices set next_attempt_at = now() where approval_id = $1', [id]);
    assert.deepEqual(await claim(), []);
    await castVote(api.installation, all, id, { verdict: 'abstain', channel: 'api' });
    assert.equal((await claim())[0]?.approval.version, 2);
    const settled = () =>
      api.t.store.query<{ is: boolean }>(`select settled_at < 'infinity' as is from chat_notices where approval_id = $1`, [id]);
    await castVote(api.installation, all, id, { verdict: 'deny', reason: 'no', channel: 'api' });
    await api.t.store.query('update chat_notices set lease_expires_at = null where approval_id = $1', [id]);
    assert.equal((await claim()).length, 1);
    await failed(id);
    assert.equal((await settled()).rows[0]?.is, false);
    await api.t.store.query('update chat_notices set next_attempt_at = now(), attempt_count = 19 where approval_id = $1', [id]);
    await claim();
    assert.equal((await failed(id)).body.state, 'given_up');
    assert.equal((await settled()).rows[0]?.is, true);
  });

  test('is one consumer’s of many that claim at once', async () => {
    await drain();
    const ids = new Set<string>();
    for (let i = 0; i < 10; i++) ids.add((await ask({ principal: `key:${asked}-${i}` })).approval_id);
    const taken = await Promise.all([1, 2, 3, 4].map((n) => claim({ consumer_id: `many-${n}`, limit: 5 })));
    const more = await claim({ consumer_id: 'many-5' });
    const found = [...taken.flat(), ...more].map(({ approval }) => approval.approval_id);
    assert.deepEqual(found.toSorted(), [...ids].toSorted());
  });

  test('of a thread has the delivery of the turn that raised it', async () => {
    await drain();
    const threadKey = 'slack:T1:C1:1700000000.000100';
    await api.t.store.query(
      `insert into agent_execution_requests (thread_key, execution_id, assignment_generation, execute_id, request_hash, harness, platform, delivery,
         metadata, status, started_at)
       values ($1, gen_random_uuid(), 1, 'e1', '', 'demo', 'slack', '{"channel": "C1"}', '{}', 'completed', now() - interval '1 hour'),
         ($1, gen_random_uuid(), 1, 'e2', '', 'demo', 'slack', '{"channel": "C1", "ts": "2"}', '{}', 'running', now() - interval '1 second'),
         ($1, gen_random_uuid(), 1, 'e3', '', 'demo', 'slack', '{"channel": "C9"}', '{}', 'queued', null)`,
      [threadKey],
    );
    await ask({ threadKey });
    const [notice] = await claim();
    assert.deepEqual([notice?.thread_key, notice?.delivery], [threadKey, { channel: 'C1', ts: '2' }]);
  });
});
