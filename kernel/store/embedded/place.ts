/**
 * Where the embedded Postgres lives and as whom it runs.
 *
 * Postgres refuses to run as root. Under root it runs as the system user `postgres`, who cannot reach a data folder or
 * binaries below a closed folder such as root's home. Then the data goes to /var/lib/centaur under a name made from the
 * asked folder, with a note there, and the binaries are copied beside it once per version.
 */
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import { hydrate } from './binaries.ts';

/** Passed to spawn: whom to become, if anyone. */
export interface Runner {
  readonly uid?: number;
  readonly gid?: number;
}

const SHARED = '/var/lib/centaur';

export function placeFor(requested: string, binaries: string): { readonly runner: Runner; readonly dataDir: string; readonly binaries: string } {
  if (process.getuid?.() !== 0) {
    mkdirSync(dirname(requested), { recursive: true });
    return { runner: {}, dataDir: requested, binaries };
  }
  const user = systemUser();
  mkdirSync(dirname(requested), { recursive: true });
  const runner = { uid: user.uid, gid: user.gid };
  const reachable = isOpenToAll(dirname(requested));
  const dataDir = reachable ? requested : sharedDataDir(requested);
  // the folder around it stays root's; the cluster's own is made for its user
  return { runner, dataDir, binaries: isOpenToAll(join(binaries, 'bin')) ? binaries : sharedBinaries(binaries) };
}

function systemUser(): { uid: number; gid: number } {
  const find = () => /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  let entry = find();
  if (entry === null) {
    const added = spawnSync('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postgres'], { encoding: 'utf8' });
    entry = find();
    if (entry === null) {
      throw new StoreError(
        'UNSUITABLE',
        `Postgres does not run as root, and the user "postgres" could not be made (${added.error?.message ?? added.stderr.trim()}): make it, run as an ordinary user, or set DATABASE_URL`,
      );
    }
  }
  return { uid: Number(entry[1]), gid: Number(entry[2]) };
}

/** Whether any user may pass through every folder on the way. */
function isOpenToAll(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if (existsSync(at) && (statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

function sharedDataDir(requested: string): string {
  mkdirSync(SHARED, { recursive: true, mode: 0o755 });
  removeOrphans();
  const id = createHash('sha256').update(requested).digest('hex').slice(0, 16);
  const folder = join(SHARED, `data-${id}`);
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  writeFileSync(join(folder, 'origin'), `${requested}\n`);
  mkdirSync(requested, { recursive: true });
  writeFileSync(join(requested, 'MOVED'), `Postgres runs as its own user, who cannot reach this folder. Its data is in ${folder}\n`);
  return join(folder, 'pg');
}

/** Data whose asked-for folder is gone, as after a test in a temporary home, once no server runs on it. */
function removeOrphans(): void {
  for (const name of readdirSync(SHARED)) {
    const folder = join(SHARED, name);
    const origin = join(folder, 'origin');
    if (!name.startsWith('data-') || !existsSync(origin)) continue;
    if (existsSync(readFileSync(origin, 'utf8').trim())) continue;
    if (!existsSync(join(folder, 'pg', 'postmaster.pid'))) rmSync(folder, { recursive: true, force: true });
  }
}

function sharedBinaries(binaries: string): string {
  const version = /\d+(\.\d+)*/.exec(spawnSync(join(binaries, 'bin/postgres'), ['--version'], { encoding: 'utf8', env: { LD_LIBRARY_PATH: join(binaries, 'lib') } }).stdout ?? '')?.[0] ?? 'unknown';
  const target = join(SHARED, `postgres-${version}`);
  if (existsSync(join(target, 'native', 'bin', 'postgres'))) return join(target, 'native');
  mkdirSync(SHARED, { recursive: true, mode: 0o755 });
  const work = mkdtempSync(join(SHARED, 'copy-'));
  cpSync(binaries, join(work, 'native'), { recursive: true, verbatimSymlinks: true });
  hydrate(join(work, 'native'));
  chownSync(work, 0, 0);
  spawnSync('chmod', ['-R', 'u=rwX,go=rX', work]);
  try {
    renameSync(work, target);
  } catch (error) {
    // another process was faster
    rmSync(work, { recursive: true, force: true });
    if (!existsSync(join(target, 'native', 'bin', 'postgres'))) throw error;
  }
  return join(target, 'native');
}
