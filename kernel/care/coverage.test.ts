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
  grant_refusals: 'what a principal must not have stays refused',
  agent_requests: 'ids of requests with their answers, which repeat the rows: erased, and not exported',
};

test('every table that names a thread or a person is exported and erased, or has its reason', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 1 });
  const { rows } = await store.query<{ name: string }>(
    `select distinct c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
       and a.attname in ('thread_key', 'user_id', 'user_name', 'principal', 'on_behalf_of', 'subject', 'actor', 'email', 'member') order by 1`,
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
