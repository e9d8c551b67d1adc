/** Weekly partitions on the time inside UUIDv7 keys, so that retention drops tables instead of deleting rows. */
import { formatUuid } from './ids.ts';
import type { Queryable, Store } from './store.ts';

export const WEEK_MS = 7 * 86_400_000;

/** The Unix epoch fell on a Thursday; weeks here begin on Monday 00:00 UTC. */
const MONDAY_MS = 4 * 86_400_000;

const PARTITION_LOCK = 7_226_002;

export function weekStart(ms: number): number {
  return Math.floor((ms - MONDAY_MS) / WEEK_MS) * WEEK_MS + MONDAY_MS;
}

/** The smallest UUIDv7-like key of a moment: every id made then or later sorts after it. */
export function uuidAt(ms: number): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(Math.max(0, Math.floor(ms)), 0, 6);
  return formatUuid(bytes);
}

/** `workflow_steps_20261116`: the table, and the Monday on which the partition begins. */
export function partitionName(table: string, weekMs: number): string {
  return `${table}_${new Date(weekMs).toISOString().slice(0, 10).replaceAll('-', '')}`;
}

/**
 * Makes the partitions from last week to `weeksAhead` weeks ahead, and a default one for ids from strange clocks. Whoever reads a table for long, such as
 * a backup, holds it up, and whoever writes waits behind it: so what is for later weeks waits a moment only, and is made another time.
 */
export async function ensurePartitions(
  store: Pick<Store, 'query' | 'transaction'>,
  tables: readonly string[],
  nowMs: number,
  weeksAhead = 4,
): Promise<void> {
  const weeks = Array.from({ length: weeksAhead + 2 }, (_, i) => weekStart(nowMs) + (i - 1) * WEEK_MS);
  const wanted = tables.flatMap((table) => [`${table}_default`, ...weeks.map((week) => partitionName(table, week))]);
  const absentNow = await missing(store, wanted);
  if (absentNow.size === 0) return;
  const soon = tables.flatMap((table) => [`${table}_default`, ...weeks.slice(0, SOON).map((week) => partitionName(table, week))]);
  const isUrgent = soon.some((name) => absentNow.has(name));
  await make(store, tables, weeks, wanted, isUrgent ? '0' : AHEAD_WAIT).catch((error: { readonly code?: string }) => {
    if (isUrgent || error.code !== LOCK_NOT_AVAILABLE) throw error as Error;
  });
}

/** Last week, this one and the next: without their partitions, rows would go to the default one and stay there. */
const SOON = 3;
const AHEAD_WAIT = '200ms';
const LOCK_NOT_AVAILABLE = '55P03';

async function make(
  store: Pick<Store, 'transaction'>,
  tables: readonly string[],
  weeks: readonly number[],
  wanted: readonly string[],
  wait: string,
): Promise<void> {
  await store.transaction(async (tx) => {
    await tx.query(`select set_config('lock_timeout', $1, true)`, [wait]);
    await tx.query('select pg_advisory_xact_lock($1)', [PARTITION_LOCK]);
    const absent = await missing(tx, wanted);
    for (const table of tables) {
      if (absent.has(`${table}_default`)) await tx.query(`create table ${table}_default partition of ${table} default`);
      for (const week of weeks) {
        const name = partitionName(table, week);
        if (absent.has(name))
          await tx.query(`create table ${name} partition of ${table} for values from ('${uuidAt(week)}') to ('${uuidAt(week + WEEK_MS)}')`);
      }
    }
  });
}

async function missing(on: Queryable, names: readonly string[]): Promise<Set<string>> {
  const { rows } = await on.query<{ name: string }>('select name from unnest($1::text[]) name where to_regclass(name) is null', [names]);
  return new Set(rows.map((row) => row.name));
}
