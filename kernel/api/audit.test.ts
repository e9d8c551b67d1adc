import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { ADMIN, startTestApi, type TestApi } from '../../test/support/api.ts';
import { sealAll } from '../../test/support/seal.ts';
import { eventually } from '../../test/support/wait.ts';
import { openPrivate, sealPrivate, verifyExport } from '../audit/index.ts';

const NO_ID = '0198c0de-0000-7000-8000-000000000000';
const LEASE = '0198c0de-1111-7000-8000-000000000000';
const TRACE = '0af76519-16cd-43dd-8448-eb211c80319c';

const open = () => startTestApi({ idle: true, vault: 'alone' });
const write = (api: TestApi, action: string, more: object = {}) => api.installation.audit.write({ action, actor: 'user:ann', ...more });
const ids = async (api: TestApi, query: string) =>
  (await api.call('GET', `/audit${query}`)).body.items.map((each: { id: string }) => each.id) as string[];

test('entries are read by what they are about, page by page in both directions', async () => {
  await using api = await open();
  const first = await write(api, 'lease.create', { leaseId: LEASE, traceId: TRACE, resource: 'lease:1' });
  const second = await write(api, 'egress.deny', { decision: 'deny', runId: LEASE });
  const third = await write(api, 'lease.revoke');
  assert.deepEqual(await ids(api, ''), [third, second, first]);
  assert.deepEqual(await ids(api, '?action=lease'), [third, first]);
  assert.deepEqual(await ids(api, '?action=lease.create&actor=user:ann&resource=lease:1'), [first]);
  assert.deepEqual(await ids(api, '?decision=deny'), [second]);
  assert.deepEqual([await ids(api, `?lease_id=${LEASE.toUpperCase()}`), await ids(api, `?run_id=${LEASE}`)], [[first], [second]]);
  for (const trace of [TRACE, TRACE.replaceAll('-', ''), TRACE.toUpperCase()])
    assert.deepEqual(await ids(api, `?trace_id=${trace}`), [first]);
  assert.deepEqual(await ids(api, '?actor=user:bob'), []);
  const page = (await api.call('GET', '/audit?limit=2')).body;
  assert.deepEqual(await ids(api, `?limit=2&after=${page.next}`), [first]);
  assert.deepEqual(await ids(api, `?order=asc&after=${first}`), [second, third]);
  assert.equal((await api.call('GET', `/audit/${second.toUpperCase()}`)).body.decision, 'deny');
  for (const id of [NO_ID, 'nope', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '00000000-0000-0000-0000-000000000000'])
    assert.equal((await api.call('GET', `/audit/${id}`)).body.code, 'AUDIT_ENTRY_NOT_FOUND');
});

test('a filter that cannot be is refused by name', async () => {
  await using api = await open();
  for (const name of ['lease_id', 'run_id', 'trace_id', 'after'])
    assert.match((await api.call('GET', `/audit?${name}=nope`)).body.message, new RegExp(`^query ${name}: expected`));
  assert.match((await api.call('GET', '/audit?actor=a%00b')).body.message, /^query actor: a zero byte/);
  assert.match((await api.call('GET', '/audit?limit=501')).body.message, /^query limit: too big/);
  assert.match((await api.call('GET', '/audit?order=up')).body.message, /^query order: expected one of/);
  assert.match((await api.call('GET', '/audit?actors=x')).body.message, /^query actors: unknown field; known are action/);
});

test('an entry is proved once it is sealed', async () => {
  await using api = await open();
  const id = await write(api, 'lease.create');
  await sealAll(api.installation);
  const proof = (await api.call('GET', `/audit/${id}/proof`)).body;
  assert.deepEqual([proof.audit_id, JSON.parse(proof.entry).action], [id, 'lease.create']);
  const { origin } = (await api.call('GET', '/audit/key')).body;
  assert.equal(proof.checkpoint.split('\n')[0], origin);
  for (const unknown of [NO_ID, 'nope'])
    assert.equal((await api.call('GET', `/audit/${unknown}/proof`)).body.code, 'AUDIT_ENTRY_NOT_FOUND');

  // A transaction that began before holds the seal back
  const client = await api.t.store.connect('test');
  try {
    await client.query('begin');
    await client.query('select pg_current_xact_id()');
    const late = await write(api, 'lease.revoke');
    const answer = await api.call('GET', `/audit/${late}/proof`);
    assert.deepEqual([answer.status, answer.body.code], [409, 'NOT_SEALED']);
  } finally {
    await client.end();
  }
});

