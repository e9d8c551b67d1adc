/** Accounts by a provider that takes nothing on trust, with the firewall that refreshes and sends their tokens. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { callThrough, createTestFirewall, type TestFirewall } from '../../test/support/firewall.ts';
import { type OAuthProvider, startOAuthProvider } from '../../test/support/oauth-provider.ts';
import { eventually } from '../../test/support/wait.ts';
import { StoreError } from '../store/index.ts';
import { addGrant, createLease, listGrants, listSecrets, putSecret, removeSecret, userOfRun } from '../vault/index.ts';
import { pollDevices } from './attempts.ts';
import type { EndpointAnswer } from '../firewall/token-endpoint.ts';
import { getApp } from './apps.ts';
import { createAsk } from './ask.ts';
import { createOAuth, type OAuth, type OAuthAppRequest, type OAuthError, type StartedConnection } from './index.ts';

const PUBLIC_URL = 'https://centaur.example.com/base';
const CLIENT = { id: 'centaur', secret: 'a-client-secret-of-the-app' };

let t: TestFirewall;
let provider: OAuthProvider;
let accounts: OAuth;

before(async () => {
  t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1/32'] } });
  provider = await startOAuthProvider();
  provider.clients = [{ ...CLIENT, redirectUris: [`${PUBLIC_URL}/oauth/callback/crm`] }];
  accounts = await createOAuth({ installation: t.installation, publicUrl: () => PUBLIC_URL, log: (entry) => t.logs.push(entry) });
  await putCrm();
});
/** The app, with what is different. */
const putCrm = (more: Partial<OAuthAppRequest> = {}, of: OAuth = accounts) =>
  of.putApp('key:test', 'crm', {
    provider: 'custom',
    client_id: CLIENT.id,
    client_secret: CLIENT.secret,
    scopes: ['contacts.read', 'contacts.write'],
    authorize_url: `${provider.url}/authorize`,
    token_url: `${provider.url}/token`,
    device_url: `${provider.url}/device`,
    revoke_url: `${provider.url}/revoke`,
    hosts: [provider.url],
    secret: 'CRM_OAUTH',
    ...more,
  });
after(async () => {
  await accounts?.close();
  await provider?.[Symbol.asyncDispose]();
  await t?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  Object.assign(provider, { account: 'ana', consent: 'agree', refresh: true, tokenSeconds: 3600, issuer: undefined });
  for (const { connection_id: id } of await accounts.listConnections()) await accounts.revoke('key:test', id);
  for (const { name } of await listSecrets(t.store)) await removeSecret(t.installation, 'test', name);
});

/** As a browser does it. */
async function finish(started: StartedConnection) {
  const back = new URL((await provider.signIn(started.authorize_url as string)) ?? assert.fail('the provider shows an error'));
  assert.equal(back.origin + back.pathname, `${PUBLIC_URL}/oauth/callback/crm`);
  const given = (name: string) => back.searchParams.get(name) ?? undefined;
  const { outcome, attempt } = await accounts.callback({
    app: 'crm',
    state: given('state'),
    code: given('code'),
    error: given('error'),
    iss: given('iss'),
  });
  return { outcome, attempt, ...(await accounts.getConnection(started.connection_id)), state: given('state'), code: given('code') };
}

async function connect(user?: string) {
  return finish(await accounts.connect('key:test', { app: 'crm', user }));
}

/** What was stored before, the firewall knows after this. It hears of it soon; but a secret that is new to it makes it read at once. */
async function firewallKnows() {
  const name = `NEW_${randomBytes(8).toString('hex').toUpperCase()}`;
  await t.secret(name, { hosts: ['api.example.com'], value: randomBytes(20).toString('hex') });
  await callThrough(t, (await t.lease([name])).token, `${provider.url}/api/me`);
  await removeSecret(t.installation, 'test', name);
}

/** Who the provider takes whoever holds the secret for; or what the firewall answers. */
async function whoAmI(secret: string, principal = 'user:test') {
  await firewallKnows();
  if (principal === 'user:test') await addGrant(t.installation, 'test', principal, secret);
  const lease = await createLease(t.installation, 'test', { principal, secrets: [secret], ttlSeconds: 600 });
  const headers = { authorization: `Bearer ${lease.placeholders[secret]}` };
  const { status, body } = await callThrough(t, lease.token, `${provider.url}/api/me`, { headers });
  return { status, body: JSON.parse(body) as { account?: string; code?: string; message?: string } };
}

