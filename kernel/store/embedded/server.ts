import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import { StoreError, sqlState } from '../errors.ts';
import { environment } from './binaries.ts';
import { type Cluster, explain } from './cluster.ts';
import { forgetStaleLock, readLock, serves } from './lock.ts';

export interface Server {
  readonly pid: number;
  readonly port: number;
  /** True when it was running already. */
  readonly adopted: boolean;
}

/** Durability is Postgres' default (fsync, synchronous_commit, full_page_writes). wal_compression stays off: these binaries have no lz4, and pglz costs more time than it saves. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '128MB',
  max_wal_size: '2GB',
  checkpoint_timeout: '15min',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/** Recovery after a crash is bounded by max_wal_size, and takes longest on a slow disk. */
const START_TIMEOUT_MS = 60_000;
const FAST_STOP_MS = 10_000;
const STOP_TIMEOUT_MS = 60_000;

export function urlOf(cluster: Cluster, port: number, database: string): string {
  return `postgres://centaur:${cluster.password}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
}

/** The server that runs on this cluster already, as after `kill -9` of its parent; waits while it starts or stops. */
export async function findServer(cluster: Cluster): Promise<Server | undefined> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const lock = readLock(cluster.folder);
    if (lock === undefined || !serves(lock.pid, cluster.folder)) return undefined;
    if (lock.port > 0 && (await answers(cluster, lock.port))) return { pid: lock.pid, port: lock.port, adopted: true };
    if (Date.now() > deadline) {
      throw new StoreError(
        'UNAVAILABLE',
        `process ${lock.pid} is the Postgres of ${cluster.home} but does not answer: see ${logFile(cluster)}, or end it`,
      );
    }
    await pause(20);
  }
}

/** Starts a server; or takes up the one that another process started in the meantime. */
export async function bootServer(
  cluster: Cluster,
  asked: number | undefined,
  settings: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const port = await choosePort(cluster, asked);
    forgetStaleLock(cluster.folder);
    const child = spawnServer(cluster, { ...SETTINGS, ...settings, port: String(port) });
    while (child.pid !== undefined && !child.exited() && Date.now() < deadline) {
      if (await answers(cluster, port)) {
        writeFileSync(join(cluster.home, 'port'), `${port}\n`);
        return { pid: child.pid, port, adopted: false };
      }
      await pause(10);
    }
    if (child.pid !== undefined && !child.exited()) await stopServer(cluster, child.pid, 'SIGQUIT');
    // two starts at once: Postgres lets one of them win
    const other = await findServer(cluster);
    if (other !== undefined) return other;
    const said = child.failure() ?? readFileSync(logFile(cluster), 'utf8').trim();
    if (Date.now() < deadline) {
      // backends of a server that was killed go away by themselves, within moments
      if (/shared memory block.*still in use/s.test(said) || /lock file .* already exists/.test(said)) {
        await pause(100);
        continue;
      }
      if (asked === undefined && /Address already in use/.test(said)) continue;
    }
    throw new StoreError('UNAVAILABLE', `the embedded Postgres did not start: ${explain(said, cluster.home)} (see ${logFile(cluster)})`);
  }
}

/** Waits until it is gone. A fast stop that hangs becomes an immediate one, from which the next start recovers. */
export async function stopServer(cluster: Pick<Cluster, 'home' | 'folder'>, pid: number, signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
  const started = Date.now();
  let sent: NodeJS.Signals | undefined;
  while (serves(pid, cluster.folder)) {
    const waited = Date.now() - started;
    const next = waited > FAST_STOP_MS ? 'SIGQUIT' : signal;
    if (next !== sent) {
      sendSignal(pid, next);
      sent = next;
    }
    if (waited > STOP_TIMEOUT_MS)
      throw new StoreError('UNAVAILABLE', `the embedded Postgres (process ${pid}) does not stop: see ${logFile(cluster)}`);
    await pause(10);
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

interface ServerProcess {
  readonly pid: number | undefined;
  exited(): boolean;
  failure(): string | undefined;
}

function spawnServer(cluster: Cluster, settings: Readonly<Record<string, string>>): ServerProcess {
  const file = logFile(cluster);
  if (existsSync(file)) renameSync(file, `${file}.1`);
  const log = openSync(file, 'a', 0o600);
  // in a session of its own: Ctrl-C reaches us, not it, and we stop it when we have drained
  const child = spawn(
    join(cluster.binaries, 'bin/postgres'),
    ['-D', cluster.folder, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    { ...cluster.runner, cwd: '/', detached: true, stdio: ['ignore', log, log], env: environment(cluster.binaries) },
  );
  closeSync(log);
  let exited = false;
  let failure: string | undefined;
  child.on('error', (error) => {
    failure = error.message;
    exited = true;
  });
  child.on('exit', () => {
    exited = true;
  });
  child.unref();
  return { pid: child.pid, exited: () => exited, failure: () => failure };
}

/** Whether a server answers there, lets us in, and serves this very cluster. */
async function answers(cluster: Cluster, port: number): Promise<boolean> {
  const client = new pg.Client({ connectionString: urlOf(cluster, port, 'postgres'), connectionTimeoutMillis: 5000 });
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    if (sqlState(error) === '28P01' && readLock(cluster.folder)?.port === port) {
      throw new StoreError('UNSUITABLE', `the embedded Postgres refuses the password kept in ${cluster.folder}: put the right one there`, {
        cause: error,
      });
    }
    return false;
  }
  try {
    const { rows } = await client.query<{ data_directory: string }>('show data_directory');
    return rows[0]?.data_directory === cluster.folder;
  } catch {
    // it went down between the two
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

/** The asked port, else the one of last time, else any that is free. */
async function choosePort(cluster: Cluster, asked: number | undefined): Promise<number> {
  if (asked !== undefined) {
    if (await isFree(asked)) return asked;
    throw new StoreError('UNAVAILABLE', `port ${asked}, asked for the embedded Postgres, is in use: end what uses it, or ask for another`);
  }
  const file = join(cluster.home, 'port');
  const remembered = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  if (remembered > 0 && (await isFree(remembered))) return remembered;
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.on('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer();
    probe.on('error', () => done(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
  });
}

function logFile(cluster: Pick<Cluster, 'home'>): string {
  return join(cluster.home, 'postgres.log');
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
