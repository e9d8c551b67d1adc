/** The tool `memory` against a real server, as a role that owns its schema and nothing else. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { ToolContext, ToolDefinition } from '@centaur/sdk';
import pg from 'pg';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, startFront } from './front.ts';

const role = `memory_${randomBytes(4).toString('hex')}`;
let database: TestDatabase;
let owner: pg.Client;
let front: Front;
let memory: ToolDefinition;
let close: () => Promise<void>;

before(async () => {
  database = await createTestDatabase({ empty: true });
  owner = new pg.Client(database.url);
  await owner.connect();
  await owner.query(`create role ${role} login password 'memory'`);
  front = await startFront({ 'POST /v1/embeddings': () => ({ status: 500, body: { error: { message: 'out of order' } } }) });
  const url = new URL(database.url);
  url.username = role;
  url.password = 'memory';
  process.env['MEMORY_DATABASE'] = url.href;
  process.env['MEMORY_EMBEDDINGS_URL'] = `${front.url}/v1`;
  delete process.env['MEMORY_EMBEDDINGS_KEY'];
  memory = (await import('../../userspace/tools/memory/tool.ts')).default;
  ({ closeNotebook: close } = await import('../../userspace/tools/memory/schema.ts'));
});

after(async () => {
  await close();
  front.close();
  await owner.query(`drop owned by ${role} cascade`);
  await owner.query(`drop role ${role}`);
  await owner.end();
  await database.drop();
});

const call = (thread: string | undefined, method: string, args: unknown = {}, more: Partial<ToolContext> = {}) =>
  callMethod(memory, method, args, { threadKey: thread, ...more });
const texts = ({ items }: { items: { text: string }[] }) => items.map(({ text }) => text);

test('what an operator has to do first is said, and done once it works without a restart', async () => {
  const failure = await failureOf(call('a', 'list_notes'));
  assert.equal(failure.code, 'NOT_SET_UP');
  assert.match(failure.message, /create schema centaur_memory authorization/);
  await owner.query(`create schema centaur_memory authorization ${role}`);
  assert.deepEqual(await call('a', 'list_notes'), { items: [] });
});

test('several first calls at a time make one schema', async () => {
  await close();
  await owner.query('drop table centaur_memory.notes');
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => call('a', 'list_notes'))), [{ items: [] }, { items: [] }, { items: [] }]);
});

test('a conversation sees its own notes and the shared ones, and no other', async () => {
  const own = await call('a', 'save_note', { text: 'The staging password is in the safe', tags: ['ops'] });
  await call('b', 'save_note', { text: 'Ana likes tea' });
  const shared = await call('b', 'save_note', { text: 'Releases are on Tuesdays', scope: 'shared', tags: ['ops', 'release'] });
  assert.deepEqual([own.scope, shared.scope, own.tags], ['thread', 'shared', ['ops']]);
  assert.deepEqual(texts(await call('a', 'list_notes')), ['Releases are on Tuesdays', 'The staging password is in the safe']);
  assert.deepEqual(texts(await call('b', 'list_notes', { scope: 'thread' })), ['Ana likes tea']);
  assert.deepEqual(texts(await call('a', 'list_notes', { tags: ['ops', 'release'] })), ['Releases are on Tuesdays']);
  assert.deepEqual(texts(await call(undefined, 'list_notes')), ['Releases are on Tuesdays']);
  for (const [method, args] of [
    ['get_note', { id: own.id }],
    ['forget_note', { id: own.id }],
    ['restore_note', { id: own.id }],
  ] as const)
    assert.equal((await failureOf(call('b', method, args))).code, 'NOT_FOUND', method);
  assert.deepEqual((await call('b', 'search_notes', { query: 'staging password' })).items, []);
  assert.equal((await failureOf(call(undefined, 'save_note', { text: 'x' }))).code, 'NO_THREAD');
  assert.equal((await failureOf(call(undefined, 'list_notes', { scope: 'thread' }))).code, 'NO_THREAD');
});

test('notes are found by stems, by names as they are, and best first', async () => {
  const t = 'finding';
  await call(t, 'save_note', { text: 'We deployed the shop with blue-green deployments', tags: ['runbook'] });
  await call(t, 'save_note', { text: 'CENTAUR_HOME is /srv/centaur', key: 'paths' });
  await call(t, 'save_note', { text: 'Lunch is at noon' });
  const search = async (query: string, more = {}) => texts(await call(t, 'search_notes', { query, scope: 'thread', ...more }));
  assert.deepEqual(await search('deploying shops'), ['We deployed the shop with blue-green deployments']);
  assert.deepEqual(await search('centaur_home'), ['CENTAUR_HOME is /srv/centaur']);
  assert.deepEqual(await search('paths'), ['CENTAUR_HOME is /srv/centaur'], 'by its key');
  assert.deepEqual(await search('runbook'), ['We deployed the shop with blue-green deployments'], 'by its tag');
  assert.deepEqual(
    await search('lunch deploy'),
    ['Lunch is at noon', 'We deployed the shop with blue-green deployments'].sort(),
    'any, as none has all',
  );
  assert.deepEqual(await search('shop -blue'), []);
  assert.deepEqual(await search('"green blue"'), []);
  assert.deepEqual(await search("it's ') or 1=1 -- & | ! :* <->"), []);
  assert.deepEqual(await search('deploy', { tags: ['other'] }), []);
});

test('a key names one note; what it replaces, and what is forgotten, can be had back', async () => {
  const first = await call('k', 'save_note', { key: 'plan', text: 'Plan A' });
  const second = await call('k', 'save_note', { key: 'plan', text: 'Plan B' });
  assert.equal(second.replaced, first.id);
  await call('k', 'save_note', { key: 'plan', text: 'Everybody’s plan', scope: 'shared' });
  assert.equal((await call('k', 'get_note', { key: 'plan' })).text, 'Plan B');
  assert.equal((await call('k', 'get_note', { key: 'plan', scope: 'shared' })).text, 'Everybody’s plan');
  assert.equal((await call('k', 'restore_note', { id: first.id })).text, 'Plan A');
  assert.equal((await call('k', 'get_note', { key: 'plan' })).text, 'Plan A');
  await call('k', 'forget_note', { id: first.id });
  assert.equal((await failureOf(call('k', 'get_note', { key: 'plan' }))).code, 'NOT_FOUND');
  await call('k', 'restore_note', { id: first.id });
  assert.equal((await call('k', 'get_note', { id: first.id })).text, 'Plan A');
});

test('saving twice under one idempotency key keeps one note; at a time, one note has the name', async () => {
  const note = { text: 'once', key: 'one' };
  const [a, b] = await Promise.all([0, 1].map(() => call('i', 'save_note', note, { idempotencyKey: 'same' })));
  assert.equal(a.id, b.id);
  await Promise.all([1, 2, 3, 4, 5, 6].map((n) => call('i', 'save_note', { text: `n${n}`, key: 'raced' })));
  assert.equal(
    (await call('i', 'list_notes', { scope: 'thread' })).items.filter((each: { key: string }) => each.key === 'raced').length,
    1,
  );
});

test('a list has pages', async () => {
  for (let i = 0; i < 5; i += 1) await call('p', 'save_note', { text: `page ${i}` });
  const first = await call('p', 'list_notes', { scope: 'thread', limit: 3 });
  const second = await call('p', 'list_notes', { scope: 'thread', limit: 3, before: first.next });
  assert.deepEqual([...texts(first), ...texts(second)], ['page 4', 'page 3', 'page 2', 'page 1', 'page 0']);
  assert.equal(second.next, undefined);
});

test('what was forgotten long ago is deleted when the process next starts', async () => {
  const { id } = await call('o', 'save_note', { text: 'old' });
  await call('o', 'forget_note', { id });
  await owner.query(`update centaur_memory.notes set removed_at = now() - interval '31 days' where id = $1`, [id]);
  await close();
  assert.equal((await failureOf(call('o', 'restore_note', { id }))).code, 'NOT_FOUND');
});

test('without pgvector nothing is sent to the embeddings service, key or not', async (t) => {
  process.env['MEMORY_EMBEDDINGS_KEY'] = 'sk-memory-0123456789';
  t.after(() => delete process.env['MEMORY_EMBEDDINGS_KEY']);
  await call('v', 'save_note', { text: 'Nobody embeds this' });
  assert.equal((await call('v', 'search_notes', { query: 'embeds' })).items.length, 1);
  assert.equal(front.seen.length, 0);
});

/** Points on a circle: two words that mean the same are near each other. */
function meaning(text: string): number[] {
  const angle = /car|vehicle/i.test(text) ? 0.1 : /fruit|pear/i.test(text) ? 1.4 : 3;
  return [Math.cos(angle), Math.sin(angle), ...Array.from({ length: 510 }, () => 0)];
}

