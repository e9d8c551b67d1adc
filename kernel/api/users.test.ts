import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { eventually } from '../../test/support/wait.ts';
import { addPerson, bearer, browserCookie, cookieIn, type Person, signIn } from '../../test/support/people.ts';
import { readReturnTo } from './credentials.ts';
import { ROUTES } from './routes/index.ts';

let api: TestApi;
let ann: Person;
/** Of sessions: the tests set it. */
let at = Date.now();
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

before(async () => {
  api = await startTestApi({
    vault: 'alone',
    people: { now: () => at, passwordCost: { memory: 64, passes: 1, parallelism: 1 } },
  });
  ann = await addPerson(api, 'ann', 'admin', { email: 'Ann@Example.com' });
});
after(() => api?.[Symbol.asyncDispose]());

const entries = async (action: string) =>
  (await api.call('GET', `/audit?action=${action}&limit=200`)).body.items as {
    actor: string;
    resource: string | null;
    details: Record<string, unknown>;
  }[];

/** Every row of every table of this room, as text. */
async function rows(): Promise<string> {
  const tables = ['users', 'user_sessions', 'user_identities', 'user_sign_ins', 'user_tries'];
  return (await Promise.all(tables.map(async (table) => JSON.stringify((await api.t.store.query(`select * from ${table}`)).rows)))).join();
}

describe('a user', () => {
  test('is made with a temporary password, which only serves to choose another', async () => {
    const { body: bob } = await api.call('POST', '/users', { name: 'bob', role: 'viewer', display_name: 'Bob' });
    assert.match(bob.temporary_password, /^\w{5}-\w{5}-\w{5}-\w{5}$/);
    const tried = await api.call('POST', '/auth/password', { name: 'bob', password: bob.temporary_password }, { key: null });
    assert.deepEqual([tried.status, tried.body.code], [403, 'PASSWORD_CHANGE_REQUIRED']);
    const own = 'bob chose this himself';
    const begun = await api.call(
      'POST',
      '/auth/password',
      { name: 'bob', password: bob.temporary_password, new_password: own },
      { key: null },
    );
    assert.match(begun.body.token, /^cs_[\w-]{43}$/);
    assert.deepEqual(begun.body.session.user, { user_id: bob.user_id, name: 'bob', display_name: 'Bob', role: 'viewer', roles: [] });
    assert.equal((await api.call('POST', '/auth/password', { name: 'bob', password: bob.temporary_password }, { key: null })).status, 401);
    assert.ok(await signIn(api, { name: 'bob', password: own }));
    const stored = await rows();
    for (const secret of [bob.temporary_password, own, begun.body.token]) assert.ok(!stored.includes(secret));
    assert.equal((await entries('user.password_change'))[0]?.actor, 'user:bob');
  });

  test('whose temporary password is three days old needs another one', async () => {
    const { body } = await api.call('POST', '/users', { name: 'late', role: 'viewer' });
    at += 73 * HOUR;
    const tried = { name: 'late', password: body.temporary_password, new_password: 'chosen much too late' };
    assert.equal((await api.call('POST', '/auth/password', tried, { key: null })).status, 401);
    const { body: again } = await api.call('POST', '/users/late/password');
    assert.equal((await api.call('POST', '/auth/password', { ...tried, password: again.temporary_password }, { key: null })).status, 200);
    ann = { ...ann, token: await signIn(api, ann) };
  });

  test('keeps name and history: neither is given twice', async () => {
    const taken = await api.call('POST', '/users', { name: 'ann', role: 'viewer' });
    assert.deepEqual([taken.status, taken.body.code], [409, 'USER_EXISTS']);
    const email = await api.call('POST', '/users', { name: 'ann2', role: 'viewer', email: 'ANN@example.com' });
    assert.match(email.body.message, /^email: it belongs to ann$/);
    for (const name of ['Ann', 'a b', '', '../x', 'a'.repeat(65), '-x'])
      assert.equal((await api.call('POST', '/users', { name, role: 'viewer' })).status, 422, name);
    assert.equal((await api.call('POST', '/users', { name: 'x', role: 'root' })).status, 422);
    const { body } = await api.call('GET', '/users/anm');
    assert.match(body.message, /did you mean ann/);
  });

  test('is told of what is wrong before anything changes', async () => {
    const before = (await api.call('GET', '/users/ann')).body;
    for (const change of [
      { email: 'no address' },
      { email: 'a@b@c' },
      { display_name: ' ' },
      { display_name: 'a\u202eb' },
      { role: 'god' },
    ])
      assert.equal((await api.call('PUT', '/users/ann', change)).status, 422, JSON.stringify(change));
    assert.deepEqual((await api.call('GET', '/users/ann')).body, before);
  });
});

