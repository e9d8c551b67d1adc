/** What putting, claiming and settling read of the inbox, whatever Postgres knew of the table when it planned them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type pg from 'pg';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { CLAIM } from './inbox.ts';
import { PUT, SETTLE } from './inbox-writes.ts';

const CONVERSATIONS = 40;
const EACH = 50;
const AT_ONCE = 10;
/** Of a look-up by an index: its pages from the root on, and the row; each more than once, since versions of a row before are there, too. */
const LOOK_UP_MOST = 8;
/** Of a look-up and a new version of the row, with an entry in each of its indexes. */
const WRITE_MOST = 50;

/** What is known of the table at the first requests, whose plans stay: how many events were over and open when it was analysed. */
const KNOWN: readonly (readonly [over: number, open: number] | 'nothing')[] = [
  'nothing',
  [0, 0],
  [300, 20],
  [5000, 0],
  [20_000, 300],
  [3000, 900],
];

async function analyse({ store }: TestThreads, over: number, open: number): Promise<void> {
  await store.query(
    `insert into agent_inbox (platform, event_id, conversation, state, settled_at)
     select 'slack', 'over' || n, 'B' || lpad(((n - 1) / 10)::text, 6, '0'), 'done', now() from generate_series(1, $1::int) n`,
    [over],
  );
  await store.query(
    `insert into agent_inbox (platform, event_id, conversation, body)
     select 'slack', 'open' || n, 'A' || lpad(((n - 1) / 10)::text, 6, '0'), '{}' from generate_series(1, $1::int) n`,
    [open],
  );
  await store.query('analyze agent_inbox');
}

for (const known of KNOWN)
  test(`claiming reads by how many conversations are open, putting and settling by how many events that is done to, planned when Postgres knew ${known === 'nothing' ? known : known.join(' events over, open: ')}`, async () => {
    await using t = await createTestThreads();
    if (known !== 'nothing') await analyse(t, ...known);
    const client = await t.store.connect('test');
    try {
      await client.query(`prepare claim (text, text, int, int) as ${CLAIM}`);
      await client.query(`prepare settle (text[], text[], text[]) as ${SETTLE}`);
      await client.query(`prepare put (text[], text[], text[], text[], json[]) as ${PUT}`);
      await client.query(`execute claim ('slack', 'bot', ${AT_ONCE}, 60)`);
      await client.query(`execute put ('{k}', '{slack}', '{x}', '{k}', array['{}']::json[])`);
      await client.query(`execute settle ('{slack}', '{x}', '{bot}')`);
      const events = Array.from({ length: CONVERSATIONS * EACH }, (_, i) => ({
        platform: 'slack',
        event_id: `Ev${i}`,
        conversation: `C${i % CONVERSATIONS}`,
        body: { text: 'x'.repeat(300) },
      }));
      await Promise.all(events.map((event) => t.threads.inbox.put(event)));
      const open = CONVERSATIONS + (known === 'nothing' ? 0 : known[1] / 10);
      const claimed = await read(client, `execute claim ('slack', 'bot', ${AT_ONCE}, 60)`);
      assert.ok(claimed < LOOK_UP_MOST * open + WRITE_MOST * AT_ONCE, `claiming read ${claimed} blocks`);
      const put = await read(client, `execute put ('{k, k}', '{slack, slack}', '{y, Ev0}', '{k, k}', array['{}', '{}']::json[])`);
      assert.ok(put < 2 * WRITE_MOST, `putting read ${put} blocks`);
      const { rows } = await t.store.query<{ event_id: string }>(`select event_id from agent_inbox where state = 'claimed' limit 2`);
      const [one = '', two = ''] = rows.map(({ event_id }) => event_id);
      const settled = await read(client, `execute settle ('{slack, slack}', '{${one}, ${two}}', '{bot, bot}')`);
      assert.ok(settled < 2 * WRITE_MOST, `settling read ${settled} blocks`);
      assert.deepEqual(await t.threads.inbox.settle('slack', one, 'bot'), { idempotent: true });
    } finally {
      await client.end();
    }
  });

/** Runs it. Answers how many blocks it asked for. */
async function read(client: pg.Client, statement: string): Promise<number> {
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain (analyze, buffers, format json) ${statement}`);
  const [{ Plan: plan }] = JSON.parse(rows[0]?.['QUERY PLAN'] ?? '[]') as [{ Plan: Record<string, number> }];
  return (plan['Shared Hit Blocks'] ?? 0) + (plan['Shared Read Blocks'] ?? 0);
}
