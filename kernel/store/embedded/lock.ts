import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, readFileSync, readlinkSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a postmaster writes into `postmaster.pid`: its process and its port. */
export interface Lock {
  readonly pid: number;
  readonly port: number;
  readonly text: string;
}

export function readLock(folder: string): Lock | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, 'postmaster.pid'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const lines = text.split('\n');
  return { pid: Number(lines[0]), port: Number(lines[3] ?? 0), text };
}

/**
 * Whether this process is the postmaster of this cluster. A number alone says nothing: it may belong to another program
 * by now, which in a container happens at every restart. A postmaster's working folder is its cluster.
 */
export function serves(pid: number, folder: string): boolean {
  if (!(pid > 0)) return false;
  if (existsSync('/proc/self/cwd')) {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === folder;
    } catch {
      // gone, a zombie, or somebody else's: not a server that we could use
      return false;
    }
  }
  return spawnSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.includes(folder);
}

/**
 * Makes a lock file of a postmaster that is gone acceptable to the next one. Postgres itself sees through a number that
 * nobody has, but not through one that another process of the same user has now. It knows that its own parent cannot be
 * a postmaster, so the parent's number goes in; the rest of the file stays, since from it Postgres finds out whether
 * children of the old server still use its memory.
 */
export function forgetStaleLock(folder: string): void {
  const lock = readLock(folder);
  if (lock === undefined || serves(lock.pid, folder)) return;
  const file = join(folder, 'postmaster.pid');
  // whole or not at all: Postgres refuses an empty one
  const fresh = `${file}.${process.pid}`;
  writeFileSync(fresh, lock.text.replace(/^.*/, String(process.pid)), { mode: 0o600 });
  const { uid, gid } = statSync(file);
  chownSync(fresh, uid, gid);
  renameSync(fresh, file);
}
