import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { uuidv7 } from '../store/index.ts';
import { decideApproval, getApproval, listApprovals } from './approvals.ts';

const NO_ID = '0198c0de-0000-7000-8000-000000000000';
const SUMMARY = { method: 'POST', url: 'https://api.stripe.com:443/v1/refunds', secrets: ['STRIPE'], bytes: 20 };

const open = () => startTestApi({ idle: true, vault: 'alone' });

/** As the firewall asks for one. */
async function ask({ installation: { store, audit } }: TestApi, seconds = 3600): Promise<string> {
  const id = uuidv7(Date.now());
  const auditId = await audit.write({ action: 'approval.request', actor: 'user:ann', resource: `approval:${id}` });
  await store.query(
    `insert into approvals (approval_id, digest, gate, rule, principal, summary, state, lease_id, expires_at, audit_id)
     values ($1, $2, 'default', 'refunds', 'user:ann', $3, 'pending', $4, now() + make_interval(secs => $5), $6)`,
    [id, Buffer.alloc(32, 7), JSON.stringify(SUMMARY), NO_ID, seconds, auditId],
  );
  return id;
}

test('an approval is decided in one transaction with its audit entry, and whoever waits is told', async () => {
  await using api = await open();
  const { store } = api.installation;
  const told: string[] = [];
  await store.listener.on('centaur_approvals', (payload) => void told.push(payload));
  const id = await ask(api);
  const decided = await decideApproval(api.installation, 'user:bob', id, { state: 'approved', reason: 'ticket 4711' });
  assert.deepEqual([decided.state, decided.reason, decided.decided_by, decided.summary], ['approved', 'ticket 4711', 'user:bob', SUMMARY]);
  assert.deepEqual(await getApproval(store, id), decided);
  const { rows } = await store.query<{ entry: string }>('select entry from audit_log where audit_id = $1', [decided.decided_audit_id]);
  const entry = JSON.parse(rows[0]?.entry as string);
  assert.deepEqual(
    [entry.action, entry.actor, entry.resource, entry.decision, entry.lease_id, entry.details.reason, entry.details.digest],
    ['approval.decide', 'user:bob', `approval:${id}`, 'approve', NO_ID, 'ticket 4711', '07'.repeat(32)],
  );
  for (let left = 200; told.length === 0 && left > 0; left--) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(told.includes(id));
});

test('of many who decide at once, one does', async () => {
  await using api = await open();
  const id = await ask(api);
  const outcomes = await Promise.allSettled(
    ['a', 'b', 'c', 'd'].map((name, i) =>
      decideApproval(api.installation, `user:${name}`, id, { state: i % 2 === 0 ? 'approved' : 'denied', reason: name }),
    ),
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
  const [late, open2, used] = [await ask(api, -1), await ask(api), await ask(api)];
  await decideApproval(api.installation, 'user:bob', used, { state: 'approved' });
  await store.query(`update approvals set state = 'consumed', consumed_at = now() where approval_id = $1`, [used]);
  const ids = async (filter: Parameters<typeof listApprovals>[1]) =>
    (await listApprovals(store, filter)).items.map((each) => each.approval_id);
  assert.deepEqual(
    [await ids({ state: 'pending' }), await ids({ state: 'expired' }), await ids({ state: 'consumed' }), await ids({})],
    [[open2], [late], [used], [used, open2, late]],
  );
  const page = await listApprovals(store, { limit: 2 });
  assert.deepEqual([page.next, await ids({ limit: 2, after: page.next ?? '' })], [open2, [late]]);
  for (const [id, message] of [
    [late, /expired at .*, undecided/],
    [used, /was approved by user:bob/],
  ] as const)
    await assert.rejects(decideApproval(api.installation, 'x', id, { state: 'denied', reason: 'no' }), {
      code: 'APPROVAL_DECIDED',
      message,
    });
  await assert.rejects(decideApproval(api.installation, 'x', NO_ID, { state: 'denied', reason: 'no' }), { code: 'APPROVAL_NOT_FOUND' });
});

test('over HTTP a key decides under its own name, and a denial needs a reason', async () => {
  await using api = await open();
  const { key_id, key } = (await api.call('POST', '/keys', { name: 'ops', scopes: ['approvals.decide'] })).body;
  const [first, second] = [await ask(api), await ask(api)];
  const send = (path: string, body: object, by = key) => api.call('POST', `/approvals/${path}`, body, { key: by });
  assert.equal((await send(`${first}/approve`, {}, await api.keyWith('policy.write'))).status, 403);
  const approved = await send(`${first.toUpperCase()}/approve`, {});
  assert.deepEqual([approved.status, approved.body.state, approved.body.decided_by], [200, 'approved', `key:${key_id}`]);
  assert.match((await send(`${second}/deny`, {})).body.message, /^reason: is required/);
  assert.equal((await send(`${second}/deny`, { reason: 'no' })).body.reason, 'no');
  const again = await send(`${second}/approve`, {});
  assert.deepEqual([again.status, again.body.code], [409, 'APPROVAL_DECIDED']);
  const listed = (await api.call('GET', '/approvals?state=denied', undefined, { key })).body.items;
  assert.deepEqual([listed.length, listed[0].approval_id], [1, second]);
  assert.equal((await api.call('GET', `/approvals/${first}`, undefined, { key })).body.principal, 'user:ann');
  for (const id of [NO_ID, 'nope']) {
    assert.equal((await api.call('GET', `/approvals/${id}`)).body.code, 'APPROVAL_NOT_FOUND');
    assert.equal((await send(`${id}/approve`, {})).status, 404);
  }
});
