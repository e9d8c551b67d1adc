import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { createTestRotations } from '../../test/support/rotations.ts';
import { asRole, createTestRole } from '../../test/support/roles.ts';
import { eventually } from '../../test/support/wait.ts';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { dueRotations } from '@centaur/kernel/vault';

const ROTATION = { every_seconds: 86_400, grace_seconds: 0, driver: 'postgres_role' as const };

test('a role gets a new password by the present one: it is tried, put in place, and the one before is good for nothing', async () => {
  await using r = await createTestRotations();
  await using role = await createTestRole(r);
  await r.put('DB', { type: 'pg_dsn', value: role.dsn, hosts: [role.host], rotation: ROTATION });
  const run = await r.rotate('DB');
  assert.deepEqual([run.status, run.result], ['completed', { secret: 'DB', outcome: 'done', version: 2 }]);
  const { present, known } = await r.values('DB');
  assert.deepEqual(known, [present]);
  assert.equal(await asRole(present), role.name);
  await assert.rejects(asRole(role.dsn), { code: '28P01' });
  assert.deepEqual((await r.actions('DB')).slice(1), [
    'secret.rotation_asked',
    'secret.rotation_started',
    'secret.rotation_minted',
    'secret.rotation_request',
    'secret.rotation_probed',
    'secret.rotate',
    'secret.rotation_revoked',
  ]);
  const { password } = new URL(present);
  assert.equal(password.length, 40);
  const written = `${await r.dump()}\n${JSON.stringify([r.t.logs, run])}`;
  for (const value of [password, new URL(role.dsn).password]) assert.ok(!written.includes(value), 'a password is in what is written down');
});

test('another secret’s role sets it where that one says so; and only on the same server', async () => {
  await using r = await createTestRotations();
  await using role = await createTestRole(r);
  const described = { type: 'pg_dsn' as const, value: role.dsn, hosts: [role.host], rotation: { ...ROTATION, admin_secret: 'ADMIN' } };
  const admin = { type: 'pg_dsn' as const, value: r.t.database.url, hosts: [role.host] };
  const outcomes: unknown[] = [];
  const rotate = async () => outcomes.push((await r.rotate('DB')).error?.code);
  await r.put('DB', described);
  await rotate();
  await r.put('ADMIN', admin);
  await rotate();
  await r.put('ADMIN', {
    ...admin,
    hosts: [role.host, 'localhost:1'],
    value: 'postgres://a:a-password@localhost:1/x',
    options: { rotates: ['DB'] },
  });
  await rotate();
  assert.deepEqual(outcomes, ['ADMIN_REFUSED', 'ADMIN_REFUSED', 'ADMIN_REFUSED']);
  // whoever may describe it need not know it, and cannot lend its rights
  await r.put('ADMIN', admin);
  const { value: _, ...without } = admin;
  await assert.rejects(r.put('ADMIN', { ...without, options: { rotates: ['DB'] } }), /option rotates is another one; give its value again/);
  assert.equal(await asRole(role.dsn), role.name);
  await r.put('ADMIN', { ...admin, options: { rotates: ['DB'] } });
  // the present password is of no use for it
  await r.put('DB', { ...described, value: role.dsn.replace(/:[^:@]+@/, ':not-the-password@') });
  assert.equal((await r.rotate('DB')).status, 'completed');
  assert.equal(await asRole((await r.values('DB')).present), role.name);
});

test('a new value that the database refuses is taken back, and the one before stays in use', async () => {
  await using r = await createTestRotations();
  await using role = await createTestRole(r);
  await r.put('ADMIN', { type: 'pg_dsn', value: r.t.database.url, hosts: [role.host], options: { rotates: ['DB'] } });
  await r.put('DB', { type: 'pg_dsn', value: role.dsn, hosts: [role.host], rotation: { ...ROTATION, admin_secret: 'ADMIN' } });
  await r.t.store.query(`alter role ${role.name} nologin`);
  const run = await r.rotate('DB');
  assert.deepEqual([run.status, run.error?.code], ['failed', 'PROBE_FAILED']);
  await r.t.store.query(`alter role ${role.name} login`);
  assert.equal(await asRole(role.dsn), role.name);
  assert.deepEqual(await r.values('DB'), { present: role.dsn, known: [role.dsn] });
  const secret = await r.secret('DB');
  assert.deepEqual([secret.version, secret.last_rotation?.state, secret.last_rotation?.reason], [1, 'failed', 'PROBE_FAILED']);
  assert.ok(Date.parse(secret.last_rotation?.retry_at as string) > Date.now() + 10 * 60_000);
  assert.deepEqual((await r.actions('DB')).slice(-1), ['secret.rotation_failed']);
});