test('an account is connected in the browser, and its tokens are used by whoever was granted the secret', async () => {
  const started = await accounts.connect('key:test', { app: 'crm' });
  assert.equal(started.status, 'pending');
  const url = new URL(started.authorize_url as string);
  assert.equal(url.searchParams.get('code_challenge_method'), 'S256');
  assert.equal(url.searchParams.get('scope'), 'contacts.read contacts.write');
  const { outcome, status, secret, scopes } = await finish(started);
  assert.deepEqual([outcome, status, secret, scopes], ['connected', 'connected', 'CRM_OAUTH', ['contacts.read', 'contacts.write']]);
  assert.deepEqual(await whoAmI('CRM_OAUTH'), { status: 200, body: { account: 'ana', scope: 'contacts.read contacts.write' } });
});

test('a refresh token that is rotated is kept, and used once', async () => {
  provider.tokenSeconds = 30;
  await connect();
  for (let times = 0; times < 3; times++) assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
  const refreshed = provider.asked.filter(({ form }) => form['grant_type'] === 'refresh_token').slice(-3);
  assert.equal(new Set(refreshed.map(({ form }) => form['refresh_token'])).size, 3);
  assert.ok(provider.isConnected('ana'));
});

test('without a refresh token, the access token is what is kept, and its end is known', async () => {
  provider.refresh = false;
  const { status, token_ends_at } = await connect();
  assert.equal(status, 'connected');
  assert.ok(Date.parse(token_ends_at as string) > Date.now());
  assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
  await t.store.query(`update oauth_connections set token_ends_at = now() where status = 'connected'`);
  const [listed] = await accounts.listConnections();
  assert.deepEqual([listed?.status, listed?.reason], ['broken', 'TOKEN_ENDED']);
});

test('a user’s own account is a secret of its own, granted to that user', async () => {
  provider.account = 'ana';
  const hers = await connect('ana@example.com');
  provider.account = 'bo';
  const his = await connect('bo@example.com');
  assert.notEqual(hers.secret, his.secret);
  assert.match(hers.secret, /^CRM_OAUTH_OF_ana_example_com_[0-9a-f]{12}$/);
  assert.deepEqual(
    (await listGrants(t.store, { secret: hers.secret })).map(({ principal }) => principal),
    ['user:ana@example.com'],
  );
  assert.equal((await whoAmI(hers.secret, 'user:ana@example.com')).body.account, 'ana');
  assert.equal((await whoAmI(his.secret, 'user:bo@example.com')).body.account, 'bo');
  await assert.rejects(whoAmI(hers.secret, 'user:bo@example.com'), { code: 'NOT_GRANTED' });
});

test('connecting again replaces the account, for every lease', async () => {
  const first = await connect();
  assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
  provider.account = 'bo';
  const second = await connect();
  assert.equal((await accounts.getConnection(first.connection_id)).status, 'replaced');
  assert.deepEqual(
    (await accounts.listConnections()).map((each) => each.connection_id),
    [second.connection_id],
  );
  assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'bo');
});

test('a token that the provider takes no more breaks the connection, which says so and is asked for no more', async () => {
  const { connection_id: id } = await connect();
  const taken = provider.asked.length;
  provider.answerNext('/token', (response) => void response.writeHead(400).end('{"error":"invalid_grant"}'));
  const told = await whoAmI('CRM_OAUTH');
  assert.deepEqual([told.status, told.body.code], [403, 'ACCOUNT_BROKEN']);
  assert.match(told.body.message ?? '', /centaur accounts connect crm/);
  const { status, reason } = await accounts.getConnection(id);
  assert.deepEqual([status, reason], ['broken', 'REFUSED_BY_PROVIDER']);
  assert.equal((await whoAmI('CRM_OAUTH')).body.code, 'ACCOUNT_BROKEN');
  assert.equal(provider.asked.length, taken + 1, 'the provider is asked once');
  assert.equal((await t.entries('oauth.broken')).filter(({ resource }) => resource === `connection:${id}`).length, 1);
  await connect();
  assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
});

