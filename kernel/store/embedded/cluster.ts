import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { StoreError } from '../errors.ts';
import { environment } from './binaries.ts';
import { readLock, serves } from './lock.ts';
import type { Place } from './place.ts';

/** An initialised cluster, running or not. */
export interface Cluster extends Place {
  readonly folder: string;
  readonly password: string;
}

/** In the cluster's own folder, so that the one rename that makes the cluster also makes its password. */
const PASSWORD_FILE = 'centaur.password';

/** A new cluster takes about 40 MB. */
const SPACE_NEEDED_MB = 64;

/**
 * The cluster in `place`, made if there is none. It is made beside its name and then renamed, so that `kill -9` leaves
 * either none or a whole one, and of two that make it at once one wins and the other uses that.
 */
export async function openCluster(
  place: Place,
  how: { readonly throwaway: boolean; readonly log: (message: string) => void },
): Promise<Cluster> {
  const folder = join(place.home, 'pg');
  if (!existsSync(folder)) {
    how.log(`making a Postgres ${place.version} cluster in ${place.home}`);
    await create(place, folder, how.throwaway);
  }
  refuseOtherMajor(place, folder);
  let password: string;
  try {
    password = readFileSync(join(folder, PASSWORD_FILE), 'utf8').trim();
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code;
    throw new StoreError(
      'UNSUITABLE',
      `the password in ${join(folder, PASSWORD_FILE)} cannot be read (${why}): run as the user who made the data, or put the file back`,
      {
        cause: error,
      },
    );
  }
  return { ...place, folder, password };
}

async function create(place: Place, folder: string, throwaway: boolean): Promise<void> {
  removeLeftovers(place.home);
  const work = mkdtempSync(join(place.home, `init-${process.pid}-`));
  try {
    const password = randomBytes(24).toString('base64url');
    const passwordFile = join(work, 'password');
    const fresh = join(work, 'pg');
    writeFileSync(passwordFile, password, { mode: 0o600 });
    mkdirSync(fresh, { mode: 0o700 });
    giveTo(place, work, passwordFile, fresh);
    await initdb(place, fresh, passwordFile, throwaway);
    renameSync(passwordFile, join(fresh, PASSWORD_FILE));
    moveIntoPlace(fresh, folder, place.home);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function giveTo(place: Place, ...paths: string[]): void {
  if (place.runner.uid === undefined) return;
  for (const path of paths) chownSync(path, place.runner.uid, place.runner.gid ?? -1);
}

async function initdb(place: Place, fresh: string, passwordFile: string, throwaway: boolean): Promise<void> {
  const args = ['-D', fresh, '-U', 'centaur', `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C'];
  if (throwaway) args.push('--no-sync');
  const child = spawn(join(place.binaries, 'bin/initdb'), args, {
    ...place.runner,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: environment(place.binaries),
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const status = await new Promise<number | string | null>((done) => {
    child.on('error', (error) => done(error.message));
    child.on('close', (code, signal) => done(code ?? signal));
  });
  if (status === 0) return;
  throw new StoreError(
    'UNSUITABLE',
    `making the embedded Postgres in ${place.home} failed: ${explain(said.trim() || `initdb: ${status}`, place.home)}`,
  );
}

/** What Postgres said, with what to do where that is known. */
export function explain(said: string, home: string): string {
  // a full disk often leaves no room to say so: Postgres then ends with nothing but a signal
  const { bavail, bsize } = statfsSync(home);
  const freeMb = Math.floor((bavail * bsize) / 2 ** 20);
  if (/No space left on device/i.test(said) || freeMb < SPACE_NEEDED_MB) {
    return `the disk of ${home} is full, with ${freeMb} MB free (${lastLine(said) || 'Postgres could say nothing'}): free some space, or move CENTAUR_HOME to another disk`;
  }
  if (/Permission denied/i.test(said)) return `${lastLine(said)}: it must belong to the user as whom Postgres runs`;
  return said.split('\n').slice(-3).join(' | ');
}

function lastLine(said: string): string {
  const lines = said.split('\n');
  return lines.findLast((line) => /FATAL|PANIC|error|No space|denied/i.test(line)) ?? lines.at(-1) ?? '';
}

function moveIntoPlace(fresh: string, folder: string, home: string): void {
  try {
    renameSync(fresh, folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // another process was faster: use its cluster
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
  // the cluster's name must be on the disk before the first commit is acknowledged
  const parent = openSync(home, 'r');
  fsyncSync(parent);
  closeSync(parent);
}

/** Of starts that were killed while they made a cluster. */
function removeLeftovers(home: string): void {
  for (const name of readdirSync(home)) {
    const pid = /^init-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    try {
      rmSync(join(home, name), { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // an initdb without its parent may still write there for a second: left to the next start
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function refuseOtherMajor(place: Place, folder: string): void {
  let made: string;
  try {
    made = readFileSync(join(folder, 'PG_VERSION'), 'utf8').trim();
  } catch (error) {
    throw new StoreError(
      'UNSUITABLE',
      `${folder} is not a Postgres cluster that this user can read: move it away, or choose another CENTAUR_HOME`,
      { cause: error },
    );
  }
  const major = place.version.split('.')[0];
  if (made === major) return;
  const lock = readLock(folder);
  const running = lock !== undefined && serves(lock.pid, folder) ? ' and still served by it' : '';
  throw new StoreError(
    'UNSUITABLE',
    `${folder} was made by Postgres ${made}${running}, this release has ${major}: with the release that made it, write it out with pg_dump; then move the folder away and read the dump into the new one`,
  );
}
