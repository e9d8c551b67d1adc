/** Where notes are kept: a schema of its own in the database of MEMORY_DATABASE, made with the first call. */
import { type ToolContext, ToolFailure } from '@centaur/sdk';
import type pg from 'pg';
import { driver, settings, toFailure } from '../_shared/database.ts';

export const DATABASE = 'MEMORY_DATABASE';
/** Of the vectors, where there are any. */
export const DIMENSIONS = 512;
/** What was forgotten or replaced can be had back for so long. */
export const KEPT_DAYS = 30;

/** One at a time makes it; any number of ours. */
const LOCK = 7_261_014;
const STATEMENT_MS = 20_000;
const SESSIONS = 4;

/** One row for each version of a note: what is replaced or forgotten has a time in `removed_at`. */
const TABLES = `
  create table if not exists centaur_memory.notes (
    id bigint generated always as identity primary key,
    thread_key text,
    key text,
    text text not null,
    tags text[] not null default '{}',
    created_at timestamptz not null default now(),
    removed_at timestamptz,
    call text not null unique,
    words tsvector not null
  );
  create unique index if not exists notes_key on centaur_memory.notes (coalesce(thread_key, ''), (thread_key is null), key)
    where removed_at is null and key is not null;
  create index if not exists notes_words on centaur_memory.notes using gin (words) where removed_at is null;
  create index if not exists notes_newest on centaur_memory.notes (thread_key, id desc) where removed_at is null;`;

export interface Notebook {
  /** Where there is a column for vectors: the schema that pgvector is in, quoted. */
  readonly vectors: string | undefined;
  transaction<T>(ctx: ToolContext, work: (client: pg.ClientBase) => Promise<T>): Promise<T>;
  query<Row extends pg.QueryResultRow>(ctx: ToolContext, sql: string, values: readonly unknown[]): Promise<readonly Row[]>;
}

let opened: Promise<Notebook & { close(): Promise<void> }> | undefined;

export function notebook(): Promise<Notebook> {
  opened ??= open().catch((error: unknown) => {
    opened = undefined;
    throw error;
  });
  return opened;
}

/** For tests, which have a database each. */
export async function closeNotebook(): Promise<void> {
  const closing = opened;
  opened = undefined;
  await (await closing?.catch(() => undefined))?.close();
}

async function open(): Promise<Notebook & { close(): Promise<void> }> {
  const { Pool } = await driver();
  const pool = new Pool({
    ...settings(DATABASE),
    max: SESSIONS,
    idleTimeoutMillis: 30_000,
    allowExitOnIdle: true,
    statement_timeout: STATEMENT_MS,
  });
  // a session that breaks while nobody uses it is replaced
  pool.on('error', () => undefined);
  try {
    const vectors = await withClient(pool, make);
    const transaction: Notebook['transaction'] = (ctx, work) =>
      withClient(
        pool,
        async (client) => {
          await client.query('begin');
          const result = await work(client);
          await client.query('commit');
          return result;
        },
        ctx,
      );
    return {
      vectors,
      transaction,
      query: <Row extends pg.QueryResultRow>(ctx: ToolContext, sql: string, values: readonly unknown[]) =>
        withClient(pool, async (client) => (await client.query<Row>(sql, [...values])).rows, ctx),
      close: () => pool.end(),
    };
  } catch (error) {
    await pool.end().catch(() => undefined);
    throw error;
  }
}

/** A session that failed in the middle is not used again: nobody knows in which state it is. */
async function withClient<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>, ctx?: ToolContext): Promise<T> {
  let client: pg.PoolClient | undefined;
  let failed = true;
  let released = false;
  const leave = (): void => {
    if (client === undefined || released) return;
    released = true;
    client.release(failed);
  };
  ctx?.signal.addEventListener('abort', leave, { once: true });
  try {
    ctx?.signal.throwIfAborted();
    client = await pool.connect();
    const result = await work(client);
    failed = false;
    return result;
  } catch (error) {
    throw toFailure(error, DATABASE);
  } finally {
    ctx?.signal.removeEventListener('abort', leave);
    leave();
  }
}

async function make(client: pg.ClientBase): Promise<string | undefined> {
  await client.query('begin');
  await client.query('select pg_advisory_xact_lock($1)', [LOCK]);
  const { rows: schemas } = await client.query(`select 1 from pg_namespace where nspname = 'centaur_memory'`);
  // asked first: even where it exists, making it needs a right on the database
  if (schemas.length === 0) await allowed(client, 'create schema centaur_memory');
  await allowed(client, TABLES);
  const vectors = await addVectors(client);
  await client.query(`delete from centaur_memory.notes where removed_at < now() - make_interval(days => $1)`, [KEPT_DAYS]);
  await client.query('commit');
  return vectors;
}

/**
 * Only where somebody has put the extension into the database: that needs rights which this role should not have. The column has no
 * index: one of pgvector's finds the nearest of all notes first and looks after that which of them may be seen, so a conversation with few
 * notes beside many of others would find none. Without it, those that may be seen are compared, all of them.
 */
async function addVectors(client: pg.ClientBase): Promise<string | undefined> {
  const { rows } = await client.query<{ schema: string }>(
    `select quote_ident(n.nspname) as schema from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'`,
  );
  const schema = rows[0]?.schema;
  if (schema === undefined) return undefined;
  await allowed(
    client,
    `alter table centaur_memory.notes add column if not exists embedding ${schema}.vector(${DIMENSIONS});
     drop index if exists centaur_memory.notes_embedding`,
  );
  return schema;
}

async function allowed(client: pg.ClientBase, sql: string): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    if ((error as { code?: string }).code !== '42501') throw error;
    throw new ToolFailure(
      'NOT_SET_UP',
      `The role of ${DATABASE} may not make the schema centaur_memory, or does not own it. As an administrator of the database: ` +
        `create schema centaur_memory authorization ROLE; with the role that the secret's option names.`,
      { cause: error },
    );
  }
}
