/** Refreshing tokens while somebody else changes the secret, or the database goes away. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { callThrough, createTestFirewall, startService, type TestFirewall } from '../../test/support/firewall.ts';
import { type OAuthProvider, startOAuthProvider } from '../../test/support/oauth-provider.ts';
import { eventually } from '../../test/support/wait.ts';
import { connectStore } from '../store/index.ts';
import { getSecret, putSecret, removeSecret, type SecretRequest } from '../vault/index.ts';
import { startFirewall } from './index.ts';

let t: TestFirewall;
let provider: OAuthProvider;

before(async () => {
  t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1/32'] } });
  provider = await startOAuthProvider();
});
after(async () => {
  await provider?.[Symbol.asyncDispose]();
  await t?.[Symbol.asyncDispose]();
});

const secret = (refreshToken: string, path = '/token', more: Partial<SecretRequest> = {}): SecretRequest => ({
  type: 'brokered_token',
  value: JSON.stringify({ refresh_token: refreshToken }),
  hosts: [provider.url],
  options: { token_url: `${provider.url}${path}`, client_id: `client-at${path}` },
  ...more,
});

/** A request that needs a token. The provider does not know the one that these tests make up, which it says when it is sent one. */
async function send(name: string, to = t) {
  const lease = await to.lease([name]);
  const headers = { authorization: `Bearer ${lease.placeholders[name]}` };
  const { status, body } = await callThrough(to, lease.token, `${provider.url}/api/me`, { headers });
  const { code } = JSON.parse(body) as { code?: string };
  return status === 401 ? 'sent' : `${status} ${code}`;
}

/** Another firewall of the same installation. */
async function another(): Promise<TestFirewall> {
  const own = await connectStore({ url: t.database.url, poolSize: 5 });
  const firewall = await startFirewall({
    store: own,
    master: t.master,
    host: '127.0.0.1',
    port: 0,
    log: (entry) => void t.logs.push(entry),
    environment: {},
    resolver: async () => ['127.0.0.1'],
  });
  return {
    ...t,
    firewall,
    async [Symbol.asyncDispose]() {
      await firewall.close();
      await own.close();
    },
  };
}

/** Rotated, as a text. */
const rotated = (refreshToken: string) =>
  JSON.stringify({ access_token: 'an-access-token-of-it', expires_in: 3600, refresh_token: refreshToken });

const askedAt = (path: string) => provider.asked.filter((each) => each.path === path).map(({ form }) => form);

/** Holds the lock of the secret's tokens, until `work` is done. */
async function whileAnotherRefreshes(name: string, work: () => Promise<void>): Promise<void> {
  const client = await t.store.connect('test');
  await client.query('select pg_advisory_lock(7226012, hashtext($1))', [name]);
  try {
    await work();
  } finally {
    await client.end();
  }
}

const OF_THIS_DATABASE = `locktype = 'advisory' and classid = 7226012 and database = (select oid from pg_database where datname = current_database())`;
const somebodyWaits = () =>
  eventually(async () => (await t.store.query(`select 1 from pg_locks where not granted and ${OF_THIS_DATABASE}`)).rowCount > 0);

test('one that waited is of the secret as it is by then, and of nothing that it was before', async () => {
  await t.secret('WAITED', secret('the-first-refresh-token'));
  provider.answerNext('/new-token', (response) => void response.end(rotated('the-third-refresh-token')));
  let answer: Promise<string> | undefined;
  await whileAnotherRefreshes('WAITED', async () => {
    answer = send('WAITED');
    await somebodyWaits();
    await putSecret(t.installation, 'test', 'WAITED', secret('the-second-refresh-token', '/new-token'));
  });
  assert.equal(await answer, 'sent');
  assert.deepEqual(askedAt('/token'), []);
  const form = { grant_type: 'refresh_token', refresh_token: 'the-second-refresh-token', client_id: 'client-at/new-token' };
  assert.deepEqual(askedAt('/new-token'), [form]);
  const [entry] = await t.entries('egress.token');
  assert.equal(entry?.['resource'], `${provider.url}/new-token`);
});

for (const [what, more] of [
  ['another account', { options: { token_url: 'https://unused.example.com/token', client_id: 'x', connection: 'another' } }],
  ['other hosts', { hosts: ['elsewhere.example.com'] }],
] as const)
  test(`one that waited is not asked for when the secret is for ${what} by then`, async () => {
    await t.secret('MOVED', secret('the-first-refresh-token'));
    const before = provider.asked.length;
    let answer: Promise<string> | undefined;
    await whileAnotherRefreshes('MOVED', async () => {
      answer = send('MOVED');
      await somebodyWaits();
      await putSecret(t.installation, 'test', 'MOVED', secret('the-second-refresh-token', '/token', more));
    });
    assert.equal(await answer, '503 SECRET_CHANGED');
    assert.equal(provider.asked.length, before);
  });

