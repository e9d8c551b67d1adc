import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { endLongTransactions } from '../../kernel/firewall/postgres-workflow.ts';
import type { WorkflowSchema } from '../../kernel/store/index.ts';
import { createLease, type CreatedLease, type LeaseRequest, revokeLease } from '../../kernel/vault/index.ts';
import { createTestFirewall, type TestFirewall } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { dropSchema, makeSchema, workflowSession } from '../support/workflow-schema.ts';
import { assertNothingLeaked, KEY, within } from './support.ts';

describe("a workflow's session in the database of the installation", () => {
  let t: TestFirewall;
  /** Whose session attacks, and who has something to lose. */
  let mallory: WorkflowSchema;
  let alice: WorkflowSchema;
  let session: pg.Client;
  let hers: pg.Client;
  let lease: CreatedLease;
  /** The database's superuser. */
  let control: pg.Client;
  const opened = new Set<pg.Client>();
  /** Of those that were refused. */
  const told: string[] = [];
  const tokens: string[] = [];

  const leaseFor = (request: Partial<LeaseRequest> = {}) =>
    createLease(t.installation, 'test', { principal: 'workflow:mallory', secrets: [], ttlSeconds: 600, source: '127.0.0.1', ...request });
  const open = async (token: string, user?: string) => {
    const client = await workflowSession(t, token, user);
    opened.add(client);
    return client;
  };

  before(async () => {
    t = await createTestFirewall();
    mallory = await makeSchema(t.store, 'mallory');
    alice = await makeSchema(t.store, 'alice');
    await t.secret('API_KEY', { value: KEY, hosts: ['api.test'] });
    control = new pg.Client(t.database.url);
    await control.connect();
    lease = await leaseFor();
    session = await open(lease.token);
    hers = await open((await leaseFor({ principal: 'workflow:alice' })).token);
    await session.query(`create table mine (text text); create function on_ddl() returns event_trigger language plpgsql as 'begin end'`);
    await hers.query(`create table notes (text text); insert into notes values ('of alice')`);
    await hers.query(
      `create function told() returns text language sql as $$ select text from ${alice.schema}.notes $$; create sequence numbers`,
    );
  });
  after(async () => {
    for (const each of opened) await each.end().catch(() => undefined);
    await control.end();
    for (const each of [mallory, alice]) await dropSchema(t.store, each);
    await t[Symbol.asyncDispose]();
  });

  /** A superuser succeeds with the same: it is the right that is missing, and not the thing. */
  async function assertForbidden(statement: string): Promise<void> {
    await assert.rejects(session.query(statement), { code: '42501' }, statement);
    await control.query('begin');
    try {
      await control.query(statement);
    } finally {
      await control.query('rollback');
    }
  }

  async function currentUser(client: pg.Client): Promise<string> {
    return (await client.query<{ name: string }>('select current_user as name')).rows[0]?.name ?? '';
  }

  async function loginOf(client: pg.Client): Promise<string> {
    return (await client.query<{ name: string }>('select session_user as name')).rows[0]?.name ?? '';
  }

  test('has no right on any table, column, sequence or view of the installation', async () => {
    const rights = (role: string) =>
      control.query(
        `select c.oid::regclass from pg_class c where relnamespace = 'public'::regnamespace and (
           relkind in ('r', 'v', 'm', 'f', 'p') and (has_table_privilege($1, c.oid, 'select, insert, update, delete, truncate, references, trigger')
             or has_any_column_privilege($1, c.oid, 'select, insert, update, references'))
           or relkind = 'S' and has_sequence_privilege($1, c.oid, 'select, usage, update'))`,
        [role],
      );
    assert.deepEqual((await rights(mallory.role)).rows, []);
    assert.deepEqual((await rights(await loginOf(session))).rows, []);
    assert.ok((await rights(await currentUser(control))).rows.length > 20);
    for (const table of ['secrets', 'leases', 'workflow_runs', 'audit_log']) await assertForbidden(`select * from public.${table}`);
    await assertForbidden('delete from public.leases');
    await assertForbidden('do $$ begin lock table public.workflow_runs in access share mode; end $$');
    await assertForbidden('alter table public.leases disable trigger all');
  });

  test('creates nothing outside of its schema', async () => {
    for (const statement of [
      // before those of pg_catalog for whoever has the schema in front, and for a better match of types in any case
      `create function public.hashtext(varchar) returns int language sql as 'select 1'`,
      'create table public.more (id int)',
      'create schema more',
      'create role more',
      `create event trigger more on ddl_command_end execute function ${mallory.schema}.on_ddl()`,
      'create extension pgcrypto',
      'create extension dblink',
      'create publication more',
      `create subscription more connection '' publication more with (connect = false)`,
      'create foreign data wrapper more',
      'create cast (text as int) with inout',
      'create trusted language more handler plpgsql_call_handler',
      `create table ${alice.schema}.more (id int)`,
    ])
      await assertForbidden(statement);
    const database = new URL(t.database.url).pathname.slice(1);
    await assertForbidden(`alter database ${database} set search_path = ${mallory.schema}`);
    await assertForbidden(`alter role all set search_path = ${mallory.schema}`);
    await assertForbidden(`comment on database ${database} is ''`);
  });

  test('becomes nobody else, by whatever way it sheds its role', async () => {
    const login = await loginOf(session);
    const superuser = await currentUser(control);
    const shed = [
      'reset role',
      'set role none',
      'set session authorization default',
      'reset session authorization',
      'discard all',
      'reset all',
    ];
    for (const statement of shed) {
      const client = await open(lease.token);
      await client.query(statement);
      assert.ok([login, mallory.role].includes(await currentUser(client)), statement);
      for (const role of [superuser, alice.role, 'pg_read_all_data', await loginOf(hers)]) {
        await assert.rejects(client.query(`set role ${role}`), { code: '42501' }, `${statement}; set role ${role}`);
        await assert.rejects(client.query(`select set_config('role', '${role}', false)`), { code: '42501' });
      }
      for (const role of [superuser, mallory.role, alice.role])
        await assert.rejects(client.query(`set session authorization ${role}`), { code: '42501' }, role);
      // what is under its role has less than that, and comes back to it
      await client.query('set role none');
      await assert.rejects(client.query(`create table ${mallory.schema}.theirs (id int)`), { code: '42501' });
      await assert.rejects(client.query(`select * from ${mallory.schema}.mine`), { code: '42501' });
      await client.query('reset role');
      assert.equal(await currentUser(client), mallory.role);
      await client.end();
    }
    await control.query(`begin; set local role ${alice.role}; rollback`);
  });

  test('makes its roles no stronger, and no longer valid', async () => {
    const login = await loginOf(session);
    for (const as of [mallory.role, 'none']) {
      await session.query(`set role ${as}`);
      for (const attribute of [`valid until 'infinity'`, 'connection limit 1000', 'superuser', 'createrole', 'bypassrls', 'inherit'])
        await assertForbidden(`alter role ${login} ${attribute}`);
      await assertForbidden(`alter role ${mallory.role} login`);
      await assertForbidden(`grant pg_read_all_data to ${mallory.role}`);
      await assertForbidden(`grant ${alice.role} to ${login}`);
      await assertForbidden(`grant ${mallory.role} to ${alice.role}`);
      await assertForbidden('grant select on public.leases to public');
    }
    await session.query('reset role');
  });

  test('takes no advisory lock, of which the engine makes use, and may give back what it has not', async () => {
    const { rows } = await control.query<{ call: string }>(
      `select format('select %s(%s)', proname, repeat('7226,', pronargs - 1) || '1') as call from pg_proc
       where pronamespace = 'pg_catalog'::regnamespace and proname ~ 'advisory.*[^n]lock'`,
    );
    assert.equal(rows.length, 16);
    for (const { call } of rows) await assertForbidden(call);
    // as drivers do when a connection goes back to its pool
    await session.query('select pg_advisory_unlock_all()');
  });

  test('reads and writes no file, and runs no program', async () => {
    for (const statement of [
      `select pg_read_file('PG_VERSION')`,
      `select pg_read_binary_file('PG_VERSION')`,
      `select pg_ls_dir('.')`,
      `select pg_stat_file('PG_VERSION')`,
      `select lo_import('/dev/null')`,
      `copy ${mallory.schema}.mine from '/dev/null'`,
      `copy ${mallory.schema}.mine to '/dev/null'`,
      `copy ${mallory.schema}.mine from program 'true'`,
      `select * from pg_hba_file_rules`,
      `set session_replication_role = replica`,
      `set log_statement = 'all'`,
      `set zero_damaged_pages = on`,
    ])
      await assertForbidden(statement);
    await assert.rejects(session.query(`alter system set work_mem = '1MB'`), { code: '42501' });
    await assert.rejects(session.query(`select lo_export(1, '/dev/null')`), { code: '42501' });
  });

  test('reads no password, and nothing of what others do', async () => {
    for (const from of ['pg_authid', 'pg_shadow', 'pg_subscription']) await assertForbidden(`select * from ${from}`);
    await control.query(`select 'words of the superuser'`);
    await hers.query(`select 'words of alice'`);
    const words = `select query from pg_stat_activity where query like '%words of%' and pid <> pg_backend_pid()`;
    assert.deepEqual((await session.query(words)).rows, []);
    assert.ok((await control.query(words)).rows.length > 0);
    const setting = `select setting from pg_settings where name = 'hba_file'`;
    assert.deepEqual([(await session.query(setting)).rowCount, (await control.query(setting)).rowCount], [0, 1]);
  });

  test('ends and cancels nobody else', async () => {
    const { rows } = await session.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = current_database() and usename <> session_user`,
    );
    assert.ok(rows.length >= 3);
    for (const { pid } of rows) {
      await assert.rejects(session.query('select pg_terminate_backend($1)', [pid]), { code: '42501' });
      await assert.rejects(session.query('select pg_cancel_backend($1)', [pid]), { code: '42501' });
    }
    await hers.query('select 1');
    const victim = new pg.Client(t.database.url);
    victim.on('error', () => undefined);
    await victim.connect();
    const gone = new Promise((resolve) => victim.once('end', resolve));
    const { processID } = victim as unknown as { processID: number };
    await control.query('select pg_terminate_backend($1)', [processID]);
    await gone;
  });

  test("has no right in another workflow's schema, or on its large objects", async () => {
    for (const statement of [
      `select * from ${alice.schema}.notes`,
      `insert into ${alice.schema}.notes values ('of mallory')`,
      `select ${alice.schema}.told()`,
      `select nextval('${alice.schema}.numbers')`,
      `create view stolen as select * from ${alice.schema}.notes`,
      `drop schema ${alice.schema} cascade`,
      `alter schema ${alice.schema} owner to ${mallory.role}`,
      `grant all on schema ${alice.schema} to ${mallory.role}`,
    ])
      await assertForbidden(statement);
    const { rows } = await hers.query<{ id: number }>(`select lo_from_bytea(0, 'of alice') as id`);
    await assertForbidden(`select lo_get(${rows[0]?.id})`);
    await assertForbidden(`select lo_unlink(${rows[0]?.id})`);
    assert.equal((await hers.query('select told() as text')).rows[0]?.text, 'of alice');
  });

  test('lends nobody more than it has: its function that runs as its owner reads nothing of the installation', async () => {
    await session.query(
      `create function lent() returns bigint language plpgsql security definer as 'begin return (select count(*) from public.secrets); end'`,
    );
    await assert.rejects(control.query(`select ${mallory.schema}.lent()`), { code: '42501' });
  });

  test('hears ids where it listens to the engine, and no content', async () => {
    const heard: string[] = [];
    session.on('notification', ({ payload }) => heard.push(payload ?? ''));
    for (const channel of ['centaur_firewall', 'centaur_work']) await session.query(`listen ${channel}`);
    await t.secret('ANOTHER', { value: 'another-value-of-a-secret', hosts: ['api.test'] });
    await eventually(async () => {
      await session.query('select 1');
      return heard.length > 0;
    });
    assert.deepEqual([...new Set(heard)], ['']);
    await session.query('unlisten *');
  });

  test('keeps no transaction open for as long as it likes, whatever it sets', async () => {
    const client = await open(lease.token);
    await client.query('set statement_timeout = 0; set idle_in_transaction_session_timeout = 0');
    const ended = new Promise((resolve) => client.once('end', resolve));
    for (const each of [client, control]) await each.query('begin; select 1');
    assert.equal(await endLongTransactions(t.store, 600_000), 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(await endLongTransactions(t.store, 10), 1);
    await ended;
    // only theirs, and only those in a transaction
    for (const each of [session, control]) assert.equal((await each.query('select 1')).rowCount, 1);
    await control.query('rollback');
  });

  test('keeps the queue of notifications, without which the engine cannot commit, from nobody', async () => {
    const [listener, notifier] = [await open(lease.token), await open(lease.token)];
    let isEnded = false;
    const ended = new Promise<void>((resolve) => listener.once('end', () => ((isEnded = true), resolve())));
    await listener.query('listen flood');
    await listener.query('begin; select 1');
    const used = async () => (await control.query<{ used: number }>('select pg_notification_queue_usage() as used')).rows[0]?.used ?? 0;
    const flood = `select count(pg_notify('flood', repeat('a', 7900) || n)) from generate_series(1, 6000) n`;
    while (!isEnded && (await used()) <= 0.02) await notifier.query(flood);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    // the firewall looks for them by itself, too, and may be first: nobody has waited for as long as that
    await endLongTransactions(t.store, 600_000);
    await ended;
    await eventually(async () => {
      await notifier.query('notify flood');
      return (await used()) < 0.01;
    });
  });

  test('leaves nothing in the way of the end of its role', async () => {
    const own = await leaseFor();
    const client = await open(own.token);
    const login = await loginOf(client);
    await client.query('create table lasting (id int)');
    await client.query(`alter default privileges grant select on tables to public`);
    await client.query('set role none');
    await client.query('create temp table passing (id int)');
    await client.query(`alter default privileges grant select on tables to public; select lo_create(0)`);
    await client.query(`alter role ${login} password 'chosen by mallory'; alter role ${login} set role = none`);
    await revokeLease(t.installation, 'test', own.leaseId);
    const there = async () => (await control.query('select 1 from pg_roles where rolname = $1', [login])).rowCount;
    await eventually(async () => (await there()) === 0);
    assert.equal((await session.query('select * from lasting')).rowCount, 0);
  });

  for (const [what, find, code] of [
    ['a token that nobody has', async () => 'a-token-that-nobody-has', /LEASE_UNKNOWN/],
    ['no token', async () => '', /LEASE_UNKNOWN|SASL|password/],
    ['a placeholder', async () => (await t.lease(['API_KEY'])).placeholders['API_KEY'] as string, /LEASE_UNKNOWN/],
    ['the token of no workflow', async () => (await t.lease([])).token, /NOT_A_WORKFLOW/],
    ['the token of a step', async () => (await leaseFor({ kind: 'step' })).token, /NOT_A_WORKFLOW/],
    ['the token of a call', async () => (await leaseFor({ kind: 'call' })).token, /NOT_A_WORKFLOW/],
    ['the token of a workflow without a schema', async () => (await leaseFor({ principal: 'workflow:bob' })).token, /NO_WORKFLOW_SCHEMA/],
    ['the token of another address', async () => (await leaseFor({ source: '10.1.2.3' })).token, /LEASE_ELSEWHERE/],
    [
      'a token that was revoked',
      async () => {
        const { leaseId, token } = await leaseFor();
        await revokeLease(t.installation, 'test', leaseId);
        return token;
      },
      /LEASE_REVOKED/,
    ],
  ] as const) {
    test(`is not opened with ${what}`, async () => {
      const token = await find();
      const before = (await t.entries('egress.deny')).length;
      await assert.rejects(open(token), (error: Error) => {
        told.push(error.message);
        tokens.push(token);
        return code.test(error.message);
      });
      const denied = await eventually(async () => {
        const found = (await t.entries('egress.deny')).slice(before);
        return found.length > 0 ? found : undefined;
      });
      assert.equal(denied.length, 1);
    });
  }

  test('tells nobody a token or a secret when it is not opened', async () => {
    assert.ok(told.length > 0);
    await assertNothingLeaked(
      t,
      told,
      tokens.filter((token) => token !== ''),
    );
  });

  test('is not opened with the token of a workflow by another user name', async () => {
    await assert.rejects(open(lease.token, 'centaur'), /LEASE_REQUIRED/);
  });

  test('is cut when the lease ends, and recorded as an intent with its outcome, without its token', async () => {
    const own = await leaseFor();
    const client = await open(own.token);
    const ended = new Promise((resolve) => client.once('end', resolve));
    await revokeLease(t.installation, 'test', own.leaseId);
    await within(60, ended);
    const entries = await eventually(async () => {
      const found = (await t.entries()).filter((entry) => entry['lease_id'] === own.leaseId && entry['action'].startsWith('egress'));
      return found.length > 1 ? found : undefined;
    });
    const [intent, end] = entries;
    assert.deepEqual([intent?.['action'], end?.['action'], entries.length], ['egress.intent', 'egress.outcome', 2]);
    assert.equal(intent?.['actor'], 'workflow:mallory');
    assert.deepEqual([intent?.['details'].schema, intent?.['details'].role], [mallory.schema, mallory.role]);
    assert.deepEqual([end?.['intent_id'], end?.['details'].error], [intent?.['id'], 'LEASE_REVOKED']);
    assert.ok(!JSON.stringify(entries).includes(own.token));
  });

  test('ends at a statement with the real value of a secret in it, and has one blanked in what it reads', async () => {
    const reader = await open(lease.token);
    await control.query(`insert into ${mallory.schema}.mine values ('${KEY}')`);
    const { rows } = await reader.query<{ text: string }>('select text from mine');
    assert.equal(rows.length, 1);
    assert.ok(!JSON.stringify(rows).includes(KEY));
    await control.query(`delete from ${mallory.schema}.mine`);
    await assert.rejects(reader.query('select $1::text', [KEY]));
    await assertNothingLeaked(t, rows);
  });

  test('is one of at most ten of its lease', async () => {
    const own = await leaseFor();
    const ten = await Promise.all(Array.from({ length: 10 }, () => open(own.token)));
    await assert.rejects(open(own.token), { code: '53300' });
    await Promise.all(ten.map((client) => client.end()));
    await eventually(async () => (await open(own.token).catch(() => undefined)) !== undefined);
  });

  test('is one of at most forty of all workflows, whoever has how many leases', async () => {
    for (const each of opened) if (each !== session && each !== hers) await each.end();
    const tryOpen = async (token: string) => open(token).catch((error: Error) => error.message);
    const leases = await Promise.all(Array.from({ length: 5 }, () => leaseFor()));
    const more = await Promise.all(leases.flatMap(({ token }) => Array.from({ length: 9 }, () => tryOpen(token))));
    const clients = more.filter((each) => typeof each !== 'string');
    assert.equal(clients.length, 38);
    assert.match(String(more.find((each) => typeof each === 'string')), /TOO_MANY_SESSIONS/);
    await Promise.all(clients.map((client) => client.end()));
    await eventually(async () => typeof (await tryOpen(leases[0]?.token as string)) !== 'string');
  });
});
