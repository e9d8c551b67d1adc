/** What a bot, its key, or whoever writes in a chat might pass for somebody with. Votes are counted, grants held, or neither: asserted each time. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { approvalValue } from '@centaur/sdk';
import { askApproval, getApproval } from '../../kernel/policy/index.ts';
import { addGrant, besidesOf, ownSecretName, putSecret } from '../../kernel/vault/index.ts';
import { type CallOptions, startTestApi, type TestApi } from '../support/api.ts';
import { addPerson, type Person } from '../support/people.ts';
import { button, noteCard, signed, signedBody, SLACK_SECRET } from '../support/slack-clicks.ts';
import { createTestThreads, type TestThreads } from '../support/threads.ts';

let t: TestThreads;
let api: TestApi;
let bot: string;
let ann: Person;
let asked = 0;

before(async () => {
  t = await createTestThreads();
  api = await startTestApi({ threads: t.threads, on: t.engine, vault: 'alone', slack: { signingSecret: SLACK_SECRET } });
  bot = await api.keyWith('chats.use', 'threads.read', 'threads.write', 'deliveries.claim', 'inbox.use', 'events.emit', 'workflows:*');
  ann = await addPerson(api, 'ann', 'approver');
  await addPerson(api, 'bob', 'operator');
  await link('U1', 'ann');
  await link('U2', 'bob');
});
after(async () => {
  await api[Symbol.asyncDispose]();
  await t[Symbol.asyncDispose]();
});

const account = (user: string) => ({ platform: 'slack', team: 'T1', external_user: user });
const link = (user: string, name: string) => api.call('POST', '/chats/links/admin', { ...account(user), user: name });
const asBot = (method: string, path: string, body?: unknown) => api.call(method, path, body, { key: bot });
const send = (request: object) => asBot('POST', '/chats/slack/interactions', request);

async function ask() {
  const digest = createHash('sha256')
    .update(`attack ${(asked += 1)}`)
    .digest();
  const question = { digest, gate: 'default', rule: 'r', principal: `key:${asked}`, summary: {}, audited: {} };
  const { approvalId } = await askApproval(api.installation, { ...question, askAgainAfter: 3600 });
  await noteCard(api.t.store, approvalId);
  return { approvalId, digest: digest.toString('hex'), version: 1 };
}
const untouched = async ({ approvalId }: { approvalId: string }) => {
  const { state, version, votes } = await getApproval(api.t.store, approvalId);
  assert.deepEqual([state, version, votes], ['pending', 1, []]);
};

describe('a vote in Slack', () => {
  const now = () => api.t.store.now();

  test('is cast by nobody but Slack: a signature that is forged, old, of another body, or of another secret', async () => {
    const approval = await ask();
    const value = approvalValue(approval);
    const annClicks = button('U1', 'approve', value);
    const bobClicks = signed(button('U2', 'approve', value), now());
    const real = signed(annClicks, now());
    const forged: readonly (readonly [string, object])[] = [
      ['without a signature that is one', { ...real, signature: '' }],
      ['of zeros', { ...real, signature: `v0=${'0'.repeat(64)}` }],
      ['in capitals', { ...real, signature: real.signature.toUpperCase() }],
      ['cut off', { ...real, signature: real.signature.slice(0, -2) }],
      ['of another version of signatures', { ...real, signature: real.signature.replace('v0', 'v1') }],
      ['by another secret', signed(annClicks, now(), 'another-secret-of-another-app')],
      ['of the click of somebody else', { ...real, signature: bobClicks.signature, timestamp: bobClicks.timestamp }],
      ['with the user changed', { ...bobClicks, body: bobClicks.body.replaceAll('U2', 'U1') }],
      ['with the verdict changed', { ...real, body: real.body.replace('approve', 'abstain') }],
      ['with a time that is now', { ...signed(annClicks, now() - 3_600_000), timestamp: real.timestamp }],
      ['that was right an hour ago', signed(annClicks, now() - 3_600_000)],
      ['that will be right in an hour', signed(annClicks, now() + 3_600_000)],
      ['at a time that is none', { ...real, timestamp: 'NaN' }],
      ['with something behind the body', { ...real, body: `${real.body}&x=1` }],
    ];
    for (const [what, request] of forged) {
      const { status, body } = await send(request);
      assert.deepEqual([status, body.code], [401, 'SIGNATURE_INVALID'], what);
      assert.ok(!JSON.stringify(body).includes(SLACK_SECRET));
    }
    await untouched(approval);
  });

  test('is not hidden in something else that Slack signs, with words of whoever wrote it', async () => {
    const approval = await ask();
    const payload = encodeURIComponent(JSON.stringify(button('U1', 'approve', approvalValue(approval))));
    const bodies = [
      JSON.stringify({ type: 'event_callback', event: { type: 'message', user: 'U2', text: `hi&payload=${payload}&x=` } }),
      `token=x&team_id=T1&user_id=U2&command=%2Fcentaur&text=hi&payload=${payload}`,
      `payload=${payload}&payload=${payload}`,
      `command=%2Fcentaur&payload=${payload}`,
      ` payload=${payload}`,
      `payload=`,
      `payload=%7B`,
      `payload=%E0%A4%A`,
    ];
    for (const body of bodies) {
      const { status, body: answer } = await send(signedBody(body, now()));
      assert.deepEqual([status, answer.code], [422, 'NOT_AN_APPROVAL'], body);
    }
    await untouched(approval);
  });

  test('is not cast by the bot’s key, by no route and without a signature', async () => {
    const approval = await ask();
    const { approvalId: id, digest } = approval;
    const tries: readonly (readonly [string, object])[] = [
      [`/approvals/${id}/approve`, {}],
      [`/approvals/${id}/deny`, { reason: 'no' }],
      [`/approvals/${id}/votes`, { verdict: 'approve', digest }],
      [`/approvals/${id}/vote`, { verdict: 'approve', digest }],
      [`/approvals/${id}/override`, { reason: 'x' }],
      ['/approvals/votes', { votes: [{ approval_id: id, verdict: 'approve', digest }] }],
      ['/chats/slack/interactions', { payload: button('U1', 'approve', approvalValue(approval)), socket: true }],
    ];
    for (const [path, body] of tries) assert.ok([403, 404, 405].includes((await asBot('POST', path, body)).status), path);
    await untouched(approval);
  });

  test('is not drawn by whoever has the token of the bot: buttons elsewhere, right as they may be, are none of the approval', async () => {
    const approval = await ask();
    for (const place of [
      { channel: 'C1', ts: '1700000000.000999' },
      { channel: 'CELSEWHERE', ts: '1700000000.000100' },
    ]) {
      const { body } = await send(signed(button('U1', 'approve', approvalValue(approval), place), now()));
      assert.deepEqual([body.outcome, body.code], ['refused', 'NOT_THE_CARD']);
    }
    await untouched(approval);
  });

  test('that comes again, many times at once, is counted once', async () => {
    const approval = await ask();
    const click = signed(button('U1', 'abstain', approvalValue(approval)), now());
    const outcomes = await Promise.all(Array.from({ length: 12 }, () => send(click)));
    assert.deepEqual([...new Set(outcomes.map(({ body }) => `${body.outcome} ${body.approval?.version}`))], ['voted 2']);
    const { rows } = await api.t.store.query<{ n: number }>(
      `select count(*)::int as n from audit_log where action = 'approval.vote' and entry::jsonb->>'resource' = $1`,
      [`approval:${approval.approvalId}`],
    );
    assert.deepEqual(rows, [{ n: 1 }]);
  });

  test('of somebody disabled or unlinked does not count', async () => {
    await addPerson(api, 'gone', 'approver');
    await link('U5', 'gone');
    const approval = await ask();
    const click = () => send(signed(button('U5', 'approve', approvalValue(approval)), now()));
    await api.call('POST', '/users/gone/disable');
    assert.equal((await click()).body.code, 'NOT_LINKED');
    await api.call('POST', '/users/gone/enable');
    await api.call('DELETE', '/chats/links/slack/T1/U5');
    assert.equal((await click()).body.code, 'NOT_LINKED');
    await untouched(approval);
  });
});

describe('an account in a chat', () => {
  test('is not linked by guessing a code: after ten tries the right one does not count either', async () => {
    const { body } = await api.call('POST', '/chats/links/codes', { platform: 'slack' }, ann.as);
    const guess = (code: string, user = 'UG') => asBot('POST', '/chats/links', { ...account(user), code });
    for (let i = 0; i < 10; i++) assert.equal((await guess(`AAAA-AAA${i + 2 > 9 ? 'X' : i + 2}`)).body.code, 'LINK_CODE_INVALID');
    const right = await guess(body.code);
    assert.deepEqual([right.status, right.body.code], [429, 'TOO_MANY_TRIES']);
    assert.ok(Number(right.headers.get('retry-after')) > 0);
    // by as many accounts as one likes: all of a key's tries are counted, and no other bot's
    const { rows } = await api.t.store.query<{ tries: number }>('select max(tries) as tries from user_tries');
    assert.ok((rows[0]?.tries ?? 0) >= 10);
    await api.t.store.query('update user_tries set tries = 500');
    assert.equal((await guess(body.code, 'UOTHER')).body.code, 'TOO_MANY_TRIES');
    const elsewhere = await api.call(
      'POST',
      '/chats/links',
      { ...account('UFIRST'), code: 'AAAA-AAAA' },
      { key: await api.keyWith('chats.use') },
    );
    assert.equal(elsewhere.body.code, 'LINK_CODE_INVALID');
    await api.t.store.query('delete from user_tries');
    assert.equal((await guess(body.code)).body.pending, true);
    assert.equal((await api.call('POST', '/chats/links/confirm', account('UG'), ann.as)).body.user, 'ann');
    await api.call('DELETE', '/chats/links/slack/T1/UG');
  });

  test('is not taken over by many with one code, nor moved by the bot', async () => {
    const { body } = await api.call('POST', '/chats/links/codes', { platform: 'slack' }, ann.as);
    const all = await Promise.all(
      ['UA', 'UB', 'UC', 'UD'].map((user) => asBot('POST', '/chats/links', { ...account(user), code: body.code })),
    );
    assert.equal(all.filter(({ status }) => status === 200).length, 1);
    // whoever has the key of the bot reads codes, and hands them over for an account of their own: its owner is asked, and nobody is linked
    const mallory = await api.call('POST', '/chats/links/codes', { platform: 'slack' }, ann.as);
    await asBot('POST', '/chats/links', { ...account('UMALLORY'), code: mallory.body.code, display_name: 'Ann' });
    for (const as of [{ key: bot }, { key: await api.keyWith('chats.use', 'approvals.decide') }])
      assert.equal((await api.call('POST', '/chats/links/confirm', account('UMALLORY'), as)).status, 403);
    const approval = await ask();
    const click = signed(button('UMALLORY', 'approve', approvalValue(approval)), api.t.store.now());
    assert.equal((await send(click)).body.code, 'NOT_LINKED');
    await untouched(approval);
    await api.t.store.query('delete from chat_link_codes');
    assert.equal((await asBot('POST', '/chats/links/admin', { ...account('U9'), user: 'ann' })).status, 403);
    assert.equal((await asBot('DELETE', '/chats/links/slack/T1/U1')).status, 403);
    assert.equal((await asBot('POST', '/chats/links/codes', { platform: 'slack' })).status, 403);
    assert.equal((await asBot('GET', '/chats/links')).status, 403);
  });
});

describe('a turn', () => {
  const THREAD = 'slack:T1:C1:1700000000.000100';
  let n = 0;
  const askerOf = async (key: string, body: object, options: CallOptions = { key }) => {
    const thread_key = `${THREAD}${(n += 1)}`;
    const { status, body: accepted } = await api.call('POST', '/agent/execute', { thread_key, message: 'hi', ...body }, options);
    assert.equal(status, 202, JSON.stringify(accepted));
    const { rows } = await api.t.store.query<{ vouched: boolean; channel: string | null; user_id: string | null }>(
      `select e.vouched and m.vouched as vouched, e.channel, e.user_id from agent_execution_requests e
       join agent_message_requests m on m.delivered_execution_id = e.execution_id where e.execution_id = $1`,
      [accepted.execution_id],
    );
    return rows[0];
  };

  test('has the grants of a person and a channel only on the word of a bot, or of the person’s session', async () => {
    const other = await api.keyWith('threads.write', 'inbox.use');
    const operator = await addPerson(api, 'opal', 'operator');
    assert.deepEqual(await askerOf(bot, { user_id: 'slack:T1:U1' }), {
      vouched: true,
      channel: 'channel:slack:C1',
      user_id: 'slack:T1:U1',
    });
    for (const [key, body] of [
      [other, { user_id: 'slack:T1:U1' }],
      [other, { user_id: 'ann' }],
      [other, {}],
    ] as const) {
      const found = await askerOf(key, body);
      assert.deepEqual([found?.vouched, found?.channel], [false, null], JSON.stringify(body));
    }
    // a bot answers for accounts in its chat, and for no user by their name
    for (const user of ['ann', 'user:ann', 'user:x:y', 'slack:T1:*', 'slack:T1:U1:x', 'role:admin:x'])
      assert.equal((await askerOf(bot, { user_id: user }))?.vouched, false, user);
    assert.deepEqual(await askerOf('', {}, operator.as), { vouched: true, channel: null, user_id: 'opal' });
    assert.equal((await api.call('POST', '/agent/execute', { thread_key: THREAD, message: 'x', user_id: 'ann' }, operator.as)).status, 403);
    for (const field of ['vouched', 'channel', 'besides'])
      assert.equal((await asBot('POST', '/agent/execute', { thread_key: THREAD, message: 'x', [field]: true })).status, 422);
  });

  test('has no more of a channel, a team or a person than is theirs', async () => {
    for (const [secret, holder] of [
      ['C1', 'channel:slack:C1'],
      ['C10', 'channel:slack:C10'],
      ['ALL_SLACK', 'channel:slack:*'],
      ['GITHUB', 'channel:github:*'],
      ['T1', 'slack:T1:*'],
      ['T2', 'slack:T2:*'],
      ['ANN', 'user:ann'],
      ['BOB', 'user:bob'],
      ['U1', 'slack:T1:U1'],
      ['OCTO', 'github:github.com:octocat'],
    ] as const) {
      await putSecret(api.installation, 'test', `S_${secret}`, { hosts: ['api.example.com'], value: `value-of-${secret}-123456789` });
      await addGrant(api.installation, 'test', holder, `S_${secret}`);
    }
    // what ann has connected of her own is for tools, in turns in which nobody else has a word
    const own = ownSecretName('GITHUB_TOKEN', 'ann');
    await putSecret(api.installation, 'test', own, { hosts: ['api.example.com'], value: 'value-of-her-own-account-1' });
    await addGrant(api.installation, 'test', 'user:ann', own);
    const held = async (who: string | null, channel: string | null) =>
      (await besidesOf(api.t.store, { account: who, channel })).secrets.map((name) => name.slice(2)).toSorted();
    assert.deepEqual(await held('slack:T1:U1', 'channel:slack:C1'), ['ALL_SLACK', 'ANN', 'C1', 'T1', 'U1']);
    assert.deepEqual(await held('slack:T1:U2', 'channel:slack:C2'), ['ALL_SLACK', 'BOB', 'T1']);
    assert.deepEqual(await held('slack:T2:U1', null), ['T2']);
    assert.deepEqual(await held('github:github.com:ann', 'channel:github:acme/site'), ['GITHUB']);
    assert.deepEqual(await held('github:github.com:OctoCat', null), ['OCTO']);
    // too long for a principal: nothing, and no turn fails
    assert.deepEqual(await held(`slack:${'T'.repeat(100)}:${'U'.repeat(100)}`, 'channel:slack:C1'), ['ALL_SLACK', 'C1']);
    assert.deepEqual(await held('ann', null), ['ANN']);
    for (const nobody of ['nobody', 'user:ann', 'thread:x', 'ANN', 'slack', 'slack:T1'])
      assert.deepEqual(await held(nobody, null), [], nobody);
    assert.deepEqual(await held(null, null), []);
    await api.call('POST', '/users/ann/disable');
    // nor what is the channel's: others are there, and they are not
    assert.deepEqual(await held('slack:T1:U1', 'channel:slack:C1'), []);
    assert.deepEqual(await held('ann', null), []);
    await api.call('POST', '/users/ann/enable');
  });
});
