import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { type OidcProvider, startOidcProvider } from '../../test/support/oidc-provider.ts';
import { bearer, cookieIn } from '../../test/support/people.ts';
import { storeEgressConfig } from '../firewall/config.ts';
import type { OidcSettings } from './index.ts';

let provider: OidcProvider;
const apis: TestApi[] = [];

before(async () => {
  provider = await startOidcProvider('centaur');
});
after(() => provider?.[Symbol.asyncDispose]());
beforeEach(() => {
  provider.claims = { sub: 'subject-1', email: 'ann@example.com', email_verified: true, name: 'Ann Lee', preferred_username: 'ann.lee' };
  provider.change = (claims) => claims;
});
afterEach(async () => {
  for (const api of apis.splice(0)) await api[Symbol.asyncDispose]();
});

async function start(more: Partial<OidcSettings> = {}): Promise<TestApi> {
  const oidc: OidcSettings = {
    issuer: provider.url,
    clientId: 'centaur',
    clientSecret: provider.clientSecret,
    label: 'Sign in with Example',
    scopes: ['email', 'profile'],
    emailDomains: ['example.com'],
    newcomers: 'viewer',
    roles: undefined,
    ...more,
  };
  const api = await startTestApi({ vault: 'alone', idle: true, oidc });
  await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
  apis.push(api);
  return api;
}

/** As a browser does it. @returns what the callback answered, and the session in its cookie */
async function signIn(api: TestApi, query = '') {
  const begun = await fetch(`${api.url}/auth/oidc/start${query}`, { redirect: 'manual' });
  assert.equal(begun.status, 303, await begun.text());
  const location = begun.headers.get('location') ?? '';
  const response = await fetch(provider.signIn(location), {
    headers: { cookie: cookieIn(begun.headers, 'centaur-signin') ?? '' },
    redirect: 'manual',
  });
  const text = await response.text();
  const cookie = cookieIn(response.headers) ?? '';
  const session = cookie === '' ? undefined : (await api.call('GET', '/auth/session', undefined, { key: null, headers: { cookie } })).body;
  return { location: new URL(location), response, text, session, cookie };
}