test('a provider that is only away breaks nothing', async () => {
  const { connection_id: id } = await connect();
  provider.answerNext('/token', (response) => void response.writeHead(503).end('{"error":"temporarily_unavailable"}'));
  assert.equal((await whoAmI('CRM_OAUTH')).body.code, 'TOKEN_REFUSED');
  assert.equal((await accounts.getConnection(id)).status, 'connected');
  assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
});

test('revoking destroys the secret, ends its leases and tells the provider', async () => {
  const { connection_id: id } = await connect('ana');
  const { secret } = await accounts.getConnection(id);
  const lease = await createLease(t.installation, 'test', { principal: 'user:ana', secrets: [secret], ttlSeconds: 600 });
  assert.ok(provider.isConnected('ana'));
  assert.deepEqual(await accounts.revoke('key:test', id), { connection_id: id, revoked: true, at_provider: 'revoked' });
  assert.ok(!(await listSecrets(t.store)).some(({ name }) => name === secret));
  const { rows } = await t.store.query<{ ended: boolean }>('select revoked_at is not null as ended from leases where lease_id = $1', [
    lease.leaseId,
  ]);
  assert.equal(rows[0]?.ended, true);
  assert.equal((await accounts.getConnection(id)).status, 'revoked');
  const said = (await t.entries()).filter(({ resource }) => resource === `connection:${id}`).map(({ action }) => action as string);
  assert.deepEqual(said, ['oauth.connect_start', 'oauth.exchange', 'oauth.connect', 'oauth.revoke', 'oauth.revoked']);
  await assert.rejects(accounts.revoke('key:test', id), { code: 'CONNECTION_NOT_FOUND' });
});

test('revoking takes effect here when the provider fails, and what somebody set since stays', async () => {
  const first = await connect();
  provider.answerNext('/revoke', (response) => void response.writeHead(500).end());
  assert.equal((await accounts.revoke('key:test', first.connection_id)).at_provider, 'failed');
  assert.ok(!(await listSecrets(t.store)).some(({ name }) => name === 'CRM_OAUTH'));

  const second = await connect();
  await putSecret(t.installation, 'test', 'CRM_OAUTH', { hosts: ['api.example.com'], value: 'set-by-hand-since-then' });
  const stands = await accounts.getConnection(second.connection_id);
  assert.deepEqual([stands.status, stands.reason], ['broken', 'SECRET_REPLACED']);
  assert.equal((await accounts.revoke('key:test', second.connection_id)).at_provider, 'none');
  assert.ok((await listSecrets(t.store)).some(({ name }) => name === 'CRM_OAUTH'));
});

test('a secret that an operator set is not overwritten', async () => {
  const started = await accounts.connect('key:test', { app: 'crm' });
  await putSecret(t.installation, 'test', 'CRM_OAUTH', { hosts: ['api.example.com'], value: 'set-by-an-operator' });
  await assert.rejects(accounts.connect('key:test', { app: 'crm' }), { code: 'SECRET_TAKEN' });
  const { status, reason } = await finish(started);
  assert.deepEqual([status, reason], ['failed', 'SECRET_TAKEN']);
  // nobody has its tokens: the provider is told
  const { path, form } = provider.asked.at(-1) ?? assert.fail();
  assert.deepEqual([path, provider.given.at(-1)], ['/revoke', form['token']]);
  const [kept] = await listSecrets(t.store);
  assert.deepEqual(kept?.hosts, ['api.example.com']);
});

test('whoever denies is told so, and nothing is kept', async () => {
  provider.consent = 'deny';
  const { outcome, status, reason } = await connect();
  assert.deepEqual([outcome, status, reason], ['denied', 'failed', 'DENIED']);
  assert.deepEqual(await listSecrets(t.store), []);
});

test('scopes that were not given are not claimed', async () => {
  provider.answerNext(
    '/token',
    (response) =>
      void response.end(
        JSON.stringify({
          access_token: 'an-access-token-of-it',
          refresh_token: 'a-refresh-token-of-it',
          scope: 'contacts.read something.else',
        }),
      ),
  );
  assert.deepEqual((await connect()).scopes, ['contacts.read']);
});

