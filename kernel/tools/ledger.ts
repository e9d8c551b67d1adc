/**
 * Calls under an idempotency key, each a row of `tool_calls`. Whoever inserts the row makes the call; whoever comes later gets its answer.
 * A process that makes calls holds an advisory lock on its number while it lives, so that others know when nobody will answer any more.
 */
import type pg from 'pg';
import type { AuditLog } from '../audit/index.ts';
import { type Queryable, type Store, type StoreLogEntry, untilStored } from '../store/index.ts';
import { ToolError } from './errors.ts';
import { knownOf } from './outcome.ts';

export interface CallKey {
  /** Keys of one principal are nobody else's; of what it asks for a user, they are that user's: see `prepare.ts`. */
  readonly principal: string;
  readonly key: string;
}

export interface KnownCall extends CallKey {
  readonly callId: string;
}

export interface NewCall extends KnownCall {
  readonly tool: string;
  readonly method: string;
  readonly digest: Buffer;
  /** Doing it a second time does no harm. */
  readonly repeatable: boolean;
  /** Of the run that makes it, else 1. A later one makes a call again whose failure is known. */
  readonly attempt: number;
}

export type Begun =
  /** It is the caller's to make. */
  | { readonly state: 'mine' }
  /** Another process makes it. */
  | { readonly state: 'elsewhere' }
  | { readonly state: 'completed'; readonly callId: string; readonly result: unknown; readonly edited?: unknown }
  | { readonly state: 'failed'; readonly callId: string; readonly error: unknown }
  /** The key was used for something else. */
  | { readonly state: 'mismatch' }
  /** Whoever made it died before there was an answer, or an earlier attempt failed in a way that does not tell. */
  | { readonly state: 'unknown'; readonly callId: string };

