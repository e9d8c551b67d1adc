/**
 * Exchanging a refresh token, which the provider may let be used once: by one process at a time, of the secret as it is then, and with
 * what comes back stored, or nobody has the account any more.
 */
import type pg from 'pg';
import type { AuditLog } from '../audit/index.ts';
import { type Store, StoreError, type StoreLogEntry, untilStored } from '../store/index.ts';
import {
  breakConnection,
  clientIsRefused,
  connectionOf,
  type HeldSecret,
  isOverForGood,
  keepExchanged,
  type MasterKey,
  noteClient,
  readConnected,
  reconnectCommand,
  type Values,
} from '../vault/index.ts';
import { RefusedError } from './target.ts';

export interface Token {
  readonly text: string;
  readonly expiresAt: number;
}

export interface Minted {
  readonly token: Token;
  readonly value: string | undefined;
  readonly spent: boolean;
}

export interface Mint {
  /** Of a token that another process has made meanwhile. */
  kept(held: HeldSecret): Token | undefined;
  /**
   * @param held the secret, as it was read when nobody else could exchange it
   * @param unless aborts when the provider must not be asked any more. What was sent is waited for all the same: the value is spent then
   * @returns the token, and the value that takes the place of the one that was exchanged; `spent`: which is of no more use
   */
  ask(held: HeldSecret, unless: AbortSignal): Promise<Minted>;
}

export interface Refreshed {
  readonly token: Token;
  /** Of the value that the token is of. */
  readonly version: string;
}

export interface Refreshes {
  /** @param asked the secret, as the request that needs the token was checked against it */
  refresh(asked: HeldSecret, mint: Mint): Promise<Refreshed>;
  /** No provider is asked from now on. What was asked for is stored before this resolves. */
  close(): Promise<void>;
}

export interface RefreshParts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly master: MasterKey;
  readonly values: Values;
  readonly log: (entry: StoreLogEntry) => void;
}

/** As long as a fail-over of the database takes, and longer. */
const STORE_MS = 10 * 60_000;
/** So long a process that stops goes on storing: as long as a provider may take to answer, and some seconds. `centaur up` waits longer. */
const STOP_MS = 25_000;
const LAST_TRY_MS = 5_000;