test('where nobody knows which value the database takes, both are kept, and the next rotation goes on with the new one', async () => {
  await using r = await createTestRotations();
  await using role = await createTestRole(r);
  await r.put('DB', { type: 'pg_dsn', value: role.dsn, hosts: [role.host], rotation: ROTATION });
  await role.lockOut();
  assert.equal((await r.rotate('DB')).status, 'failed');
  const kept = (await r.values('DB')).known.find((value) => value !== role.dsn) as string;
  assert.ok(kept, 'the new value is kept, and looked for');
  // somebody asked for it, long before its time: what the database may take is not left to wait for that
  const retryAt = Date.parse((await r.secret('DB')).last_rotation?.retry_at as string);
  assert.ok(retryAt < Date.now() + 90_000);
  assert.deepEqual(
    [await dueRotations(r.t.store, new Date(retryAt - 1000)), await dueRotations(r.t.store, new Date(retryAt + 1000))],
    [[], ['DB']],
  );
  // as a try that died behind its change would have left it
  await role.set(new URL(kept).password);
  await role.letIn();
  assert.equal((await r.rotate('DB')).status, 'completed');
  assert.equal((await r.values('DB')).present, kept);
  assert.equal((await r.secret('DB')).version, 2);
});

test('a server that asks for no password is given none, and the role keeps the one that it has', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'centaur-trust-'));
  const trusting = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true });
  try {
    await using r = await createTestRotations();
    await r.configure({ allow_cidrs: ['127.0.0.1'] });
    const owner = new pg.Client(trusting.url);
    await owner.connect();
    await owner.query(`create role app login password 'the-first-password'`);
    const stored = async () =>
      (await owner.query<{ kept: string }>(`select rolpassword as kept from pg_authid where rolname = 'app'`)).rows;
    const before = await stored();
    const { rows } = await owner.query<{ file: string }>(`select setting as file from pg_settings where name = 'hba_file'`);
    const file = rows[0]?.file as string;
    await writeFile(file, `host all app 127.0.0.1/32 trust\n${await readFile(file, 'utf8')}`);
    await owner.query('select pg_reload_conf()');
    const { host } = new URL(trusting.url);
    const dsn = trusting.url.replace(/\/\/[^@]+@/, '//app:the-first-password@');
    await eventually(async () => (await asRole(dsn.replace('first', 'wrong')).catch(() => undefined)) === 'app');
    await r.put('ADMIN', { type: 'pg_dsn', value: trusting.url, hosts: [host], options: { rotates: ['DB'] } });
    await r.put('DB', { type: 'pg_dsn', value: dsn, hosts: [host], rotation: { ...ROTATION, admin_secret: 'ADMIN' } });
    assert.equal((await r.rotate('DB')).error?.code, 'NO_PASSWORD_ASKED');
    assert.deepEqual(await stored(), before);
    assert.deepEqual(await r.values('DB'), { present: dsn, known: [dsn] });
    await owner.end();
  } finally {
    await trusting.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

test('a password goes to the host of its own binding alone, by the rules of the way out', async () => {
  await using r = await createTestRotations();
  await using role = await createTestRole(r);
  await r.put('DB', { type: 'pg_dsn', value: role.dsn, hosts: ['db.example.com:5432'], rotation: ROTATION });
  assert.equal((await r.rotate('DB')).error?.code, 'NOT_BOUND');
  await r.put('DB', { type: 'pg_dsn', value: role.dsn, hosts: [role.host], rotation: ROTATION });
  await r.configure({});
  assert.equal((await r.rotate('DB')).error?.code, 'ADDRESS_DENIED');
  assert.equal(await asRole(role.dsn), role.name);
});

test('who can only describe a secret, or only write to the database, gives it no driver', async () => {
  await using r = await createTestRotations();
  await using role = await createTestRole(r);
  const described = { type: 'pg_dsn' as const, hosts: [role.host] };
  await r.put('DB', { ...described, value: role.dsn, rotation: { every_seconds: 86_400 } });
  await assert.rejects(r.put('DB', { ...described, rotation: ROTATION }), /rotation\.driver is another one; give its value again/);
  await r.t.store.query(`update secrets set rotation = $1 where name = 'DB'`, [JSON.stringify(ROTATION)]);
  await assert.rejects(r.ask('DB'), { code: 'SEAL_BROKEN' });
  await r.put('DB', { ...described, value: role.dsn, rotation: ROTATION });
  // without a value, what is declared stays as it is
  await r.put('DB', { ...described, rotation: { ...ROTATION, every_seconds: 60 } });
  await assert.rejects(
    r.put('DB', { ...described, rotation: { ...ROTATION, admin_secret: 'ADMIN' } }),
    /rotation\.admin_secret is another one/,
  );
  await r.t.store.query(`update secrets set rotation = '{"every_seconds": 60, "grace_seconds": 1}' where name = 'DB'`);
  await assert.rejects(r.ask('DB'), { code: 'INVALID_SECRET' });
  await assert.rejects(r.values('DB'), { code: 'SEAL_BROKEN' });
  for (const [request, problem] of [
    [{ type: 'http' as const, value: 'a-value-of-the-kind' }, /rotation\.driver: postgres_role goes with secrets of type pg_dsn/],
    [{ source: { type: 'env', variable: 'X' } }, /rotation\.driver: a secret that comes from a source/],
    [{ value: role.dsn, rotation: { every_seconds: 60, admin_secret: 'X' } }, /rotation\.admin_secret: goes with/],
    [{ value: role.dsn, rotation: { every_seconds: 60, driver: 'generate' as const } }, /rotation\.driver: generate needs the option/],
    [{ value: role.dsn, options: { rotates: 'DB' } }, /options\.rotates: expected a list/],
  ] as const)
    await assert.rejects(r.put('OTHER', { ...described, rotation: ROTATION, ...request }), problem);
});
