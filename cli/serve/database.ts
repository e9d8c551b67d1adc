/** The database of a server: one that the environment names, or the embedded one. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '@centaur/kernel/config';
import { connectStore, describeUrl, migrate, type Store } from '@centaur/kernel/store';
import { HintedError } from '../exit.ts';
import type { Log } from '../log.ts';

export interface Database extends AsyncDisposable {
  readonly store: Store;
  /** With its password. */
  readonly url: string;
  /** Where it is, for people; never with a password. */
  readonly place: string;
}

/** Any fixed number of ours. */
const OWNER_LOCK = 7_226_005;
/** The sessions of a process that was killed a moment ago take a little to end. */
const OWNER_PATIENCE_MS = 2000;

/** Opens and migrates it. The embedded one stops when this is disposed of. */
export async function openDatabase(config: Config, log: Log): Promise<Database> {
  await using opening = new AsyncDisposableStack();
  let { databaseUrl: url } = config;
  let place = url === undefined ? '' : describeUrl(url);
  if (url === undefined) {
    const { startEmbeddedPostgres } = await import('@centaur/kernel/store/embedded');
    const folder = path.join(config.home, 'postgres');
    log({ level: 'debug', message: 'starting the embedded Postgres', folder });
    const server = await startEmbeddedPostgres({ dataDir: folder, onLog: (message) => log({ level: 'info', message }) });
    url = server.url;
    place = `embedded, in ${folder}`;
    await refuseSecondOwner(server.url, config.home, opening);
    opening.defer(() => server.stop());
  }
  const { applied } = await migrate(url);
  if (applied.length > 0) log({ level: 'info', message: 'migrated the database', applied });
  const store = await connectStore({ url, log });
  opening.defer(() => store.close());
  const stack = opening.move();
  return { store, url, place, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/**
 * The same database for a command of its own, whether or not a server runs on it; nothing is migrated. An embedded Postgres that
 * was not running stops with the command, and no `centaur up` takes it up meanwhile.
 *
 * @param absent what happens when there is no embedded one yet
 */
export async function borrowDatabase(
  config: Config,
  absent: 'make' | 'refuse',
): Promise<{ readonly url: string; readonly place: string } & AsyncDisposable> {
  if (config.databaseUrl !== undefined)
    return { url: config.databaseUrl, place: describeUrl(config.databaseUrl), [Symbol.asyncDispose]: async () => undefined };
  const folder = path.join(config.home, 'postgres');
  if (absent === 'refuse' && !existsSync(folder))
    throw new HintedError(
      `there is no database in ${config.home}`,
      'Set CENTAUR_HOME to the home of the server, or DATABASE_URL to its database.',
    );
  const { startEmbeddedPostgres } = await import('@centaur/kernel/store/embedded');
  const server = await startEmbeddedPostgres({ dataDir: folder });
  await using opening = new AsyncDisposableStack();
  if (!server.adopted) {
    await refuseSecondOwner(server.url, config.home, opening);
    opening.defer(() => server.stop());
  }
  const stack = opening.move();
  return { url: server.url, place: `embedded, in ${folder}`, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/**
 * Two `centaur up` on one home would share a Postgres that the first to end takes away from the other. The lock is a
 * session's, so a killed owner leaves nothing behind.
 */
async function refuseSecondOwner(url: string, home: string, opening: AsyncDisposableStack): Promise<void> {
  const store = await connectStore({ url, poolSize: 1 });
  try {
    const client = await store.connect('owner');
    const deadline = performance.now() + OWNER_PATIENCE_MS;
    for (;;) {
      const { rows } = await client.query<{ free: boolean }>('select pg_try_advisory_lock($1) as free', [OWNER_LOCK]);
      if (rows[0]?.free) break;
      if (performance.now() > deadline) {
        await client.end();
        throw new HintedError(
          `another "centaur up" is running on ${home}`,
          'Stop it first; or give this one a CENTAUR_HOME of its own; or give both a DATABASE_URL and run "centaur api" and "centaur worker".',
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // Held until the server has stopped: the next one must not take up a server that is going away
    opening.defer(() => client.end().catch(() => undefined));
  } finally {
    await store.close();
  }
}
