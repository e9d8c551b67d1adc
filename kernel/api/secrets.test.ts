import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CA_PEM, startTestApi, type TestApi } from '../../test/support/api.ts';
import { createLease } from '../vault/index.ts';

const CANARY = 'sk_live_CANARYcanaryCANARY0123456789';
const STRIPE = { value: CANARY, hosts: ['api.stripe.com'], match_headers: ['authorization'] };
const NO_ID = '0198c0de-0000-7000-8000-000000000000';

const open = (vault: 'with a firewall' | 'alone' = 'with a firewall') => startTestApi({ idle: true, vault });

interface Entry {
  readonly action: string;
  readonly actor: string;
  readonly resource: string;
  readonly run_id?: string;
  readonly trace_id?: string;
  readonly details: { readonly principal?: string; readonly reason?: string };
}

async function entries(api: TestApi, action: string): Promise<readonly Entry[]> {
  return (await api.call('GET', `/audit?action=${action}`)).body.items;
}

test('a secret is made, described anew, rotated and removed, each with its audit entry by the key', async () => {
  await using api = await open();
  const [admin] = (await api.call('GET', '/keys')).body.items;
  const made = await api.call('PUT', '/api/secrets/STRIPE', {
    ...STRIPE,
    hosts: ['api.stripe.com', '*.stripe.com:8443'],
    paths: ['/v1/*'],
    rotation: { every_seconds: 86_400 },
  });
  assert.deepEqual(
    [made.status, made.body.version, made.body.hosts, made.body.paths, made.body.places.headers],
    [200, 1, ['api.stripe.com', '*.stripe.com:8443'], ['/v1/*'], ['authorization']],
  );
  assert.ok(Date.parse(made.body.rotation_due_at) > Date.now());
  const again = await api.call('PUT', '/secrets/STRIPE', { hosts: ['*.stripe.com:8443'], match_body: true });
  assert.deepEqual(
    [again.body.version, again.body.hosts, again.body.places.body, again.body.rotation],
    [1, ['*.stripe.com:8443'], true, null],
  );
  const rotated = await api.call('POST', '/secrets/STRIPE/rotate', { value: `${CANARY}2`, grace_seconds: 60 });
  assert.equal(rotated.body.version, 2);
  assert.deepEqual((await api.call('GET', '/secrets/STRIPE')).body, rotated.body);
  assert.deepEqual((await api.call('GET', '/secrets')).body.items, [rotated.body]);
  assert.deepEqual((await api.call('DELETE', '/secrets/STRIPE')).body, { name: 'STRIPE', removed: true });
  assert.equal((await api.call('GET', '/secrets/STRIPE')).body.code, 'SECRET_NOT_FOUND');
  assert.equal((await api.call('DELETE', '/secrets/STRIPE')).status, 404);
  const log = await entries(api, 'secret');
  assert.deepEqual(
    log.map(({ action, actor, resource }) => [action, actor, resource]),
    ['secret.remove', 'secret.rotate', 'secret.update', 'secret.create'].map((action) => [action, `key:${admin.key_id}`, 'secret:STRIPE']),
  );
});

test('whatever an earlier master key wrapped is wrapped anew, as often as it is asked for', async () => {
  await using api = await open();
  await api.call('PUT', '/secrets/STRIPE', STRIPE);
  for (let i = 0; i < 2; i++) {
    const { status, body } = await api.call('POST', '/master-key/rewrap');
    assert.deepEqual([status, body.moved, body.left], [200, 0, []]);
    assert.match(body.key, /^local:[0-9a-f]{12}$/);
  }
  await api.t.store.query(`update secret_versions set kek_id = 'local:000000000000'`);
  const { body } = await api.call('POST', '/master-key/rewrap');
  assert.deepEqual([body.moved, body.left.length, body.left[0].key, body.left[0].count], [0, 1, 'local:000000000000', 1]);
  assert.match(body.left[0].problem, /sealed under the master key local:000000000000/);
});