for (const how of ['set', 'removed and set'])
  test(`what an operator has ${how} meanwhile is not overwritten`, async () => {
    const name = `OPERATORS_${how.length}`;
    await t.secret(name, secret('the-first-refresh-token'));
    let version: number | null = null;
    provider.answerNext('/token', (response) => {
      void (async () => {
        if (how !== 'set') await removeSecret(t.installation, 'test', name);
        ({ version } = await putSecret(t.installation, 'test', name, secret('the-one-of-the-operator')));
        response.end(rotated('the-rotated-refresh-token'));
      })();
    });
    const answer = await send(name).catch((error: NodeJS.ErrnoException) => error.code);
    // a secret that is removed takes its leases along, and what was sent under them: whichever is noticed first
    assert.ok(answer === '503 SECRET_CHANGED' || (how !== 'set' && answer === 'ECONNRESET'), answer);
    // it has come to its end
    await whileAnotherRefreshes(name, async () => {});
    assert.equal((await getSecret(t.store, name)).version, version);
    assert.ok((await t.entries('secret.rotate')).every(({ resource }) => resource !== `secret:${name}`));
  });

test('a rotated token is stored although the database went away as it came', async () => {
  await t.secret('KEPT', secret('the-first-refresh-token'));
  provider.answerNext('/token', (response) => {
    void (async () => {
      const blocker = await t.store.connect('test');
      await blocker.query('begin');
      await blocker.query(`select 1 from secrets where name = 'KEPT' for update`);
      response.end(rotated('the-rotated-refresh-token'));
      const { pid } = await eventually(async () => {
        const { rows } = await t.store.query<{ pid: number }>(
          `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%from secrets where name%for update%'`,
        );
        return rows[0];
      });
      await t.store.query('select pg_terminate_backend($1::int)', [pid]);
      await blocker.query('commit');
      await blocker.end();
    })();
  });
  assert.equal(await send('KEPT'), 'sent');
  assert.equal((await getSecret(t.store, 'KEPT')).version, 2);
  assert.equal((await t.entries('secret.rotate')).filter(({ resource }) => resource === 'secret:KEPT').length, 1);
  assert.ok(t.logs.some(({ message }) => message === 'a rotated token is not stored yet; trying again'));
});

/** As a fail-over does to whoever holds the lock of a secret's tokens. */
const loseLocks = () =>
  t.store.query(`select pg_terminate_backend(pid) from pg_locks where granted and ${OF_THIS_DATABASE} and pid <> pg_backend_pid()`);

/** One by which a secret says that it is of an account. */
async function account(): Promise<string> {
  const id = randomUUID();
  await t.store.transaction(async (tx) => {
    const auditId = await t.installation.audit.append(tx, { action: 'oauth.connect', actor: 'test' });
    await tx.query(
      `insert into oauth_connections (connection_id, app, flow, status, secret, expires_at, created_by, audit_id)
       values ($1::text::uuid, $1, 'code', 'connected', 'OF_AN_ACCOUNT', now(), 'test', $2)`,
      [id, auditId],
    );
  });
  return id;
}

const ofAccount = (connection: string, refreshToken: string, path = '/token') =>
  secret(refreshToken, path, { options: { token_url: `${provider.url}${path}`, client_id: 'client', connection } });

test('what was sent is waited for, and stored, although others may ask by then: the token before is spent', async () => {
  await t.secret('LOST', secret('the-first-refresh-token'));
  provider.answerNext('/token', (response) => {
    void (async () => {
      await loseLocks();
      await whileAnotherRefreshes('LOST', async () => {});
      response.end(rotated('the-rotated-refresh-token'));
    })();
  });
  assert.equal(await send('LOST'), 'sent');
  assert.equal((await getSecret(t.store, 'LOST')).version, 2);
});

test('one is not asked for when others may ask for it, too', async () => {
  const id = await account();
  await t.secret('NOT_SENT', ofAccount(id, 'the-first-refresh-token', '/not-sent'));
  const blocker = await t.store.connect('test');
  await blocker.query('begin; lock table oauth_connections in access exclusive mode');
  const answer = send('NOT_SENT');
  // it has the lock, and looks whose account it is
  await eventually(async () => {
    const { rowCount } = await t.store.query(
      `select 1 from pg_locks where not granted and relation = 'oauth_connections'::regclass and database = (select oid from pg_database where datname = current_database())`,
    );
    return rowCount > 0;
  });
  await loseLocks();
  await whileAnotherRefreshes('NOT_SENT', async () => {});
  await blocker.query('commit');
  await blocker.end();
  assert.equal(await answer, '503 SECRET_UNAVAILABLE');
  assert.deepEqual(askedAt('/not-sent'), []);
  assert.equal((await getSecret(t.store, 'NOT_SENT')).version, 1);
});

