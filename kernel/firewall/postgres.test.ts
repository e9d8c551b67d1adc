import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import pg from 'pg';
import { createTestFirewall, type TestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import { renewLease, revokeLease } from '../vault/index.ts';
import { createAuthority, makeCa } from './ca.ts';

async function withDatabase(
  t: TestFirewall,
): Promise<{ dsn: string; reader: string; host: string; [Symbol.asyncDispose](): Promise<void> }> {
  const { url } = t.database;
  const reader = `reader_${new URL(url).pathname.slice(1)}`;
  await t.store.query(`create table public.facts (id int primary key, text text)`);
  await t.store.query(`insert into public.facts values (1, 'known')`);
  await t.store.query(`create role ${reader}`);
  await t.store.query(`grant select on public.facts to ${reader}`);
  return {
    dsn: `${url}?sslmode=disable`,
    reader,
    host: new URL(url).host,
    async [Symbol.asyncDispose]() {
      await t.store.query(`drop owned by ${reader}`);
      await t.store.query(`drop role ${reader}`);
    },
  };
}

async function session(t: TestFirewall, password: string): Promise<pg.Client> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: t.firewall.postgresPort as number,
    user: 'anyone',
    database: 'anything',
    password,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

test('a placeholder opens a session with the rights of one role, which ends with the lease', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  await using database = await withDatabase(t);
  const secret = new URL(database.dsn).password;
  await t.secret('DB', { type: 'pg_dsn', value: database.dsn, hosts: [database.host], options: { role: database.reader } });
  const lease = await t.lease(['DB']);
  const client = await session(t, lease.placeholders['DB'] as string);
  assert.deepEqual((await client.query('select * from facts where id = $1', [1])).rows, [{ id: 1, text: 'known' }]);
  await assert.rejects(client.query(`insert into facts values (2, 'new')`), { code: '42501' });
  await assert.rejects(client.query('create role another'), { code: '42501' });
  const { rows } = await client.query<{ current: string; login: string }>('select current_user as current, session_user as login');
  assert.equal(rows[0]?.current, database.reader);
  assert.match(rows[0]?.login ?? '', /^centaur_lease_[0-9a-f]{16}$/);
  const ended = new Promise((resolve) => client.once('end', resolve));
  await t.store.query('update leases set revoked_at = now() where lease_id = $1', [lease.leaseId]);
  await t.store.query(`select pg_notify('centaur_firewall', '')`);
  await ended;
  await eventually(async () => (await t.store.query(`select 1 from pg_roles where rolname = $1`, [rows[0]?.login])).rowCount === 0);
  await assert.rejects(session(t, lease.placeholders['DB'] as string), /LEASE_REVOKED/);
  const entries = await t.entries();
  const intent = entries.find((entry) => entry['action'] === 'egress.intent');
  assert.match(intent?.['resource'], /^postgres:\/\/127\.0\.0\.1:\d+\/t_/);
  assert.ok(
    entries.some(
      (entry) =>
        entry['action'] === 'egress.outcome' && entry['intent_id'] === intent?.['id'] && entry['details'].error === 'LEASE_REVOKED',
    ),
  );
  if (secret.length >= 12) assert.ok(!JSON.stringify(entries).includes(secret));
});

test('what a session makes belongs to the role whose rights are given: the next lease uses it, and the role of the first goes', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  await using database = await withDatabase(t);
  await t.store.query(`create schema work authorization ${database.reader}`);
  await t.secret('DB', { type: 'pg_dsn', value: database.dsn, hosts: [database.host], options: { role: database.reader } });
  const first = await t.lease(['DB']);
  const client = await session(t, first.placeholders['DB'] as string);
  await client.query('create table work.kept as select 1 as id');
  const login = (await client.query<{ name: string }>('select session_user as name')).rows[0]?.name;
  await client.query('set role none; alter default privileges grant select on tables to public');
  await revokeLease(t.installation, 'test', first.leaseId);
  await eventually(async () => (await t.store.query('select 1 from pg_roles where rolname = $1', [login])).rowCount === 0);
  const next = await session(t, (await t.lease(['DB'])).placeholders['DB'] as string);
  assert.deepEqual((await next.query('select * from work.kept')).rows, [{ id: 1 }]);
  await next.query('drop table work.kept');
  await next.end();
});