test('no answer, no refusal and no line of the log has a value in it', async () => {
  await using api = await open();
  const bad = `${CANARY}\u0000`;
  const answers = [
    await api.call('PUT', '/secrets/STRIPE', STRIPE),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, value: bad }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, value: ` ${CANARY}` }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, value: CANARY.repeat(2000) }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, value: [CANARY] }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, value: { of: CANARY } }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, valeu: CANARY }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, hosts: [] }),
    await api.call('PUT', '/secrets/STRIPE', { ...STRIPE, source: { type: 'env', variable: 'X' } }),
    await api.call('PUT', '/secrets/STRIPE', JSON.stringify(CANARY)),
    await api.call('PUT', '/secrets/STRIPE', `{"value": "${CANARY}", "hosts": `),
    await api.call('PUT', '/secrets/bad-name', STRIPE),
    await api.call('PUT', `/secrets/STRIPE?value=${CANARY}`, STRIPE),
    await api.call('PUT', '/secrets/STRIPE', STRIPE, { headers: { 'content-type': 'text/plain' } }),
    await api.call('POST', '/secrets/STRIPE/rotate', { value: `${CANARY}\n${CANARY}` }),
    await api.call('POST', '/secrets/STRIPE/rotate', { value: CANARY, grace_seconds: -1 }),
    await api.call('POST', '/secrets/NONE/rotate', { value: CANARY }),
    await api.call('POST', '/secrets/STRIPE/rotate', { value: CANARY }),
    await api.call('GET', '/secrets/STRIPE'),
    await api.call('GET', '/secrets'),
    await api.call('GET', '/audit?limit=500'),
    await api.call('GET', '/audit/export'),
  ];
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 422, 422, 422, 422, 422, 422, 422, 422, 422, 400, 422, 422, 415, 422, 422, 404, 200, 200, 200, 200, 200],
  );
  // Postgres is away in the middle of it: what we cannot foresee must not tell either
  await api.t.store.query('alter table secret_versions rename to gone');
  answers.push(await api.call('PUT', '/secrets/OTHER', STRIPE));
  assert.equal(answers.at(-1)?.body.code, 'INTERNAL');
  const everything = JSON.stringify([answers.map(({ body, headers }) => [body, [...headers]]), api.t.logs]);
  assert.ok(
    api.t.logs.some(({ message }) => message === 'request'),
    'the log has the requests',
  );
  assert.ok(!/canary/i.test(everything), /.{200}canary/i.exec(everything)?.[0]);
});

test('what is wrong with a secret is said by field', async () => {
  await using api = await open();
  const refused: [object, RegExp][] = [
    [{ hosts: ['a.com'] }, /^value: a secret needs a value, or a source/],
    [{ ...STRIPE, value: 'short' }, /^value: 12 characters are the least/],
    [{ ...STRIPE, value: 5 }, /^value: expected a string, got a number/],
    [{ ...STRIPE, hosts: ['https://a.com/x'] }, /^hosts: /],
    [{ ...STRIPE, hosts: 'a.com' }, /^hosts: expected an array/],
    [{ ...STRIPE, match_headers: 'x' }, /^match_headers: expected a list of names, or true/],
    [{ ...STRIPE, match_headers: ['a b'] }, /^match_headers: /],
    [{ ...STRIPE, paths: ['v1'] }, /^paths\[0\]: expected a path such as/],
    [{ ...STRIPE, type: 'magic' }, /^type: expected one of/],
    [{ hosts: ['a.com'], source: { type: 'magic' } }, /^source\.type: expected one of/],
    [{ hosts: ['a.com'], source: { type: 'env' } }, /^source\.variable: /],
    [{ ...STRIPE, host: ['a.com'] }, /^host: unknown field; known are value, source, hosts/],
  ];
  for (const [body, message] of refused) {
    const answer = await api.call('PUT', '/secrets/STRIPE', body);
    assert.equal(answer.status, 422, JSON.stringify(body));
    assert.match(answer.body.message, message);
  }
  assert.deepEqual(await entries(api, 'secret'), []);
});