describe('a role', () => {
  test('is what a session may do, and no more', async () => {
    const routes = new Map(ROUTES.map((each) => [each.id, each]));
    const reach: Record<string, Record<string, boolean>> = {};
    for (const role of ['viewer', 'operator', 'approver', 'admin'] as const) {
      const { as } = await addPerson(api, `as-${role}`, role);
      reach[role] = {};
      for (const id of [
        'listRuns',
        'listAudit',
        'getPolicy',
        'startRun',
        'emitEvent',
        'callTool',
        'listApprovals',
        'revokeApprovalGrant',
        'putSecret',
        'publishPolicy',
        'addUser',
        'createKey',
      ]) {
        const route = routes.get(id) ?? assert.fail(id);
        const { status } = await api.call(route.method, route.path.replace(/\{\w+\}/g, 'x'), undefined, as);
        reach[role][id] = status !== 403;
      }
    }
    // a gate may name anybody, so everybody sees what waits
    const reads = { listRuns: true, listAudit: true, getPolicy: true, listApprovals: true };
    const none = {
      startRun: false,
      emitEvent: false,
      callTool: false,
      revokeApprovalGrant: false,
      putSecret: false,
      publishPolicy: false,
      addUser: false,
      createKey: false,
    };
    assert.deepEqual(reach, {
      viewer: { ...reads, ...none },
      operator: { ...reads, ...none, startRun: true, emitEvent: true, callTool: true },
      approver: { ...reads, ...none, revokeApprovalGrant: true },
      admin: { ...reads, ...Object.fromEntries(Object.keys(none).map((id) => [id, true])) },
    });
  });

  test('that is taken away is gone at once, in sessions that there are', async () => {
    const eve = await addPerson(api, 'eve', 'admin');
    assert.equal((await api.call('GET', '/users', undefined, eve.as)).status, 200);
    await api.call('PUT', '/users/eve', { role: 'viewer' }, bearer(ann.token));
    const refused = await api.call('GET', '/users', undefined, eve.as);
    assert.deepEqual([refused.status, refused.body.message], [403, 'as viewer you may not do that: it needs the scope "admin"']);
    assert.equal((await api.call('GET', '/auth/session', undefined, eve.as)).body.user.role, 'viewer');
  });

  test('of gates is that of the principal', async () => {
    const fin = await addPerson(api, 'fin', 'approver', { roles: ['finance', 'ops'] });
    assert.deepEqual((await api.call('GET', '/auth/session', undefined, fin.as)).body.user.roles, ['finance', 'ops']);
    await api.call('PUT', '/principals/user%3Afin/roles', { roles: [] }, bearer(ann.token));
    at += 1001;
    assert.deepEqual((await api.call('GET', '/auth/session', undefined, fin.as)).body.user.roles, []);
  });

  test('of the last admin stays', async () => {
    for (const { name, role } of (await api.call('GET', '/users')).body.items)
      if (role === 'admin' && name !== 'ann') await api.call('PUT', `/users/${name}`, { role: 'viewer' });
    for (const [method, path, body] of [
      ['PUT', '/users/ann', { role: 'operator' }],
      ['POST', '/users/ann/disable', undefined],
    ] as const) {
      const refused = await api.call(method, path, body);
      assert.deepEqual([refused.status, refused.body.code], [409, 'LAST_ADMIN']);
    }
    await addPerson(api, 'second', 'admin');
    const both = await Promise.all(['ann', 'second'].map((name) => api.call('POST', `/users/${name}/disable`)));
    assert.deepEqual(
      both.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 409],
    );
    await api.call('POST', '/users/ann/enable');
    await api.call('POST', '/users/second/enable');
    ann = { ...ann, token: await signIn(api, ann) };
  });
});

