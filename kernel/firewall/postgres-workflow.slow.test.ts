import { test } from 'node:test';
import { createTestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import { dropSchema, makeSchema, workflowSession } from '../../test/support/workflow-schema.ts';
import { connectStore } from '../store/index.ts';
import { createLease, revokeLease } from '../vault/index.ts';
import { startFirewall } from './index.ts';

test('the installation may have a database user who is no superuser', async () => {
  await using t = await createTestFirewall();
  const user = `plain_${new URL(t.database.url).pathname.slice(1)}`;
  await using cleanup = new AsyncDisposableStack();
  await t.store.query(`create role ${user} login createrole password 'plain'`);
  cleanup.defer(async () => {
    await t.store.query(`drop owned by ${user}`);
    await t.store.query(`drop role ${user}`);
  });
  await t.store.query(`grant create on database ${new URL(t.database.url).pathname.slice(1)} to ${user}`);
  await t.store.query(`grant all on all tables in schema public to ${user}`);
  await t.store.query(`grant all on all sequences in schema public to ${user}`);
  // what the reason of a refusal tells a superuser to do
  await dropSchema(t.store, await makeSchema(t.store, 'other'));
  await t.store.query(`grant execute on all functions in schema pg_catalog to ${user}`);
  const url = new URL(t.database.url);
  Object.assign(url, { username: user, password: 'plain' });
  const plain = await connectStore({ url: url.href, poolSize: 5 });
  cleanup.defer(() => plain.close());
  const place = await makeSchema(plain, 'report');
  cleanup.defer(() => dropSchema(plain, place));
  const firewall = await startFirewall({
    store: plain,
    master: t.master,
    host: '127.0.0.1',
    port: 0,
    postgresPort: 0,
    log: (entry) => void t.logs.push(entry),
  });
  cleanup.defer(() => firewall.close());
  const lease = await createLease(t.installation, 'test', { principal: 'workflow:report', secrets: [], ttlSeconds: 600 });
  const client = await workflowSession({ ...t, firewall }, lease.token);
  const login = (await client.query<{ name: string }>('select session_user as name')).rows[0]?.name;
  await client.query('create table reports (id int)');
  await client.query('set role none; alter default privileges grant select on tables to public');
  const ended = new Promise((resolve) => client.once('end', resolve));
  await revokeLease(t.installation, 'test', lease.leaseId);
  await ended;
  await eventually(async () => (await t.store.query('select 1 from pg_roles where rolname = $1', [login])).rowCount === 0);
});
