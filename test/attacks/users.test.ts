/** Becoming somebody: by guessing, by forged answers of a provider, by somebody else's browser, by a cookie or token that is not one's own. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { ROUTES } from '../../kernel/api/routes/index.ts';
import { makeThreadToken } from '../../kernel/api/thread-tokens.ts';
import { storeEgressConfig } from '../../kernel/firewall/config.ts';
import { createUsers, type UserRole } from '../../kernel/users/index.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts';
import { addPerson, bearer, browserCookie, cookieIn, type Person } from '../support/people.ts';

const HTML = '"><script>alert(1)</script>';
const COST = { memory: 64, passes: 1, parallelism: 1 };

let api: TestApi;
let provider: OidcProvider;
let ann: Person;
let at = Date.now();

before(async () => {
  provider = await startOidcProvider('centaur');
  api = await startTestApi({
    vault: 'alone',
    idle: true,
    trustedProxies: ['127.0.0.1'],
    people: { now: () => at, passwordCost: COST },
    oidc: {
      issuer: provider.url,
      clientId: 'centaur',
      clientSecret: provider.clientSecret,
      label: 'Example',
      scopes: ['email'],
      emailDomains: ['example.com'],
      newcomers: 'viewer',
      roles: undefined,
    },
  });
  await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
  ann = await addPerson(api, 'ann', 'admin');
});
after(async () => {
  await api?.[Symbol.asyncDispose]();
  await provider?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await api.t.store.query('delete from user_tries');
  at = Date.now();
  provider.signature = 'right';
  provider.change = (claims) => claims;
});

/** From an address of its own, as a proxy of ours says. */
const guess = (name: string, password: string, address = '203.0.113.7') =>
  api.call('POST', '/auth/password', { name, password }, { key: null, headers: { 'x-forwarded-for': address } });
const sessions = async () => (await api.t.store.query<{ n: number }>('select count(*)::int as n from user_sessions')).rows[0]?.n;

