/**
 * The embedded Postgres: a real server, run from binaries that come with npm, for whoever has no database yet.
 *
 * It promises that data survives `kill -9` of anything, that a server left behind by a killed parent is taken up again,
 * and that it works for root and for ordinary users alike. It never listens on anything but 127.0.0.1.
 */
import { randomBytes } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import pg from 'pg';
import { StoreError } from '../errors.ts';
import { findBinaries } from './binaries.ts';
import { placeFor, type Runner } from './place.ts';

export interface EmbeddedOptions {
  /** Where the cluster lives. Root's data may be placed elsewhere, with a note here: see `place.ts`. */
  readonly dataDir: string;
  /** Created when missing. Default `centaur`. */
  readonly database?: string;
  readonly port?: number;
  readonly settings?: Readonly<Record<string, string>>;
  /** For tests: skips the syncing of initdb. The server itself stays durable. */
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
  /** `fast` ends sessions and writes a checkpoint; `immediate` is a crash, with recovery at the next start. */
  restart(mode?: 'fast' | 'immediate'): Promise<void>;
  stop(): Promise<void>;
}

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

const START_TIMEOUT_MS = 60_000;

/** @throws StoreError UNSUITABLE with what is missing, or UNAVAILABLE when the server does not come up */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const requested = resolve(options.dataDir);
  const { runner, dataDir, binaries } = placeFor(requested, options.binaries ?? findBinaries());
  const password = initialise(dataDir, binaries, runner, options.throwaway === true);
  refuseOtherMajor(dataDir, binaries);

  const running = await adopt(dataDir, password);
  let port = running?.port ?? (await choosePort(dataDir, options.port));
  let pid = running?.pid ?? (await boot(dataDir, binaries, runner, port, password, options.settings));
  const database = options.database ?? 'centaur';
  await createDatabase(urlFor(port, password, 'postgres'), database);

  async function shutDown(signal: NodeJS.Signals): Promise<void> {
    if (isAlive(pid)) process.kill(pid, signal);
    const deadline = Date.now() + 10_000;
    while (existsSync(join(dataDir, 'postmaster.pid')) && isAlive(pid)) {
      if (Date.now() > deadline) process.kill(pid, 'SIGQUIT');
      await pause(10);
    }
  }

  return {
    get url() {
      return urlFor(port, password, database);
    },
    get port() {
      return port;
    },
    get pid() {
      return pid;
    },
    adopted: running !== undefined,
    async restart(mode = 'fast') {
      await shutDown(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
      port = await choosePort(dataDir, port);
      pid = await boot(dataDir, binaries, runner, port, password, options.settings);
    },
    stop: () => shutDown('SIGINT'),
  };
}

function urlFor(port: number, password: string, database: string): string {
  return `postgres://centaur:${password}@127.0.0.1:${port}/${database}`;
}

