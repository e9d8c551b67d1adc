import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { dropSchema, makeSchema } from '../../test/support/workflow-schema.ts';
import { connectStore, ensureWorkflowSchema, findWorkflowSchema, schemaNameOf } from './index.ts';

async function openStore() {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 4 });
  return {
    store,
    url: database.url,
    async [Symbol.asyncDispose]() {
      await store.close();
      await database.drop();
    },
  };
}

test('a plain name stays, and any other is a hash that no plain name can have', () => {
  assert.equal(schemaNameOf('nightly_report'), 'wf_nightly_report');
  const odd = ['Nightly_Report', 'nightly-report', 'nightly.report', '9lives', 'a'.repeat(41), 'a'.repeat(128), '_', 'pg"; drop role x'];
  const names = odd.map(schemaNameOf);
  assert.equal(new Set(names).size, odd.length);
  for (const name of names) assert.match(name, /^wfx_[a-z0-9_]{1,18}_[0-9a-f]{20}$/);
  for (const name of [...names, schemaNameOf('a'.repeat(40))]) assert.ok(`centaur_${name}_01234567`.length <= 63);
  for (const name of names) assert.notEqual(schemaNameOf(name.slice(3)), name);
});

test('it is made once, whoever of several asks first, and found again', async () => {
  await using t = await openStore();
  const { store } = t;
  assert.match((await findWorkflowSchema(store, 'report')).reason ?? '', /no schema yet/);
  const [first, ...others] = await Promise.all(Array.from({ length: 4 }, () => makeSchema(store, 'report')));
  try {
    assert.equal(first?.schema, 'wf_report');
    for (const other of others) assert.deepEqual(other, first);
    assert.deepEqual(await findWorkflowSchema(store, 'report'), first);
    // the owner's: what is in it stays when the worker asks again
    await store.query('create table wf_report.kept (id int)');
    assert.deepEqual(await ensureWorkflowSchema(store, 'report'), first);
    assert.equal((await store.query('select * from wf_report.kept')).rowCount, 0);
  } finally {
    await dropSchema(store, first as NonNullable<typeof first>);
  }
});

test("a schema of the same name that is not a workflow's, or a role that may do more, is not given to anybody", async () => {
  await using t = await openStore();
  const { store } = t;
  await store.query('create schema wf_taken');
  assert.match((await ensureWorkflowSchema(store, 'taken')).reason ?? '', /belongs to \w+, which is not a workflow's role/);
  const made = await makeSchema(store, 'strong');
  try {
    for (const attribute of ['login', 'createrole', 'createdb', 'replication', 'bypassrls', 'superuser']) {
      await store.query(`alter role ${made.role} ${attribute}`);
      assert.match((await ensureWorkflowSchema(store, 'strong')).reason ?? '', /may do more than a workflow/, attribute);
      await store.query(`alter role ${made.role} no${attribute}`);
    }
    assert.deepEqual(await ensureWorkflowSchema(store, 'strong'), made);
  } finally {
    await dropSchema(store, made);
  }
});

test('what everybody may do in an old database, workflows may not: the schema of the installation is closed', async () => {
  await using t = await openStore();
  const { store } = t;
  await store.query('grant create on schema public to public');
  const made = await makeSchema(store, 'report');
  try {
    const { rows } = await store.query<{ open: boolean }>(`select has_schema_privilege($1, 'public', 'create') as open`, [made.role]);
    assert.equal(rows[0]?.open, false);
    await store.query('grant create on schema public to public');
    assert.match((await findWorkflowSchema(store, 'report')).reason ?? '', /everybody may create/);
    assert.deepEqual(await ensureWorkflowSchema(store, 'report'), made);
    const { pathname } = new URL(t.url);
    await store.query(`grant create on database ${pathname.slice(1)} to public`);
    assert.match((await ensureWorkflowSchema(store, 'report')).reason ?? '', /everybody may create/);
    await store.query(`revoke create on database ${pathname.slice(1)} from public`);
  } finally {
    await dropSchema(store, made);
  }
});

test('a database user that is no superuser says what it lacks, and makes it when it has that', async () => {
  await using t = await openStore();
  const { store } = t;
  const user = `plain_${randomBytes(4).toString('hex')}`;
  const url = new URL(t.url);
  const database = url.pathname.slice(1);
  await store.query(`create role ${user} login password 'plain'`);
  Object.assign(url, { username: user, password: 'plain' });
  const plain = await connectStore({ url: url.href, poolSize: 2 });
  try {
    assert.match((await ensureWorkflowSchema(plain, 'report')).reason ?? '', /needs CREATEROLE, and CREATE on the database/);
    await store.query(`alter role ${user} createrole`);
    await store.query(`grant create on database ${database} to ${user}`);
    const { reason } = await ensureWorkflowSchema(plain, 'report');
    const advice = /run in psql "(.*) \\gexec"$/.exec(reason ?? '')?.[1];
    assert.ok(advice, reason);
    assert.equal((await store.query(`select 1 from pg_namespace where nspname = 'wf_report'`)).rowCount, 0, 'all of it or nothing');
    for (const { statement } of (await store.query<{ statement: string }>(advice)).rows) await store.query(statement);
    await plain.query('select pg_advisory_xact_lock(7226, 1)');
    const made = await makeSchema(plain, 'report');
    await dropSchema(store, made);
  } finally {
    await plain.close();
    await store.query(`drop owned by ${user}`);
    await store.query(`drop role ${user}`);
  }
});