describe('guessing a password', () => {
  test('stops counting from one address after ten tries, the right one included, and says when it goes on', async () => {
    for (let n = 0; n < 10; n++) assert.equal((await guess('ann', `guess number ${n}`)).status, 401);
    const refused = await guess('ann', ann.password);
    assert.deepEqual([refused.status, refused.body.code], [429, 'TOO_MANY_TRIES']);
    const seconds = Number(refused.headers.get('retry-after'));
    assert.ok(seconds > 800 && seconds <= 900, String(seconds));
    // its owner, elsewhere, is not kept out
    assert.equal((await guess('ann', ann.password, '198.51.100.1')).status, 200);
    at += 15 * 60_000;
    assert.equal((await guess('ann', ann.password)).status, 200);
  });

  test('from many addresses stops for the name, and many names stop for the address', async () => {
    for (let n = 0; n < 50; n++) assert.equal((await guess('ann', 'wrong', `192.0.2.${n}`)).status, 401);
    assert.equal((await guess('ann', ann.password, '192.0.2.99')).status, 429);
    for (let n = 0; n < 100; n++) assert.equal((await guess(`nobody-${n}`, 'wrong', '198.51.100.2')).status, 401);
    assert.equal((await guess('nobody-x', 'wrong', '198.51.100.2')).status, 429);
  });

  test('from many addresses does not keep its owner out where they have signed in before, and lets nobody guess more there', async () => {
    assert.equal((await guess('ann', ann.password, '2001:db8:0:7::1')).status, 200);
    for (let n = 0; n < 51; n++) await guess('ann', 'wrong', `192.0.2.${n}`);
    assert.equal((await guess('ann', ann.password, '192.0.2.99')).status, 429);
    // of the same network
    assert.equal((await guess('ann', ann.password, '2001:db8:0:7::2')).status, 200);
    for (let n = 0; n < 10; n++) assert.equal((await guess('ann', 'wrong', '2001:db8:0:7::1')).status, 401);
    assert.equal((await guess('ann', ann.password, '2001:db8:0:7::1')).status, 429);
    assert.equal((await guess('bert', 'wrong', '2001:db8:0:7::1')).status, 401, 'somebody else has not signed in there');
  });

  test('many at once get no more tries than one after the other', async () => {
    const all = await Promise.all(Array.from({ length: 30 }, () => guess('ann', 'wrong')));
    assert.equal(all.filter(({ status }) => status === 401).length, 10);
  });

  test('is counted by who asks, whatever they say of themselves, and in whatever form they write the name', async () => {
    for (let n = 0; n < 10; n++) await guess(n % 2 === 0 ? 'ANN' : ' ann ', 'wrong', `10.0.0.${n}, 203.0.113.8`);
    assert.equal((await guess('ann', 'wrong', '203.0.113.8')).status, 429);
  });

  test('tells nothing of which names there are: not in words, not in work', async () => {
    await api.call('POST', '/users', { name: 'off', role: 'viewer' });
    await api.call('POST', '/users/off/disable');
    await api.call('POST', '/users', { name: 'sso-only', role: 'viewer', password: 'none' });
    const answers = await Promise.all(
      ['ann', 'nobody', 'off', 'sso-only', HTML, "' or 1=1 --"].map((name) => guess(name, 'wrong password')),
    );
    assert.equal(new Set(answers.map(({ status, body }) => JSON.stringify([status, body]))).size, 1);
    // with the cost of a real hash: half of it would be plain to see
    const users = createUsers({ store: api.t.store, audit: api.installation.audit });
    // of the processor's time, which a busy machine does not lengthen; by turns, so that it is the same machine to each
    const work = async (name: string) => {
      await api.t.store.query('delete from user_tries');
      const before = process.cpuUsage();
      await assert.rejects(
        users.signIn({ name, password: 'wrong password', kind: 'cli', source: { address: null, agent: null } }),
        /name or password is wrong/,
      );
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    await users.add('test', { name: 'timed', role: 'viewer' }, 'temporary');
    const took: number[][] = [];
    for (let n = 0; n < 5; n++) took.push([await work('timed'), await work('nobody'), await work('off')]);
    const [known = 0, ...others] = [0, 1, 2].map((who) => took.map((each) => each[who] ?? 0).toSorted((a, b) => a - b)[1] ?? 0);
    for (const other of others) assert.ok(other > known / 4 && other < known * 4 + 200, `${other} ms beside ${known} ms`);
  });

  test('leaves no password in log, audit log or database, also where it is typed as the name', async () => {
    const secret = `typed-${randomBytes(12).toString('hex')}`;
    await guess(secret, 'x');
    await guess('ann', secret);
    await api.installation.audit.idle();
    const tables = ['audit_log', 'users', 'user_tries', 'user_sessions'];
    const all = await Promise.all(tables.map(async (table) => JSON.stringify((await api.t.store.query(`select * from ${table}`)).rows)));
    assert.ok(!`${all.join()}${JSON.stringify(api.t.logs)}`.includes(secret));
    assert.ok(all[0]?.includes('user.sign_in_refused'));
  });
});

describe('a session that is not one’s own', () => {
  test('is not made by choosing its token beforehand', async () => {
    const chosen = `cs_${randomBytes(32).toString('base64url')}`;
    const answer = await api.call(
      'POST',
      '/auth/password',
      { name: 'ann', password: ann.password, kind: 'browser' },
      { key: null, headers: { cookie: `centaur=${chosen}`, origin: api.url } },
    );
    assert.notEqual(cookieIn(answer.headers), `centaur=${chosen}`);
    assert.equal((await api.call('GET', '/auth/session', undefined, bearer(chosen))).status, 401);
  });

  test('does not live on when its browser signs in anew', async () => {
    const before = await browserCookie(api, ann);
    const answer = await api.call(
      'POST',
      '/auth/password',
      { name: 'ann', password: ann.password, kind: 'browser' },
      { key: null, headers: { cookie: before, origin: api.url } },
    );
    assert.equal(answer.status, 200);
    assert.equal((await api.call('GET', '/auth/session', undefined, { key: null, headers: { cookie: before } })).status, 401);
  });

  test('is not read from the database: only a hash is there', async () => {
    const { rows } = await api.t.store.query<{ token_hash: Buffer }>(
      'select token_hash from user_sessions order by session_id desc limit 1',
    );
    const hash = rows[0]?.token_hash ?? Buffer.alloc(0);
    for (const made of [hash.toString('hex'), hash.toString('base64url'), `cs_${hash.toString('base64url')}`])
      assert.equal((await api.call('GET', '/auth/session', undefined, bearer(made))).status, 401);
    assert.equal(hash.length, createHash('sha256').update('').digest().length);
  });

  test('is refused in each form that is not its own, and of two cookies neither counts', async () => {
    const cookie = await browserCookie(api, ann);
    const token = cookie.split('=')[1] ?? '';
    for (const wrong of [
      token.slice(0, -1),
      `${token}A`,
      token.toUpperCase(),
      `cs_${'A'.repeat(43)}`,
      'cs_',
      `${token}\u00a0`.slice(0, 60),
    ])
      assert.equal(
        (await api.call('GET', '/auth/session', undefined, { key: null, headers: { 'x-api-key': encodeURI(wrong) } })).status,
        401,
      );
    const two = `centaur=cs_${'A'.repeat(43)}; ${cookie}`;
    assert.equal((await api.call('GET', '/auth/session', undefined, { key: null, headers: { cookie: two } })).status, 401);
    assert.equal((await api.call('GET', '/auth/session', undefined, { key: null, headers: { cookie: `__Host-${cookie}` } })).status, 401);
  });

  test('of a disabled user does nothing, on any route', async () => {
    const gone = await addPerson(api, 'gone', 'admin');
    await api.call('POST', '/users/gone/disable');
    for (const route of ROUTES.filter(({ access }) => access !== 'public')) {
      const { status } = await api.call(route.method, route.path.replace(/\{\w+\}/g, 'x'), undefined, gone.as);
      assert.equal(status, 401, route.id);
    }
  });
});

describe('somebody else’s page, in the browser of whoever is signed in', () => {
  test('changes nothing with their cookie, whatever it says of where it is from', async () => {
    const cookie = await browserCookie(api, ann);
    const port = Number(new URL(api.url).port);
    const foreign: Record<string, string>[] = [
      {},
      { origin: 'https://evil.example' },
      { origin: 'null' },
      // another program of this machine: the same site, and not the same origin
      { origin: `http://127.0.0.1:${port + 1}`, 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'cross-site', origin: api.url },
      { 'sec-fetch-site': 'none' },
      { 'sec-fetch-site': 'same-origin', origin: 'https://evil.example' },
      { origin: `${api.url}.evil.example` },
      { origin: api.url.replace('http', 'ftp') },
    ];
    for (const headers of foreign)
      for (const { method, path, id } of ROUTES.filter((each) => each.method !== 'GET' && each.access !== 'public')) {
        const { status, body } = await api.call(method, path.replace(/\{\w+\}/g, 'x'), undefined, {
          key: null,
          headers: { cookie, ...headers },
        });
        assert.deepEqual([status, body.code], [403, 'CROSS_ORIGIN'], `${id} ${JSON.stringify(headers)}`);
      }
    const own = await api.call(
      'POST',
      '/users',
      { name: 'by-page', role: 'viewer' },
      { key: null, headers: { cookie, origin: api.url, 'sec-fetch-site': 'same-origin' } },
    );
    assert.equal(own.status, 201);
  });

  test('neither signs them in as somebody else, nor out', async () => {
    const before = await sessions();
    const form = (headers: Record<string, string>, fields: Record<string, string>) =>
      fetch(`${api.url}/signin`, { method: 'POST', body: new URLSearchParams(fields), headers, redirect: 'manual' });
    const cookie = await browserCookie(api, ann);
    const fields = { action: 'sign-in', name: 'ann', password: ann.password };
    for (const headers of [{}, { origin: 'https://evil.example' }, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }]) {
      const answer = await form({ ...headers, cookie }, fields);
      assert.deepEqual([answer.status, answer.headers.get('set-cookie')], [403, null]);
      assert.equal((await form({ ...headers, cookie }, { action: 'sign-out' })).status, 403);
      if ('origin' in headers) {
        const json = await api.call(
          'POST',
          '/auth/password',
          { name: 'ann', password: ann.password, kind: 'browser' },
          { key: null, headers },
        );
        assert.equal(json.body.code, 'CROSS_ORIGIN');
      }
    }
    assert.equal((await api.call('GET', '/auth/session', undefined, { key: null, headers: { cookie } })).status, 200);
    assert.equal(await sessions(), Number(before) + 1);
  });

  test('does not frame or restyle the sign-in page, and puts nothing into it', async () => {
    const page = await fetch(`${api.url}/signin?return_to=${encodeURIComponent(`/${HTML}`)}&name=${encodeURIComponent(HTML)}`);
    const typed = await fetch(`${api.url}/signin`, {
      method: 'POST',
      body: new URLSearchParams({ action: 'sign-in', name: HTML, password: 'x', return_to: HTML }),
      headers: { origin: api.url },
    });
    for (const response of [page, typed]) {
      assert.ok(!(await response.text()).includes('<script'));
      const policy = response.headers.get('content-security-policy') ?? '';
      assert.match(
        policy,
        /^default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'$/,
      );
      assert.equal(response.headers.get('x-frame-options'), 'DENY');
      assert.equal(response.headers.get('cache-control'), 'no-store');
    }
  });

  test('does not get to where people go after they have signed in', async () => {
    for (const to of [
      'https://evil.example',
      '//evil.example',
      '/\\evil.example',
      '/.//evil.example',
      '/%5cevil.example',
      'javascript:alert(1)',
      '/\t/evil.example',
    ]) {
      const answer = await fetch(`${api.url}/signin`, {
        method: 'POST',
        body: new URLSearchParams({ action: 'sign-in', name: 'ann', password: ann.password, return_to: to }),
        headers: { origin: api.url },
        redirect: 'manual',
      });
      assert.equal(answer.status, 303);
      assert.equal(new URL(answer.headers.get('location') ?? '', api.url).origin, api.url, to);
    }
  });
});

