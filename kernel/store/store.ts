import pg from 'pg';
import { StoreError, sqlState } from './errors.ts';
import { createListener, type Listener } from './listen.ts';

export interface QueryResult<Row> {
  readonly rows: Row[];
  readonly rowCount: number;
}

/** Anything that runs a statement: the store itself, or a transaction on it. */
export interface Queryable {
  query<Row extends object = Record<string, unknown>>(sql: string, params?: readonly unknown[]): Promise<QueryResult<Row>>;
}

export interface StoreOptions {
  /** `postgres://…`, Postgres 15 or newer, UTF-8. */
  readonly url: string;
  /** Most pooled connections, the listener and the writer not counted. Default 10. */
  readonly poolSize?: number;
  readonly log?: (entry: StoreLogEntry) => void;
}

export interface StoreLogEntry {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface Store extends Queryable {
  readonly url: string;
  /** Runs `work` in one transaction; commits when it returns, rolls back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** A connection of its own for a lane that must not wait for the pool. The caller ends it. */
  connect(name: string): Promise<pg.Client>;
  /** Milliseconds since 1970 on the database's clock: the local monotonic clock plus an offset measured at each `syncClock`. */
  now(): number;
  syncClock(): Promise<void>;
  readonly listener: Listener;
  close(): Promise<void>;
}

/**
 * Every statement here is a few index look-ups by design. With no statistics yet, or with stale ones, the planner may
 * pick a sequential scan or a hash join for them and keep it in a cached plan: so the alternatives are turned off and
 * plans are generic. It also saves planning on every flush.
 */
const SESSION = [
  '-c plan_cache_mode=force_generic_plan',
  '-c enable_seqscan=off',
  '-c enable_hashjoin=off',
  '-c enable_mergejoin=off',
  '-c jit=off',
  '-c timezone=UTC',
  '-c datestyle=iso',
].join(' ');

/**
 * `column = value` between a table and a batch, in a form that leaves the planner one way: for each row of the batch a
 * look-up in the column's index. With a plain `=`, a table that it takes for small, such as one that was analysed while
 * it was empty, may be read whole, each row held against the whole batch, and a prepared plan keeps doing so when the
 * table has grown. This form cannot be merge joined, so a full scan of the index has no use, and `SESSION` forbids the rest.
 */
export function lookUp(column: string, value: string): string {
  return `${column} = any(array[${value}])`;
}

/** Rows come back as the engine wants them: int8 as number, json as its text (parsed where it is used). */
const TYPES: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === 20) return Number;
    if (oid === 114) return (text: string) => text;
    if (oid === 1184) return (text: string) => timestampMs(text);
    return pg.types.getTypeParser(oid, format);
  },
};

/** `2026-11-20 22:17:03.123456+00` to milliseconds; the session's zone is always UTC. */
function timestampMs(text: string): number {
  if (text === 'infinity') return Number.POSITIVE_INFINITY;
  if (text === '-infinity') return Number.NEGATIVE_INFINITY;
  return Date.parse(`${text.slice(0, 10)}T${text.slice(11).replace(/\+00$/, 'Z')}`);
}

export function clientConfig(url: string, name: string): pg.ClientConfig {
  return {
    connectionString: url,
    application_name: `centaur ${name}`,
    options: SESSION,
    types: TYPES,
    keepAlive: true,
    // what stands between us and Postgres may forget a line on which nothing is said for minutes
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: 10_000,
  };
}

/**
 * Connects, and refuses a server that cannot hold the data: older than Postgres 15, or not UTF-8.
 *
 * @throws StoreError UNAVAILABLE or UNSUITABLE, with what to do about it and never with the password
 */