test('an account is connected by a device’s code, which is asked for at the interval', async () => {
  const parts = { installation: t.installation, ask: createAsk({ store: t.store }), redirectUri: () => '' };
  // before its time, which is a minute here: the provider is not asked
  provider.deviceInterval = 60;
  const slow = await accounts.connect('key:test', { app: 'crm', flow: 'device' });
  provider.deviceInterval = 1;
  const asked = provider.asked.length;
  await pollDevices(parts);
  assert.equal(provider.asked.length, asked);
  await accounts.revoke('key:test', slow.connection_id);
  const started = await accounts.connect('key:test', { app: 'crm', flow: 'device' });
  assert.match(started.device?.user_code ?? '', /^[0-9A-F]{8}$/);
  assert.equal(started.device?.verification_uri, `${provider.url}/activate`);
  const row = async () =>
    (
      await t.store.query<{ interval_seconds: number }>('select interval_seconds from oauth_connections where connection_id = $1', [
        started.connection_id,
      ])
    ).rows[0];
  // said to be slower, it is slower
  provider.answerNext('/token', (response) => void response.writeHead(400).end('{"error":"slow_down"}'));
  await eventually(async () => (await row())?.interval_seconds === 6);
  provider.decideDevice(started.device?.user_code ?? '', 'agree');
  await t.store.query('update oauth_connections set next_poll_at = now() where connection_id = $1', [started.connection_id]);
  await pollDevices(parts);
  // the process's own look may be at it
  await eventually(async () => (await accounts.getConnection(started.connection_id)).status === 'connected');
  assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
});

test('a device that is denied, or not decided about in time, is not connected', async () => {
  const denied = await accounts.connect('key:test', { app: 'crm', flow: 'device' });
  provider.decideDevice(denied.device?.user_code ?? '', 'deny');
  await eventually(async () => (await accounts.getConnection(denied.connection_id)).status !== 'pending');
  const { status, reason } = await accounts.getConnection(denied.connection_id);
  assert.deepEqual([status, reason], ['failed', 'DENIED']);
  const late = await accounts.connect('key:test', { app: 'crm', flow: 'device' });
  await t.store.query('update oauth_connections set expires_at = now() where connection_id = $1', [late.connection_id]);
  assert.equal((await accounts.getConnection(late.connection_id)).status, 'expired');
});

test('an app is checked field by field', async () => {
  const fine = {
    provider: 'custom',
    client_id: 'x',
    client_secret: null,
    authorize_url: 'https://a.example.com/a',
    token_url: 'https://a.example.com/t',
    hosts: ['api.example.com'],
    secret: 'A_B',
  } as const;
  const refused: readonly [string, object][] = [
    ['client_id', { client_id: 'two words' }],
    ['client_secret', { client_secret: 'with\nbreak' }],
    ['client_secret', { client_secret: undefined }],
    ['scopes[0]', { scopes: ['two scopes'] }],
    ['authorize_url', { authorize_url: 'http://a.example.com/a' }],
    ['authorize_url', { authorize_url: 'javascript:alert(1)' }],
    ['authorize_url', { authorize_url: null }],
    ['token_url', { token_url: 'https://user@a.example.com/t' }],
    ['token_url', { token_url: undefined }],
    ['device_url', { device_url: 'https://a.example.com/t#x' }],
    ['authorize_params.state', { authorize_params: { state: 'x' } }],
    ['hosts', { hosts: undefined }],
    ['hosts', { hosts: ['not a host'] }],
    ['secret', { secret: 'not-a-name' }],
    ['secret', { secret: undefined }],
    ['inject.format', { inject: 'Bearer' }],
  ];
  for (const [field, change] of refused)
    await assert.rejects(accounts.putApp('key:test', 'other', { ...fine, ...change }), (error: OAuthError) => {
      assert.equal(error.code, 'INVALID_OAUTH_APP');
      assert.ok(error.message.startsWith(`${field}:`), `${field}: ${error.message}`);
      return true;
    });
  await assert.rejects(accounts.putApp('key:test', '../x', fine), { code: 'INVALID_OAUTH_APP' });
  assert.ok(!(await accounts.listApps()).some(({ name }) => name === 'other'));
});

