import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { createTestFirewall, type TestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';

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
  const { rows } = await client.query<{ current_user: string }>('select current_user');
  assert.match(rows[0]?.current_user ?? '', /^centaur_lease_[0-9a-f]{16}$/);
  const ended = new Promise((resolve) => client.once('end', resolve));
  await t.store.query('update leases set revoked_at = now() where lease_id = $1', [lease.leaseId]);
  await t.store.query(`select pg_notify('centaur_firewall', '')`);
  await ended;
  await eventually(async () => (await t.store.query(`select 1 from pg_roles where rolname = $1`, [rows[0]?.current_user])).rowCount === 0);
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