describe('signing in by a provider, in a browser', () => {
  test('makes a newcomer a user, and finds them again by the subject', async () => {
    const api = await start();
    const { location, text, session, response } = await signIn(api, '?return_to=/console/runs');
    assert.deepEqual([...location.searchParams.keys()].toSorted(), [
      'client_id',
      'code_challenge',
      'code_challenge_method',
      'nonce',
      'redirect_uri',
      'response_type',
      'scope',
      'state',
    ]);
    assert.match(text, /<meta http-equiv="refresh" content="0; url=\/console\/runs">/);
    assert.match(response.headers.getSetCookie().join('\n'), /centaur=cs_.*SameSite=Strict/);
    assert.deepEqual(
      [session.user.name, session.user.display_name, session.user.role, session.how],
      ['ann.lee', 'Ann Lee', 'viewer', 'oidc'],
    );
    // another address at the provider, the same person
    provider.claims = { ...provider.claims, email: 'lee@example.com' };
    assert.equal((await signIn(api)).session.user.user_id, session.user.user_id);
    assert.deepEqual((await api.call('GET', '/users/ann.lee')).body.providers, [provider.url]);
    const stored = JSON.stringify((await api.t.store.query('select * from user_sign_ins')).rows) + JSON.stringify(api.t.logs);
    for (const secret of provider.given) assert.ok(!stored.includes(secret));
  });

  test('gives no newcomer a name that something was given to, whatever they call themselves', async () => {
    const api = await start();
    const { store } = api.t;
    const text = 'version: 1\ndefault: deny\nrules: []\ngates: {money: {approvers: ["user:zoe"]}}\n';
    assert.equal((await api.call('POST', '/policy/publish', { text })).status, 201);
    await api.call('PUT', '/principals/user:roger/roles', { roles: ['finance'] });
    const { rows } = await store.query<{ id: string }>('select audit_id::text as id from audit_log limit 1');
    const audit = rows[0]?.id;
    await store.query(
      `insert into secrets (name, type, source, binding, shape, options, audit_id) values ('S', 'static', '{}', '{}', '{}', '{}', $1)`,
      [audit],
    );
    await store.query(
      `insert into grants (grant_id, principal, secret, audit_id, revoked_at) values
         (gen_random_uuid(), 'user:greta', 'S', $1, null), (gen_random_uuid(), 'user:gone', 'S', $1, now())`,
      [audit],
    );
    await store.query(
      `insert into oauth_connections (connection_id, app, user_name, flow, secret, expires_at, created_by, audit_id)
         values (gen_random_uuid(), 'forge', 'olga', 'code', 'S', now(), 'test', $1)`,
      [audit],
    );
    const names = [];
    for (const [n, wish] of ['roger', 'Greta', 'gone', 'olga', 'zoe'].entries()) {
      provider.claims = { ...provider.claims, sub: `s-${n}`, email: `p${n}@example.com`, preferred_username: wish };
      names.push((await signIn(api)).session.user.name);
    }
    assert.deepEqual(names, ['roger-2', 'greta-2', 'gone', 'olga-2', 'zoe-2']);
    assert.equal((await api.call('POST', '/users', { name: 'roger', role: 'viewer' })).status, 201);
  });

  test('finds who was invited by their address, once', async () => {
    const api = await start({ newcomers: undefined });
    assert.match((await signIn(api)).text, /ask an admin to invite you/);
    await api.call('POST', '/users', { name: 'ann', role: 'approver', email: 'ann@example.com', password: 'none' });
    assert.equal((await signIn(api)).session.user.name, 'ann');
    // the address went to somebody else meanwhile
    provider.claims = { ...provider.claims, sub: 'subject-2' };
    assert.equal((await signIn(api)).session, undefined);
    const actions = (await api.call('GET', '/audit?limit=50')).body.items.map((each: { action: string }) => each.action);
    assert.deepEqual(actions.filter((action: string) => action === 'user.link').length, 1);
    assert.equal(actions.filter((action: string) => action === 'user.sign_in_refused').length, 2);
  });

  test('takes no address that is not verified, and none of another domain', async () => {
    const api = await start();
    for (const wrong of [
      { email_verified: false },
      { email_verified: 'true' },
      { email_verified: undefined },
      { email: 'ann@evil.example' },
      { email: 'ann@example.com.evil.example' },
      { email: undefined },
    ]) {
      const claims = provider.claims;
      provider.claims = { ...claims, ...wrong };
      assert.equal((await signIn(api)).session, undefined, JSON.stringify(wrong));
      provider.claims = claims;
    }
    assert.equal((await api.call('GET', '/users')).body.items.length, 0);
  });

  test('keeps whoever is disabled out', async () => {
    const api = await start();
    await signIn(api);
    await api.call('POST', '/users/ann.lee/disable');
    assert.equal((await signIn(api)).session, undefined);
  });

  test('gives roles by a claim, takes them away by it, and leaves the last admin one', async () => {
    const api = await start({ roles: { claim: 'groups', byValue: { ops: 'operator', leads: 'approver', root: 'admin' } } });
    const roleWith = async (groups: unknown) => {
      provider.claims = { ...provider.claims, groups };
      return (await signIn(api)).session.user.role;
    };
    assert.equal(await roleWith(['ops', 'leads', 'constructor']), 'approver');
    assert.equal(await roleWith('ops'), 'operator');
    assert.equal(await roleWith([]), 'viewer');
    assert.equal(await roleWith(['root']), 'admin');
    assert.equal(await roleWith(['ops']), 'admin');
    await api.call('POST', '/users', { name: 'other', role: 'admin' });
    assert.equal(await roleWith(['ops']), 'operator');
  });

  test('asks for a new proof where one is wanted, and takes no old one for it', async () => {
    const api = await start();
    const now = () => Math.floor(Date.now() / 1000);
    provider.claims = { ...provider.claims, auth_time: now() - 7200 };
    const usual = await signIn(api);
    assert.ok(Math.abs(Date.parse(usual.session.proven_at) / 1000 - (now() - 7200)) < 30);
    const { location, session } = await signIn(api, '?again=1');
    assert.deepEqual([location.searchParams.get('prompt'), location.searchParams.get('max_age')], ['login', '0']);
    assert.equal(session, undefined);
    provider.claims = { ...provider.claims, auth_time: now() };
    assert.ok((await signIn(api, '?again=1')).session);
  });

  test('takes a sign-in for no proof when the provider does not say when there was one', async () => {
    const api = await start({ newcomers: 'admin' });
    const { session, cookie } = await signIn(api);
    assert.equal(session.proven_at, '1970-01-01T00:00:00.000Z');
    const override = `/approvals/${randomUUID()}/override`;
    const { body } = await api.call('POST', override, { reason: 'an incident' }, { key: null, headers: { cookie, origin: api.url } });
    assert.equal(body.code, 'PROOF_REQUIRED');
    // whoever is asked for a proof, and brings no time of it, does not even come in
    assert.equal((await signIn(api, '?again=1')).session, undefined);
  });

  test('is said to be impossible where the provider is away, or may not be reached', async () => {
    const api = await start({ issuer: 'http://127.0.0.1:9' });
    const begin = () => api.call('GET', '/auth/oidc/start', undefined, { key: null });
    assert.deepEqual([(await begin()).status, (await begin()).body.code], [502, 'PROVIDER_ANSWER']);
    const inner = await start();
    await storeEgressConfig(inner.installation, 'test', {});
    const asked = provider.asked.length;
    assert.equal((await inner.call('GET', '/auth/oidc/start', undefined, { key: null })).body.code, 'PROVIDER_ANSWER');
    assert.equal(provider.asked.length, asked);
  });
});

