/**
 * Transactions of hosted workflows, in their own schema, as a role that has no other right. What a transaction came to is kept in
 * the same commit, in a table of that schema: a step that is executed again, because its checkpoint did not come to be, answers from there.
 */
import { createLeaseRoles, type LeaseRoles, type RoleHolder, sessionOptions } from '@centaur/kernel/firewall/roles';
import { classifyFailure, ensureWorkflowSchema, type Queryable, type Store, type StoreLogEntry } from '@centaur/kernel/store';
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
  /** Its role is good for a day: one that is used stays so. */
  keep(): Promise<unknown>;
}

const SESSIONS_MOST = 4;
const IDLE_MS = 30_000;
const HOLD_MS = 86_400_000;
const TRIES = 5;
const KEPT = 'centaur_transactions';

export function createWorkflowTransactions(store: Store, log: (entry: StoreLogEntry) => void): WorkflowTransactions {
  const roles = createLeaseRoles(log);
  const places = new Map<string, Promise<Place>>();

  function placeOf(workflow: string): Promise<Place> {
    const known = places.get(workflow);
    if (known !== undefined) return known;
    const made = openPlace(store, roles, workflow);
    places.set(workflow, made);
    made.catch(() => places.delete(workflow));
    return made;
  }

  return {
    async run(workflow, key, work) {
      const { pool, keep } = await placeOf(workflow);
      await keep();
      for (let tries = 1; ; tries++) {
        try {
          return await once(pool, key, work);
        } catch (error) {
          // what was committed is found by its key
          if (!(error instanceof Broken) || tries === TRIES) throw error instanceof Broken ? error.cause : error;
          await new Promise((resolve) => setTimeout(resolve, 50 * 2 ** tries));
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
  return {
    pool,
    holder,
    async keep() {
      if (until - Date.now() > HOLD_MS / 2) return;
      until = Date.now() + HOLD_MS;
      await roles.of(holder, base);
    },
  };
}

async function once(pool: pg.Pool, key: string, work: (tx: Queryable) => Promise<unknown>): Promise<unknown> {
  const client = await pool.connect().catch((error: Error) => {
    throw new Broken('no connection', { cause: error });
  });
  let broken: Error | undefined;
  const onError = (error: Error): void => {
    broken = error;
  };
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
    const value = (await work({ query })) ?? null;
    await query(`insert into ${KEPT} (key, result) values ($1, $2)`, [key, JSON.stringify(value)]);
    await query('commit');
    return value;
  } catch (error) {
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
  return pg.types.getTypeParser(oid, format as 'text') as (text: string) => unknown;
}