describe('a provider’s answer', () => {
  async function begin(query = '') {
    const begun = await fetch(`${api.url}/auth/oidc/start${query}`, {
      redirect: 'manual',
      headers: { 'x-forwarded-for': `192.0.2.${(address = (address + 1) % 250)}` },
    });
    return {
      location: begun.headers.get('location') ?? assert.fail(await begun.text()),
      cookie: cookieIn(begun.headers, 'centaur-signin') ?? '',
    };
  }
  let address = 0;

  /** @returns whether somebody is signed in, and what the page says */
  async function finish(url: URL | string, cookie: string) {
    const before = await sessions();
    const response = await fetch(url, { headers: { cookie }, redirect: 'manual' });
    const text = await response.text();
    const isIn = (await sessions()) !== before;
    assert.equal(cookieIn(response.headers) !== undefined, isIn);
    assert.equal(response.status, isIn ? 200 : 400);
    assert.equal(response.headers.get('location'), null);
    return { isIn, text };
  }

  test('that is forged signs nobody in', async () => {
    for (const signature of ['none', 'of another key', 'of another key, named as ours', 'HS256 with the secret', 'cut off'] as const) {
      provider.signature = signature;
      const { location, cookie } = await begin();
      assert.equal((await finish(provider.signIn(location), cookie)).isIn, false, signature);
    }
  });

  test('that is for somebody else, of somebody else, too old, or not an answer to the question signs nobody in', async () => {
    const now = Math.floor(Date.now() / 1000);
    const lies: Record<string, object> = {
      'wrong nonce': { nonce: 'x'.repeat(43) },
      'no nonce': { nonce: undefined },
      'wrong issuer': { iss: 'https://evil.example' },
      'issuer with a slash': { iss: `${provider.url}/` },
      'wrong audience': { aud: 'somebody-else' },
      'many audiences, for another': { aud: ['centaur', 'somebody-else'], azp: 'somebody-else' },
      'no audience': { aud: undefined },
      expired: { exp: now - 600, iat: now - 900 },
      'without an end': { exp: undefined },
      'of the future': { nbf: now + 3600 },
      'without a subject': { sub: undefined },
      'a subject that is no text': { sub: { $ne: null } },
    };
    for (const [what, lie] of Object.entries(lies)) {
      provider.change = (claims) => ({ ...claims, ...lie });
      const { location, cookie } = await begin();
      assert.equal((await finish(provider.signIn(location), cookie)).isIn, false, what);
    }
    provider.change = (claims) => claims;
    const { location, cookie } = await begin();
    assert.equal((await finish(provider.signIn(location), cookie)).isIn, true);
  });

  test('that comes twice, late, in another browser, or to a question that nobody asked signs nobody in', async () => {
    const first = await begin();
    const back = provider.signIn(first.location);
    assert.equal((await finish(back, first.cookie)).isIn, true);
    assert.equal((await finish(back, first.cookie)).isIn, false);

    const stolen = await begin();
    const theirs = provider.signIn(stolen.location);
    assert.equal((await finish(theirs, (await begin()).cookie)).isIn, false);
    // and it is spent
    assert.equal((await finish(theirs, stolen.cookie)).isIn, false);
    assert.equal((await finish(provider.signIn((await begin()).location), '')).isIn, false);

    const late = await begin();
    at += 11 * 60_000;
    assert.equal((await finish(provider.signIn(late.location), late.cookie)).isIn, false);

    const asked = provider.asked.length;
    for (const state of ['', 'x', 'A'.repeat(43), HTML, '%00']) {
      const { text } = await finish(`${api.url}/auth/callback?code=x&state=${encodeURIComponent(state)}`, stolen.cookie);
      assert.ok(!text.includes('<script'));
    }
    assert.equal(provider.asked.length, asked);
  });

  test('with the code of one sign-in in another signs nobody in', async () => {
    const [one, two] = [await begin(), await begin()];
    const swapped = provider.signIn(two.location);
    swapped.searchParams.set('code', provider.signIn(one.location).searchParams.get('code') ?? '');
    assert.equal((await finish(swapped, two.cookie)).isIn, false);
  });

  test('of twice at once counts once', async () => {
    const { location, cookie } = await begin();
    const back = provider.signIn(location);
    const before = Number(await sessions());
    const both = await Promise.all([1, 2, 3].map(() => fetch(back, { headers: { cookie } })));
    assert.deepEqual(
      both.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 400, 400],
    );
    assert.equal(await sessions(), before + 1);
  });

  test('that is an error, a redirect, or no JSON signs nobody in, and its words are not repeated', async () => {
    for (const answer of [
      [500, HTML],
      [302, ''],
      [200, 'null'],
      [200, '{"id_token":"a.b.c","access_token":"x","token_type":"Bearer"}'],
      [200, 'x'.repeat(600_000)],
      [400, JSON.stringify({ error: HTML, error_description: HTML })],
    ] as const) {
      const { location, cookie } = await begin();
      provider.answerNext(
        '/token',
        (response) =>
          void response.writeHead(answer[0], { 'content-type': 'application/json', location: 'http://127.0.0.1:9/' }).end(answer[1]),
      );
      const { isIn, text } = await finish(provider.signIn(location), cookie);
      assert.deepEqual([isIn, text.includes('<script')], [false, false]);
    }
    const { location, cookie } = await begin();
    const denied = provider.signIn(location);
    denied.searchParams.delete('code');
    denied.searchParams.set('error', 'access_denied');
    denied.searchParams.set('error_description', HTML);
    const { isIn, text } = await finish(denied, cookie);
    assert.deepEqual([isIn, text.includes('<script'), text.includes('denied')], [false, false, true]);
  });

  test('sends nobody to another server afterwards', async () => {
    const { location, cookie } = await begin(`?return_to=${encodeURIComponent('//evil.example')}`);
    const { text } = await finish(provider.signIn(location), cookie);
    assert.match(text, /content="0; url=\/signin"/);
  });

  test('makes nobody more than they are: an address that an admin has, at a provider that has not verified it', async () => {
    await api.call('PUT', '/users/ann', { email: 'boss@example.com' });
    provider.change = (claims) => ({ ...claims, sub: 'intruder', email: 'boss@example.com', email_verified: false });
    const { location, cookie } = await begin();
    assert.equal((await finish(provider.signIn(location), cookie)).isIn, false);
  });
});

