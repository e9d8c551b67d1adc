/**
 * Transactions of hosted workflows, in their own schema, as a role that has no other right. What a transaction came to is kept in
 * the same commit, in a table of that schema: a step that is executed again, because its checkpoint did not come to be, answers from there.
 */
import { createLeaseRoles, type LeaseRoles, type RoleHolder, sessionOptions } from '@centaur/kernel/firewall/roles';
import {
  classifyFailure,
  ensureWorkflowSchema,
  isTransient,
  type Queryable,
  sqlState,
  type Store,
  type StoreLogEntry,
} from '@centaur/kernel/store';
import { NonRetryableError } from '@centaur/sdk';
import pg from 'pg';
import type { RunTransaction } from './transaction-calls.ts';

export interface WorkflowTransactions {
  readonly run: RunTransaction;
  close(): Promise<void>;
}

/** Where a workflow's transactions are done. */
interface Place {
  readonly pool: pg.Pool;
  readonly holder: RoleHolder;
  /** Its role is good for a day: one that is used stays so. False when it is gone. */
  isGood(): Promise<boolean>;
}

const SESSIONS_MOST = 4;
const IDLE_MS = 30_000;
const HOLD_MS = 86_400_000;
/** About a quarter of an hour. */
const TRIES = 900;
/** The role may not log in any more. */
const REFUSED = new Set(['28P01', '28000']);
/** Longer than runs are kept. */
const KEPT_DAYS = 90;
const KEPT = 'centaur_transactions';

export function createWorkflowTransactions(store: Store, log: (entry: StoreLogEntry) => void): WorkflowTransactions {
  const roles = createLeaseRoles(log);
  const places = new Map<string, Promise<Place>>();

  async function placeOf(workflow: string): Promise<Place> {
    const made = places.get(workflow) ?? openPlace(store, roles, workflow);
    places.set(workflow, made);
    made.catch(() => places.delete(workflow));
    const place = await made;
    if (await place.isGood()) return place;
    await drop(workflow, place);
    return placeOf(workflow);
  }

  /** Its role is gone: the next transaction opens another. */
  async function drop(workflow: string, place: Place): Promise<void> {
    if ((await places.get(workflow)?.catch(() => undefined)) === place) places.delete(workflow);
    void place.pool.end().catch(() => {});
  }

  return {
    async run(workflow, key, work, isOver) {
      for (let tries = 1; ; tries++) {
        let place: Place | undefined;
        try {
          place = await placeOf(workflow);
          return await once(place.pool, key, work);
        } catch (error) {
          // what was committed is found by its key, so it may be tried until nobody waits
          const cause = error instanceof Broken ? error.cause : error;
          const refused = REFUSED.has(sqlState(cause) ?? '');
          if (refused && place !== undefined) await drop(workflow, place);
          if (isOver() || tries >= TRIES || !(refused || error instanceof Broken || isTransient(error))) throw cause;
          await new Promise((resolve) => setTimeout(resolve, Math.min(1000, 25 * 2 ** tries)));
        }
      }
    },
    async close() {
      const open = await Promise.all([...places.values()].map((place) => place.catch(() => undefined)));
      for (const place of open) {
        await place?.pool.end().catch(() => {});
        for (const end of place?.holder.open ?? []) end();
      }
      await roles.settled();
    },
  };
}

/** The connection went, and nothing the work did is to blame. */
class Broken extends Error {}

async function openPlace(store: Store, roles: LeaseRoles, workflow: string): Promise<Place> {
  const { schema, role: grant, reason } = await ensureWorkflowSchema(store, workflow);
  if (schema === undefined)
    throw new NonRetryableError(`the workflow has no place of its own in the database: ${reason}`, { code: 'NO_WORKFLOW_SCHEMA' });
  let until = Date.now() + HOLD_MS;
  const holder: RoleHolder = {
    leaseId: `transactions ${process.pid}`,
    get expiresAt() {
      return until;
    },
    open: new Set(),
  };
  const base = { id: schema, grant, owner: { connectionString: store.url } };
  const { user, password } = await roles.of(holder, base);
  const url = new URL(store.url);
  url.username = user;
  url.password = password;
  const pool = new pg.Pool({
    connectionString: url.href,
    options: sessionOptions(grant, { search_path: schema, statement_timeout: '5min', idle_in_transaction_session_timeout: '5min' }),
    max: SESSIONS_MOST,
    idleTimeoutMillis: IDLE_MS,
    types: { getTypeParser: typeParser as typeof pg.types.getTypeParser },
  });
  pool.on('error', () => {});
  await pool.query(
    `create table if not exists ${KEPT} (key text primary key, result json not null, committed_at timestamptz not null default now())`,
  );
  await pool.query(`delete from ${KEPT} where committed_at < now() - make_interval(days => $1)`, [KEPT_DAYS]);
  return {
    pool,
    holder,
    async isGood() {
      if (until - Date.now() > HOLD_MS / 2) return true;
      const before = until;
      until = Date.now() + HOLD_MS;
      try {
        return (await roles.of(holder, base)).user === user;
      } catch (error) {
        until = before;
        throw error;
      }
    },
  };
}

async function once(pool: pg.Pool, key: string, work: (tx: Queryable) => Promise<unknown>): Promise<unknown> {
  const client = await pool.connect().catch((error: Error) => {
    throw new Broken('no connection', { cause: error });
  });
  let broken: Error | undefined;
  let onError: (error: Error) => void = () => {};
  const lost = new Promise<never>((_, reject) => {
    onError = (error) => {
      broken = error;
      reject(error);
    };
  });
  lost.catch(() => {});
  client.on('error', onError);
  const query = async (sql: string, params?: readonly unknown[]) => {
    try {
      const { rows, rowCount } = await client.query(sql, params as unknown[] | undefined);
      return { rows: (rows ?? []) as never[], rowCount: rowCount ?? 0 };
    } catch (error) {
      if (classifyFailure(error) !== 'rejected') broken = error as Error;
      throw error;
    }
  };
  try {
    await query('begin');
    const kept = await query(`select result::text from ${KEPT} where key = $1`, [key]);
    const [known] = kept.rows as { result: string }[];
    if (known !== undefined) {
      await query('rollback');
      return JSON.parse(known.result) as unknown;
    }
    const value = (await Promise.race([work({ query }), lost])) ?? null;
    await keep(query, key, value);
    await query('commit');
    return value;
  } catch (error) {
    if (error instanceof Broken) throw error;
    if (broken !== undefined) throw new Broken('the connection broke', { cause: error });
    await query('rollback').catch(() => {});
    throw error;
  } finally {
    // nothing of it stays for the next: settings, tables that are temporary, the role
    const left = broken ?? (await cleanUp(client));
    client.off('error', onError);
    client.release(left);
  }
}

/** Another execution was faster, whose connection broke, or who lost its lease: what it came to holds. */
async function keep(query: Queryable['query'], key: string, value: unknown): Promise<void> {
  try {
    await query(`insert into ${KEPT} (key, result) values ($1, $2)`, [key, JSON.stringify(value)]);
  } catch (error) {
    if (sqlState(error) !== '23505') throw error;
    await query('rollback');
    throw new Broken('it was done already', { cause: error });
  }
}

async function cleanUp(client: pg.PoolClient): Promise<Error | undefined> {
  try {
    await client.query('discard all');
    await client.query('reset role');
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** Whole numbers as numbers, as in transactions in process. */
function typeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  if (oid === 20) return Number;
  return pg.types.getTypeParser(oid, format) as (text: string) => unknown;
}