test('with pgvector notes are found by what they mean, and by words when the service is away', async (t) => {
  const { rows } = await owner.query(`select 1 from pg_available_extensions where name = 'vector'`);
  if (rows.length === 0) return t.skip('this server has no pgvector');
  await close();
  await owner.query('create extension vector');
  process.env['MEMORY_EMBEDDINGS_KEY'] = 'sk-memory-0123456789';
  t.after(() => delete process.env['MEMORY_EMBEDDINGS_KEY']);
  const answer = (text: string) => front.next({ body: { data: [{ embedding: meaning(text) }] } });
  for (const text of ['The car is in the garage', 'Pears are on the table']) {
    answer(text);
    await call('m', 'save_note', { text });
  }
  answer('vehicle');
  assert.equal(texts(await call('m', 'search_notes', { query: 'vehicle', scope: 'thread' }))[0], 'The car is in the garage');
  assert.equal(front.last.headers.authorization, 'Bearer sk-memory-0123456789');
  assert.equal(JSON.parse(front.last.body.toString()).dimensions, 512);
  assert.deepEqual(texts(await call('m', 'search_notes', { query: 'pears', scope: 'thread' })), ['Pears are on the table']);
});

/** What stands for pgvector where there is none: a type and an operator of the same names, which know nothing of indexes. */
const STAND_IN = `
  set allow_system_table_mods = on;
  create schema "the ""vectors";
  grant usage on schema "the ""vectors" to ${role};
  set search_path = "the ""vectors", pg_catalog;
  create type vector;
  create function vector_in(cstring) returns vector language internal immutable strict as 'textin';
  create function vector_out(vector) returns cstring language internal immutable strict as 'textout';
  create type vector (input = vector_in, output = vector_out, typmod_in = varchartypmodin, typmod_out = varchartypmodout, like = text);
  create cast (vector as text) without function;
  create function distance(a vector, b vector) returns float8 language sql set search_path = "the ""vectors", pg_catalog as $$
    select 1 - sum(x * y) from unnest(translate(a::text, '[]', '{}')::float8[], translate(b::text, '[]', '{}')::float8[]) as t (x, y) $$;
  create operator <=> (leftarg = vector, rightarg = vector, function = distance);
  insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    select 7261014, 'vector', 10, oid, false, '0.0.0' from pg_namespace where nspname = 'the "vectors';
  reset search_path;
  reset allow_system_table_mods;`;