describe('a session', () => {
  test('ends when it is not used, and at the latest after its time', async () => {
    const cookie = await browserCookie(api, ann);
    const cli = bearer(await signIn(api, ann));
    const browser = { key: null, headers: { cookie } };
    const status = async (as: typeof cli) => (await api.call('GET', '/auth/session', undefined, as)).status;
    at += 11 * HOUR;
    assert.deepEqual([await status(browser), await status(cli)], [200, 200]);
    // what was seen is written behind the answer
    await eventually(async () => {
      const { rows: newest } = await api.t.store.query<{ seen_at: number }>(
        'select seen_at from user_sessions order by session_id desc limit 2',
      );
      return newest.every((row) => row.seen_at >= at - 1);
    });
    at += 11 * HOUR;
    assert.deepEqual([await status(browser), await status(cli)], [200, 200]);
    at += 13 * HOUR;
    assert.deepEqual([await status(browser), await status(cli)], [401, 200]);
    at += 31 * 24 * HOUR;
    assert.deepEqual([await status(browser), await status(cli)], [401, 401]);
    ann = { ...ann, token: await signIn(api, ann) };
  });

  test('of whoever is disabled ends, and enabling brings none back', async () => {
    const gone = await addPerson(api, 'gone', 'operator');
    await api.call('POST', '/users/gone/disable');
    assert.equal((await api.call('GET', '/auth/session', undefined, gone.as)).status, 401);
    assert.equal((await api.call('POST', '/auth/password', { name: 'gone', password: gone.password }, { key: null })).status, 401);
    await api.call('POST', '/users/gone/enable');
    assert.equal((await api.call('GET', '/auth/session', undefined, gone.as)).status, 401);
    assert.ok(await signIn(api, gone));
  });

  test('ends by signing out, by an admin, and by another password', async () => {
    const sam = await addPerson(api, 'sam', 'viewer');
    const [one, two, three] = [bearer(await signIn(api, sam)), bearer(await signIn(api, sam)), sam.as];
    const alive = async () =>
      Promise.all([one, two, three].map(async (as) => (await api.call('GET', '/auth/session', undefined, as)).status === 200));
    assert.equal((await api.call('DELETE', '/auth/session', undefined, one)).status, 200);
    assert.deepEqual(await alive(), [false, true, true]);
    const fresh = { name: 'sam', password: sam.password, new_password: 'another password of sam' };
    const { token } = (await api.call('POST', '/auth/password', fresh, { key: null })).body;
    assert.deepEqual(await alive(), [false, false, false]);
    assert.equal((await api.call('GET', '/users/sam/sessions')).body.items.length, 1);
    assert.deepEqual((await api.call('DELETE', '/users/sam/sessions')).body, { ended: 1 });
    assert.equal((await api.call('GET', '/auth/session', undefined, bearer(token))).status, 401);
  });

  test('that another process ended stops working within a second', async () => {
    await using elsewhere = await startTestApi({ vault: 'alone', idle: true });
    const pat = await addPerson(elsewhere, 'pat', 'viewer');
    assert.equal((await elsewhere.call('GET', '/auth/session', undefined, pat.as)).status, 200);
    await elsewhere.t.store.query('update user_sessions set revoked_at = now()');
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assert.equal((await elsewhere.call('GET', '/auth/session', undefined, pat.as)).status, 401);
  });

  test('says when its owner last proved who they are, which only the password renews', async () => {
    const provenAt = async () => Date.parse((await api.call('GET', '/auth/session', undefined, bearer(ann.token))).body.proven_at);
    const first = await provenAt();
    at += HOUR;
    assert.equal(await provenAt(), first);
    const prove = (password: string) => api.call('POST', '/auth/prove', { password }, bearer(ann.token));
    assert.equal((await prove('not the password')).status, 401);
    assert.equal(await provenAt(), first);
    assert.equal((await prove(ann.password)).status, 200);
    assert.equal(await provenAt(), at);
    // and a key is nobody, who could prove anything
    const keyed = await api.call('POST', '/auth/prove', { password: ann.password });
    assert.deepEqual([keyed.status, keyed.body.details.needed], [403, ['session']]);
  });

  test('is who a change is by, in the audit log', async () => {
    const { body } = await api.call('POST', '/users', { name: 'made-by-ann', role: 'viewer' }, bearer(ann.token));
    assert.equal(body.name, 'made-by-ann');
    const [entry] = await entries('user.add');
    assert.deepEqual([entry?.actor, entry?.resource], ['user:ann', 'user:made-by-ann']);
    await api.call('POST', '/keys', { name: 'of ann', scopes: ['metrics.read'] }, bearer(ann.token));
    assert.equal((await entries('key.create'))[0]?.actor, 'user:ann');
  });

  test('there are at most fifty of a user', async () => {
    const max = await addPerson(api, 'max', 'viewer');
    for (let n = 0; n < 51; n++) await signIn(api, max);
    assert.equal((await api.call('GET', '/users/max/sessions')).body.items.length, 50);
  });
});