export interface Ledger {
  begin(call: NewCall): Promise<Begun>;
  /** In the transaction that records the intent: from here on the call counts as made. */
  start(tx: Queryable, call: KnownCall): Promise<void>;
  /** These three are false when the row is not this call's, or says so already. */
  complete(tx: Queryable, call: KnownCall, result: unknown, edited?: object): Promise<boolean>;
  fail(tx: Queryable, call: KnownCall, error: unknown): Promise<boolean>;
  /** As if it had never been asked for. */
  forget(on: Queryable, call: KnownCall): Promise<boolean>;
  /** Tries until it is done: a row whose maker lives and does nothing would hold up its key. */
  settle(work: (tx: Queryable, isAgain: boolean) => Promise<void>): Promise<void>;
  /** Resolves when a call of another process may have ended, or soon. */
  changed(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const MAKER_LOCKS = 7_226_019;
const CHANNEL = 'centaur_tools';
/** How often is looked without a notification: a process that was killed sends none. */
const LOOK_MS = 500;
const AGAIN_MS = [100, 250, 500, 1000, 2000];

interface Row {
  readonly call_id: string;
  readonly digest: Buffer;
  readonly state: 'w' | 'r' | 'c' | 'f';
  readonly maker: number;
  readonly attempt: number;
  readonly result: string | null;
  readonly error: string | null;
  readonly edited: string | null;
}

export async function createLedger(store: Store, log: (entry: StoreLogEntry) => void): Promise<Ledger> {
  const closing = new AbortController();
  const waiting = new Set<() => void>();
  const maker = await openMaker(store, log, closing.signal);
  const unlisten = await store.listener.on(CHANNEL, () => {
    for (const wake of waiting) wake();
  });
  const change = async (on: Queryable, { principal, key, callId }: KnownCall, sql: string, ...values: readonly unknown[]) => {
    const { rowCount } = await on.query(`${sql} where principal = $1 and call_key = $2 and call_id = $3 and state in ('w', 'r')`, [
      principal,
      key,
      callId,
      ...values,
    ]);
    await on.query(`select pg_notify('${CHANNEL}', '')`);
    return rowCount === 1;
  };

  const ledger: Ledger = {
    async begin(call) {
      const { rowCount } = await store.query(
        `insert into tool_calls (principal, call_key, call_id, tool, method, digest, maker, attempt)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing`,
        [call.principal, call.key, call.callId, call.tool, call.method, call.digest, maker.id, call.attempt],
      );
      if (rowCount === 1) return { state: 'mine' };
      const { rows } = await store.query<Row>(
        'select call_id, digest, state, maker, attempt, result, error, edited from tool_calls where principal = $1 and call_key = $2',
        [call.principal, call.key],
      );
      const [row] = rows;
      // it was forgotten just now
      if (row === undefined) return ledger.begin(call);
      const callId = row.call_id;
      if (!row.digest.equals(call.digest)) return { state: 'mismatch' };
      if (row.state === 'c')
        return {
          state: 'completed',
          callId,
          result: JSON.parse(row.result ?? 'null') as unknown,
          ...(row.edited === null ? {} : { edited: JSON.parse(row.edited) as unknown }),
        };
      if (row.state === 'f') {
        const error = JSON.parse(row.error ?? '{}') as unknown;
        if (call.attempt <= row.attempt) return { state: 'failed', callId, error };
        const known = call.repeatable ? 'failed' : knownOf(error);
        if (known === 'failed') return again(call, row);
        return known === 'made' ? { state: 'failed', callId, error } : { state: 'unknown', callId };
      }
      return takeOver(call, row);
    },
    async start(tx, call) {
      const { rowCount } = await tx.query(
        `update tool_calls set state = 'r' where principal = $1 and call_key = $2 and call_id = $3 and state = 'w'`,
        [call.principal, call.key, call.callId],
      );
      // another process took this one for dead, and makes the call
      if (rowCount === 0)
        throw new ToolError('TOOL_CANCELLED', 'another process makes this call by now: under the same key its answer comes', {
          retryable: true,
        });
    },
    async complete(tx, call, result, edited) {
      const done = `update tool_calls set state = 'c', result = $4, edited = $5, ended_at = now()`;
      return change(tx, call, done, JSON.stringify(result), edited === undefined ? null : JSON.stringify(edited));
    },
    async fail(tx, call, error) {
      return change(tx, call, `update tool_calls set state = 'f', error = $4, ended_at = now()`, JSON.stringify(error));
    },
    async forget(on, call) {
      return change(on, call, 'delete from tool_calls');
    },
    async settle(work) {
      await untilStored((isAgain) => store.transaction((tx) => work(tx, isAgain)), {
        signal: closing.signal,
        onFailure: (error) =>
          log({ level: 'warn', message: 'what became of a tool call is not stored yet; trying again', error: error.message }),
      });
    },
    async changed(signal) {
      const told = new AbortController();
      const wake = () => told.abort();
      waiting.add(wake);
      await pause(LOOK_MS, AbortSignal.any([told.signal, signal, closing.signal]));
      waiting.delete(wake);
    },
    async close() {
      closing.abort();
      unlisten();
      await maker.close();
    },
  };
  return ledger;

  /** What failed for an earlier attempt of the run, and is known to have. */
  async function again(call: NewCall, row: Row): Promise<Begun> {
    const { rowCount } = await store.query(
      `update tool_calls set state = 'w', maker = $4, call_id = $5, attempt = $6, error = null, ended_at = null
       where principal = $1 and call_key = $2 and call_id = $3 and state = 'f'`,
      [call.principal, call.key, row.call_id, maker.id, call.callId, call.attempt],
    );
    return rowCount === 1 ? { state: 'mine' } : ledger.begin(call);
  }

  /** Of a process that is dead: its lock is free. Who gets it holds it until the row has changed, so that one alone takes over. */
  async function takeOver(call: NewCall, row: Row): Promise<Begun> {
    return store.transaction(async (tx) => {
      const { rows } = await tx.query<{ dead: boolean }>('select pg_try_advisory_xact_lock($1, $2) as dead', [MAKER_LOCKS, row.maker]);
      if (rows[0]?.dead !== true) return { state: 'elsewhere' };
      if (row.state === 'r' && !call.repeatable) {
        // it may have ended between the look and the lock
        const { rows: now } = await tx.query<{ state: string }>('select state from tool_calls where call_id = $1', [row.call_id]);
        return now[0]?.state === 'r' ? { state: 'unknown', callId: row.call_id } : { state: 'elsewhere' };
      }
      const { rowCount } = await tx.query(
        `update tool_calls set maker = $4, call_id = $5, attempt = $7, state = 'w'
         where principal = $1 and call_key = $2 and call_id = $3 and state = $6`,
        [call.principal, call.key, row.call_id, maker.id, call.callId, row.state, call.attempt],
      );
      return { state: rowCount === 1 ? 'mine' : 'elsewhere' };
    });
  }
}

/** Calls that nobody will send again under their keys, a batch at a time. Those of whom a legal hold keeps stay. */
export async function pruneCalls(store: Store, audit: AuditLog, days: number): Promise<number> {
  for (let all = 0; ;) {
    const gone = await store.transaction(async (tx) => {
      await tx.query('select lock_holds()');
      const { rowCount } = await tx.query(
        `with held as (select principal from held_principals)
         delete from tool_calls where ctid = any(array(
           select c.ctid from tool_calls c where c.created_at < now() - make_interval(days => $1)
             and split_part(c.principal, ' ', 1) not in (select principal from held) and split_part(c.principal, ' ', 2) not in (select principal from held)
           limit $2 for update skip locked))`,
        [days, PRUNED_AT_ONCE],
      );
      if (rowCount > 0)
        await audit.append(tx, { action: 'data.prune', actor: 'system', resource: 'tool_calls', details: { days, tool_calls: rowCount } });
      return rowCount;
    });
    all += gone;
    if (gone < PRUNED_AT_ONCE) return all;
  }
}

const PRUNED_AT_ONCE = 1000;

interface Maker {
  readonly id: number;
  close(): Promise<void>;
}

/**
 * A number that is locked on a connection of its own. While that is being made anew, this process passes for dead: then calls that may
 * not be repeated are refused, and others are made a second time, which does no harm.
 */
async function openMaker(store: Store, log: (entry: StoreLogEntry) => void, closing: AbortSignal): Promise<Maker> {
  const { rows } = await store.query<{ id: number }>(`select nextval('tool_makers')::int as id`);
  const id = (rows[0] as { id: number }).id;
  let client: pg.Client | undefined;
  async function connect(): Promise<void> {
    const opened = await store.connect('tools');
    await opened.query('select pg_advisory_lock_shared($1, $2)', [MAKER_LOCKS, id]);
    if (closing.aborted) return opened.end();
    client = opened;
    opened.once('end', () => {
      if (client === opened && !closing.aborted) void reconnect();
    });
  }
  async function reconnect(): Promise<void> {
    for (let attempt = 0; !closing.aborted; attempt++) {
      try {
        return await connect();
      } catch (error) {
        if (attempt === 0)
          log({ level: 'warn', message: 'the connection of the tools cannot be made; trying again', error: (error as Error).message });
        await pause(AGAIN_MS[Math.min(attempt, AGAIN_MS.length - 1)] as number, closing);
      }
    }
  }
  await connect();
  return { id, close: async () => client?.end() };
}

/** Ends early, and quietly, when the signal aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
