/** Retention: what is old enough is dropped by partition; only what live runs hold back is deleted row by row. */
import { dropAskers, keepAskersOfLive } from './askers.ts';
import type { Queryable, Store } from '../store/index.ts';
import { partitionName, uuidAt, WEEK_MS, weekStart } from '../store/partitions.ts';

const RETENTION_LOCK = 7_226_004;
const BATCH = 1000;
const BY_RUN = ['workflow_runs_finished', 'workflow_steps', 'workflow_attempts', 'journal_seals'];

/** Where it is written down what was deleted: in the transaction that does so. */
export interface PruneLog {
  append(
    tx: Queryable,
    entry: { readonly action: string; readonly actor: string; readonly resource?: string; readonly details?: object },
  ): Promise<unknown>;
}

/**
 * One process at a time; the others do nothing. Never waits for a lock longer than a writer would notice. What a legal hold
 * keeps stays, and is deleted around.
 *
 * @returns the partitions that were dropped, and how many runs went with them or by themselves
 */
export async function applyRetention(
  store: Store,
  options: { readonly retentionDays: number; readonly now: Date; readonly audit?: PruneLog | undefined },
): Promise<{ readonly dropped: string[]; readonly rows: number }> {
  const { audit, retentionDays } = options;
  const cutoff = options.now.getTime() - retentionDays * 86_400_000;
  const dropped: string[] = [];
  let rows = 0;
  const writeDown = (tx: Queryable, runs: number, partition?: string) =>
    audit?.append(tx, { action: 'data.prune', actor: 'system', resource: 'runs', details: { days: retentionDays, runs, partition } });
  const weeks = await oldWeeks(store, cutoff);
  if (weeks.length > 0) await keepAskersOfLive(store);
  for (const week of weeks) {
    const [low, high] = [uuidAt(week), uuidAt(week + WEEK_MS)];
    const names = BY_RUN.map((table) => partitionName(table, week));
    const free = await store
      .transaction(async (tx) => {
        if (!(await only(tx)) || (await pinned(tx, low, high, cutoff))) return undefined;
        const { rows: counted } = await tx.query<{ runs: number }>(
          'select count(*)::int as runs from workflow_runs_finished where run_id >= $1 and run_id < $2',
          [low, high],
        );
        const { runs } = counted[0] as { runs: number };
        await writeDown(tx, runs, names[0]);
        await dropTables(tx, [...names, partitionName('workflow_events', week)]);
        return runs;
      })
      .catch(ignoreLockTimeout);
    if (free !== undefined) dropped.push(...names);
    rows += free ?? (await deleteExpired(store, { low, high, cutoff }, writeDown));
  }
  await store.query(
    `delete from workflow_triggers t where ctid in (
       select t.ctid from workflow_triggers t where t.created_at < to_timestamp($1::float8 / 1000)
         and not exists (select from workflow_runs r where r.run_id = t.run_id)
         and not exists (select from workflow_runs_finished f where f.run_id = t.run_id) limit $2)`,
    [cutoff, 10 * BATCH],
  );
  // its event may be there for longer, in a week that a live run holds back: nobody repeats it any more
  await store.query(
    `delete from workflow_event_keys where ctid = any(array(select ctid from workflow_event_keys where event_id < $1 order by event_id limit $2))`,
    [uuidAt(cutoff), 10 * BATCH],
  );
  await dropAskers(store, 10 * BATCH);
  await store.query('delete from workflow_takeovers where taken_at < to_timestamp($1::float8 / 1000)', [cutoff]);
  await store.query('delete from workflow_flows f using workflow_queues q where q.name = f.queue and f.turn <= q.turn');
  await store.query(
    `delete from workers w where w.dead and w.ended_at < now() - interval '7 days' and not exists (select from workflow_runs r where r.owner = w.worker_id)`,
  );
  return { dropped, rows };
}

/** Mondays of the weekly partitions that end before the cutoff, oldest first. */
async function oldWeeks(store: Store, cutoff: number): Promise<number[]> {
  const { rows } = await store.query<{ name: string }>(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'workflow_runs_finished'::regclass`,
  );
  return rows
    .flatMap(({ name }) => {
      const day = /_(\d{4})(\d\d)(\d\d)$/.exec(name);
      return day === null ? [] : [weekStart(Date.UTC(Number(day[1]), Number(day[2]) - 1, Number(day[3])))];
    })
    .filter((week) => week + WEEK_MS < cutoff)
    .sort((a, b) => a - b);
}

async function only(tx: Queryable): Promise<boolean> {
  await tx.query(`set local lock_timeout = '200ms'`);
  const { rows } = await tx.query<{ mine: boolean }>('select pg_try_advisory_xact_lock($1) as mine', [RETENTION_LOCK]);
  if (rows[0]?.mine !== true) return false;
  await tx.query('select lock_holds()');
  return true;
}

/** A live run keeps its week's steps; a run that ended lately, or that a hold keeps, its own. */
async function pinned(tx: Queryable, low: string, high: string, cutoff: number): Promise<boolean> {
  const { rows } = await tx.query<{ pinned: boolean }>(
    `select exists (select from workflow_runs where run_id >= $1 and run_id < $2)
         or exists (select from workflow_runs_finished where run_id >= $1 and run_id < $2 and ended_at >= to_timestamp($3::float8 / 1000))
         or exists (select from held_runs where run_id >= $1 and run_id < $2) as pinned`,
    [low, high, cutoff],
  );
  return rows[0]?.pinned === true;
}

async function dropTables(tx: Queryable, names: readonly string[]): Promise<void> {
  for (const name of names) await tx.query(`drop table if exists ${name}`);
}

async function deleteExpired(
  store: Store,
  { low, high, cutoff }: { readonly low: string; readonly high: string; readonly cutoff: number },
  writeDown: (tx: Queryable, runs: number) => Promise<unknown> | undefined,
): Promise<number> {
  for (let all = 0; ;) {
    const gone = await store.transaction(async (tx) => {
      if (!(await only(tx))) return 0;
      const { rows } = await tx.query<{ run_id: string }>(
        `delete from workflow_runs_finished where run_id in (
           select run_id from workflow_runs_finished where run_id >= $1 and run_id < $2 and ended_at < to_timestamp($3::float8 / 1000)
             and run_id not in (select run_id from held_runs) limit $4)
         returning run_id`,
        [low, high, cutoff, BATCH],
      );
      const ids = rows.map((row) => row.run_id);
      await tx.query('delete from workflow_steps where run_id = any($1::uuid[])', [ids]);
      await tx.query('delete from workflow_attempts where run_id = any($1::uuid[])', [ids]);
      await tx.query('delete from journal_seals where run_id = any($1::uuid[])', [ids]);
      // of runs that were cancelled just then
      await tx.query('delete from workflow_waits where run_id = any($1::uuid[])', [ids]);
      if (ids.length > 0) await writeDown(tx, ids.length);
      return ids.length;
    });
    all += gone;
    if (gone < BATCH) return all;
  }
}

function ignoreLockTimeout(error: { code?: string }): undefined {
  // a writer holds the table: the next round tries again
  if (error.code === '55P03') return undefined;
  throw error as Error;
}