describe('who is nobody', () => {
  const person = () => ROUTES.filter(({ access }) => access === 'person');
  const managing = () => ROUTES.filter(({ path }) => path.startsWith('/users'));

  test('a key is no person, whatever it may do', async () => {
    for (const { method, path, id } of person()) assert.equal((await api.call(method, path)).body.code, 'FORBIDDEN', id);
    for (const scope of ['secrets.write', 'approvals.decide', 'workflows:*', 'audit.read']) {
      const key = await api.keyWith(scope);
      for (const { method, path, id } of managing())
        assert.equal((await api.call(method, path.replace('{name}', 'ann'), undefined, { key })).status, 403, id);
    }
    assert.equal((await api.call('GET', '/auth/session', undefined, bearer(ann.token))).status, 200);
    assert.equal((await api.call('POST', '/keys', { name: 'x', scopes: ['person'] })).status, 422);
  });

  test('the token of a sandbox is neither a person nor makes one', async () => {
    await api.t.store.query(`insert into sandbox_sessions (thread_key, sandbox_id, trace_id) values ('t:1', 'box/p', gen_random_uuid())`);
    const token = makeThreadToken(api.installation.macKey, { threadKey: 't:1', sandboxId: 'box', expiresAt: Date.now() + 60_000 });
    for (const { method, path, id } of [...person(), ...managing()]) {
      const { status } = await api.call(method, path.replace('{name}', 'ann'), undefined, { key: token });
      assert.equal(status, 403, id);
    }
    assert.equal((await guess(token, token)).status, 401);
  });

  test('whoever may write secrets makes nobody an approver: gates name roles', async () => {
    const key = await api.keyWith('secrets.write');
    const bob = await addPerson(api, 'bob', 'viewer');
    const put = (principal: string, options: { key?: string | null } = {}) =>
      api.call('PUT', `/principals/${encodeURIComponent(principal)}/roles`, { roles: ['finance'] }, options);
    const rolesOf = async () => (await api.call('GET', '/users/bob')).body.roles;
    for (const options of [{ key }, bob.as]) {
      const answer = await put('user:bob', options);
      assert.deepEqual([answer.status, answer.body.code], [403, 'FORBIDDEN']);
    }
    // nor in a spelling that would be another principal here and the same one at a vote
    for (const principal of ['user:Bob', 'USER:bob', 'user:bob ', ' user:bob'])
      assert.ok((await put(principal, { key })).status >= 400, principal);
    assert.deepEqual(await rolesOf(), []);
    assert.equal((await put('workflow:report', { key })).status, 200);
    assert.equal((await put('user:bob', ann.as)).status, 200);
    assert.deepEqual(await rolesOf(), ['finance']);
  });

  test('a key makes no session that is there more than it was: another role, roles or password end it, and are in the log', async () => {
    for (const [name, method, path, body, action] of [
      ['kept-role', 'PUT', '', { role: 'approver' }, 'user.change'],
      ['kept-roles', 'PUT', '/roles', { roles: ['finance'] }, 'principal.roles'],
      ['kept-password', 'POST', '/password', undefined, 'user.password_reset'],
    ] as const) {
      const { as } = await addPerson(api, name, 'viewer');
      assert.equal((await api.call('PUT', `/users/${name}`, { display_name: 'Another' })).status, 200);
      assert.equal((await api.call('GET', '/auth/session', undefined, as)).status, 200);
      assert.equal((await api.call(method, `/users/${name}${path}`, body)).status, 200);
      assert.equal((await api.call('GET', '/auth/session', undefined, as)).status, 401, action);
      const { rows } = await api.t.store.query<{ entry: string }>('select entry from audit_log where action = any($1)', [
        [action, 'user.sessions_end'],
      ]);
      const written = rows.map(({ entry }) => JSON.parse(entry)).filter(({ resource }) => resource === `user:${name}`);
      for (const each of [action, 'user.sessions_end'])
        assert.ok(
          written.some((entry) => entry.action === each && entry.actor.startsWith('key:')),
          `${name}: ${each}`,
        );
    }
    // by the other path, too
    const { as } = await addPerson(api, 'kept-x', 'viewer');
    assert.equal((await api.call('PUT', '/principals/user%3Akept-x/roles', { roles: ['finance'] })).status, 200);
    assert.equal((await api.call('GET', '/auth/session', undefined, as)).status, 401);
    assert.equal((await api.call('PUT', '/principals/user%3Anobody-yet/roles', { roles: ['finance'] })).status, 200);
  });

  test('nobody but an admin makes people, or makes themselves more', async () => {
    for (const role of ['viewer', 'operator', 'approver'] as const satisfies readonly UserRole[]) {
      const { as } = await addPerson(api, `plain-${role}`, role);
      for (const { method, path, id } of managing())
        assert.equal(
          (await api.call(method, path.replace('{name}', `plain-${role}`), method === 'GET' ? undefined : { role: 'admin', roles: [] }, as))
            .status,
          403,
          id,
        );
      assert.equal((await api.call('PUT', `/principals/user%3Aplain-${role}/roles`, { roles: ['finance'] }, as)).status, 403);
    }
  });
});
