import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostedEngine } from './testing.ts';

const FILES = {
  'book.ts': `
export const WORKFLOW_NAME = 'book';
export async function handler(input: { id: string; fail?: boolean }, ctx: any) {
  const made = await ctx.transaction('insert', async (tx: any) => {
    await tx.query('create table if not exists bookings (id text primary key, at timestamptz default now())');
    await tx.query('insert into bookings (id) values ($1)', [input.id]);
    const { rows } = await tx.query('select count(*) as n, current_user as who from bookings');
    if (input.fail) throw new TypeError('no room');
    return rows[0];
  });
  return made;
}
`,
  'thief.ts': `
export const WORKFLOW_NAME = 'thief';
export const handler = (input: { sql: string }, ctx: any) => ctx.transaction('look', async (tx: any) => (await tx.query(input.sql)).rows);
`,
};

test('transactions of hosted workflows', async (t) => {
  const { test: t1, transactions } = await hostedEngine(t, FILES);

  await t.test('what they write is in the schema of the workflow, as its own role', async () => {
    const run = await t1.run('book', { id: 'a' });
    assert.equal(run.status, 'completed', JSON.stringify(run.error));
    const { n, who } = run.result as { n: number; who: string };
    assert.equal(n, 1);
    assert.match(who, /^centaur_wf_book_/);
    assert.equal((await t1.store.query('select id from wf_book.bookings')).rowCount, 1);
  });

  await t.test('one that throws leaves nothing, and fails its step', async () => {
    const run = await t1.run('book', { id: 'b', fail: true });
    assert.deepEqual([run.status, run.error?.name, run.error?.message], ['failed', 'TypeError', 'no room']);
    assert.equal((await t1.store.query(`select id from wf_book.bookings where id = 'b'`)).rowCount, 0);
  });

  await t.test('one that was committed is not done again', async () => {
    let calls = 0;
    const once = () =>
      transactions.run(
        'book',
        'run/insert',
        async () => ++calls,
        () => false,
      );
    assert.deepEqual([await once(), await once(), calls], [1, 1, 1]);
  });

  await t.test("another workflow's rows and the engine's are not theirs", async () => {
    const { rows } = await t1.store.query<{ owner: string }>('select current_user as owner');
    for (const sql of [
      'select * from wf_book.bookings',
      'select * from public.workflow_runs',
      `set role ${rows[0]?.owner}`,
      'reset role; select * from public.secrets',
    ]) {
      const run = await t1.run('thief', { sql });
      assert.equal(run.status, 'failed', sql);
      assert.match(run.error?.message ?? '', /permission denied/, sql);
    }
  });
});
