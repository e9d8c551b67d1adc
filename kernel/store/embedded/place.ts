/**
 * Where the embedded Postgres lives and as whom it runs.
 *
 * Postgres refuses to run as root. Under root it runs as the system user `postgres`, who cannot reach a data folder or
 * binaries below a closed folder such as root's home. Then the data goes to /var/lib/centaur under a name made from the
 * asked folder, with a note there, and the binaries are copied beside it once per version.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { StoreError } from '../errors.ts';
import { environment, hydrate, versionOf } from './binaries.ts';
import { readLock, serves } from './lock.ts';

/** Passed to spawn: whom to become, if anyone. */
export interface Runner {
  readonly uid?: number;
  readonly gid?: number;
}

export interface Place {
  /** Holds the cluster in `pg/`, its log and its port. */
  readonly home: string;
  readonly binaries: string;
  readonly version: string;
  readonly runner: Runner;
}

const SHARED = '/var/lib/centaur';
const NOTE = 'MOVED';

export function findPlace(requested: string, binaries: string, log: (message: string) => void): Place {
  try {
    mkdirSync(requested, { recursive: true });
  } catch (error) {
    throw new StoreError('UNSUITABLE', `the folder for the embedded Postgres could not be made: ${(error as Error).message}`, {
      cause: error,
    });
  }
  hydrate(binaries);
  const version = versionOf(binaries);
  if (process.getuid?.() !== 0) {
    refuseRootsData(requested);
    return { home: realpathSync(requested), binaries, version, runner: {} };
  }
  const runner = systemUser();
  return {
    runner,
    version,
    home: realpathSync(isMoved(requested) || !isOpenToAll(requested) ? sharedHome(requested, log) : requested),
    binaries: isOpenToAll(join(binaries, 'bin')) ? binaries : sharedBinaries(binaries, version),
  };
}

/** `postgres`, as every distribution names it; made when missing. */
function systemUser(): Required<Runner> {
  const find = () => /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  let entry = find();
  if (entry === null) {
    const added = spawnSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postgres'], {
      encoding: 'utf8',
    });
    entry = find();
    if (entry === null) {
      const why = added.error === undefined ? added.stderr.trim() : 'useradd: not found';
      throw new StoreError(
        'UNSUITABLE',
        `Postgres does not run as root, and the user "postgres" could not be made (${why}): make it, run as an ordinary user, or set DATABASE_URL`,
      );
    }
  }
  return { uid: Number(entry[1]), gid: Number(entry[2]) };
}

/** Whether any user may pass through every folder on the way. */
function isOpenToAll(path: string): boolean {
  for (let at = realpathSync(path); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

function isMoved(requested: string): boolean {
  return existsSync(join(requested, NOTE)) && existsSync(sharedName(requested));
}

function sharedName(requested: string): string {
  return join(SHARED, `data-${createHash('sha256').update(realpathSync(requested)).digest('hex').slice(0, 16)}`);
}

function refuseRootsData(requested: string): void {
  if (!existsSync(join(requested, NOTE))) return;
  throw new StoreError(
    'UNSUITABLE',
    `the data of ${requested} was made by root: ${readFileSync(join(requested, NOTE), 'utf8').trim()} Run as root, use another CENTAUR_HOME, or set DATABASE_URL`,
  );
}

function sharedHome(requested: string, log: (message: string) => void): string {
  if (existsSync(join(requested, 'pg'))) {
    // never begin anew beside data that is there
    throw new StoreError(
      'UNSUITABLE',
      `${requested} holds a database, but is closed to the user "postgres" as whom it runs: let others pass through that folder and those above it (chmod o+x)`,
    );
  }
  mkdirSync(SHARED, { recursive: true, mode: 0o755 });
  removeOrphans();
  const home = sharedName(requested);
  if (!existsSync(home)) log(`Postgres runs as the user "postgres", who cannot reach ${requested}: the data is in ${home}`);
  mkdirSync(home, { recursive: true, mode: 0o755 });
  writeFileSync(join(home, 'origin'), `${realpathSync(requested)}\n`);
  writeFileSync(join(requested, NOTE), `Postgres runs as its own user, who cannot reach this folder. Its data is in ${home}.\n`);
  return home;
}

/**
 * Data that was asked for from a temporary folder which is gone, as after a test, once no server runs on it. Data of
 * any other folder stays: that one may only be renamed, or on a disk that is not mounted now.
 */
function removeOrphans(): void {
  const temporary = ['/tmp', '/var/tmp', realpathSync(tmpdir())].map((folder) => folder + sep);
  for (const name of readdirSync(SHARED)) {
    const folder = join(SHARED, name);
    const note = join(folder, 'origin');
    if (!name.startsWith('data-') || !existsSync(note)) continue;
    const origin = readFileSync(note, 'utf8').trim();
    if (existsSync(origin) || !temporary.some((prefix) => origin.startsWith(prefix))) continue;
    const lock = readLock(join(folder, 'pg'));
    if (lock === undefined || !serves(lock.pid, join(folder, 'pg'))) rmSync(folder, { recursive: true, force: true });
  }
}

function sharedBinaries(binaries: string, version: string): string {
  const target = join(SHARED, `postgres-${version}`);
  if (existsSync(target)) return join(target, 'native');
  mkdirSync(SHARED, { recursive: true, mode: 0o755 });
  // whole or not at all: copied under another name, then renamed
  const work = mkdtempSync(join(SHARED, 'copy-'));
  try {
    cpSync(binaries, join(work, 'native'), { recursive: true, verbatimSymlinks: true });
    chownSync(work, 0, 0);
    const opened = spawnSync('chmod', ['-R', 'u=rwX,go=rX', work], { encoding: 'utf8', env: environment(binaries) });
    if (opened.status !== 0) throw new StoreError('UNSUITABLE', `copying the embedded Postgres failed: ${opened.stderr}`);
    renameSync(work, target);
  } catch (error) {
    rmSync(work, { recursive: true, force: true });
    // another process may have been faster
    if (!existsSync(target)) throw error;
  }
  return join(target, 'native');
}
