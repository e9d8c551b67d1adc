/** Accounts of Google, GitHub, Slack and Linear, as the emulator plays them: connected, used through the firewall, and taken back. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createOAuth, type OAuth, type OAuthAppRequest } from '../../kernel/oauth/index.ts';
import { addGrant, createLease, listSecrets } from '../../kernel/vault/index.ts';
import { type Emulator, startEmulator } from '../hosts-e2e/emulate.ts';
import { callThrough, createTestFirewall, type TestFirewall } from '../support/firewall.ts';

const PUBLIC_URL = 'https://centaur.example.com';
const CLIENT = { client_id: 'the-client', client_secret: 'the-secret-of-the-client' };
const EMAIL = 'ana@example.com';

interface Case {
  readonly name: 'google' | 'github' | 'slack' | 'linear';
  /** What is listed under the name in the emulator's seed. */
  readonly seed: object;
  readonly scopes: readonly string[];
  /** Paths of the emulator, where its are. */
  readonly at: { readonly authorize: string; readonly token: string; readonly revoke: string | null };
  readonly secret: string;
  /** A provider that gives refresh tokens. */
  readonly type: 'brokered_token' | 'http';
  readonly whoAmI: { readonly path: string; readonly body?: string; readonly scheme: 'Bearer ' | '' };
  readonly answer: RegExp;
  readonly revoked: 'revoked' | 'failed' | 'none';
}

const client = (name: string, more: object = {}) => [
  { ...CLIENT, name: 'Centaur', redirect_uris: [`${PUBLIC_URL}/oauth/callback/${name}`], ...more },
];

const CASES: readonly Case[] = [
  {
    name: 'google',
    seed: { users: [{ email: EMAIL, name: 'Ana' }], oauth_clients: client('google') },
    scopes: ['openid', 'email'],
    at: { authorize: '/o/oauth2/v2/auth', token: '/oauth2/token', revoke: '/oauth2/revoke' },
    secret: 'GOOGLE_OAUTH',
    type: 'brokered_token',
    whoAmI: { path: '/oauth2/v2/userinfo', scheme: 'Bearer ' },
    answer: /"email":"ana@example\.com"/,
    revoked: 'revoked',
  },
  {
    name: 'github',
    seed: { users: [{ login: 'ana', name: 'Ana', email: EMAIL }], oauth_apps: client('github') },
    scopes: ['repo', 'user'],
    at: { authorize: '/login/oauth/authorize', token: '/login/oauth/access_token', revoke: null },
    secret: 'GITHUB_TOKEN',
    type: 'http',
    whoAmI: { path: '/user', scheme: 'Bearer ' },
    answer: /"login":"ana"/,
    revoked: 'none',
  },
  {
    name: 'slack',
    seed: {
      team: { name: 'Shop', domain: 'shop' },
      users: [{ name: 'ana', email: EMAIL }],
      oauth_apps: client('slack', { scopes: ['chat:write', 'channels:read'] }),
    },
    scopes: ['chat:write', 'channels:read'],
    at: { authorize: '/oauth/v2/authorize', token: '/api/oauth.v2.access', revoke: '/api/auth.revoke' },
    secret: 'SLACK_BOT_TOKEN',
    type: 'http',
    whoAmI: { path: '/api/auth.test', body: '', scheme: 'Bearer ' },
    answer: /"ok":true/,
    // the emulator has no auth.revoke
    revoked: 'failed',
  },
  {
    name: 'linear',
    seed: {
      users: [{ email: EMAIL, name: 'Ana', admin: true }],
      oauth_apps: client('linear', { scopes: ['read', 'write'], actor: 'user' }),
    },
    scopes: ['read', 'write'],
    at: { authorize: '/oauth/authorize', token: '/oauth/token', revoke: '/oauth/revoke' },
    secret: 'LINEAR_API_KEY',
    type: 'brokered_token',
    // as its tool sends a personal key
    whoAmI: { path: '/graphql', body: '{"query": "{ viewer { email } }"}', scheme: '' },
    answer: /"viewer":\{"email":"[^"]+@/,
    revoked: 'revoked',
  },
];

let t: TestFirewall;
let accounts: OAuth;

before(async () => {
  t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1/32'] } });
  accounts = await createOAuth({ installation: t.installation, publicUrl: () => PUBLIC_URL });
});
after(async () => {
  await accounts?.close();
  await t?.[Symbol.asyncDispose]();
});

for (const each of CASES)
  describe(each.name, () => {
    let emulator: Emulator;
    before(async () => {
      emulator = await startEmulator(each.name, { [each.name]: each.seed });
      const { authorize, token, revoke } = each.at;
      const app: OAuthAppRequest = {
        provider: each.name,
        ...CLIENT,
        scopes: each.scopes,
        authorize_url: emulator.url + authorize,
        token_url: emulator.url + token,
        revoke_url: revoke === null ? null : emulator.url + revoke,
        hosts: [emulator.url],
      };
      await accounts.putApp('key:test', each.name, app);
    });
    after(() => emulator?.close());

    test('is connected as its tool expects it, used, and taken back', async () => {
      const started = await accounts.connect('key:test', { app: each.name });
      const back = await consent(started.authorize_url as string);
      assert.equal(back.origin + back.pathname, `${PUBLIC_URL}/oauth/callback/${each.name}`);
      const given = (name: string) => back.searchParams.get(name) ?? undefined;
      const callback = { app: each.name, state: given('state'), code: given('code'), error: given('error'), iss: given('iss') };
      const { outcome, attempt } = await accounts.callback(callback);
      assert.equal(outcome, 'connected', (await accounts.getConnection(started.connection_id)).reason ?? '');
      assert.deepEqual(attempt, { app: each.name, user: null });
      const [secret] = await listSecrets(t.store);
      assert.deepEqual([secret?.name, secret?.type], [each.secret, each.type]);
      await addGrant(t.installation, 'test', 'user:test', each.secret);
      const lease = await createLease(t.installation, 'test', { principal: 'user:test', secrets: [each.secret], ttlSeconds: 600 });
      const { path, body, scheme } = each.whoAmI;
      const { status, body: answer } = await callThrough(t, lease.token, emulator.url + path, {
        headers: {
          authorization: scheme + lease.placeholders[each.secret],
          ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': body.length }),
        },
        ...(body === undefined ? {} : { body }),
      });
      assert.equal(status, 200, answer);
      assert.match(answer, each.answer);
      assert.equal((await accounts.revoke('key:test', started.connection_id)).at_provider, each.revoked);
      assert.deepEqual(await listSecrets(t.store), []);
    });
  });

/** Signs in as Ana: one of the users of the page. */
async function consent(authorizeUrl: string): Promise<URL> {
  const page = await (await fetch(authorizeUrl)).text();
  const forms = [...page.matchAll(/<form[^>]*action="([^"]+)"[^>]*>([^]*?)<\/form>/g)];
  const [, action = '', form = ''] = forms.find(([, , each = '']) => /\bana\b/i.test(each)) ?? assert.fail(page.slice(0, 2000));
  const decode = (text: string) =>
    text
      .replaceAll(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
      .replaceAll('&quot;', '"')
      .replaceAll('&#x27;', "'")
      .replaceAll('&amp;', '&');
  const fields = [...form.matchAll(/<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"/g)].map(([, name = '', value = '']): [string, string] => [
    decode(name),
    decode(value),
  ]);
  const { status, headers } = await fetch(new URL(decode(action), authorizeUrl), {
    method: 'POST',
    redirect: 'manual',
    body: new URLSearchParams(fields),
  });
  assert.equal(status, 302);
  return new URL(headers.get('location') as string);
}
