/** One call, one transaction: with limits in time, rows and bytes that hold whatever the statement is. */
import type { Socket } from 'node:net';
import { type ToolContext, ToolFailure } from '@centaur/sdk';
import type pg from 'pg';
import { driver, withSession } from '../_shared/database.ts';
import { cut } from '../_shared/results.ts';

export const DATABASE = 'POSTGRES_DATABASE';

export interface Statement {
  readonly sql: string;
  readonly params?: readonly unknown[];
}

export interface Limits {
  readonly rows: number;
  readonly bytes: number;
  /**
   * What becomes of the rows beyond them. `leave`: the statement ends there. `drop`: it goes on to its end, as one must that does
   * something for each of its rows.
   */
  readonly beyond: 'leave' | 'drop';
}

export interface Rows {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
  readonly command?: string;
  /** How many it changed, or read. */
  readonly row_count?: number;
  /** There are more than were asked for, or than fit. */
  readonly truncated?: true;
}

/** Changes nothing, whatever it is given: Postgres refuses. */
export function reading<T>(ctx: ToolContext, timeoutMs: number, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return inTransaction(ctx, 'read only', timeoutMs, work);
}

export function writing<T>(ctx: ToolContext, timeoutMs: number, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return inTransaction(ctx, 'read write', timeoutMs, work);
}

function inTransaction<T>(
  ctx: ToolContext,
  mode: 'read only' | 'read write',
  timeoutMs: number,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  return withSession(ctx, DATABASE, async (client) => {
    await client.query(`begin transaction ${mode}`);
    // the session ends with the call, so nothing has to be put back
    await client.query(`set statement_timeout = ${timeoutMs}`);
    await client.query(`set idle_in_transaction_session_timeout = ${timeoutMs}`);
    await client.query(`set lock_timeout = ${Math.min(timeoutMs, LOCK_MS)}`);
    const result = await work(client);
    await client.query(mode === 'read only' ? 'rollback' : 'commit');
    return result;
  });
}

/** Behind whoever holds a lock others would queue up. */
const LOCK_MS = 5000;
const CELL_CHARACTERS = 20_000;
/** Rows that come at a time where those beyond the limits are left. */
const PORTION = 100;
/** What may come of one statement, rows that are dropped among it. The driver has a row in memory, whole, before it shows it to anybody. */
const MOST_BYTES = 32 * 1024 * 1024;

/** A statement, of whose rows only so many are answered. Exactly one: the extended protocol takes no second. */
export async function run(client: pg.Client, { sql, params = [] }: Statement, limits: Limits): Promise<Rows> {
  const { Query, types } = await driver();
  const query = new Query<unknown[]>({
    text: sql,
    values: params.map(toParameter),
    rowMode: 'array',
    types: { getTypeParser: ((oid: number) => (PLAIN.has(oid) ? types.getTypeParser(oid) : asText)) as typeof types.getTypeParser },
    queryMode: 'extended',
    ...(limits.beyond === 'leave' ? { rows: PORTION } : {}),
  } as pg.QueryArrayConfig);
  const portal = query as unknown as Portal;
  const next = portal.handlePortalSuspended.bind(query);
  const rows: unknown[][] = [];
  let bytes = 0;
  let isFull = false;
  // the driver fetches one portion after the other; what is left of a portal goes with its transaction
  portal.handlePortalSuspended = (connection) => (isFull ? connection.sync() : next(connection));
  query.on('row', (row: unknown) => {
    if (isFull) return;
    const cells = (row as unknown[]).map((cell) => (typeof cell === 'string' ? cut(cell, CELL_CHARACTERS) : cell));
    bytes += Buffer.byteLength(JSON.stringify(cells));
    if (rows.length === limits.rows || bytes > limits.bytes) isFull = true;
    else rows.push(cells);
  });
  const { command, rowCount, fields } = await unlessTooLarge(
    client,
    () =>
      new Promise<pg.QueryArrayResult>((resolve, reject) => {
        query.on('error', reject).on('end', (result) => resolve(result as unknown as pg.QueryArrayResult));
        client.query(query);
      }),
  );
  return {
    columns: fields.map(({ name }) => name),
    rows,
    // a portal that was left before its end tells neither
    ...(command === null || rowCount === null ? {} : { command, row_count: rowCount }),
    ...(isFull ? { truncated: true } : {}),
  };
}

/** Ends the session, and so its transaction, when more than MOST_BYTES come. */
async function unlessTooLarge<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  const { stream } = (client as unknown as Connected).connection;
  const before = stream.bytesRead;
  let watch: (() => void) | undefined;
  const tooLarge = new Promise<never>((_, reject) => {
    watch = () => {
      if (stream.bytesRead - before <= MOST_BYTES) return;
      reject(
        new ToolFailure(
          'TOO_LARGE',
          `More than ${MOST_BYTES} bytes came of the statement, so its transaction was ended, and nothing of it is kept. ` +
            'Ask for fewer rows, or for parts of their columns.',
        ),
      );
      stream.destroy();
    };
    stream.on('data', watch);
  });
  try {
    return await Promise.race([work(), tooLarge]);
  } finally {
    stream.off('data', watch as () => void);
  }
}

/** What the driver has beyond its types. */
interface Portal {
  handlePortalSuspended(connection: { sync(): void }): void;
}

interface Connected {
  readonly connection: { readonly stream: Socket };
}

/** What JSON can hold without loss. Dates, numerics and bigints stay the text that Postgres wrote. */
const PLAIN = new Set([16, 21, 23, 26, 114, 700, 701, 1005, 1007, 1009, 1015, 3802]);

function asText(value: string): string {
  return value;
}

/** Lists are arrays; objects are JSON. */
function toParameter(value: unknown): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? JSON.stringify(value) : value;
}