for (const when of ['before', 'after'] as const)
  test(`an account is not broken by who sent its token a second time, ${when} the new one was stored`, async () => {
    const id = await account();
    const name = `TWICE_${when}`;
    await t.secret(name, ofAccount(id, 'the-first-refresh-token'));
    await using other = await another();
    let second: Promise<string> | undefined;
    provider.answerNext('/token', (first) => {
      void (async () => {
        const refused = new Promise<() => void>((resolve) =>
          provider.answerNext('/token', (response) => resolve(() => void response.writeHead(400).end('{"error":"invalid_grant"}'))),
        );
        await loseLocks();
        second = send(name, other);
        const refuse = await refused;
        const keep = () => void first.end(rotated('the-rotated-refresh-token'));
        if (when === 'before') {
          refuse();
          await second;
          keep();
        } else {
          keep();
          await eventually(async () => (await getSecret(t.store, name)).version === 2);
          refuse();
        }
      })();
    });
    assert.equal(await send(name), 'sent');
    assert.equal(await second, when === 'before' ? '403 ACCOUNT_BROKEN' : '503 SECRET_CHANGED');
    const { rows } = await t.store.query('select status, reason from oauth_connections where connection_id = $1::text::uuid', [id]);
    assert.deepEqual(rows, [{ status: 'connected', reason: null }]);
    assert.equal((await getSecret(t.store, name)).version, 2);
    assert.equal(await send(name, other), 'sent');
    const entries = (await t.entries()).filter(({ resource }) => resource === `connection:${id}`).map(({ action }) => action as string);
    assert.deepEqual(entries, when === 'before' ? ['oauth.broken', 'oauth.restored'] : []);
  });

test('a firewall that is told to stop waits for a token that it has asked for, and stores it', async () => {
  await t.secret('STOPPED', secret('the-first-refresh-token'));
  await t.secret('WAITS', secret('the-first-refresh-token', '/waits'));
  const other = await another();
  const answering = new Promise<() => void>((resolve) =>
    provider.answerNext('/token', (response) => resolve(() => void response.end(rotated('the-rotated-refresh-token')))),
  );
  const asking = send('STOPPED', other).catch((error: NodeJS.ErrnoException) => error.code);
  const answer = await answering;
  await whileAnotherRefreshes('WAITS', async () => {
    const waiting = send('WAITS', other).catch((error: NodeJS.ErrnoException) => error.code);
    await somebodyWaits();
    const closed = other[Symbol.asyncDispose]();
    await Promise.all([asking, waiting]);
    answer();
    await closed;
  });
  assert.equal((await getSecret(t.store, 'STOPPED')).version, 2);
  assert.deepEqual(askedAt('/waits'), []);
});

test('all processes send one access token, and all of them blank it', async () => {
  const service = await startService(
    (request, response) => response.end(`you are ${request.headers.authorization ?? 'the-access-token-of-all'}`),
    ['localhost'],
    true,
  );
  try {
    const hosts = [`http://localhost:${service.port}`];
    await t.secret('SHARED', secret('the-first-refresh-token', '/shared', { hosts }));
    await t.secret('NOT_SHARED', { value: 'a-value-of-another-secret', hosts });
    let made = 0;
    const answer = () =>
      provider.answerNext('/shared', (response) => {
        made++;
        response.end(JSON.stringify({ access_token: 'the-access-token-of-all', expires_in: 3600 }));
      });
    answer();
    await using other = await another();
    const call = async (to: TestFirewall, name: string, authorization?: string) => {
      const lease = await to.lease([name]);
      const headers = { authorization: authorization ?? `Bearer ${lease.placeholders[name]}` };
      return (await callThrough(to, lease.token, `${hosts[0]}/`, { headers: name === 'SHARED' ? headers : {} })).body;
    };
    await call(t, 'SHARED');
    // what it has stored is told to the others
    await eventually(async () => !(await call(other, 'NOT_SHARED')).includes('the-access-token-of-all'));
    await call(other, 'SHARED');
    assert.equal(made, 1);
    assert.equal(askedAt('/shared').length, 1);
    assert.deepEqual(
      service.seen.map(({ headers }) => headers.authorization).filter((each) => each !== undefined),
      ['Bearer the-access-token-of-all', 'Bearer the-access-token-of-all'],
    );
    // nothing of it is shown
    const { rows } = await t.store.query<{ text: string }>(
      `select row_to_json(s)::text as text from secrets s union all select entry::text from audit_log`,
    );
    assert.ok(rows.every(({ text }) => !text.includes('the-access-token-of-all')));
    assert.ok(!JSON.stringify([await getSecret(t.store, 'SHARED'), t.logs]).includes('the-access-token-of-all'));
  } finally {
    await service[Symbol.asyncDispose]();
  }
});

