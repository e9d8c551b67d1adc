/**
 * How the built-in tools speak to Postgres: through the firewall's listener, with the placeholder of a secret of type `pg_dsn`, and with
 * one way of telling an agent what went wrong. The driver is loaded with the first call: a tool that is only asked what it is does
 * without.
 */
import { secret, type ToolContext, ToolFailure } from '@centaur/sdk';
import type pg from 'pg';

/** Of the listener, which makes a role first. */
const CONNECT_MS = 15_000;

export async function driver(): Promise<typeof pg> {
  return (await import('pg')).default;
}

export function settings(name: string): pg.ClientConfig {
  return { connectionString: secret(name), connectionTimeoutMillis: CONNECT_MS, application_name: 'centaur tool' };
}

/**
 * Runs `work` on a session of its own, so that no call finds what another has set. When the caller is gone the session ends.
 *
 * @throws ToolFailure
 */
export async function withSession<T>(ctx: ToolContext, name: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const { Client } = await driver();
  const client = new Client(settings(name));
  // what went wrong is told by the query that it goes wrong in
  client.on('error', () => undefined);
  const leave = (): void => void client.end().catch(() => undefined);
  try {
    await client.connect();
  } catch (error) {
    throw toFailure(error, name);
  }
  ctx.signal.addEventListener('abort', leave, { once: true });
  try {
    ctx.signal.throwIfAborted();
    return await work(client);
  } catch (error) {
    throw toFailure(error, name);
  } finally {
    ctx.signal.removeEventListener('abort', leave);
    await client.end().catch(() => undefined);
  }
}

interface DatabaseError extends Error {
  readonly code?: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly position?: string;
}

/** By class (two characters) or state (five) of Postgres. */
const CODES: Readonly<Record<string, string>> = {
  '22': 'BAD_REQUEST',
  '23': 'CONFLICT',
  '25006': 'READ_ONLY',
  '28': 'UNAUTHORIZED',
  '40': 'CONFLICT',
  '42': 'BAD_REQUEST',
  '42501': 'FORBIDDEN',
  '42P01': 'NOT_FOUND',
  '3F000': 'NOT_FOUND',
  '53': 'UNAVAILABLE',
  '57014': 'TIMEOUT',
  '57': 'UNAVAILABLE',
  '08': 'UNAVAILABLE',
};
/** Nothing of the statement was kept, and another try may find things different: deadlocks, no room, a server that restarts. */
const AGAIN = /^(?:40001|40P01|53...|57P..)$/;

/** In the words of the database, with the place in the statement where it tells one. */
export function toFailure(error: unknown, name: string): unknown {
  if (error instanceof ToolFailure || !(error instanceof Error) || error.name === 'AbortError') return error;
  const { code = '', detail, hint, position, message } = error as DatabaseError;
  if (!/^[0-9A-Z]{5}$/.test(code))
    return new ToolFailure('UNREACHABLE', `The database of ${name} could not be reached, or the session broke off: ${message}.`, {
      cause: error,
    });
  const more = [detail, hint, position === undefined ? undefined : `at character ${position} of the statement`].filter(Boolean);
  const kind = CODES[code] ?? CODES[code.slice(0, 2)] ?? 'REFUSED';
  return new ToolFailure(kind, `Postgres: ${message} (${[code, ...more].join('; ')})`, { cause: error, retryable: AGAIN.test(code) });
}
