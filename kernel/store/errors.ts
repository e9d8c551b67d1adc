/** What can go wrong between us and Postgres, sorted by what the caller should do about it. */

export type StoreErrorCode =
  /** The connection is gone or Postgres is starting, stopping or out of a resource: trying again may help. */
  | 'UNAVAILABLE'
  /** The server cannot serve us however often we try: too old, wrong encoding, wrong credentials. */
  | 'UNSUITABLE'
  /** The database was migrated by a newer release, or a migration failed. */
  | 'MIGRATION';

export class StoreError extends Error {
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreError';
    this.code = code;
  }
}

export type Failure =
  /** Nothing was committed; the same statement may be sent again. */
  | 'retry'
  /** The connection dropped: the statement may or may not have committed. */
  | 'ambiguous'
  /** Postgres refuses these rows; sending them again cannot help. */
  | 'rejected';

/** Node's socket errors and pg's own words for a connection that ended under a query. */
const CONNECTION_LOST =
  /ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EHOSTUNREACH|terminated|Connection ended|not queryable|Client was closed|timeout exceeded/i;

/** What a failed statement means for its rows. */
export function classifyFailure(error: unknown): Failure {
  const state = sqlState(error);
  if (state === undefined) return CONNECTION_LOST.test(error instanceof Error ? error.message : String(error)) ? 'ambiguous' : 'rejected';
  // 40001 serialization, 40P01 deadlock, 55P03 lock timeout, 53 resources, 25006 read-only (a fail-over under way)
  if (state.startsWith('40') || state.startsWith('53') || state === '55P03' || state === '25006') return 'retry';
  // the queue of notifications is full, which whoever listens in an open transaction can bring about
  if (state === '54000' && /NOTIFY/.test((error as Error).message)) return 'retry';
  // 57P0x: the server is going away. The commit itself may have happened just before
  if (state.startsWith('08') || state.startsWith('57')) return 'ambiguous';
  return 'rejected';
}

/** The five-character SQLSTATE of a Postgres error, if it is one. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown })?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** True when trying again later may succeed. */
export function isTransient(error: unknown): boolean {
  if (error instanceof StoreError) return error.code === 'UNAVAILABLE';
  return classifyFailure(error) !== 'rejected';
}
