import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { ensureAdminKey, readAdminKey } from './admin-key.ts';
import { createKeys } from './keys.ts';
import { ROUTES } from './routes/index.ts';
import { ADMIN, startTestApi } from '../../test/support/api.ts';

const UNKNOWN = `ck_00000000_${'A'.repeat(43)}`;
const SCOPES = [
  'workflows:*',
  'workflows.read',
  'events.emit',
  'metrics.read',
  'secrets.read',
  'secrets.write',
  'leases.create',
  'policy.read',
  'policy.write',
  'approvals.decide',
  'audit.read',
];
const PUBLIC = [
  '/auth/callback',
  '/auth/device/poll',
  '/auth/device/start',
  '/auth/oidc/start',
  '/auth/password',
  '/healthz',
  '/oauth/callback/{name}',
  '/openapi.json',
  '/readyz',
  '/signin',
  '/webhooks/{slug}',
];

test('every route but those for anybody refuses whoever has no key, a wrong one or a revoked one', async () => {
  await using api = await startTestApi({ idle: true });
  const revoked = (await api.call('POST', '/keys', { name: 'gone', scopes: ['admin'] })).body;
  await api.call('DELETE', `/keys/${revoked.key_id}`);
  const tampered = `${revoked.key.slice(0, -1)}${revoked.key.endsWith('A') ? 'B' : 'A'}`;
  const open = new Set<string>();
  for (const { method, path: pattern } of ROUTES) {
    for (const prefix of ['', '/api']) {
      for (const key of [null, '', UNKNOWN, 'short', 'x'.repeat(300), revoked.key, tampered]) {
        // No body: nothing may be read before the key is
        const { status, body } = await api.call(method, prefix + pattern.replace(/\{\w+\}/g, 'x'), undefined, { key });
        if (status === 401) assert.equal(body.code, 'UNAUTHENTICATED');
        else open.add(pattern);
      }
    }
  }
  assert.deepEqual([...open].toSorted(), PUBLIC);
});

test('a key without a scope for a route is told which one it needs', async () => {
  await using api = await startTestApi({ idle: true });
  const opened: Record<string, string[]> = {};
  for (const scope of SCOPES) {
    const key = await api.keyWith(scope);
    for (const route of ROUTES) {
      if (route.access === 'public') continue;
      const { status, body } = await api.call(route.method, route.path.replace(/\{\w+\}/g, 'x'), undefined, { key });
      if (status !== 403) (opened[scope] ??= []).push(route.id);
      else
        assert.ok(
          body.code === 'FORBIDDEN' &&
            (route.access === 'person'
              ? body.details.needed.includes('session') && body.message.includes('centaur login')
              : body.details.needed.includes(route.access.scope) && body.message.includes(route.access.scope)),
          `${scope} at ${route.id}: ${JSON.stringify(body)}`,
        );
    }
  }
  assert.deepEqual(opened, {
    'workflows:*': [
      'startRun',
      'listRuns',
      'getRun',
      'cancelRun',
      'retryRun',
      'forkRun',
      'replayRun',
      'tailRun',
      'listWorkflows',
      'listSchedules',
      'listQueues',
      'listWebhooks',
      'listWebhookDeliveries',
      'redeliverWebhook',
      'getTrace',
    ],
    'workflows.read': [
      'listRuns',
      'getRun',
      'replayRun',
      'tailRun',
      'listWorkflows',
      'listSchedules',
      'listQueues',
      'listWebhooks',
      'listWebhookDeliveries',
      'getTrace',
    ],
    'events.emit': ['emitEvent'],
    'metrics.read': ['metrics'],
    'secrets.read': ['listSecrets', 'getSecret', 'listGrants', 'listRefusals', 'listOAuthApps', 'listConnections', 'getConnection'],
    'secrets.write': [
      'putSecret',
      'rotateSecret',
      'removeSecret',
      'addGrant',
      'removeGrant',
      'refuseGrant',
      'allowGrant',
      'setRoles',
      'putOAuthApp',
      'removeOAuthApp',
      'connectAccount',
      'revokeConnection',
    ],
    'leases.create': ['createLease', 'listLeases', 'revokeLease'],
    'policy.read': [
      'getPolicy',
      'listPolicyVersions',
      'getPolicyVersion',
      'checkPolicy',
      'listPolicyDrafts',
      'getPolicyDraft',
      'explainDecision',
      'backtestPolicy',
    ],
    'policy.write': ['publishPolicy', 'shadowPolicy', 'endShadow', 'savePolicyDraft', 'removePolicyDraft', 'rollbackPolicy'],
    'approvals.decide': ['listApprovals', 'listApprovalGrants', 'revokeApprovalGrant', 'getApproval'],
    'audit.read': [
      'verifyJournals',
      'readShadowReport',
      'listAudit',
      'exportAudit',
      'getAuditKey',
      'verifyAudit',
      'getAuditEntry',
      'proveAuditEntry',
    ],
  });
});

