/**
 * How long what is kept, and what is over its time. Each room deletes its own; this counts, and calls on them in turn.
 *
 * Any number of processes may do it: what is deleted in batches is deleted once, and each batch says in the log what it was.
 */
import { type AuditLog, pruneLog, pruneState } from '../audit/index.ts';
import { applyRetention } from '../engine/index.ts';
import type { RetentionPeriods as Periods } from '../config/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { uuidAt, weekStart } from '../store/partitions.ts';
import { pruneCalls } from '../tools/index.ts';
import { HELD_LEASE, pruneLeases } from '../vault/index.ts';
import { dropOldDeliveries } from '../webhooks/index.ts';
import { eraseThread, refuseHeldIn } from './erase.ts';
import { CareError } from './errors.ts';

export interface Due {
  readonly what: 'runs' | 'webhook_deliveries' | 'threads' | 'tool_calls' | 'leases' | 'audit';
  /** Null: kept for ever. */
  readonly days: number | null;
  /** Rows that are over their time, and would go now. */
  readonly due: number;
  /** Rows that are over their time and stay: a hold keeps them, something of them is live, or they are not exported. */
  readonly kept: number;
  /** Why. */
  readonly because: string | null;
}

const DAY_MS = 86_400_000;
const THREADS_AT_ONCE = 100;

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
}

/** Changes nothing. */
export async function dueNow(store: Store, periods: Periods): Promise<readonly Due[]> {
  const cutoff = (days: number) => store.now() - days * DAY_MS;
  const count = async (sql: string, params: readonly unknown[]) =>
    (await store.query<{ due: number; kept: number }>(sql, params)).rows[0] as { due: number; kept: number };
  const weeks = (days: number) => uuidAt(weekStart(cutoff(days)));
  const held = 'a legal hold keeps them, or something live';
  const told = (what: Due['what'], days: number | null, counts: { due: number; kept: number }, because = held): Due => ({
    what,
    days,
    ...counts,
    because: counts.kept > 0 ? because : null,
  });
  const nothing = { due: 0, kept: 0 };
  const log = periods.audit === null ? undefined : await pruneState(store, new Date(cutoff(periods.audit)), periods.auditExport);
  return [
    told(
      'runs',
      periods.runs,
      await count(
        `select count(*) filter (where h.run_id is null)::int as due, count(h.run_id)::int as kept from workflow_runs_finished f
         left join held_runs h on h.run_id = f.run_id where f.run_id < $1 and f.ended_at < to_timestamp($2::float8 / 1000)`,
        [weeks(periods.runs), cutoff(periods.runs)],
      ),
    ),
    told(
      'webhook_deliveries',
      periods.webhookDeliveries,
      await count(
        `select count(*) filter (where h.run_id is null)::int as due, count(h.run_id)::int as kept from webhook_deliveries d
         left join held_runs h on h.run_id = d.run_id where d.delivery_id < $1`,
        [weeks(periods.webhookDeliveries)],
      ),
    ),
    told(
      'threads',
      periods.threads,
      periods.threads === null
        ? nothing
        : await count(
            `select count(*) filter (where ${FREE})::int as due, count(*) filter (where not (${FREE}))::int as kept from sandbox_sessions s where ${OLD}`,
            [cutoff(periods.threads)],
          ),
    ),
    told(
      'tool_calls',
      periods.toolCalls,
      await count('select count(*)::int as due, 0 as kept from tool_calls where created_at < to_timestamp($1::float8 / 1000)', [
        cutoff(periods.toolCalls),
      ]),
    ),
    told(
      'leases',
      periods.leases,
      await count(
        `select count(*) filter (where not (${HELD_LEASE}))::int as due, count(*) filter (where ${HELD_LEASE})::int as kept
         from leases l where l.expires_at < to_timestamp($1::float8 / 1000)`,
        [cutoff(periods.leases)],
      ),
    ),
    log === undefined
      ? told('audit', null, nothing)
      : told(
          'audit',
          periods.audit,
          log.because === null ? { due: log.entries, kept: 0 } : { due: 0, kept: log.entries },
          log.because ?? held,
        ),
  ];
}