describe('signing in by a provider, with a code', () => {
  const poll = (api: TestApi, handle: string) => api.call('POST', '/auth/device/poll', { handle }, { key: null });
  const begin = (api: TestApi) => api.call('POST', '/auth/device/start', undefined, { key: null });
  const due = (api: TestApi) => api.t.store.query(`update user_sign_ins set next_poll_at = now() - interval '1 second'`);

  test('answers a session once, when somebody has agreed', async () => {
    const api = await start();
    provider.device = 'waits';
    const { body: begun } = await begin(api);
    assert.deepEqual([begun.user_code, begun.verification_uri, begun.interval], ['WDJB-MJHT', `${provider.url}/activate`, 1]);
    const asked = provider.asked.length;
    // too early, also on a slow machine: the provider is not asked
    await api.t.store.query(`update user_sign_ins set next_poll_at = now() + interval '1 hour'`);
    assert.deepEqual((await poll(api, begun.handle)).body, { status: 'pending', interval: 1, token: null, session: null });
    assert.equal(provider.asked.length, asked);
    await due(api);
    assert.equal((await poll(api, begun.handle)).body.status, 'pending');
    provider.device = 'agrees';
    await due(api);
    const { body: done } = await poll(api, begun.handle);
    assert.deepEqual([done.status, done.session.user.name, done.session.kind], ['done', 'ann.lee', 'cli']);
    assert.equal((await api.call('GET', '/auth/session', undefined, bearer(done.token))).status, 200);
    assert.deepEqual((await poll(api, begun.handle)).body.code, 'SIGN_IN_UNKNOWN');
  });

  test('ends when it is refused, and knows no handle but its own', async () => {
    const api = await start();
    provider.device = 'denies';
    const { body: begun } = await begin(api);
    await due(api);
    assert.deepEqual(
      [(await poll(api, begun.handle)).body.code, (await poll(api, begun.handle)).body.code],
      ['SIGN_IN_DENIED', 'SIGN_IN_UNKNOWN'],
    );
    assert.equal((await poll(api, 'A'.repeat(43))).status, 400);
  });
});

test('without a provider, that is what is said', async () => {
  await using api = await startTestApi({ vault: 'alone', idle: true });
  assert.equal((await api.call('GET', '/auth/oidc/start', undefined, { key: null })).body.code, 'NO_PROVIDER');
  assert.doesNotMatch(await (await fetch(`${api.url}/signin`)).text(), /oidc/);
});