test('a principal uses what is granted to it, by itself or by a role, and no more when that ends', async () => {
  await using api = await open();
  await api.call('PUT', '/secrets/STRIPE', STRIPE);
  const lease = (principal: string) => api.call('POST', '/leases', { principal, secrets: ['STRIPE'] });
  const refused = await lease('workflow:bill');
  assert.deepEqual([refused.status, refused.body.code, refused.body.details.secrets], [403, 'NOT_GRANTED', ['STRIPE']]);

  const grant = (await api.call('POST', '/grants', { principal: 'workflow:bill', secret: 'STRIPE' })).body;
  assert.deepEqual((await api.call('POST', '/grants', { principal: 'workflow:bill', secret: 'STRIPE' })).body, grant);
  const made = await lease('workflow:bill');
  assert.equal(made.status, 201);
  await api.call('POST', '/grants', { principal: 'role:billing', secret: 'STRIPE' });
  const roles = await api.call('PUT', `/principals/${encodeURIComponent('user:ann')}/roles`, { roles: ['billing', 'billing'] });
  assert.deepEqual(roles.body, { principal: 'user:ann', roles: ['billing'] });
  assert.equal((await lease('user:ann')).status, 201);
  const principals = async (query: string) =>
    (await api.call('GET', `/grants${query}`)).body.items.map((each: { principal: string }) => each.principal);
  assert.deepEqual([await principals('?secret=STRIPE'), await principals('?secret=NONE')], [['role:billing', 'workflow:bill'], []]);

  assert.equal((await api.call('DELETE', `/grants/${grant.grant_id.toUpperCase()}`)).body.removed, true);
  const { items } = (await api.call('GET', '/leases?principal=workflow:bill')).body;
  assert.deepEqual([items[0].lease_id, items[0].status], [made.body.lease_id, 'revoked']);
  for (const id of [grant.grant_id, NO_ID, 'nope']) assert.equal((await api.call('DELETE', `/grants/${id}`)).body.code, 'GRANT_NOT_FOUND');
  assert.match((await api.call('POST', '/grants', { principal: 'ann', secret: 'STRIPE' })).body.message, /^principal: expected workflow:/);
  assert.equal((await api.call('POST', '/grants', { principal: 'user:ann', secret: 'NONE' })).body.code, 'SECRET_NOT_FOUND');
});

test('a secret is refused to a tool before it is there, and allowed again', async () => {
  await using api = await open();
  const path = `/principals/${encodeURIComponent('tool:crm')}/refusals/CRM_OAUTH`;
  const { status, body } = await api.call('PUT', path);
  assert.deepEqual([status, body.principal, body.secret], [200, 'tool:crm', 'CRM_OAUTH']);
  assert.deepEqual((await api.call('GET', '/refusals?principal=tool:crm')).body.items, [body]);
  assert.match((await api.call('PUT', '/principals/user:ann/refusals/CRM_OAUTH')).body.message, /^principal: expected a tool/);
  assert.deepEqual((await api.call('DELETE', path)).body, { principal: 'tool:crm', secret: 'CRM_OAUTH', refused: false });
  assert.equal((await api.call('DELETE', path)).body.code, 'GRANT_NOT_FOUND');
  assert.deepEqual((await api.call('GET', '/refusals')).body.items, []);
});