/** Makes the cluster beside its place and moves it there whole, so that an interrupted one leaves nothing half made. Answers with the password. */
function initialise(dataDir: string, binaries: string, runner: Runner, throwaway: boolean): string {
  const secretFile = `${dataDir}.secret`;
  if (existsSync(join(dataDir, 'PG_VERSION')) && existsSync(secretFile)) return readFileSync(secretFile, 'utf8').trim();
  mkdirSync(dirname(dataDir), { recursive: true });
  const work = mkdtempSync(`${dataDir}.init-`);
  const password = randomBytes(24).toString('base64url');
  const passwordFile = join(work, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  const fresh = join(work, 'data');
  mkdirSync(fresh, { mode: 0o700 });
  if (runner.uid !== undefined) for (const path of [work, passwordFile, fresh]) chownSync(path, runner.uid, runner.gid ?? -1);
  const made = spawnSync(
    join(binaries, 'bin/initdb'),
    ['-D', fresh, '-U', 'centaur', `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', ...(throwaway ? ['--no-sync'] : [])],
    { ...runner, cwd: '/', encoding: 'utf8', env: environment(binaries) },
  );
  if (made.status !== 0) {
    rmSync(work, { recursive: true, force: true });
    throw new StoreError('UNSUITABLE', `making the embedded Postgres failed: ${made.error?.message ?? made.stderr.trim()}; set DATABASE_URL to use a server of your own`);
  }
  // the secret first: a cluster without one could never be opened
  writeFileSync(secretFile, `${password}\n`, { mode: 0o600 });
  chmodSync(secretFile, 0o600);
  if (existsSync(dataDir)) rmSync(dataDir, { recursive: true });
  renameSync(fresh, dataDir);
  rmSync(work, { recursive: true, force: true });
  return password;
}

function refuseOtherMajor(dataDir: string, binaries: string): void {
  const have = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  const said = spawnSync(join(binaries, 'bin/postgres'), ['--version'], { encoding: 'utf8', env: environment(binaries) }).stdout ?? '';
  const major = /(\d+)(?:\.|\s|$)/.exec(said)?.[1];
  if (major !== undefined && major !== have) {
    throw new StoreError('UNSUITABLE', `${dataDir} was made by Postgres ${have}, this release has ${major}: dump it with the old one, or move it away to begin anew`);
  }
}

/** A server that runs on this data already, as after `kill -9` of its parent. */
async function adopt(dataDir: string, password: string): Promise<{ pid: number; port: number } | undefined> {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const lines = readFileSync(file, 'utf8').split('\n');
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  // a number that now belongs to another program: Postgres itself sees through a stale file
  if (!isAlive(pid) || !isPostgres(pid) || !(port > 0)) return undefined;
  await untilItAnswers(port, password, () => isAlive(pid), dataDir);
  return { pid, port };
}

async function boot(dataDir: string, binaries: string, runner: Runner, port: number, password: string, settings: Readonly<Record<string, string>> = {}): Promise<number> {
  const all = { ...SETTINGS, ...settings, port: String(port) };
  const log = openSync(`${dataDir}.log`, 'a', 0o600);
  // a session of its own: Ctrl-C reaches us, not it, and we stop it when we have drained
  const child = spawn(join(binaries, 'bin/postgres'), ['-D', dataDir, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])], {
    ...runner,
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log],
    env: environment(binaries),
  });
  closeSync(log);
  let failure: Error | undefined;
  let exited = false;
  child.on('error', (error) => {
    failure = error;
    exited = true;
  });
  child.on('exit', () => {
    exited = true;
  });
  child.unref();
  try {
    await untilItAnswers(port, password, () => !exited, dataDir);
  } catch (error) {
    // two starts at once: Postgres lets one of them win, and the other takes that one up
    const other = exited ? await adopt(dataDir, password).catch(() => undefined) : undefined;
    if (other !== undefined && other.port === port) return other.pid;
    throw failure ?? error;
  }
  writeFileSync(`${dataDir}.port`, `${port}\n`);
  return child.pid as number;
}

async function untilItAnswers(port: number, password: string, running: () => boolean, dataDir: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  let last = '';
  while (running() && Date.now() < deadline) {
    const client = new pg.Client({ connectionString: urlFor(port, password, 'postgres'), connectionTimeoutMillis: 5000 });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      last = (error as Error).message;
      await client.end().catch(() => {});
      await pause(15);
    }
  }
  const tail = existsSync(`${dataDir}.log`) ? readFileSync(`${dataDir}.log`, 'utf8').trim().split('\n').slice(-3).join(' | ') : last;
  throw new StoreError('UNAVAILABLE', `the embedded Postgres did not start: ${tail}`);
}

async function createDatabase(adminUrl: string, name: string): Promise<void> {
  const client = new pg.Client(adminUrl);
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
  } catch (error) {
    if ((error as { code?: string }).code !== '42P04' && (error as { code?: string }).code !== '23505') throw error;
  } finally {
    await client.end();
  }
}

/** The asked port, else the one of last time, else any that is free. */
async function choosePort(dataDir: string, asked: number | undefined): Promise<number> {
  if (asked !== undefined) {
    if (await isFree(asked)) return asked;
    throw new StoreError('UNAVAILABLE', `port ${asked} for the embedded Postgres is in use`);
  }
  const remembered = existsSync(`${dataDir}.port`) ? Number(readFileSync(`${dataDir}.port`, 'utf8')) : 0;
  if (remembered > 0 && (await isFree(remembered))) return remembered;
  return new Promise((done, fail) => {
    const server = createServer();
    server.on('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.on('error', () => done(false));
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
}

function environment(binaries: string): NodeJS.ProcessEnv {
  return { PATH: '/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC', LD_LIBRARY_PATH: join(binaries, 'lib'), DYLD_LIBRARY_PATH: join(binaries, 'lib') };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function isZombie(pid: number): boolean {
  const file = `/proc/${pid}/stat`;
  return existsSync(file) && / Z /.test(readFileSync(file, 'utf8'));
}

function isPostgres(pid: number): boolean {
  const file = `/proc/${pid}/cmdline`;
  return !existsSync('/proc') || (existsSync(file) && readFileSync(file, 'utf8').includes('postgres'));
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
