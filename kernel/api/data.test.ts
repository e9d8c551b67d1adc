import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ADMIN, startTestApi, type TestApi } from '../../test/support/api.ts';
import { sealAll } from '../../test/support/seal.ts';
import { eventually } from '../../test/support/wait.ts';
import { sealPrivate } from '../audit/index.ts';
import { dueNow, pruneDue } from '../care/index.ts';
import { ensurePartitions, uuidAt } from '../store/partitions.ts';

let api: TestApi;
before(async () => {
  api = await startTestApi({ vault: 'alone' });
});
after(() => api[Symbol.asyncDispose]());

const thread = (key: string) =>
  api.t.store.query('insert into sandbox_sessions (thread_key, trace_id) values ($1, gen_random_uuid())', [key]);

test('data care is for admins alone', async () => {
  const key = await api.keyWith('audit.read', 'threads.read', 'threads.write', 'secrets.write');
  for (const [method, path, body] of [
    ['GET', '/data/export?subject=user:ann', undefined],
    ['GET', '/data/erasures/plan?subject=user:ann', undefined],
    ['POST', '/data/erasures', { subject: 'user:ann', confirm: 'user:ann' }],
    ['POST', '/data/holds', { subject: 'user:ann', reason: 'r' }],
    ['GET', '/data/retention', undefined],
    ['POST', '/data/retention/apply', {}],
  ] as const)
    assert.equal((await api.call(method, path, body, { key })).status, 403, path);
});

test('what is asked for wrongly is named, and changes nothing', async () => {
  await thread('t1');
  const wrong = await api.call('POST', '/data/erasures', { subject: 'thread:t1', confirm: 'thread:t2' });
  assert.deepEqual([wrong.status, wrong.body.code], [422, 'INVALID_REQUEST']);
  assert.match(JSON.stringify(wrong.body), /confirm/);
  for (const subject of ['channel:x', 'thread:', 'user', 'ann-x'])
    assert.equal((await api.call('POST', '/data/holds', { subject, reason: 'r' })).status, 422, subject);
  assert.deepEqual((await api.call('GET', '/data/export?subject=thread:nowhere')).body.code, 'SUBJECT_NOT_FOUND');
  assert.equal((await api.call('DELETE', '/data/holds/x')).body.code, 'HOLD_NOT_FOUND');
  assert.equal((await api.call('GET', '/data/erasures/x')).body.code, 'ERASURE_NOT_FOUND');
  assert.deepEqual((await api.call('GET', '/data/erasures')).body.items, []);
});

test('holding, releasing and erasing, with who did it in the log', async () => {
  await thread('t2');
  const hold = (await api.call('POST', '/data/holds', { subject: 'thread:t2', reason: 'case 3' })).body;
  const held = await api.call('POST', '/data/erasures', { subject: 'thread:t2', confirm: 'thread:t2' });
  assert.deepEqual([held.status, held.body.code], [409, 'HELD']);
  await api.installation.audit.write({
    action: 'test.said',
    actor: 'system',
    private: await api.t.store.transaction((tx) => sealPrivate(tx, api.installation.master, 'thread:t2', { said: 'x' })),
  });
  assert.deepEqual((await api.call('POST', '/audit/erase', { subject: 'thread:t2' })).body.code, 'HELD', 'nor does a key go by itself');
  await api.call('DELETE', `/data/holds/${hold.hold_id}`);
  assert.deepEqual((await api.call('GET', '/data/holds')).body.items, []);
  assert.equal((await api.call('GET', '/data/holds?all=true')).body.items.length, 1);
  const begun = await api.call('POST', '/data/erasures', { subject: 'thread:t2', confirm: 'thread:t2' });
  assert.equal(begun.status, 202);
  await eventually(async () => (await api.call('GET', `/data/erasures/${begun.body.erasure_id}`)).body.state === 'done');
  const { items } = (await api.call('GET', '/audit?action=data&limit=50')).body;
  const actions = items.map(({ action, actor }: { action: string; actor: string }) => `${action} ${actor.split(':')[0]}`);
  for (const action of ['data.hold key', 'data.release key', 'data.erase key', 'data.erased key'])
    assert.ok(actions.includes(action), action);
});

test('a part of the log is dropped when an export has been read to its end, and not before', async () => {
  await using other = await startTestApi({ vault: 'alone' });
  const { store, audit, sealer } = other.installation;
  const old = uuidAt(store.now() - 100 * 86_400_000);
  await ensurePartitions(store, ['audit_log'], store.now() - 100 * 86_400_000);
  await store.query(`insert into audit_log (audit_id, action, actor, entry, mac, leaf) values ($1, 'old', 'system', '{}', '', '')`, [old]);
  const periods = {
    runs: 30,
    webhookDeliveries: 30,
    threads: null,
    toolCalls: 30,
    leases: 30,
    audit: 30,
    auditExport: 'required',
  } as const;
  await sealAll({ store, sealer });
  const before = (await dueNow(store, periods)).find(({ what }) => what === 'audit');
  assert.deepEqual([before?.due, before?.kept, /not exported/.test(before?.because ?? '')], [0, 1, true]);
  assert.deepEqual(await pruneDue({ store, audit }, periods), {});
  const exported = await fetch(`${other.url}/audit/export`, { headers: { 'x-api-key': ADMIN } });
  await exported.text();
  assert.equal((await dueNow(store, periods)).find(({ what }) => what === 'audit')?.due, 1);
  assert.ok(((await pruneDue({ store, audit }, periods))['audit_partitions'] ?? 0) >= 1);
});
