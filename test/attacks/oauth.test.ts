/** Connecting an account: answers that are not for us, providers that are not what they say, and what could be learnt from either. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { storeEgressConfig } from '../../kernel/firewall/config.ts';
import { createOAuth, type StartedConnection } from '../../kernel/oauth/index.ts';
import { listSecrets, putSecret } from '../../kernel/vault/index.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { type OAuthProvider, startOAuthProvider } from '../support/oauth-provider.ts';

const CLIENT_SECRET = 'the-secret-of-the-client';
const HTML = '"><script>alert(1)</script>';

let api: TestApi;
let provider: OAuthProvider;
/** An app of somebody who may make one here, and means no good. */
let evil: OAuthProvider;
/** All that anybody was answered. */
const answers: string[] = [];

before(async () => {
  api = await startTestApi({ idle: true, vault: 'alone' });
  provider = await startOAuthProvider();
  evil = await startOAuthProvider();
  provider.clients = [{ id: 'centaur', secret: CLIENT_SECRET, redirectUris: [`${api.url}/oauth/callback/crm`] }];
  evil.clients = [{ id: 'evil', secret: null, redirectUris: [`${api.url}/oauth/callback/evil`] }];
  await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
});
after(async () => {
  await provider?.[Symbol.asyncDispose]();
  await evil?.[Symbol.asyncDispose]();
  await api?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  provider.issuer = undefined;
  for (const { connection_id: id } of (await api.call('GET', '/oauth/connections')).body.items)
    await api.call('DELETE', `/oauth/connections/${id}`);
  await putApp('crm', provider);
  await putApp('evil', evil, { client_id: 'evil', client_secret: null, secret: 'EVIL_OAUTH' });
});

async function putApp(name: string, at: OAuthProvider, more: object = {}) {
  const app = {
    provider: 'custom',
    client_id: 'centaur',
    client_secret: CLIENT_SECRET,
    authorize_url: `${at.url}/authorize`,
    token_url: `${at.url}/token`,
    device_url: `${at.url}/device`,
    revoke_url: `${at.url}/revoke`,
    issuer: at.url,
    hosts: [at.url],
    secret: 'CRM_OAUTH',
    ...more,
  };
  const { status, body } = await api.call('PUT', `/oauth/apps/${name}`, app);
  assert.equal(status, 200, JSON.stringify(body));
}