test('a lease is answered with all that a process needs, and no value', async () => {
  await using api = await open();
  await api.call('PUT', '/secrets/STRIPE', STRIPE);
  const { key_id, key } = (await api.call('POST', '/keys', { name: 'agent', scopes: ['leases.create'] })).body;
  await api.call('POST', '/grants', { principal: `key:${key_id}`, secret: 'STRIPE' });
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const body = { secrets: ['STRIPE'], max_uses: 3, source: '10.0.0.0/8', run_id: NO_ID.toUpperCase() };
  const { status, body: lease } = await api.call('POST', '/api/leases', body, { key, headers: { traceparent } });
  assert.equal(status, 201);
  const placeholder = lease.placeholders.STRIPE;
  assert.match(placeholder, /^sk_live_\w{24,}$/);
  assert.match(lease.proxy_url, /^http:\/\/lease:[\w-]{43}@127\.0\.0\.1:8081$/);
  assert.deepEqual([lease.ca_file, lease.ca_pem], ['/etc/centaur/ca.pem', CA_PEM]);
  const caFiles = [
    'NODE_EXTRA_CA_CERTS',
    'SSL_CERT_FILE',
    'REQUESTS_CA_BUNDLE',
    'CURL_CA_BUNDLE',
    'GIT_SSL_CAINFO',
    'PIP_CERT',
    'HTTPLIB2_CA_CERTS',
    'NIX_SSL_CERT_FILE',
    'CARGO_HTTP_CAINFO',
    'NPM_CONFIG_CAFILE',
    'DENO_CERT',
    'AWS_CA_BUNDLE',
  ];
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'];
  assert.deepEqual(lease.env, {
    STRIPE: placeholder,
    ...Object.fromEntries(proxies.map((name) => [name, lease.proxy_url])),
    NO_PROXY: '',
    no_proxy: '',
    ...Object.fromEntries(caFiles.map((name) => [name, lease.ca_file])),
    NODE_USE_ENV_PROXY: '1',
  });
  const seconds = (Date.parse(lease.expires_at) - Date.now()) / 1000;
  assert.ok(seconds > 880 && seconds <= 901, `${seconds}`);
  const [entry] = await entries(api, 'lease.create');
  assert.deepEqual(
    [entry?.actor, entry?.details.principal, entry?.run_id, entry?.trace_id],
    [`key:${key_id}`, `key:${key_id}`, NO_ID, '0af76519-16cd-43dd-8448-eb211c80319c'],
  );
  assert.equal((await api.call('POST', '/audit/verify', {})).body.ok, true, 'the columns say what the entry says');
});

test('a secret that is named like a setting of the proxy does not lead past the firewall', async () => {
  await using api = await open();
  await api.call('PUT', '/secrets/HTTPS_PROXY', STRIPE);
  await api.call('POST', '/grants', { principal: 'user:ann', secret: 'HTTPS_PROXY' });
  const { body } = await api.call('POST', '/leases', { principal: 'user:ann', secrets: ['HTTPS_PROXY'] });
  assert.equal(body.env.HTTPS_PROXY, body.proxy_url);
});

test('what is wrong with a lease is said by field, and leaves none behind', async () => {
  await using api = await open();
  const refused: [object, RegExp][] = [
    [{}, /^secrets: is required/],
    [{ secrets: [], ttl_seconds: 0 }, /^ttl_seconds: too small/],
    [{ secrets: [], ttl_seconds: 604_801 }, /^ttl_seconds: too big/],
    [{ secrets: [], max_uses: 0 }, /^max_uses: too small/],
    [{ secrets: [], kind: 'forever' }, /^kind: expected one of/],
    [{ secrets: [], source: 'localhost' }, /^source: expected an address/],
    [{ secrets: [], source: '10.0.0.0/33' }, /^source: expected an address/],
    [{ secrets: [], source: 'fe80::1%eth0' }, /^source: expected an address/],
    [{ secrets: [], run_id: 'nope' }, /^run_id: expected an id/],
    [{ secrets: [], step: 'a\0b' }, /^step: a zero byte/],
    [{ secrets: [], principal: 'ann' }, /^principal: expected/],
  ];
  for (const [body, message] of refused) {
    const answer = await api.call('POST', '/leases', body);
    assert.equal(answer.status, 422, JSON.stringify(answer.body));
    assert.match(answer.body.message, message);
  }
  assert.equal((await api.call('POST', '/leases', { secrets: ['NONE'] })).body.code, 'SECRET_NOT_FOUND');
  assert.deepEqual((await api.call('GET', '/leases')).body.items, []);
});