test('a lease that is renewed keeps its role, which is valid for longer', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  await using database = await withDatabase(t);
  await t.secret('DB', { type: 'pg_dsn', value: database.dsn, hosts: [database.host], options: { role: database.reader } });
  const lease = await t.lease(['DB'], { ttlSeconds: 60 });
  const client = await session(t, lease.placeholders['DB'] as string);
  const role = async (of: pg.Client) =>
    (
      await of.query<{ name: string; until: Date }>(
        'select rolname as name, rolvaliduntil as until from pg_roles where rolname = session_user',
      )
    ).rows[0] as { name: string; until: Date };
  const before = await role(client);
  await renewLease(t.installation, 'test', lease.leaseId, 6000);
  const another = await eventually(async () => {
    const next = await session(t, lease.placeholders['DB'] as string);
    if ((await role(next)).until.getTime() > before.until.getTime() + 5_000_000) return next;
    await next.end();
    return undefined;
  });
  assert.equal((await role(another)).name, before.name);
  // one that another firewall took for left behind is made anew
  await renewLease(t.installation, 'test', lease.leaseId, 60_000);
  await Promise.all([client.end(), another.end()]);
  await t.store.query(`drop owned by ${before.name}`);
  await t.store.query(`drop role ${before.name}`);
  const last = await eventually(() => session(t, lease.placeholders['DB'] as string).catch(() => undefined));
  assert.notEqual((await role(last)).name, before.name);
  await last.end();
});

test('a wrong password, a secret that is no database, and a host that it is not bound to are refused', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  await using database = await withDatabase(t);
  await t.secret('ELSEWHERE', { type: 'pg_dsn', value: database.dsn, hosts: ['db.test:5432'], options: { role: database.reader } });
  await t.secret('KEY', { value: 'no-database-at-all', hosts: ['api.test'] });
  const lease = await t.lease(['ELSEWHERE', 'KEY']);
  await assert.rejects(session(t, 'a-password-that-is-no-placeholder'), { code: '28P01' });
  await assert.rejects(session(t, lease.placeholders['KEY'] as string), { code: '42501' });
  await assert.rejects(session(t, lease.placeholders['ELSEWHERE'] as string), /PLACEHOLDER_NOT_BOUND/);
  assert.equal((await t.entries('egress.deny')).length, 3);
});

test('whoever goes without a session leaves no clock behind', async (c) => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  const begun = c.mock.method(globalThis, 'setTimeout');
  const ended = c.mock.method(globalThis, 'clearTimeout');
  const handshakes = () => begun.mock.calls.filter(({ arguments: [, ms] }) => ms === 15_000).map(({ result }) => result);
  const left = () => {
    const over = new Set(ended.mock.calls.map(({ arguments: [timer] }) => timer));
    return handshakes().filter((timer) => !over.has(timer));
  };
  await assert.rejects(session(t, 'a-password-that-is-no-placeholder'), { code: '28P01' });
  // one that wants a session ended which is not there
  const socket = net.connect(t.firewall.postgresPort as number, '127.0.0.1');
  socket.write(Buffer.from([0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2]));
  await once(socket.resume(), 'close');
  await eventually(() => handshakes().length === 2 && left().length === 0);
});

interface TlsDatabase extends AsyncDisposable {
  readonly port: number;
  readonly caPem: string;
  /** Bytes that came in clear, after the question for TLS. */
  clear: number;
  /** Sessions over TLS. */
  sessions: number;
}