async function begin(app = 'crm', user?: string): Promise<StartedConnection> {
  const { status, body } = await api.call('POST', '/oauth/connections', { app, ...(user === undefined ? {} : { user }) });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** Where the browser is sent. */
async function signIn(started: StartedConnection, at = provider): Promise<URL> {
  return new URL((await at.signIn(started.authorize_url as string)) ?? assert.fail('the provider shows an error'));
}

/** What a browser that comes there is answered: never more than our own words. */
async function visit(url: URL | string, method = 'GET') {
  const response = await fetch(url, { method, redirect: 'manual' });
  const text = await response.text();
  answers.push(text, JSON.stringify([...response.headers]));
  assert.equal(response.headers.get('location'), null);
  assert.equal(response.headers.get('set-cookie'), null);
  if (response.headers.get('content-type')?.startsWith('text/html')) {
    assert.match(response.headers.get('content-security-policy') ?? '', /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(response.headers.get('x-frame-options'), 'DENY');
    assert.equal(response.headers.get('referrer-policy'), 'no-referrer');
    assert.equal(response.headers.get('cache-control'), 'no-store');
  }
  return { status: response.status, text };
}

const statusOf = async ({ connection_id: id }: StartedConnection) => {
  const { status, reason } = (await api.call('GET', `/oauth/connections/${id}`)).body;
  return [status, reason];
};
const exchanged = (at = provider) => at.asked.filter(({ path }) => path === '/token').length;
const secretsNow = async () => (await listSecrets(api.t.store)).map(({ name }) => name);

describe('an answer that is not for us', () => {
  test('with a state that was made up is refused, and the provider is not asked', async () => {
    const started = await begin();
    const back = await signIn(started);
    const before = exchanged();
    for (const state of ['', 'x', 'A'.repeat(43), `${back.searchParams.get('state')?.slice(0, -1)}_`, HTML, '../../etc', 'A'.repeat(200)]) {
      back.searchParams.set('state', state);
      assert.equal((await visit(back)).status, 400);
    }
    back.searchParams.delete('state');
    assert.equal((await visit(back)).status, 400);
    assert.equal(exchanged(), before);
    assert.deepEqual(await statusOf(started), ['pending', null]);
  });

  test('that comes again is refused, and what it connected stays', async () => {
    const started = await begin();
    const back = await signIn(started);
    assert.equal((await visit(back)).status, 200);
    const before = exchanged();
    assert.equal((await visit(back)).status, 400);
    assert.equal(exchanged(), before);
    assert.deepEqual(await statusOf(started), ['connected', null]);
    assert.ok(provider.isConnected('ana'));
  });

  test('of many at once with one state, one is taken', async () => {
    const back = await signIn(await begin());
    const before = exchanged();
    const all = await Promise.all(Array.from({ length: 12 }, () => visit(back)));
    assert.equal(all.filter(({ status }) => status === 200).length, 1);
    assert.equal(exchanged(), before + 1);
  });

  test('that comes too late is refused', async () => {
    const started = await begin();
    const back = await signIn(started);
    await api.t.store.query('update oauth_connections set expires_at = now() where connection_id = $1', [started.connection_id]);
    const before = exchanged();
    assert.equal((await visit(back)).status, 400);
    assert.equal(exchanged(), before);
    assert.deepEqual(await statusOf(started), ['expired', 'EXPIRED']);
  });

  test('with a code of another attempt connects nothing: it is not the one that our verifier proves', async () => {
    const [mine, theirs] = [await begin('crm', 'ana'), await begin('crm', 'mallory')];
    const [back, stolen] = [await signIn(mine), await signIn(theirs)];
    back.searchParams.set('code', stolen.searchParams.get('code') as string);
    assert.equal((await visit(back)).status, 400);
    assert.deepEqual(await statusOf(mine), ['failed', 'INVALID_CODE']);
    assert.deepEqual(await secretsNow(), []);
  });

  test('with the state of another user connects that user’s attempt, and nobody else’s', async () => {
    const [hers, his] = [await begin('crm', 'ana'), await begin('crm', 'bo')];
    const back = await signIn(hers);
    assert.equal((await visit(back)).status, 200);
    assert.deepEqual(await statusOf(his), ['pending', null]);
    assert.deepEqual(
      (await api.call('GET', '/grants')).body.items.map(({ principal }: { principal: string }) => principal),
      ['user:ana'],
    );
  });

  test('is not made another user’s by whoever writes to the database', async () => {
    const started = await begin('crm', 'ana');
    const back = await signIn(started);
    await api.t.store.query(`update oauth_connections set user_name = 'mallory' where connection_id = $1`, [started.connection_id]);
    const before = exchanged();
    assert.ok((await visit(back)).status >= 400);
    assert.equal(exchanged(), before);
    assert.deepEqual(await statusOf(started), ['failed', 'INTERNAL']);
    assert.deepEqual(await secretsNow(), []);
  });

  test('is not taken by a program that only looks at the address', async () => {
    const started = await begin();
    const back = await signIn(started);
    assert.equal((await visit(back, 'HEAD')).status, 400);
    assert.equal((await visit(back, 'POST')).status, 405);
    assert.deepEqual(await statusOf(started), ['pending', null]);
    assert.equal((await visit(back)).status, 200);
  });
});

test('the page names the app and the user, and runs nothing of either', async () => {
  const { status, text } = await visit(await signIn(await begin('crm', HTML.replace(' ', ''))));
  assert.equal(status, 200);
  assert.match(text, /App: crm\. It is the account of &#34;&#62;&#60;script&#62;/);
  assert.ok(!text.includes('<script'));
  assert.match((await visit(await signIn(await begin()))).text, /App: crm\. It is everybody’s account\./);
});

describe('two providers', () => {
  test('an answer of one does not pass for that of the other: its code is sent nowhere', async () => {
    // the evil app sends people on to the honest provider, with its own state and the honest address to come back to
    const started = await begin('evil');
    const honest = new URL((await begin('crm')).authorize_url as string);
    const asked = new URL(started.authorize_url as string);
    for (const name of ['state', 'code_challenge']) honest.searchParams.set(name, asked.searchParams.get(name) as string);
    const back = new URL((await provider.signIn(honest.href)) as string);
    const before = [exchanged(), exchanged(evil)];
    assert.equal((await visit(back)).status, 400);
    assert.deepEqual([exchanged(), exchanged(evil)], before);
    assert.deepEqual(await statusOf(started), ['failed', 'OTHER_APP']);
    // nor at the evil address, to which the honest provider sends nobody
    honest.searchParams.set('redirect_uri', asked.searchParams.get('redirect_uri') as string);
    assert.equal(await provider.signIn(honest.href), undefined);
  });

  test('an answer that says it is from another issuer is refused', async () => {
    provider.issuer = evil.url;
    const started = await begin();
    const before = exchanged();
    assert.equal((await visit(await signIn(started))).status, 400);
    assert.equal(exchanged(), before);
    assert.deepEqual(await statusOf(started), ['failed', 'OTHER_ISSUER']);
  });

  test('an app that is pointed elsewhere meanwhile gets no code', async () => {
    const started = await begin();
    const back = await signIn(started);
    await putApp('crm', evil, { client_secret: null });
    const before = exchanged(evil);
    assert.equal((await visit(back)).status, 400);
    assert.equal(exchanged(evil), before);
    assert.deepEqual(await statusOf(started), ['failed', 'APP_CHANGED']);
  });
});

describe('what is asked of a provider', () => {
  test('is asked under a proof of its own each time, and comes back to one address', async () => {
    await putApp('crm', provider, {
      authorize_url: `${provider.url}/authorize?redirect_uri=https://evil.example.com&state=x&code_challenge_method=plain&prompt=none`,
    });
    const [first, second] = [await begin('crm', 'a'), await begin('crm', 'b')].map(
      ({ authorize_url: url }) => new URL(url as string).searchParams,
    );
    for (const params of [first, second]) {
      assert.deepEqual(params?.getAll('redirect_uri'), [`${api.url}/oauth/callback/crm`]);
      assert.deepEqual(params?.getAll('code_challenge_method'), ['S256']);
      assert.equal(params?.getAll('state').length, 1);
      assert.equal(params?.get('prompt'), 'none');
    }
    assert.notEqual(first?.get('state'), second?.get('state'));
    assert.notEqual(first?.get('code_challenge'), second?.get('code_challenge'));
  });

  test('brings the verifier of its own attempt', async () => {
    const started = await begin();
    await visit(await signIn(started));
    const { form } = provider.asked.findLast(({ path }) => path === '/token') ?? assert.fail();
    const challenge = createHash('sha256')
      .update(form['code_verifier'] ?? '')
      .digest('base64url');
    assert.equal(new URL(started.authorize_url as string).searchParams.get('code_challenge'), challenge);
  });
});

describe('a provider that means no good', () => {
  for (const status of [301, 302, 307, 308])
    test(`is not followed elsewhere: ${status}`, async () => {
      const before = evil.asked.length;
      provider.answerNext('/token', (response) => void response.writeHead(status, { location: `${evil.url}/token` }).end());
      const started = await begin();
      assert.equal((await visit(await signIn(started))).status, 400);
      assert.deepEqual(await statusOf(started), ['failed', 'REDIRECTED']);
      assert.equal(evil.asked.length, before);
    });

  test('fills no memory', async () => {
    let sent = 0;
    provider.answerNext('/token', (response) => {
      const more = () => {
        for (let goesOn = true; goesOn && !response.destroyed && sent < 256 * 1024 * 1024; sent += 64 * 1024)
          goesOn = response.write(Buffer.alloc(64 * 1024, 0x20));
        if (sent >= 256 * 1024 * 1024) response.end();
        else if (!response.destroyed) response.once('drain', more);
      };
      more();
    });
    const started = await begin();
    assert.equal((await visit(await signIn(started))).status, 400);
    assert.deepEqual(await statusOf(started), ['failed', 'TOO_LARGE']);
    assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes were taken`);
  });

  for (const [what, body] of [
    ['no JSON', '<html>'],
    ['a list', '[]'],
    ['no token', '{}'],
    ['a token that is none', '{"access_token": {"x": 1}}'],
    ['a token with a line break', '{"access_token": "abcdefghijkl\\r\\nx-evil: 1"}'],
    ['a token that is too short to be found again', '{"access_token": "short"}'],
  ] as const)
    test(`connects nothing with ${what}`, async () => {
      provider.answerNext('/token', (response) => void response.end(body));
      const started = await begin();
      assert.equal((await visit(await signIn(started))).status, 400);
      assert.deepEqual(await statusOf(started), ['failed', 'NO_TOKEN']);
      assert.deepEqual(await secretsNow(), []);
    });

  test('has its own words kept nowhere', async () => {
    provider.answerNext('/token', (response, form) => {
      provider.given.push(form['code'] as string);
      response.writeHead(400).end(JSON.stringify({ error: `invalid ${form['code']}`, error_description: form['client_secret'] }));
    });
    const started = await begin();
    assert.equal((await visit(await signIn(started))).status, 400);
    assert.deepEqual(await statusOf(started), ['failed', 'PROVIDER_REFUSED']);
  });

  for (const uri of ['javascript:alert(1)', 'http://evil.example.com/', 'https://user@evil.example.com/', 'data:text/html,x'])
    test(`sends nobody with a device to ${uri}`, async () => {
      provider.answerNext(
        '/device',
        (response) =>
          void response.end(JSON.stringify({ device_code: 'a-device-code', user_code: 'ABCD', verification_uri: uri, expires_in: 60 })),
      );
      const { status, body } = await api.call('POST', '/oauth/connections', { app: 'crm', flow: 'device' });
      assert.deepEqual([status, body.code], [502, 'PROVIDER_FAILED']);
    });
});

describe('an address of our own', () => {
  const target = async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(request.url ?? '');
      response.end('{}');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { seen, port: (server.address() as AddressInfo).port, close: () => server.close() };
  };

  test('is not asked, neither by its number nor by a name that leads there', async () => {
    const inside = await target();
    await storeEgressConfig(api.installation, 'test', { allow_cidrs: [] });
    const accounts = await createOAuth({
      installation: api.installation,
      publicUrl: () => api.url,
      resolver: async (host) => (host === 'rebound.example.com' ? ['93.184.216.34', '127.0.0.1'] : ['127.0.0.1']),
    });
    try {
      for (const url of [
        `http://127.0.0.1:${inside.port}/`,
        `http://localhost:${inside.port}/`,
        `http://[::1]:${inside.port}/`,
        `https://login.example.com:${inside.port}/`,
        `https://rebound.example.com:${inside.port}/`,
        'https://metadata.google.internal/',
        'https://169.254.169.254/latest',
      ]) {
        await accounts.putApp('key:test', 'inside', {
          provider: 'custom',
          client_id: 'x',
          client_secret: null,
          device_url: url,
          token_url: url,
          revoke_url: url,
          hosts: ['api.example.com'],
          secret: 'INSIDE_OAUTH',
        });
        await assert.rejects(
          accounts.connect('key:test', { app: 'inside', flow: 'device' }),
          (error: { details?: { reason?: string } }) => {
            assert.equal(error.details?.reason, 'ADDRESS_DENIED', url);
            return true;
          },
        );
      }
      assert.deepEqual(inside.seen, []);
    } finally {
      await accounts.close();
      inside.close();
      await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
    }
  });

  test('is not dialled at a port that is not open', async () => {
    await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'], ports: [443] });
    try {
      const before = provider.asked.length;
      const { body } = await api.call('POST', '/oauth/connections', { app: 'crm', flow: 'device' });
      assert.equal(body.details.reason, 'ADDRESS_DENIED');
      assert.equal(provider.asked.length, before);
    } finally {
      await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
    }
  });
});