test('the client’s secret goes to no place that it was not given for', async () => {
  const app = (await accounts.listApps()).find(({ name }) => name === 'crm');
  assert.ok(app !== undefined && app.has_client_secret && !JSON.stringify(app).includes(CLIENT.secret));
  const { provider: kind, client_id, authorize_url, token_url, device_url, revoke_url, hosts, secret, scopes } = app;
  const same = { provider: kind, client_id, authorize_url, token_url, device_url, revoke_url, hosts, secret, scopes };
  for (const [field, url] of [
    ['token_url', 'https://evil.example.com/token'],
    ['revoke_url', 'https://evil.example.com/revoke'],
    ['device_url', 'https://evil.example.com/device'],
  ] as const)
    await assert.rejects(accounts.putApp('key:test', 'crm', { ...same, [field]: url }), new RegExp(`client_secret: ${field}`));
  assert.equal((await accounts.putApp('key:test', 'crm', same)).has_client_secret, true);
});

test('an app by which an account is connected stays', async () => {
  const { connection_id: id } = await connect();
  await assert.rejects(accounts.removeApp('key:test', 'crm'), { code: 'OAUTH_APP_IN_USE' });
  await accounts.revoke('key:test', id);
  await assert.rejects(accounts.removeApp('key:test', 'nobody'), { code: 'OAUTH_APP_NOT_FOUND' });
});

test('no user is everybody', async () => {
  for (const user of ['*', '', 'with space', 'x'.repeat(201), userOfRun('7')])
    await assert.rejects(accounts.connect('key:test', { app: 'crm', user }), { code: 'INVALID_CONNECTION' });
});

test('an app with another name for its secret leaves no token behind under the former one', async () => {
  await connect('ana');
  await connect();
  await putCrm({ secret: 'CRM_TOKEN' });
  for (const user of ['ana', undefined]) assert.equal((await connect(user)).status, 'connected');
  const names = (await listSecrets(t.store)).map(({ name }) => name.replace(/_[0-9a-f]{12}$/, ''));
  assert.deepEqual(names, ['CRM_TOKEN', 'CRM_TOKEN_OF_ana']);
  // what an operator has set under the former one stays
  await putSecret(t.installation, 'test', 'CRM_TOKEN', { hosts: ['api.example.com'], value: 'set-by-hand-since-then' });
  await putCrm();
  await connect();
  assert.deepEqual((await listSecrets(t.store)).map(({ name }) => name).slice(0, 2), ['CRM_OAUTH', 'CRM_TOKEN']);
});

test('another secret of the client is used for the accounts that are connected; until it is told, they say what is wrong', async () => {
  const { connection_id: id } = await connect();
  const hers = await connect('ana');
  const given = 'another-secret-of-the-client';
  provider.clients = provider.clients.map((client) => ({ ...client, secret: given }));
  try {
    assert.equal((await whoAmI('CRM_OAUTH')).body.code, 'TOKEN_REFUSED');
    const stands = async () => {
      const { status, reason } = await accounts.getConnection(id);
      return [status, reason];
    };
    assert.deepEqual(await stands(), ['connected', 'INVALID_CLIENT']);
    await putCrm({ client_secret: given });
    assert.equal((await whoAmI('CRM_OAUTH')).body.account, 'ana');
    assert.equal((await whoAmI(hers.secret, 'user:ana')).body.account, 'ana');
    await eventually(async () => (await stands())[1] === null);
    assert.equal((await accounts.revoke('key:test', id)).at_provider, 'revoked');
  } finally {
    provider.clients = provider.clients.map((client) => ({ ...client, secret: CLIENT.secret }));
    await putCrm();
  }
});