test('a key for one workflow starts and sees only that one', async () => {
  await using api = await startTestApi();
  const key = await api.keyWith('workflows:greet');
  const other = await api.run('other');
  const mine = (await api.call('POST', '/workflows/runs', { workflow_name: 'greet', input: { name: 'x' } }, { key })).body.run_id;
  assert.ok(mine);
  const mixed = await api.call('POST', '/workflows/runs', [{ workflow_name: 'greet', input: { name: 'x' } }, { workflow_name: 'other' }], {
    key,
  });
  assert.deepEqual([mixed.status, mixed.body.details.needed], [403, ['workflows:other', 'workflows:*']]);

  assert.equal((await api.call('GET', `/workflows/runs/${mine}`, undefined, { key })).status, 200);
  for (const [method, suffix, body] of [
    ['GET', '', undefined],
    ['GET', '/events', undefined],
    ['POST', '/cancel', undefined],
    ['POST', '/retry', undefined],
    ['POST', '/fork', { from_step: 0 }],
  ] as const) {
    assert.equal((await api.call(method, `/workflows/runs/${other}${suffix}`, body, { key })).status, 403, `${method} ${suffix}`);
  }
  const names = (answer: { body: { items: { name?: string; workflow_name?: string }[] } }) =>
    answer.body.items.map((each) => each.name ?? each.workflow_name);
  assert.deepEqual(names(await api.call('GET', '/workflows', undefined, { key })), ['greet']);
  assert.deepEqual(names(await api.call('GET', '/workflows/runs', undefined, { key })), ['greet']);
  assert.equal((await api.call('GET', '/workflows/runs?workflow_name=other', undefined, { key })).status, 403);
  assert.equal((await api.call('GET', '/workflows/queues', undefined, { key })).status, 403);
});

test('a key for two workflows reads the runs of both as one list, page by page', async () => {
  await using api = await startTestApi();
  api.t.registry.define('third', async () => 3);
  const started: string[] = [];
  for (const name of ['other', 'third', 'third', 'greet', 'other', 'third']) {
    const runId = await api.run(name, { name: 'x' });
    if (name !== 'greet') started.unshift(runId);
  }
  const key = await api.keyWith('workflows:other', 'workflows:third');
  const seen: string[] = [];
  for (let after: string | null = ''; after !== null;) {
    const { body } = await api.call('GET', `/workflows/runs?limit=2${after && `&after=${after}`}`, undefined, { key });
    seen.push(...body.items.map((run: { run_id: string }) => run.run_id));
    after = body.next;
  }
  assert.deepEqual(seen, started);
});

test('only an admin key makes, lists and revokes keys', async () => {
  await using api = await startTestApi({ idle: true });
  for (const scope of [...SCOPES, 'workflows:greet']) {
    const key = await api.keyWith(scope);
    assert.equal((await api.call('POST', '/keys', { name: 'mine', scopes: ['admin'] }, { key })).status, 403);
    assert.equal((await api.call('GET', '/keys', undefined, { key })).status, 403);
    assert.equal((await api.call('DELETE', '/keys/x', undefined, { key })).status, 403);
  }
  const listed = JSON.stringify((await api.call('GET', '/keys')).body);
  assert.ok(!listed.includes('hash') && !/ck_[0-9a-f]{8}_/.test(listed));
});

test('a key is refused when it is made without a name or with a scope that does not exist', async () => {
  await using api = await startTestApi({ idle: true });
  const make = async (body: object) => (await api.call('POST', '/keys', body)).body.message;
  assert.match(await make({ name: 'x', scopes: ['root'] }), /^scopes\[0\]: expected admin, workflows:\*/);
  assert.match(await make({ name: 'x', scopes: ['workflows:a b'] }), /^scopes\[0\]: /);
  assert.match(await make({ name: 'x', scopes: ['secretsxread'] }), /^scopes\[0\]: /);
  assert.match(await make({ name: 'x', scopes: [] }), /^scopes: too small/);
  assert.match(await make({ scopes: ['admin'] }), /^name: is required/);
});

test('a key works as a bearer token too', async () => {
  await using api = await startTestApi({ idle: true });
  const send = (authorization: string) => api.call('GET', '/keys', undefined, { key: null, headers: { authorization } });
  assert.equal((await send(`Bearer ${ADMIN}`)).status, 200);
  assert.equal((await send(`bearer ${await api.keyWith('admin')}`)).status, 200);
  const refused = await send(`Basic ${ADMIN}`);
  assert.deepEqual([refused.status, refused.headers.get('www-authenticate')], [401, 'Bearer realm="centaur"']);
});