const OLD = 's.last_used_at < to_timestamp($1::float8 / 1000)';
/** A run that asked for a turn, and waits for something else since, keeps its thread. */
const FREE = `s.thread_key not in (select thread_key from held_threads)
  and not exists (select from agent_execution_requests e where e.thread_key = s.thread_key and (e.completed_at is null
    or exists (select from workflow_runs r where r.run_id in (e.run_id, e.asked_by))))`;

/** What was deleted, by what it was. */
export async function pruneDue({ store, audit }: Parts, periods: Periods): Promise<Readonly<Record<string, number>>> {
  const done: Record<string, number> = {};
  const now = new Date(store.now());
  const { rows: runs } = await applyRetention(store, { retentionDays: periods.runs, now, audit });
  if (runs > 0) done['runs'] = runs;
  const { rows: deliveries } = await dropOldDeliveries(store, { retentionDays: periods.webhookDeliveries, now, audit });
  if (deliveries > 0) done['webhook_deliveries'] = deliveries;
  const threads = periods.threads === null ? 0 : await pruneThreads({ store, audit }, periods.threads);
  if (threads > 0) done['threads'] = threads;
  const calls = await pruneCalls(store, audit, periods.toolCalls);
  if (calls > 0) done['tool_calls'] = calls;
  const leases = await pruneLeases(store, audit, periods.leases);
  if (leases > 0) done['leases'] = leases;
  if (periods.audit !== null) {
    const dropped = await pruneLog(store, audit, new Date(now.getTime() - periods.audit * DAY_MS), periods.auditExport);
    if (dropped.length > 0) done['audit_partitions'] = dropped.length;
  }
  return done;
}

/** Threads in which nothing has happened for so long go as if they were erased. */
async function pruneThreads({ store, audit }: Parts, days: number): Promise<number> {
  let gone = 0;
  let after = '';
  for (;;) {
    const { rows } = await store.query<{ thread_key: string }>(
      `select s.thread_key from sandbox_sessions s where ${OLD} and ${FREE} and s.thread_key > $2 order by s.thread_key limit $3`,
      [store.now() - days * DAY_MS, after, THREADS_AT_ONCE],
    );
    for (const { thread_key: key } of rows) if (await pruneThread({ store, audit }, key, days)) gone += 1;
    after = rows.at(-1)?.thread_key ?? '';
    if (rows.length < THREADS_AT_ONCE) return gone;
  }
}

async function pruneThread({ store, audit }: Parts, key: string, days: number): Promise<boolean> {
  const cutoff = store.now() - days * DAY_MS;
  // whoever says something in a thread waits for the lock of its row, and moves the time
  const check = async (tx: Queryable) => {
    const { rows } = await tx.query(`select 1 from sandbox_sessions s where ${OLD} and ${FREE} and s.thread_key = $2 for update`, [
      cutoff,
      key,
    ]);
    if (rows.length === 0) throw new CareError('TURN_LIVE', `the thread ${JSON.stringify(key)} is in use again`);
  };
  try {
    await store.transaction(async (tx) => {
      await check(tx);
      await refuseHeldIn(tx, [key]);
      await audit.append(tx, {
        action: 'data.prune',
        actor: 'system',
        resource: `thread:${key}`,
        threadKey: key,
        details: { what: 'threads', days },
      });
    });
    await eraseThread(
      { store, audit, actor: 'system', count: async () => undefined, check },
      { kind: 'thread', key, text: `thread:${key}` },
    );
    return true;
  } catch (error) {
    // it came back to life, or a hold was placed, since it was looked at
    if (error instanceof CareError) return false;
    throw error;
  }
}
