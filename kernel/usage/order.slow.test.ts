/** Eight that write the sums of the same days at once: turns that end, prices that come late, people who are erased. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore, type Store } from '../store/index.ts';
import { priceLate, type Prices, recordUsage } from './index.ts';

const PRICE = { input: 1_000_000, output: 1_000_000, cacheRead: 1_000_000, cacheWrite: 1_000_000 };
const ALL: Prices = [{ model: '*', price: PRICE }];
const DAY_MS = 86_400_000;
const HELD = 10_000;

/** Says what a turn used, and books it without a price. */
async function turnEnds(store: Store, n: number, atMs: number, models: readonly string[]): Promise<void> {
  const [executionId, threadKey] = [randomUUID(), `t${n % 5}`];
  await store.query(
    `insert into agent_execution_events (thread_key, event_id, execution_id, event_kind, event_json)
     select $1, coalesce((select max(event_id) from agent_execution_events where thread_key = $1), 0) + m.n, $2, 'usage',
       json_build_object('usage', json_build_object('input', 10, 'output', 1), 'model', m.name)
     from unnest($3::text[]) with ordinality m (name, n)`,
    [`${threadKey}-${executionId}`, executionId, models],
  );
  const turn = {
    executionId,
    threadKey: `${threadKey}-${executionId}`,
    harness: 'demo',
    model: `alias-${n % 3}`,
    userId: `u${n % 4}`,
    askedBy: null,
  };
  await store.transaction((tx) => recordUsage(tx, [], turn, atMs));
}

async function sums(store: Store): Promise<Record<string, unknown>[]> {
  const { rows } = await store.query(
    `select dimension, sum(input + output)::bigint as tokens, sum(cost_micros)::bigint as micros, sum(unpriced)::bigint as unpriced
     from usage_days group by 1 order by 1`,
  );
  return rows;
}

test('eight writers of the same sums never wait in a circle, and each row is priced once', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 12 });
  try {
    const failures: string[] = [];
    const quietly = (work: Promise<unknown>) =>
      work.catch((error: Error) => failures.push(`${(error as { code?: string }).code}: ${error.message}`));
    let ended = 0;
    let priced = 0;
    const models = (n: number) => ['m3', 'm1', 'm2', 'm0'].filter((_, i) => (n >> i) % 2 === 0).concat('m4');
    const began = performance.now();
    // a busy machine takes longer for as much
    const goesOn = () => performance.now() < began + 6000 || ((ended < 150 || priced < 150) && performance.now() < began + 60_000);
    // its rows lie on pages in every order by then
    const writers = Array.from({ length: 5 }, async (_, w) => {
      for (let n = w; goesOn(); n += 5) {
        await quietly(turnEnds(store, n, store.now() - (n % 3) * DAY_MS, models(n)));
        ended += 1;
      }
    });
    const pricers = Array.from({ length: 2 }, async () => {
      // it would go on as long as turns of days that are over end
      while (goesOn())
        await quietly(priceLate(store, ALL, { batch: 7, signal: AbortSignal.timeout(300) }).then((rows) => (priced += rows)));
    });
    const eraser = (async () => {
      for (let n = 0; goesOn(); n++)
        await quietly(
          store.transaction(async (tx) => {
            await tx.query(`update usage set user_id = null where user_id = $1`, [`u${n % 4}`]);
            await tx.query(`delete from usage_days where dimension = 'user' and key = $1`, [`u${n % 4}`]);
          }),
        );
    })();
    await Promise.all([...writers, ...pricers, eraser]);
    const { rows } = await store.query<{ deadlocks: number }>('select deadlocks from pg_stat_database where datname = current_database()');
    assert.deepEqual([failures, rows[0]?.deadlocks], [[], 0]);
    priced += await priceLate(store, ALL);
    assert.ok(ended > 100 && priced > 100, `${ended} turns ended, ${priced} rows were priced`);
    const { rows: left } = await store.query<{ rows: number; priced: number; tokens: number }>(
      'select count(*) as rows, count(cost_micros) as priced, sum(input + output)::bigint as tokens from usage',
    );
    const { rows: all, tokens } = left[0] as { rows: number; priced: number; tokens: number };
    assert.deepEqual([left[0]?.priced, priced], [all, all]);
    // sums of people were erased on the way
    for (const row of await sums(store))
      if (row['dimension'] !== 'user' && row['dimension'] !== 'model_name')
        assert.deepEqual(row, { dimension: row['dimension'], tokens, micros: tokens, unpriced: 0 });
  } finally {
    await store.close();
  }
});

test('a price that comes late is given in small transactions, and a process that is killed leaves the rest to the next', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url });
  try {
    // 40,000 turns of three days; a third of them of a model that stays without a price, the oldest among them
    await store.query(
      `insert into usage (execution_id, model, thread_key, harness, input, output, cache_read, cache_write, reasoning, at)
       select gen_random_uuid(), case when n % 3 = 0 then 'free' else 'paid' end, 't' || n % 50, 'demo', 9, 1, 0, 0, 0, now() - n * interval '6 seconds'
       from generate_series(1, 40000) n`,
    );
    await store.query(
      `insert into usage_days select d, k, (at at time zone 'UTC')::date, count(*), sum(input), sum(output), 0, 0, 0, 0, sum(input + output)
       from usage, lateral (values ('all', ''), ('model', model), ('thread', thread_key), ('user', ''), ('workflow', ''), ('model_name', model)) v (d, k)
       group by 1, 2, 3`,
    );
    // rows that it does not get: however late it is killed, it has not come to its end
    const holder = await store.connect('test');
    let before = 0;
    const pricedNow = async () => (await store.query<{ n: number }>('select count(cost_micros) as n from usage')).rows[0]?.n ?? 0;
    try {
      await holder.query('begin');
      await holder.query(`select 1 from usage where model = 'paid' order by at desc limit ${HELD} for update`);
      const child = spawn(process.execPath, [new URL('../../test/support/late-pricer.ts', import.meta.url).pathname], {
        env: { ...process.env, DATABASE_URL: database.url },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      while ((await pricedNow()) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      child.kill('SIGKILL');
      await once(child, 'exit');
      before = await pricedNow();
    } finally {
      await holder.end();
    }
    assert.ok(before > 0 && before <= 26_667 - HELD, `${before} rows were priced before the kill`);
    const { rows: largest } = await store.query<{ n: number }>(
      'select max(n)::int as n from (select count(*) as n from usage where cost_micros is not null group by xmin::text) of_one',
    );
    assert.ok((largest[0]?.n ?? 0) <= 500, `${largest[0]?.n} rows were priced in one transaction`);
    const rest = await priceLate(store, [{ model: 'paid', price: PRICE }]);
    const now = await pricedNow();
    assert.ok(rest >= now - before - 500 && now === 26_667, `${before} before, ${rest} after, ${now} in all`);
    for (const row of await sums(store))
      assert.deepEqual(row, { dimension: row['dimension'], tokens: 400_000, micros: 266_670, unpriced: 133_330 });
  } finally {
    await store.close();
  }
});