test('a log that was tampered with is found out', async () => {
  await using api = await open();
  const id = await write(api, 'secret.create', { resource: 'secret:A' });
  await write(api, 'secret.remove');
  await sealAll(api.installation);
  const { rows } = await api.t.store.query<{ note: string }>('select note from audit_checkpoints order by n desc limit 1');
  const kept = rows[0]?.note as string;
  const clean = await api.call('POST', '/audit/verify', { anchors: [kept] });
  assert.deepEqual([clean.status, clean.body.ok, clean.body.findings], [200, true, []]);
  assert.ok(clean.body.entries >= 2 && clean.body.batches >= 1);
  const foreign = (await api.call('POST', '/audit/verify', { anchors: [kept.replace(/^centaur/, 'other')] })).body;
  assert.deepEqual([foreign.ok, foreign.findings[0].problem], [false, 'a checkpoint is not signed by the installation']);

  await api.t.store.query('alter table audit_log disable trigger all');
  await api.t.store.query('alter table audit_log disable trigger audit_log_append_only');
  const { rows: parts } = await api.t.store.query<{ name: string }>(
    `select tableoid::regclass::text as name from audit_log where audit_id = $1`,
    [id],
  );
  await api.t.store.query(`alter table ${parts[0]?.name} disable trigger user`);
  await api.t.store.query(`update audit_log set resource = 'secret:B' where audit_id = $1`, [id]);
  const dirty = (await api.call('POST', '/audit/verify', {})).body;
  assert.deepEqual([dirty.ok, dirty.problems, dirty.findings[0].audit_id], [false, 1, id]);
});

test('an export has all there is, and holds without us', async () => {
  await using api = await open();
  for (let i = 0; i < 500; i++) void write(api, 'lease.create', { details: { text: 'x'.repeat(500) } });
  const last = await write(api, 'lease.revoke');
  await sealAll(api.installation);
  const { status, headers, body } = await api.call('GET', '/api/audit/export');
  assert.deepEqual([status, headers.get('content-type')], [200, 'application/jsonl']);
  const { public_key } = (await api.call('GET', '/audit/key')).body;
  const report = verifyExport(body, public_key);
  assert.deepEqual([report.entries, report.findings], [501, []]);
  assert.ok(report.checkpoints >= 1 && body.includes(last));
  assert.equal((await api.call('HEAD', '/audit/export')).headers.get('content-type'), 'application/jsonl');
});

test('an export whose key is revoked, or whose server closes, breaks off instead of looking whole', async () => {
  await using api = await open();
  for (let i = 0; i < 3000; i++) void write(api, 'lease.create', { details: { text: 'x'.repeat(3000) } });
  await api.installation.audit.idle();
  await sealAll(api.installation);
  const made = (await api.call('POST', '/keys', { name: 'auditor', scopes: ['audit.read'] })).body;
  /** Reads nothing until it is told to, so that most of the export is still to come. */
  const begin = async (key: string) => {
    const request = http.get(`${api.url}/audit/export`, { headers: { 'x-api-key': key } });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    return response;
  };
  const readOn = async (response: http.IncomingMessage) => {
    let text = '';
    response.setEncoding('utf8').on('data', (part: string) => (text += part));
    await once(response, 'close').catch(() => undefined);
    return { whole: response.complete, bytes: text.length, end: text.slice(-100) };
  };
  const revoked = await begin(made.key);
  await api.call('DELETE', `/keys/${made.key_id}`);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const first = await readOn(revoked.on('error', () => undefined));
  assert.equal(first.whole, false, `${first.bytes} bytes`);
  const closed = await begin(ADMIN);
  const reading = readOn(closed.on('error', () => undefined));
  const closing = api.api.close(2000);
  const second = await reading;
  await closing;
  assert.equal(second.whole, false, `${second.bytes} bytes`);
  assert.ok(!second.end.includes('Error'), second.end);
  assert.equal(api.t.logs.filter(({ message }) => message === 'an export broke off').length, 2);
});

test('what is private of a subject is erased once, and only by an admin', async () => {
  await using api = await open();
  const { store, master } = api.installation;
  const sealed = await sealPrivate(store, master, 'user:ann', { mail: 'ann@example.com' });
  assert.equal((await api.call('POST', '/audit/erase', { subject: 'user:ann' }, { key: await api.keyWith('audit.read') })).status, 403);
  assert.deepEqual(await openPrivate(store, master, sealed), { mail: 'ann@example.com' });
  const erase = async () => (await api.call('POST', '/audit/erase', { subject: 'user:ann' })).body;
  assert.deepEqual(
    [await erase(), await erase()],
    [
      { subject: 'user:ann', erased: true },
      { subject: 'user:ann', erased: false },
    ],
  );
  assert.equal(await openPrivate(store, master, sealed), undefined);
  await eventually(async () => (await ids(api, '?action=audit.erase')).length === 1);
});