describe('a browser', () => {
  test('signs in with a form, sees who it is, and signs out', async () => {
    const send = (fields: Record<string, string>, cookie = '') =>
      fetch(`${api.url}/signin`, {
        method: 'POST',
        body: new URLSearchParams(fields),
        headers: { origin: api.url, cookie },
        redirect: 'manual',
      });
    const form = await (await fetch(`${api.url}/signin?return_to=/console/runs`)).text();
    assert.match(form, /name="return_to" value="\/console\/runs"/);
    const wrong = await send({ action: 'sign-in', name: 'ann', password: 'wrong' });
    assert.equal(wrong.status, 401);
    assert.match(await wrong.text(), /role="alert">Name or password is wrong/);
    const right = await send({ action: 'sign-in', name: 'ann', password: ann.password, return_to: '/console/runs' });
    assert.deepEqual([right.status, right.headers.get('location')], [303, '/console/runs']);
    assert.match(right.headers.get('set-cookie') ?? '', /^centaur=cs_[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+$/);
    const cookie = cookieIn(right.headers) ?? '';
    const page = await fetch(`${api.url}/signin`, { headers: { cookie } });
    assert.match(await page.text(), /Signed in as ann.*<dd>admin<\/dd>/s);
    assert.match(
      page.headers.get('content-security-policy') ?? '',
      /^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'self'/,
    );
    const out = await send({ action: 'sign-out' }, cookie);
    assert.match(out.headers.get('set-cookie') ?? '', /^centaur=; .*Max-Age=0/);
    assert.equal((await api.call('GET', '/auth/session', undefined, { key: null, headers: { cookie } })).status, 401);
  });

  test('is asked for a password of its own where it brings a temporary one', async () => {
    const { temporary_password: temporary } = (await api.call('POST', '/users', { name: 'newbie', role: 'viewer' })).body;
    const send = (fields: Record<string, string>) =>
      fetch(`${api.url}/signin`, { method: 'POST', body: new URLSearchParams(fields), headers: { origin: api.url }, redirect: 'manual' });
    const given = { action: 'sign-in', name: 'newbie', password: temporary };
    assert.match(await (await send(given)).text(), /name="new_password"/);
    const short = await send({ ...given, new_password: 'short' });
    assert.match(await short.text(), /New password: expected at least 12 characters.*name="new_password"/s);
    assert.equal((await send({ ...given, new_password: 'long enough for me' })).status, 303);
  });

  test('over https gets a cookie that no other host and no page without TLS can set', async () => {
    await using secure = await startTestApi({ vault: 'alone', idle: true, publicUrl: () => 'https://centaur.example.com' });
    const pat = await addPerson(secure, 'pat', 'viewer');
    const answer = await secure.call('POST', '/auth/password', { name: 'pat', password: pat.password, kind: 'browser' }, { key: null });
    assert.equal(answer.body.token, null);
    assert.match(
      answer.headers.get('set-cookie') ?? '',
      /^__Host-centaur=cs_[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+; Secure$/,
    );
    const value = cookieIn(answer.headers, '__Host-centaur')?.split('=')[1];
    const status = async (cookie: string) =>
      (await secure.call('GET', '/auth/session', undefined, { key: null, headers: { cookie } })).status;
    assert.deepEqual([await status(`__Host-centaur=${value}`), await status(`centaur=${value}`)], [200, 401]);
  });
});

test('people are sent on to pages of this server and to no other', () => {
  for (const good of ['/', '/console/runs?status=failed#x', '/a/b'] as const) assert.equal(readReturnTo(good), good);
  for (const bad of [
    undefined,
    '',
    'https://example.com',
    '//example.com',
    '/\\example.com',
    '\\\\example.com',
    '/.//example.com',
    '/x/..//example.com',
    '/%0d%0aset-cookie:x',
    '/\r\nset-cookie: x',
    '/\t/example.com',
    'javascript:alert(1)',
    ' /x',
    `/${'a'.repeat(600)}`,
  ]) {
    const to = readReturnTo(bad);
    assert.ok(to === '/signin' || new URL(to, 'https://here.example').origin === 'https://here.example', String(bad));
    assert.ok(!to.startsWith('//') && !/[\r\n\\]/.test(to), String(bad));
  }
});

test('without the keys of an installation nobody signs in', async () => {
  await using bare = await startTestApi({ idle: true });
  for (const [method, path, body] of [
    ['GET', '/users', undefined],
    ['POST', '/auth/password', { name: 'a', password: 'b' }],
  ] as const)
    assert.equal((await bare.call(method, path, body)).body.code, 'USERS_UNAVAILABLE');
  assert.equal((await bare.call('GET', '/runs', undefined, bearer(`cs_${'A'.repeat(43)}`))).status, 404);
  assert.equal((await bare.call('GET', '/keys', undefined, bearer(`cs_${'A'.repeat(43)}`))).status, 401);
});

describe('what is changed without an entry of its own', () => {
  test('is told to the audit log, by whom, before it is done; and that it was refused', async () => {
    await using own = await startTestApi({ vault: 'alone' });
    const ops = await addPerson(own, 'ops', 'operator');
    const started = await own.call('POST', '/workflows/runs', { workflow_name: 'greet', input: { name: 'x' } }, ops.as);
    const runId = started.body.run_id;
    await own.t.ended(runId);
    await own.call('POST', '/workflows/events', { event_type: 'paid', correlation_id: 'order-1' }, ops.as);
    await own.call('PUT', '/workflows/queues/slow', { concurrency: 1 });
    assert.equal((await own.call('POST', `/workflows/runs/${runId}/cancel`, undefined, ops.as)).body.code, 'RUN_FINISHED');
    const fork = await own.call('POST', `/workflows/runs/${runId}/fork`, { from_step: 'greet' }, ops.as);
    await own.installation.audit.idle();
    const said = (await own.call('GET', '/audit?limit=50')).body.items
      .toReversed()
      .filter(({ action }: { action: string }) => /^(?:event|run|queue)\./.test(action))
      .map(({ action, actor, resource }: { action: string; actor: string; resource: string }) => [
        action,
        actor.replace(/:own_\w+/, ''),
        resource,
      ]);
    assert.deepEqual(said, [
      ['event.emit', 'user:ops', 'event:paid'],
      ['queue.set', 'key', 'queue:slow'],
      ['run.cancel', 'user:ops', `run:${runId}`],
      ['run.cancel.refused', 'user:ops', `run:${runId}`],
      ['run.fork', 'user:ops', `run:${runId}`],
    ]);
    // starts are many: who asked is with the run
    for (const id of [runId, fork.body.run_id]) assert.equal((await own.call('GET', `/workflows/runs/${id}`)).body.started_by, 'user:ops');
    const failed = (await own.t.run('greet', { name: 'y' })).started_by;
    assert.equal(failed, null);
  });

  test('keeps who asked through a cancellation and a retry', async () => {
    await using own = await startTestApi({ vault: 'alone' });
    own.t.registry.define('sleeper', async (_, ctx) => ctx.sleep('nap', '1h'));
    const ops = await addPerson(own, 'ops', 'operator');
    const { run_id: id } = (await own.call('POST', '/workflows/runs', { workflow_name: 'sleeper' }, ops.as)).body;
    const by = async () => (await own.call('GET', `/workflows/runs/${id}`)).body.started_by;
    assert.equal((await own.call('POST', `/workflows/runs/${id}/cancel`)).body.started_by, 'user:ops');
    assert.equal((await own.call('POST', `/workflows/runs/${id}/retry`)).body.started_by, 'user:ops');
    assert.equal(await by(), 'user:ops');
  });
});
