/**
 * What the same costs without the platform, in the same run: plain rows of Postgres, a plain process, a plain Node. Below
 * these no figure can come on this machine.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { median } from '../measure.ts';
import { availableMb } from './agents.ts';

export interface FloorsMeasured {
  readonly url: string;
  readonly events: number;
  readonly starts: number;
  note(name: string, value: number): void;
}

const CONNECTIONS = 8;
const BATCH = 20;
const PAGE = 1000;
/** So many that what else the machine does meanwhile is little beside them. */
const IDLE_PROCESSES = 20;
const EVENT = JSON.stringify({ type: 'text.delta', message_id: 'msg_1', text: 'some words of an answer ', execution_id: 'e' });

export async function measureFloors({ url, events, starts, note }: FloorsMeasured): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS });
  try {
    await pool.query('create table floor_events (thread_key text, event_id bigint, event_json json, primary key (thread_key, event_id))');
    note('floor: rows inserted/s', await inserted(pool, events));
    note('floor: rows read/s', await read(pool, events));
    note('floor: row to listener ms', await told(pool, url));
    await pool.query('drop table floor_events');
  } finally {
    await pool.end();
  }
  note('floor: process ms', await timed(starts, '/bin/true', []));
  note('floor: Node ms', await timed(starts, process.execPath, ['-e', '0']));
  note('floor: idle Node MB', await idleNode());
}

/** Batches of the same size, each a statement and a commit, on several connections. */
async function inserted(pool: pg.Pool, events: number): Promise<number> {
  const batches = Math.ceil(events / BATCH / CONNECTIONS);
  const json = Array.from({ length: BATCH }, () => EVENT);
  const began = performance.now();
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, connection) => {
      for (let i = 0; i < batches; i++)
        await pool.query('insert into floor_events select $1, $2::bigint + n, j::json from unnest($3::text[]) with ordinality u(j, n)', [
          `t${connection}`,
          i * BATCH,
          json,
        ]);
    }),
  );
  return (batches * BATCH * CONNECTIONS * 1000) / (performance.now() - began);
}

/** The rows of one thread, in pages, and nothing done with them. */
async function read(pool: pg.Pool, events: number): Promise<number> {
  await pool.query(`insert into floor_events select 'history', n, $1::json from generate_series(1, $2::int) n`, [EVENT, events]);
  const began = performance.now();
  let after = 0;
  for (;;) {
    const { rows } = await pool.query<{ event_id: string }>({
      name: 'page',
      text: `select event_id, event_json::text from floor_events where thread_key = 'history' and event_id > $1 and event_id <= $1 + ${PAGE} order by event_id`,
      values: [after],
    });
    if (rows.length === 0) return (after * 1000) / (performance.now() - began);
    after = Number(rows.at(-1)?.event_id);
  }
}

/** One row is committed with a notification, and its listener reads it. */
async function told(pool: pg.Pool, url: string): Promise<number> {
  const listener = new pg.Client({ connectionString: url });
  await listener.connect();
  await listener.query('listen floor');
  const delays: number[] = [];
  for (let i = 0; i < 100; i++) {
    const heard = once(listener, 'notification').then(() =>
      listener.query('select event_json from floor_events where thread_key = $1 and event_id = $2', ['told', i]),
    );
    const began = performance.now();
    await pool.query(`with kept as (insert into floor_events values ('told', $1, $2::json)) select pg_notify('floor', '')`, [i, EVENT]);
    await heard;
    delays.push(performance.now() - began);
    await pause(10);
  }
  await listener.end();
  return median(delays);
}

async function timed(times: number, command: string, args: readonly string[]): Promise<number> {
  const delays: number[] = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await once(spawn(command, args, { stdio: 'ignore' }), 'exit');
    delays.push(performance.now() - began);
  }
  return median(delays);
}

/** Processes that do nothing, with the flags of the one that each sandbox has. */
async function idleNode(): Promise<number> {
  const before = availableMb();
  const children = Array.from({ length: IDLE_PROCESSES }, () =>
    spawn(process.execPath, ['--max-old-space-size=192', '--max-semi-space-size=1', '--v8-pool-size=1', '-e', 'process.stdin.resume()'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    }),
  );
  await pause(2000);
  const used = (before - availableMb()) / IDLE_PROCESSES;
  for (const child of children) child.kill('SIGKILL');
  return used;
}
