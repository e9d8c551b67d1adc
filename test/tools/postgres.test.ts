/** The tool `postgres` against a real server, as a role that may do less than its owner. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { ToolDefinition } from '@centaur/sdk';
import pg from 'pg';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { callMethod, failureOf } from './call.ts';

const role = `agents_${randomBytes(4).toString('hex')}`;
let database: TestDatabase;
let owner: pg.Client;
let postgres: ToolDefinition;

before(async () => {
  database = await createTestDatabase({ empty: true });
  owner = new pg.Client(database.url);
  await owner.connect();
  await owner.query(`
    create type mood as enum ('calm', 'busy');
    create table shops (id int primary key, name text not null unique);
    comment on table shops is 'Where we sell';
    create table orders (
      id bigint primary key, shop int not null references shops, total numeric(20, 4) not null check (total >= 0),
      mood mood default 'calm', placed_at timestamptz, details jsonb, tags text[]
    );
    create index orders_shop on orders (shop);
    create view busy as select id from orders where mood = 'busy';
    create table secrets (value text);
    insert into shops values (1, 'Kyoto'), (2, 'Lima');
    insert into orders values
      (9007199254740993, 1, 12345678901234.5678, 'busy', '2026-11-01T10:00:00Z', '{"a": [1]}', '{x,y}'), (2, 2, 1, 'calm', null, null, null);
    create sequence counter;
    create table archived (id int);
    create function archive(id int) returns int language sql volatile as 'insert into archived values (id) returning id';
    create role ${role} login password 'agents';
    grant select, insert, update, delete on shops, orders, archived to ${role};
    grant select on busy to ${role};
    grant usage on sequence counter to ${role};`);
  const url = new URL(database.url);
  url.username = role;
  url.password = 'agents';
  process.env['POSTGRES_DATABASE'] = url.href;
  postgres = (await import('../../userspace/tools/postgres/tool.ts')).default;
});

after(async () => {
  await owner.query(`drop owned by ${role}`);
  await owner.query(`drop role ${role}`);
  await owner.end();
  await database.drop();
});

const call = (method: string, args: unknown = {}, options = {}) => callMethod(postgres, method, args, options);
const query = (sql: string, more = {}) => call('query', { sql, ...more });
const count = async (): Promise<number> => (await owner.query<{ n: number }>('select count(*)::int as n from shops')).rows[0]?.n as number;

test('rows come as lists, and nothing is lost in JSON', async () => {
  assert.deepEqual(await query('select * from orders where id > $1 order by id', { params: [2] }), {
    columns: ['id', 'shop', 'total', 'mood', 'placed_at', 'details', 'tags'],
    rows: [['9007199254740993', 1, '12345678901234.5678', 'busy', '2026-11-01 10:00:00+00', { a: [1] }, ['x', 'y']]],
    row_count: 1,
  });
});

test('parameters are values: lists are arrays, objects are JSON', async () => {
  const params = [[1, 2], { a: [1] }, "'; drop table shops --"];
  const { rows } = await query(
    'select count(*)::int, $2::jsonb @> details, $3::text from orders where shop = any($1::int[]) group by details order by 1',
    {
      params,
    },
  );
  assert.deepEqual(rows.at(-1)?.[2], params[2]);
  assert.equal(rows.length, 2);
});

test('a query changes nothing, whatever it is', async () => {
  const before = await count();
  for (const sql of [
    `insert into shops values (9, 'x')`,
    `with gone as (delete from shops returning id) select * from gone`,
    `create table mine (id int)`,
    `select nextval('counter')`,
    `do $$ begin insert into shops values (9, 'x'); end $$`,
  ])
    assert.equal((await failureOf(query(sql))).code, 'READ_ONLY', sql);
  for (const sql of [`commit; insert into shops values (9, 'x')`, `select 1; delete from orders`])
    assert.match((await failureOf(query(sql))).message, /multiple commands/, sql);
  // what one call does to its session is gone with it
  await query('set session characteristics as transaction read write');
  await query('commit');
  assert.equal((await failureOf(query(`insert into shops values (9, 'x')`))).code, 'READ_ONLY');
  assert.equal(await count(), before);
});

test('what the role may not read is refused', async () => {
  const failure = await failureOf(query('select * from secrets'));
  assert.equal(failure.code, 'FORBIDDEN');
  assert.match(failure.message, /permission denied for table secrets \(42501/);
});

test('rows and bytes are limited, and it says so', async () => {
  const some = await query('select b from generate_series(1, 100000) as a, generate_series(1, 100000) as b', {
    max_rows: 250,
    timeout_s: 30,
  });
  assert.deepEqual([some.rows.length, some.truncated, some.rows[249]], [250, true, [250]]);
  const all = await query('select n from generate_series(1, 250) as n', { max_rows: 250 });
  assert.deepEqual([all.rows.length, all.truncated], [250, undefined]);
  const wide = await query(`select repeat('x', 15000) from generate_series(1, 5000)`, { max_rows: 5000 });
  assert.equal(wide.truncated, true);
  assert.ok(wide.rows.length > 20 && Buffer.byteLength(JSON.stringify(wide)) < 600_000);
  const [[cell]] = (await query(`select repeat('y', 30000)`)).rows;
  assert.match(cell, /y… \(10000 more characters\)$/);
});

test('a row that is larger than a process should hold ends its session, and what that had begun', async () => {
  const vast = `select repeat('x', 40000000)`;
  const before = await count();
  const failure = await failureOf(call('execute', { statements: [{ sql: `insert into shops values (77, 'Vast')` }, { sql: vast }] }));
  assert.equal(failure.code, 'TOO_LARGE');
  assert.match(failure.message, /nothing of it is kept/);
  assert.equal(await count(), before);
});

test('a statement that takes too long is ended', async () => {
  const began = Date.now();
  const failure = await failureOf(query('select pg_sleep(60)', { timeout_s: 1 }));
  assert.equal(failure.code, 'TIMEOUT');
  assert.ok(Date.now() - began < 50_000);
});

test('a caller that leaves ends its session', async () => {
  const leaving = new AbortController();
  const asked = call('query', { sql: 'select pg_sleep(60)' }, { signal: leaving.signal });
  setTimeout(() => leaving.abort(), 300);
  const began = Date.now();
  await assert.rejects(asked);
  assert.ok(Date.now() - began < 50_000);
});

test('mistakes are told in the words of the database, with their place', async () => {
  const failure = await failureOf(query('select nothing from shops'));
  assert.equal(failure.code, 'BAD_REQUEST');
  assert.equal(failure.message, 'Postgres: column "nothing" does not exist (42703; at character 8 of the statement)');
  assert.equal((await failureOf(query('select 1 from nowhere'))).code, 'NOT_FOUND');
});

test('a statement without rows, explain and show work', async () => {
  assert.match((await query('explain select * from shops')).rows[0][0], /Seq Scan on shops/);
  assert.deepEqual((await query('show transaction_read_only')).rows, [['on']]);
});

test('schemas, tables and what is in them', async () => {
  const schemas = await call('list_schemas');
  assert.deepEqual(
    schemas.items.map((each: { schema: string; tables: number }) => [each.schema, each.tables]),
    [['public', 5]],
  );
  const { items } = await call('list_tables');
  assert.deepEqual(
    items.map(({ name, kind, readable, comment }: Record<string, unknown>) => [name, kind, readable, comment]),
    [
      ['archived', 'table', true, undefined],
      ['busy', 'view', true, undefined],
      ['orders', 'table', true, undefined],
      ['secrets', 'table', false, undefined],
      ['shops', 'table', true, 'Where we sell'],
    ],
  );
  const orders = await call('describe_table', { table: 'orders' });
  assert.deepEqual(orders.columns[0], { name: 'id', type: 'bigint', required: true });
  assert.deepEqual(orders.columns[3], { name: 'mood', type: 'mood', default: "'calm'::mood", values: ['calm', 'busy'] });
  assert.deepEqual(
    orders.constraints.map(({ definition }: { definition: string }) => definition).filter((text: string) => !text.startsWith('NOT NULL')),
    ['PRIMARY KEY (id)', 'FOREIGN KEY (shop) REFERENCES shops(id)', 'CHECK (total >= 0::numeric)'],
  );
  assert.ok(orders.indexes.some(({ name }: { name: string }) => name === 'orders_shop'));
  assert.match((await call('describe_table', { table: 'busy' })).definition, /SELECT (?:orders\.)?id/);
  assert.equal((await failureOf(call('describe_table', { table: 'Orders' }))).code, 'NOT_FOUND');
});

test('execute does all of it or none', async () => {
  const done = await call('execute', {
    statements: [
      { sql: 'insert into shops values ($1, $2), (11, $3) returning id, name', params: [10, 'Oslo', 'Pune'] },
      { sql: `update shops set name = 'Turku' where id = 10` },
    ],
  });
  assert.deepEqual(done.results, [
    {
      command: 'INSERT',
      row_count: 2,
      columns: ['id', 'name'],
      rows: [
        [10, 'Oslo'],
        [11, 'Pune'],
      ],
    },
    { command: 'UPDATE', row_count: 1 },
  ]);
  const failure = await failureOf(
    call('execute', { statements: [{ sql: 'delete from shops where id = 10' }, { sql: `insert into shops values (1, 'x')` }] }),
  );
  assert.equal(failure.code, 'CONFLICT');
  assert.equal((await owner.query('select name from shops where id = 10')).rows[0]?.name, 'Turku');
  assert.equal(postgres.methods['execute']?.risk, 'destructive');
});

test('what execute runs it runs to its end, also for rows that are not answered', async () => {
  const { results } = await call('execute', { statements: [{ sql: 'select archive(n) from generate_series(1, 7000) as n' }] });
  assert.deepEqual([results[0].rows.length, results[0].truncated, results[0].row_count], [5000, true, 7000]);
  assert.deepEqual((await owner.query('select count(*)::int as n from archived')).rows, [{ n: 7000 }]);
  const several = await failureOf(call('execute', { statements: [{ sql: 'select 1; select 2' }] }));
  assert.match(several.message, /multiple commands/);
});

test('a database that is away is told so', async () => {
  const { POSTGRES_DATABASE: real } = process.env;
  process.env['POSTGRES_DATABASE'] = 'postgres://nobody:nothing@127.0.0.1:1/x';
  try {
    assert.equal((await failureOf(query('select 1'))).code, 'UNREACHABLE');
  } finally {
    process.env['POSTGRES_DATABASE'] = real;
  }
});
