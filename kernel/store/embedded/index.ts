/**
 * The embedded Postgres: a real server, run from binaries that come with npm, for whoever has no database yet.
 *
 * It promises that data survives `kill -9` of anything at any moment, that a server left behind by a killed parent is
 * taken up again, and that it works for root and for ordinary users alike. It listens on 127.0.0.1 only, asks for a
 * password that only its owner can read, and never deletes or overwrites data that it did not make in a temporary folder.
 */
import { join, resolve } from 'node:path';
import pg from 'pg';
import { findBinaries } from './binaries.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { readLock, serves } from './lock.ts';
import { findPlace } from './place.ts';
import { bootServer, findServer, type Server, stopServer, urlOf } from './server.ts';

export interface EmbeddedOptions {
  /** Where the cluster lives. Root's data may be placed elsewhere, with a note here: see `place.ts`. */
  readonly dataDir: string;
  /** Created when missing. Default `centaur`. */
  readonly database?: string;
  /** Default: the one of last time, or any free one. A given port that is taken is an error. */
  readonly port?: number;
  /** Settings of postgresql.conf, over those of `server.ts`. A server that is taken up keeps those it was started with. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Hears what takes long or may surprise, such as where the data went. */
  readonly onLog?: (message: string) => void;
  /** For tests: initdb does not wait for the disk. The server itself stays durable. */
  readonly throwaway?: boolean;
  /** Folder with `bin/`, `lib/` and `share/` of another Postgres. Default: the npm package's. */
  readonly binaries?: string;
}

export interface EmbeddedPostgres {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** True when a server that was already running on this data was taken up. */
  readonly adopted: boolean;
  /** `fast` ends sessions and writes a checkpoint; `immediate` is a crash, with recovery at the next start. The port stays. */
  restart(mode?: 'fast' | 'immediate'): Promise<void>;
  /** Ends sessions, writes a checkpoint and waits until the server is gone, adopted or not. */
  stop(): Promise<void>;
}

/** @throws StoreError UNSUITABLE with what is missing, or UNAVAILABLE when the server does not come up */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const log = options.onLog ?? (() => {});
  const place = findPlace(resolve(options.dataDir), options.binaries ?? findBinaries(), log);
  const cluster = await openCluster(place, { throwaway: options.throwaway === true, log });
  let server = (await findServer(cluster)) ?? (await bootServer(cluster, options.port, options.settings));
  const { adopted } = server;
  const database = options.database ?? 'centaur';
  await createDatabase(cluster, server, database);

  return {
    get url() {
      return urlOf(cluster, server.port, database);
    },
    get port() {
      return server.port;
    },
    get pid() {
      return server.pid;
    },
    adopted,
    async restart(mode = 'fast') {
      await stopServer(cluster, server.pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
      server = await bootServer(cluster, server.port, options.settings);
    },
    stop: () => stopServer(cluster, server.pid, 'SIGINT'),
  };
}

/** Stops a server that a killed process left behind on this folder. Answers whether there was one. */
export async function stopEmbeddedPostgres(options: Pick<EmbeddedOptions, 'dataDir' | 'binaries'>): Promise<boolean> {
  const { home } = findPlace(resolve(options.dataDir), options.binaries ?? findBinaries(), () => {});
  const folder = join(home, 'pg');
  const lock = readLock(folder);
  if (lock === undefined || !serves(lock.pid, folder)) return false;
  await stopServer({ home, folder }, lock.pid, 'SIGINT');
  return true;
}

async function createDatabase(cluster: Cluster, server: Server, name: string): Promise<void> {
  const client = new pg.Client(urlOf(cluster, server.port, 'postgres'));
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
  } catch (error) {
    // another start made it in between: 42P04 duplicate_database, or 23505 from the catalogue's own index
    const { code } = error as { code?: string };
    if (code !== '42P04' && code !== '23505') throw error;
  } finally {
    await client.end();
  }
}