export function createRefreshes({ store, audit, master, values, log }: RefreshParts): Refreshes {
  const running = new Set<Promise<unknown>>();
  const stopping = new AbortController();
  /** Then it is tried no more. */
  const over = new AbortController();

  return {
    refresh(asked, mint) {
      const work = exchange(asked, mint).finally(() => running.delete(work));
      running.add(work);
      return work;
    },
    async close() {
      stopping.abort(new RefusedError(503, 'SECRET_UNAVAILABLE', 'the firewall stops'));
      const timer = setTimeout(() => over.abort(), STOP_MS);
      let late: NodeJS.Timeout | undefined;
      // of a database that takes no notice, nothing comes
      const end = new Promise((resolve) => (late = setTimeout(resolve, STOP_MS + LAST_TRY_MS)));
      await Promise.race([Promise.allSettled(running), end]);
      clearTimeout(timer);
      clearTimeout(late);
    },
  };

  async function exchange(asked: HeldSecret, mint: Mint): Promise<Refreshed> {
    const { name } = asked;
    const lock = await takeLock(store, name, stopping.signal);
    try {
      await values.refresh();
      const held = values.get(name);
      if (!isSame(asked, held)) throw setAnew(name);
      const kept = mint.kept(held);
      if (kept !== undefined) return { token: kept, version: held.version };
      // of a connection that ended unnoticed, which this one finds out
      await lock.client.query('select 1');
      const unless = AbortSignal.any([lock.lost, stopping.signal]);
      const connection = connectionOf(held.options);
      const { token, value, spent } = await (connection === undefined
        ? mint.ask(held, unless)
        : mintOfAccount(held, connection, () => mint.ask(held, unless)));
      const version = value === undefined ? held.version : await (spent ? keep(held, value) : keepIfPossible(held, value));
      if (version === undefined) throw setAnew(name);
      await values.refresh();
      return { token, version };
    } finally {
      await lock.client.end().catch(() => undefined);
    }
  }

  /** Also when the lock was lost meanwhile: the value before is of no more use to anybody. @returns undefined when it is not the present one */
  async function keep(held: HeldSecret, value: string): Promise<string | undefined> {
    const { name } = held;
    // a key service that is away is waited for like the database
    const wrap: MasterKey['wrap'] = (key) =>
      master.wrap(key).catch((error: Error) => Promise.reject(new StoreError('UNAVAILABLE', `the key service: ${error.message}`)));
    return untilStored(
      async (isAgain) => {
        const stored = await storeOnce(held, value, { ...master, wrap });
        if (stored !== undefined || !isAgain) return stored;
        // the try before had committed, and its answer was lost
        await values.refresh();
        const present = values.get(name);
        return present.value === value ? present.version : undefined;
      },
      {
        forMs: STORE_MS,
        signal: over.signal,
        onFailure: (error) =>
          log({ level: 'error', message: 'a rotated token is not stored yet; trying again', secret: name, error: error.message }),
      },
    );
  }

  /** What was exchanged is still right, and the token is good without being stored: the others ask for one of their own then. */
  async function keepIfPossible(held: HeldSecret, value: string): Promise<string | undefined> {
    try {
      return await storeOnce(held, value, master);
    } catch (error) {
      const { name: secret, version } = held;
      log({ level: 'warn', message: 'an access token is not stored for other processes', secret, error: (error as Error).message });
      return version;
    }
  }

  function storeOnce({ name, version, options }: HeldSecret, value: string, sealing: MasterKey): Promise<string | undefined> {
    const exchanged = { version, connection: connectionOf(options) };
    return store.transaction((tx) => keepExchanged(tx, { audit, master: sealing }, name, value, exchanged));
  }

  /** Of a connected account: one that the provider has refused for good is not asked for again. */
  async function mintOfAccount<T>(held: HeldSecret, connectionId: string, ask: () => Promise<T>): Promise<T> {
    const { name: secret } = held;
    const account = await readConnected(store, connectionId);
    const broken = () => {
      const how = account === undefined ? '' : `: ${reconnectCommand(account)}`;
      return new RefusedError(403, 'ACCOUNT_BROKEN', `the account behind ${secret} has to be connected again${how}`, { secret });
    };
    if (account?.status !== 'connected') throw broken();
    // what is told of an account must not keep its tokens from being stored
    const tell = (work: Promise<void>) =>
      work.catch((error: Error) => log({ level: 'warn', message: 'how an account stands is not stored', secret, error: error.message }));
    try {
      const minted = await ask();
      if (account.reason !== null) void tell(noteClient({ store, audit }, connectionId, 'known'));
      return minted;
    } catch (error) {
      const { error: said } = (error instanceof RefusedError ? error.details : undefined) ?? {};
      if (clientIsRefused(said)) await tell(noteClient({ store, audit }, connectionId, 'refused'));
      if (!isOverForGood(said)) throw error;
      // another process may have exchanged it, and stored what it got only now
      throw (await breakConnection({ store, audit }, connectionId, held)) ? broken() : setAnew(secret);
    }
  }
}

interface Lock {
  readonly client: pg.Client;
  readonly lost: AbortSignal;
}

/** The same as `lockTokens` of the vault takes, on a connection of its own. */
async function takeLock(store: Store, name: string, stopping: AbortSignal): Promise<Lock> {
  stopping.throwIfAborted();
  const client = await store.connect('rotation');
  const lost = new AbortController();
  client.once('end', () =>
    lost.abort(new RefusedError(503, 'SECRET_UNAVAILABLE', `the connection to the database ended while a token was asked for ${name}`)),
  );
  // whoever has it may have to wait for a provider, and for the database
  const leave = () => void client.end().catch(() => undefined);
  stopping.addEventListener('abort', leave);
  try {
    stopping.throwIfAborted();
    await client.query('select pg_advisory_lock(7226012, hashtext($1))', [name]);
  } catch (error) {
    await client.end().catch(() => undefined);
    throw stopping.aborted ? stopping.reason : error;
  } finally {
    stopping.removeEventListener('abort', leave);
  }
  return { client, lost: lost.signal };
}

/** Whether what the request was checked against is what the token is for. */
function isSame(asked: HeldSecret, held: HeldSecret): boolean {
  return (
    asked.type === held.type &&
    connectionOf(asked.options) === connectionOf(held.options) &&
    JSON.stringify(asked.binding) === JSON.stringify(held.binding)
  );
}

function setAnew(name: string): RefusedError {
  return new RefusedError(503, 'SECRET_CHANGED', `${name} was set anew while a token was made of it; make the request again`, {
    secret: name,
  });
}