/** The database behind TLS, under a certificate for `db.test`. What asks in clear is not let through. */
async function startTls(url: string): Promise<TlsDatabase> {
  const authority = await createAuthority(await makeCa());
  const leaf = await authority.leafFor('db.test');
  const { hostname, port } = new URL(url);
  const open = new Set<net.Socket>();
  const keep = (socket: net.Socket) => void open.add(socket.on('error', () => undefined).once('close', () => open.delete(socket)));
  const server = net.createServer((socket) => {
    keep(socket);
    socket.once('data', (question: Buffer) => {
      if (question.length !== 8 || question.readInt32BE(4) !== 80_877_103) {
        database.clear += question.length;
        return void socket.destroy();
      }
      socket.write('S');
      const secure = new tls.TLSSocket(socket, { isServer: true, ...leaf });
      keep(secure);
      secure.once('secure', () => {
        database.sessions += 1;
        const behind = net.connect(Number(port), hostname);
        keep(behind);
        secure.pipe(behind).pipe(secure);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const database: TlsDatabase = {
    port: (server.address() as net.AddressInfo).port,
    caPem: authority.caPem,
    clear: 0,
    sessions: 0,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return database;
}

test('to a database elsewhere there is only verified TLS, with the authorities of the configuration, unless its address says disable', async () => {
  await using t = await createTestFirewall({
    config: { allow_cidrs: ['127.0.0.1'] },
    names: { 'db.test': ['127.0.0.1'], 'other.test': ['127.0.0.1'] },
  });
  await using database = await withDatabase(t);
  await using secure = await startTls(t.database.url);
  const dsn = (host: string, port: string, sslmode?: string) => {
    const url = new URL(t.database.url);
    url.host = `${host}:${port}`;
    if (sslmode !== undefined) url.searchParams.set('sslmode', sslmode);
    return { type: 'pg_dsn' as const, value: url.href, hosts: [url.host], options: { role: database.reader } };
  };
  const plain = new URL(t.database.url).port;
  const port = String(secure.port);
  const secrets = {
    DEFAULT: dsn('db.test', port),
    PREFER: dsn('db.test', port, 'prefer'),
    REQUIRE: dsn('db.test', port, 'require'),
    WRONG_NAME: dsn('other.test', port, 'require'),
    NO_TLS: dsn('db.test', plain),
    DISABLED: dsn('db.test', plain, 'disable'),
    UNKNOWN: dsn('db.test', plain, 'off'),
  };
  for (const [name, request] of Object.entries(secrets)) await t.secret(name, request);
  const { placeholders } = await t.lease(Object.keys(secrets));
  const tryOne = async (name: keyof typeof secrets) => {
    const client = await session(t, placeholders[name] as string);
    const { rows } = await client.query('select text from facts');
    await client.end();
    return rows;
  };
  const known = [{ text: 'known' }];
  for (const name of ['DEFAULT', 'PREFER', 'REQUIRE', 'WRONG_NAME', 'NO_TLS'] as const)
    await assert.rejects(tryOne(name), /UPSTREAM_FAILED/, `${name}, its authority not being trusted`);
  assert.equal(secure.sessions + secure.clear, 0);

  await t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [secure.caPem] });
  await eventually(() =>
    tryOne('DEFAULT').then(
      () => true,
      () => false,
    ),
  );
  for (const name of ['DEFAULT', 'PREFER', 'REQUIRE', 'DISABLED'] as const) assert.deepEqual(await tryOne(name), known, name);
  await assert.rejects(tryOne('WRONG_NAME'), /UPSTREAM_FAILED/);
  await assert.rejects(tryOne('NO_TLS'), /UPSTREAM_FAILED/);
  await assert.rejects(tryOne('UNKNOWN'), /SECRET_UNAVAILABLE/);
  assert.equal(secure.clear, 0, 'nothing goes in clear');

  await t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [secure.caPem], ports: [443] });
  await eventually(() =>
    tryOne('DEFAULT').then(
      () => false,
      (error: Error) => error.message.includes('PORT_DENIED'),
    ),
  );
});