test('a token is of the account that a secret has now, and not of the one that was set before', async () => {
  const service = await startService((_, response) => response.end('{}'), ['localhost'], true);
  try {
    const of = (token: string) =>
      provider.answerNext('/by-hand', (response) => void response.end(JSON.stringify({ access_token: token, expires_in: 3600 })));
    const hosts = [`http://localhost:${service.port}`];
    const sent = async () => {
      const lease = await t.lease(['BY_HAND']);
      const { status } = await callThrough(t, lease.token, `${hosts[0]}/`, {
        headers: { authorization: `Bearer ${lease.placeholders['BY_HAND']}` },
      });
      assert.equal(status, 200);
      return service.seen.at(-1)?.headers.authorization;
    };
    await t.secret('BY_HAND', secret('the-refresh-token-of-ana', '/by-hand', { hosts }));
    of('the-access-token-of-ana');
    assert.deepEqual([await sent(), await sent()], ['Bearer the-access-token-of-ana', 'Bearer the-access-token-of-ana']);
    await putSecret(t.installation, 'test', 'BY_HAND', secret('the-refresh-token-of-bo', '/by-hand', { hosts }));
    of('the-access-token-of-bo');
    await eventually(async () => (await sent()) === 'Bearer the-access-token-of-bo');
    assert.deepEqual(
      askedAt('/by-hand').map((form) => form['refresh_token']),
      ['the-refresh-token-of-ana', 'the-refresh-token-of-bo'],
    );
  } finally {
    await service[Symbol.asyncDispose]();
  }
});

test('a token too long to be kept beside the refresh token is used by the process that made it', async () => {
  await t.secret('LONG', secret('the-first-refresh-token', '/long'));
  provider.answerNext('/long', (response) => {
    response.end(JSON.stringify({ access_token: 'x'.repeat(40_000), expires_in: 3600, refresh_token: 'the-rotated-refresh-token' }));
  });
  // the service takes no header of that length
  for (let times = 0; times < 2; times++) await send('LONG').catch(() => undefined);
  assert.equal(askedAt('/long').length, 1);
  assert.equal((await getSecret(t.store, 'LONG')).version, 2);
});

/** Until it is over, of a key service that is away. @returns how often it was asked */
async function withoutKeyService(times: number, work: () => Promise<void>): Promise<number> {
  const master = t.master as { wrap: TestFirewall['master']['wrap'] };
  const { wrap } = master;
  let asked = 0;
  master.wrap = async (key) => {
    asked += 1;
    if (asked <= times) throw new Error('it answered 503');
    return wrap(key);
  };
  await work().finally(() => (master.wrap = wrap));
  return asked;
}

test('while the key service is away, a token that need not be stored is used all the same, and one that must be is stored later', async () => {
  await t.secret('UNSTORED', secret('the-first-refresh-token', '/unstored'));
  provider.answerNext('/unstored', (response) => void response.end('{"access_token":"an-access-token-of-it","expires_in":3600}'));
  const asked = await withoutKeyService(Number.POSITIVE_INFINITY, async () => {
    for (let times = 0; times < 2; times++) assert.equal(await send('UNSTORED'), 'sent');
  });
  assert.deepEqual([asked, askedAt('/unstored').length, (await getSecret(t.store, 'UNSTORED')).version], [1, 1, 1]);
  await t.secret('STORED_LATER', secret('the-first-refresh-token', '/stored-later'));
  provider.answerNext('/stored-later', (response) => void response.end(rotated('the-rotated-refresh-token')));
  await withoutKeyService(2, async () => assert.equal(await send('STORED_LATER'), 'sent'));
  assert.equal((await getSecret(t.store, 'STORED_LATER')).version, 2);
});

test('a token that is kept makes the secret neither younger nor its former tokens unknown', async () => {
  const rotation = { every_seconds: 30 * 86_400, grace_seconds: 0 };
  await t.secret('OLD', secret('the-first-refresh-token', '/old', { rotation }));
  await t.store.query(`update secret_versions set created_at = now() - interval '40 days' where name = 'OLD'`);
  provider.answerNext('/old', (response) => void response.end('{"access_token":"an-access-token-of-it","expires_in":3600}'));
  assert.equal(await send('OLD'), 'sent');
  const { rows } = await t.store.query<{ version: number; old: boolean; kept: boolean | null }>(
    `select version, created_at < now() - interval '39 days' as old, grace_until > now() + interval '50 minutes' as kept
     from secret_versions where name = 'OLD' order by version`,
  );
  assert.deepEqual(rows, [
    { version: 1, old: true, kept: true },
    { version: 2, old: true, kept: null },
  ]);
});
