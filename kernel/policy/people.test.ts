import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore } from '../store/index.ts';
import { involvedIn } from './people.ts';

test('a run that no person started stays of those whose words are in it, whoever retries it', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 1 });
  const run = randomUUID();
  await store.query(`insert into workflow_runs (run_id, workflow_name, status, started_by) values ($1, 'pay', 'r', 'key:ck_1')`, [run]);
  const ownersNow = async () => (await involvedIn(store, { words: ['ann'], author: null, runs: [run] })).run_owner;
  assert.deepEqual(await ownersNow(), ['ann']);
  await store.query(`insert into run_askers (run_id, actor) values ($1, 'user:bob')`, [run]);
  assert.deepEqual(await ownersNow(), ['bob', 'ann']);
  await store.query(`update workflow_runs set started_by = 'user:cem' where run_id = $1`, [run]);
  assert.deepEqual(await ownersNow(), ['bob', 'cem']);
  await store.close();
});