test('a key that is not an admin’s has leases of its own alone', async () => {
  await using api = await open();
  const [mine, theirs] = [await api.keyWith('leases.create'), await api.keyWith('leases.create')];
  const lease = async (key: string) => (await api.call('POST', '/leases', { secrets: [] }, { key })).body.lease_id as string;
  const [own, other] = [await lease(mine), await lease(theirs)];
  const listed = async (key: string) =>
    (await api.call('GET', '/leases', undefined, { key })).body.items.map((each: { lease_id: string }) => each.lease_id);
  assert.deepEqual([await listed(mine), await listed(theirs)], [[own], [other]]);
  const asAnother = await api.call('POST', '/leases', { principal: 'user:ann', secrets: [] }, { key: mine });
  assert.deepEqual([asAnother.status, asAnother.body.details.needed], [403, ['admin']]);
  assert.equal((await api.call('GET', '/leases?principal=user:ann', undefined, { key: mine })).status, 403);
  const revoke = async (id: string, key?: string) =>
    (await api.call('DELETE', `/leases/${id}?reason=seen`, undefined, key === undefined ? {} : { key })).body.code ?? 'revoked';
  assert.deepEqual([await revoke(other, mine), await revoke(own, mine)], ['LEASE_NOT_FOUND', 'revoked']);
  assert.deepEqual([await revoke(own, mine), await revoke(NO_ID), await revoke('nope')], ['revoked', 'LEASE_NOT_FOUND', 'LEASE_NOT_FOUND']);
  const active = (await api.call('GET', '/leases?active=true&limit=1')).body;
  assert.deepEqual([active.items[0].lease_id, active.next], [other, null]);
  const page = (await api.call('GET', '/leases?limit=1')).body;
  const rest = (await api.call('GET', `/leases?limit=1&after=${page.next}`)).body;
  assert.deepEqual([page.items[0].lease_id, rest.items[0].lease_id, rest.next], [other, own, null]);
  const [entry] = await entries(api, 'lease.revoke');
  assert.equal(entry?.details.reason, 'seen');
});

test('leases are shown with what alone they reach', async () => {
  await using api = await open();
  await api.call('POST', '/leases', { secrets: [] });
  const request = { principal: 'tool:search', secrets: [], ttlSeconds: 60, egress: [{ host: 'API.test', methods: ['get'] }] };
  await createLease(api.installation, 'system:tools', request);
  assert.deepEqual(
    (await api.call('GET', '/leases')).body.items.map((each: { principal: string; egress: unknown }) => each.egress),
    [[{ host: 'api.test', methods: ['GET'], paths: [] }], null],
  );
});

test('without a firewall there are no leases, and without a master key none of this', async () => {
  await using alone = await open('alone');
  const lease = await alone.call('POST', '/leases', { secrets: [] });
  assert.deepEqual([lease.status, lease.body.code], [503, 'FIREWALL_UNAVAILABLE']);
  assert.equal((await alone.call('GET', '/leases')).body.items.length, 0);

  await using bare = await startTestApi({ idle: true });
  const calls: [string, string, object?][] = [
    ['GET', '/secrets'],
    ['PUT', '/secrets/A', STRIPE],
    ['POST', '/leases', { secrets: [] }],
    ['GET', '/policy'],
    ['POST', '/policy/check', { text: '' }],
    ['GET', '/audit'],
    ['GET', '/audit/export'],
    ['GET', '/approvals'],
  ];
  for (const [method, path, body] of calls) {
    const answer = await bare.call(method, path, body);
    assert.deepEqual([answer.status, answer.body.code], [503, 'VAULT_UNAVAILABLE'], path);
  }
});