test('a key that another process revoked stops working within a second', async () => {
  await using t = await createTestEngine({ idle: true });
  let now = 1_000_000;
  const here = createKeys(t.store, { now: () => now });
  const elsewhere = createKeys(t.store);
  await elsewhere.create('test', { name: 'admin', scopes: ['admin'] });
  const { key, key_id } = await elsewhere.create('test', { name: 'test', scopes: ['events.emit'] });
  const headers = new Headers({ 'x-api-key': key });
  const caller = await here.authenticate(headers);
  await elsewhere.revoke('test', key_id);
  now += 1001;
  await assert.rejects(here.authenticate(headers), { code: 'UNAUTHENTICATED', message: new RegExp(`${key_id} was revoked`) });
  assert.equal(await here.isActive(caller), false);
});

test('a key that is used shows when', async () => {
  await using api = await startTestApi({ idle: true });
  const { key, key_id } = (await api.call('POST', '/keys', { name: 'test', scopes: ['admin'] })).body;
  const lastUsed = async () =>
    (await api.call('GET', '/keys', undefined, { key })).body.items.find((each: { key_id: string }) => each.key_id === key_id).last_used_at;
  const at: string = await eventually(lastUsed, { what: 'the time, which is written behind the answer' });
  assert.ok(Math.abs(Date.parse(at) - Date.now()) < 120_000);
});

test('the last admin key cannot be revoked, and revoking twice is harmless', async () => {
  await using api = await startTestApi({ idle: true });
  const [own] = (await api.call('GET', '/keys')).body.items;
  const refused = await api.call('DELETE', `/keys/${own.key_id}`);
  assert.deepEqual([refused.status, refused.body.code], [409, 'LAST_ADMIN_KEY']);
  const second = (await api.call('POST', '/keys', { name: 'second', scopes: ['admin'] })).body;
  const first = await api.call('DELETE', `/keys/${own.key_id}`);
  assert.equal(first.status, 200);
  assert.equal((await api.call('GET', '/keys')).status, 401, 'the process that revoked it knows at once');
  assert.deepEqual((await api.call('DELETE', `/keys/${own.key_id}`, undefined, { key: second.key })).body, first.body);
  assert.equal((await api.call('DELETE', '/keys/ck_nope', undefined, { key: second.key })).body.code, 'KEY_NOT_FOUND');
});

function home(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-home-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('the first start makes an admin key, kept for its owner alone, and later starts keep it', async (t) => {
  await using engine = await createTestEngine({ idle: true });
  const folder = path.join(home(t), 'deep');
  const [first, second] = await Promise.all([
    ensureAdminKey({ store: engine.store, home: folder }),
    ensureAdminKey({ store: engine.store, home: folder }),
  ]);
  const made = first.source === 'generated' ? first : second;
  assert.deepEqual([first.source, second.source].toSorted(), ['existing', 'generated']);
  assert.ok(made.source === 'generated');
  assert.match(made.key, /^ck_[0-9a-f]{8}_[\w-]{43}$/);
  assert.equal(readFileSync(made.file, 'utf8'), `${made.key}\n`);
  assert.equal(statSync(made.file).mode & 0o777, 0o600);
  assert.deepEqual((await createKeys(engine.store).authenticate(new Headers({ 'x-api-key': made.key }))).scopes, ['admin']);
  assert.deepEqual(await ensureAdminKey({ store: engine.store, home: folder }), { source: 'existing' });
});

test('a key that the operator gives becomes the admin key and is written nowhere', async (t) => {
  await using engine = await createTestEngine({ idle: true });
  const folder = home(t);
  assert.deepEqual(await ensureAdminKey({ store: engine.store, given: ADMIN, home: folder }), { source: 'environment' });
  assert.equal(readAdminKey(folder), undefined);
  assert.deepEqual(await ensureAdminKey({ store: engine.store, given: ADMIN, home: folder }), { source: 'existing' });
  const later = await ensureAdminKey({ store: engine.store, given: 'another-key-of-the-operator', home: folder });
  assert.match(later.source === 'existing' ? (later.warning ?? '') : '', /no active key/);
  await assert.rejects(createKeys(engine.store).authenticate(new Headers({ 'x-api-key': 'another-key-of-the-operator' })), {
    code: 'UNAUTHENTICATED',
  });
});

test('a given key that is too short or would not survive a header is refused', async (t) => {
  await using engine = await createTestEngine({ idle: true });
  for (const given of ['short', 'has spaces in the middle', 'ünïcödé-key-of-the-operator']) {
    await assert.rejects(ensureAdminKey({ store: engine.store, given, home: home(t) }), /CENTAUR_API_KEY: expected 16/);
  }
});

test('a home that has a key gives it to a new database instead of losing it', async (t) => {
  const folder = home(t);
  const file = path.join(folder, 'admin.key');
  writeFileSync(file, `${UNKNOWN}\n`);
  chmodSync(file, 0o600);
  await using engine = await createTestEngine({ idle: true });
  assert.deepEqual(await ensureAdminKey({ store: engine.store, home: folder }), { source: 'file', file });
  assert.deepEqual((await createKeys(engine.store).authenticate(new Headers({ 'x-api-key': UNKNOWN }))).scopes, ['admin']);
});