export async function connectStore(options: StoreOptions): Promise<Store> {
  const log = options.log ?? (() => {});
  const pool = new pg.Pool({ ...clientConfig(options.url, 'pool'), max: options.poolSize ?? 10, idleTimeoutMillis: 30_000 });
  // without listeners, on idle clients and on those in a transaction, a server restart would end the process
  pool.on('connect', (client) => client.on('error', () => {}));
  pool.on('error', (error) => log({ level: 'warn', message: 'an idle connection ended', error: error.message }));
  try {
    await checkServer(pool, options.url);
  } catch (error) {
    await pool.end();
    throw error;
  }

  let offsetMs = Date.now() - performance.now();
  let closed = false;
  const listener = createListener(() => connect('listener'), log);

  async function connect(name: string): Promise<pg.Client> {
    const client = new pg.Client(clientConfig(options.url, name));
    client.on('error', (error) => log({ level: 'warn', message: `the ${name} connection ended`, error: error.message }));
    await client.connect();
    return client;
  }

  const store: Store = {
    url: options.url,
    listener,
    connect,
    now: () => performance.now() + offsetMs,
    query: (sql, params) => runQuery(pool, sql, params),
    async syncClock() {
      const before = performance.now();
      const { rows } = await runQuery<{ ms: number }>(pool, 'select extract(epoch from clock_timestamp())::float8 * 1000 as ms');
      const ms = rows[0]?.ms ?? 0;
      // it was said between question and answer; when in between is not known, since the answer may have been read late
      offsetMs = Math.min(Math.max(offsetMs, ms - performance.now()), ms - before);
    },
    async transaction(work) {
      const client = await pool.connect();
      let broken: Error | undefined;
      try {
        await client.query('begin');
        const value = await work({ query: (sql, params) => runQuery(client, sql, params) });
        await client.query('commit');
        return value;
      } catch (error) {
        await client.query('rollback').catch((rollbackError: Error) => {
          broken = rollbackError;
        });
        throw error;
      } finally {
        client.release(broken);
      }
    },
    async close() {
      if (closed) return;
      closed = true;
      await listener.close();
      await pool.end();
    },
  };
  await store.syncClock();
  return store;
}

/** Statements are prepared once per connection under a name made from their text, so their plans are kept. */
async function runQuery<Row extends object>(
  on: pg.Pool | pg.PoolClient,
  sql: string,
  params: readonly unknown[] = [],
): Promise<QueryResult<Row>> {
  const result = await on.query<Row>(params.length === 0 ? sql : { name: statementName(sql), text: sql, values: params as unknown[] });
  return { rows: result.rows, rowCount: result.rowCount ?? 0 };
}

const statementNames = new Map<string, string>();

export function statementName(sql: string): string {
  let name = statementNames.get(sql);
  if (name === undefined) {
    name = `s${statementNames.size}`;
    statementNames.set(sql, name);
  }
  return name;
}

/** @throws StoreError UNSUITABLE for a server that cannot hold the data, before anything is written to it */
export async function checkServer(on: pg.Pool | pg.Client, url: string): Promise<void> {
  let row: { version: number; encoding: string } | undefined;
  try {
    const { rows } = await on.query<{ version: number; encoding: string }>(
      `select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding`,
    );
    row = rows[0];
  } catch (error) {
    throw connectionProblem(error, url);
  }
  if (row === undefined || row.version < 150_000) {
    throw new StoreError(
      'UNSUITABLE',
      `Postgres ${Math.floor((row?.version ?? 0) / 10_000)} is too old: DATABASE_URL must name Postgres 15 or newer`,
    );
  }
  if (row.encoding !== 'UTF8') {
    throw new StoreError('UNSUITABLE', `the database's encoding is ${row.encoding}: create it with "encoding 'UTF8'"`);
  }
}

export function connectionProblem(error: unknown, url: string): StoreError {
  const where = describeUrl(url);
  const state = sqlState(error);
  const cause = { cause: error };
  if (state === '28P01' || state === '28000')
    return new StoreError('UNSUITABLE', `Postgres at ${where} refused the user or password of DATABASE_URL`, cause);
  if (state === '3D000')
    return new StoreError('UNSUITABLE', `Postgres at ${where} has no such database: create it, or correct DATABASE_URL`, cause);
  return new StoreError(
    'UNAVAILABLE',
    `cannot reach Postgres at ${where}: ${(error as Error).message || (error as { code?: string }).code}; is it running, and is DATABASE_URL right?`,
    cause,
  );
}

/** Host, port and database of a connection URL: never its password. */
export function describeUrl(url: string): string {
  try {
    const parsed = new URL(url);
    return `${parsed.hostname}:${parsed.port || '5432'}${parsed.pathname}`;
  } catch {
    return 'the address in DATABASE_URL';
  }
}