test('a device goes on waiting while the provider or the database is away', async () => {
  // where nobody else asks the provider
  await using alone = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1/32'] } });
  const { installation, store } = alone;
  const own = await createOAuth({ installation, publicUrl: () => PUBLIC_URL });
  await putCrm({}, own);
  const { connection_id: id } = await own.connect('key:test', { app: 'crm', flow: 'device' });
  await own.close();
  /** Asks now, of a provider that does this. */
  const poll = async (answer: () => { status: number; fields: object }) => {
    await store.query('update oauth_connections set next_poll_at = now()');
    await pollDevices({ installation, ask: async () => answer() as EndpointAnswer, redirectUri: () => '' });
    const { rows } = await store.query<{ s: number }>('select interval_seconds as s from oauth_connections');
    return [(await own.getConnection(id)).status, rows[0]?.s];
  };
  assert.deepEqual(await poll(() => ({ status: 503, fields: {} })), ['pending', 2]);
  assert.deepEqual(await poll(() => ({ status: 429, fields: {} })), ['pending', 4]);
  const away = () => {
    throw new StoreError('UNAVAILABLE', 'the database is away');
  };
  assert.deepEqual(await poll(away), ['pending', 8]);
  const fields = { access_token: 'an-access-token-of-it', refresh_token: 'a-refresh-token-of-it' };
  assert.equal((await poll(() => ({ status: 200, fields })))[0], 'connected');
});

test('an app that only a browser could use is refused where none reaches us, before it is written; others have no address to register', async () => {
  const unfit = await createOAuth({ installation: t.installation, publicUrl: () => 'http://centaur.example.com' });
  try {
    const urls = { authorize_url: 'https://a.example.com/a', token_url: 'https://a.example.com/t' };
    const app = { provider: 'custom', client_id: 'x', client_secret: null, hosts: ['api.example.com'], secret: 'A_B', ...urls } as const;
    await assert.rejects(unfit.putApp('key:test', 'other', app), { code: 'PUBLIC_URL_UNFIT' });
    assert.deepEqual(
      (await unfit.listApps()).map(({ name, redirect_uri: uri }) => [name, uri]),
      [['crm', null]],
    );
    await assert.rejects(unfit.connect('key:test', { app: 'crm' }), { code: 'PUBLIC_URL_UNFIT' });
    const device = { ...app, device_url: 'https://a.example.com/d' };
    assert.equal((await unfit.putApp('key:test', 'other', device)).redirect_uri, null);
    await unfit.removeApp('key:test', 'other');
  } finally {
    await unfit.close();
  }
});

test('a bot’s token is nobody’s own', async () => {
  await accounts.putApp('key:test', 'slack', { provider: 'slack', client_id: 'x', client_secret: null });
  await assert.rejects(accounts.connect('key:test', { app: 'slack', user: 'ana' }), /INVALID_CONNECTION|user: slack/);
  await accounts.removeApp('key:test', 'slack');
});

test('tokens of an attempt that was ended meanwhile are taken back', async () => {
  const started = await accounts.connect('key:test', { app: 'crm' });
  provider.answerNext('/token', (response) => {
    void accounts
      .revoke('key:test', started.connection_id)
      .then(() => response.end('{"access_token":"an-access-token-of-it","refresh_token":"a-refresh-token-of-it"}'));
  });
  const { status, reason } = await finish(started);
  assert.deepEqual([status, reason], ['failed', 'CANCELLED']);
  const { path, form } = provider.asked.at(-1) ?? assert.fail();
  assert.deepEqual([path, form['token']], ['/revoke', 'a-refresh-token-of-it']);
});

test('an account is connected although the database went away as its tokens came', async () => {
  const started = await accounts.connect('key:test', { app: 'crm' });
  const blocker = await t.store.connect('test');
  await blocker.query('begin');
  // its state is taken by then, and its end is not stored yet
  provider.answerNext('/token', (response) => {
    void (async () => {
      await blocker.query('select 1 from oauth_connections where connection_id = $1 for update', [started.connection_id]);
      response.end('{"access_token":"an-access-token-of-it","refresh_token":"a-refresh-token-of-it"}');
      const { pid } = await eventually(async () => {
        const { rows } = await t.store.query<{ pid: number }>(
          `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%oauth_connections%'`,
        );
        return rows[0];
      });
      await t.store.query('select pg_terminate_backend($1::int)', [pid]);
      await blocker.query('commit');
      await blocker.end();
    })();
  });
  const { outcome, status } = await finish(started);
  assert.deepEqual([outcome, status], ['connected', 'connected']);
});

