/** A table that comes later, and says whose its rows are, must be given a place in export and erasure, or a reason. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore } from '../store/index.ts';

const source = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8');

/** Tables that say whose a row is, and are neither exported nor erased: why. */
const LEFT: Readonly<Record<string, string>> = {
  audit_subjects: 'keys: destroying one is the erasure',
  data_erasures: 'that, and when, it was erased has to be shown',
  policy_versions: 'texts of the installation, each as its entry in the log has it, with who published it',
  policy_counters: 'counts of limits, under keys that a rule names: gone when their time is up',
  grant_refusals: 'what a principal must not have stays refused',
  secret_rotations: 'who asked for one, as its entries in the log have it',
  chat_link_codes: 'codes of ten minutes, of which not even a hash can be read: erased, and not exported',
  agent_requests: 'ids of requests with their answers, which repeat the rows: erased, and not exported',
};

test('what refers to an entry of the log is told when the entry goes', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 1 });
  const { rows } = await store.query<{ name: string; at: string }>(
    `select c.relname as name, a.attname as at from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
       -- a seal of a journal counts by its own entry: without that it proves nothing; a cursor is a place in the order
       and a.attname like '%audit_id' and c.relname not in ('audit_log', 'journal_seals', 'trace_exports')`,
  );
  await store.close();
  assert.ok(rows.length > 15);
  const references = source('../audit/retention.ts');
  for (const { name, at } of rows) assert.ok(references.includes(`['${name}', '${at}']`), `${name}.${at}: not in REFERENCES`);
});

test('every table that names a thread or a person is exported and erased, or has its reason', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 1 });
  const { rows } = await store.query<{ name: string }>(
    `select distinct c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
       and a.attname in ('thread_key', 'user_id', 'user_name', 'principal', 'on_behalf_of', 'subject', 'actor', 'email', 'member', 'voter', 'author',
         'started_by', 'decided_by', 'granted_by', 'edited_by', 'created_by', 'asked_by', 'key') order by 1`,
  );
  await store.close();
  const [erased, exported] = [source('./erase.ts'), source('./archive.ts')];
  const has = (text: string, name: string) => new RegExp(`\\b${name}\\b`).test(text);
  for (const { name } of rows) {
    if (name in LEFT) continue;
    assert.ok(has(exported, name), `${name}: not in archive.ts, and no reason in LEFT`);
    // the log stays: what is private in it goes with its key; holds are why something stays
    if (name !== 'audit_log' && name !== 'data_holds') assert.ok(has(erased, name), `${name}: not in erase.ts, and no reason in LEFT`);
  }
});