test('vectors are found in whatever schema the extension is, and no index takes other notes before those that may be seen', async (t) => {
  const { rows } = await owner.query<{ may: boolean }>('select rolsuper as may from pg_roles where rolname = current_user');
  if (rows[0]?.may !== true) return t.skip('only a superuser can put something in the place of pgvector');
  await owner.query('drop extension if exists vector cascade');
  await owner.query(STAND_IN);
  // of an earlier version
  await owner.query(`create index notes_embedding on centaur_memory.notes (id)`);
  await close();
  process.env['MEMORY_EMBEDDINGS_KEY'] = 'sk-memory-0123456789';
  t.after(() => delete process.env['MEMORY_EMBEDDINGS_KEY']);
  const answer = (text: string) => front.next({ body: { data: [{ embedding: meaning(text) }] } });
  for (const text of ['Pears are on the table', 'The car is in the garage']) {
    answer(text);
    await call('elsewhere', 'save_note', { text });
  }
  answer('vehicle');
  assert.equal(texts(await call('elsewhere', 'search_notes', { query: 'vehicle', scope: 'thread' }))[0], 'The car is in the garage');
  const indexes = await owner.query(`select 1 from pg_indexes where schemaname = 'centaur_memory' and indexdef ~ 'embedding'`);
  assert.equal(indexes.rows.length, 0);
});