test('tokens that are not kept are not taken back while an account is connected: some providers would take that back with them', async () => {
  const { connection_id: first } = await connect('ana');
  const started = await accounts.connect('key:test', { app: 'crm', user: 'ana' });
  provider.answerNext('/token', (response) => {
    void accounts
      .revoke('key:test', started.connection_id)
      .then(() => response.end('{"access_token":"an-access-token-of-it","refresh_token":"a-refresh-token-of-it"}'));
  });
  const asked = provider.asked.length;
  assert.equal((await finish(started)).reason, 'CANCELLED');
  assert.ok(!provider.asked.slice(asked).some(({ path }) => path === '/revoke'));
  assert.equal((await accounts.getConnection(first)).status, 'connected');
});

test('an access token is taken back as the client, too, and by no address that its secret was not given for', async () => {
  provider.refresh = false;
  const first = await connect();
  assert.equal((await accounts.revoke('key:test', first.connection_id)).at_provider, 'revoked');
  const second = await connect();
  await putCrm({ revoke_url: `${provider.url}/revoke?other` });
  try {
    assert.equal((await accounts.revoke('key:test', second.connection_id)).at_provider, 'failed');
    assert.equal(provider.asked.at(-1)?.form['client_secret'], undefined);
  } finally {
    await putCrm();
  }
});

test('of two that describe an app at once, the one without a secret keeps the other’s', async () => {
  const blocker = await t.store.connect('test');
  const waiting = (count: number) =>
    eventually(async () => {
      const { rows } = await t.store.query<{ count: number }>(
        `select count(*)::int as count from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return rows[0]?.count === count;
    });
  await blocker.query('begin');
  await blocker.query(`select 1 from oauth_apps where name = 'crm' for update`);
  try {
    const first = putCrm({ client_secret: 'a-new-secret-of-the-client' });
    await waiting(1);
    const second = putCrm({ client_secret: undefined, scopes: ['contacts.read'] });
    await waiting(2);
    await blocker.query('commit');
    await Promise.all([first, second]);
    const { app } = await getApp(t.installation, 'crm');
    assert.deepEqual([app.client_secret, app.scopes], ['a-new-secret-of-the-client', ['contacts.read']]);
  } finally {
    await blocker.end();
    await putCrm();
  }
});

test('closing waits for an exchange that is under way, and ends one that hangs as an attempt', async () => {
  const closing = async (answer: (response: ServerResponse) => void) => {
    const other = await createOAuth({ installation: t.installation, publicUrl: () => PUBLIC_URL });
    const { connection_id: id, authorize_url: url } = await other.connect('key:test', { app: 'crm' });
    const back = new URL((await provider.signIn(url as string)) ?? assert.fail());
    const { promise, resolve } = Promise.withResolvers<ServerResponse>();
    provider.answerNext('/token', resolve);
    const [state, code] = ['state', 'code'].map((name) => back.searchParams.get(name) ?? undefined);
    void other.callback({ app: 'crm', state, code, error: undefined, iss: undefined });
    answer(await promise);
    await other.close();
    const { status, reason } = await accounts.getConnection(id);
    return [status, reason];
  };
  const tokens = '{"access_token":"an-access-token-of-it","refresh_token":"a-refresh-token-of-it"}';
  const late = await closing((response) => void setTimeout(() => response.end(tokens), 300));
  assert.deepEqual(late, ['connected', null]);
  assert.deepEqual(await closing(() => {}), ['failed', 'UNREACHABLE']);
});

test('an attempt has not expired while its code is exchanged', async () => {
  const started = await accounts.connect('key:test', { app: 'crm' });
  await t.store.query(`update oauth_connections set expires_at = now() + interval '30 seconds' where connection_id = $1`, [
    started.connection_id,
  ]);
  const seen: boolean[] = [];
  provider.answerNext('/token', (response) => {
    void (async () => {
      const { expires_at: until } = await accounts.getConnection(started.connection_id);
      seen.push(Date.parse(until) > Date.parse(started.created_at) + 60_000);
      response.end('{"access_token":"an-access-token-of-it","refresh_token":"a-refresh-token-of-it"}');
    })();
  });
  assert.equal((await finish(started)).status, 'connected');
  assert.deepEqual(seen, [true]);
});