describe('the page', () => {
  test('shows nothing of what it is asked with, and has no header of it', async () => {
    for (const path of ['crm', encodeURIComponent(HTML), '%0d%0aset-cookie:%20a=b', 'x'.repeat(90)])
      for (const query of [
        { state: HTML, code: HTML },
        { error: HTML, error_description: HTML, error_uri: 'https://evil.example.com' },
        { redirect_uri: 'https://evil.example.com', next: '//evil.example.com' },
        { code: 'x\r\nset-cookie: a=b' },
      ]) {
        const { status, text } = await visit(`${api.url}/oauth/callback/${path}?${new URLSearchParams(query).toString()}`);
        assert.equal(status, 400);
        assert.ok(!/script|evil|cookie/i.test(text), text);
      }
  });

  test('takes no parameter twice', async () => {
    const back = await signIn(await begin());
    const before = exchanged();
    back.searchParams.append('state', 'A'.repeat(43));
    assert.equal((await visit(back)).status, 422);
    assert.equal(exchanged(), before);
  });
});

describe('revoking', () => {
  test('sends the token nowhere that it was not given for', async () => {
    await visit(await signIn(await begin()));
    const [secret] = await listSecrets(api.t.store);
    assert.equal(secret?.name, 'CRM_OAUTH');
    // whoever may describe a secret
    await assert.rejects(
      putSecret(api.installation, 'test', 'CRM_OAUTH', {
        type: 'brokered_token',
        hosts: secret.hosts,
        match_headers: ['authorization'],
        options: { ...secret.options, revoke_url: `${evil.url}/revoke` },
      }),
      /revoke_url/,
    );
    // whoever writes to the database
    await api.t.store.query(`update secrets set options = (options::jsonb || $1::jsonb)::json where name = 'CRM_OAUTH'`, [
      JSON.stringify({ revoke_url: `${evil.url}/revoke` }),
    ]);
    const before = evil.asked.length;
    const [connection] = (await api.call('GET', '/oauth/connections')).body.items;
    assert.equal((await api.call('DELETE', `/oauth/connections/${connection.connection_id}`)).body.at_provider, 'none');
    assert.equal(evil.asked.length, before);
    assert.deepEqual(await secretsNow(), []);
  });

  test('of another’s account is not done by pointing a connection at its secret', async () => {
    const [hers, his] = [await begin('crm', 'ana'), await begin('crm', 'bo')];
    await visit(await signIn(hers));
    provider.account = 'bo';
    await visit(await signIn(his));
    provider.account = 'ana';
    await api.t.store.query('update oauth_connections set secret = $2 where connection_id = $1', [hers.connection_id, his.secret]);
    assert.equal((await api.call('DELETE', `/oauth/connections/${hers.connection_id}`)).body.at_provider, 'none');
    assert.ok(provider.isConnected('bo'));
    assert.ok((await secretsNow()).includes(his.secret));
  });
});

test('no code, state, verifier, token or client secret is in a log, an entry or an answer', async () => {
  const { rows } = await api.t.store.query<{ entry: string }>('select entry from audit_log');
  const written = [...rows.map(({ entry }) => entry), ...api.t.logs.map((entry) => JSON.stringify(entry)), ...answers].join('\n');
  const listed = JSON.stringify([(await api.call('GET', '/oauth/apps')).body, (await api.call('GET', '/oauth/connections')).body]);
  const secret = [
    CLIENT_SECRET,
    ...[provider, evil].flatMap(({ given, asked }) => [
      ...given,
      ...asked.flatMap(({ form }) => [form['code_verifier'], form['state']].filter((each) => each !== undefined && each !== 'x')),
    ]),
  ].filter((each) => each !== undefined && each !== '');
  assert.ok(secret.length > 30);
  for (const each of secret) assert.ok(!written.includes(each as string) && !listed.includes(each as string), `${each} was written down`);
});
