/**
 * Programs that slow tests run against and that not everybody needs: installed on first use, at pinned versions, into a folder that
 * outlives the run.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';

const VERSIONS = { deno: '2.9.6', emulate: '0.12.2', workerd: '1.20261117.1' } as const;
type Program = keyof typeof VERSIONS;

const INSTALL_MS = 240_000;

/** The program's package folder. */
function installedProgram(name: Program): string {
  const root = process.env.CENTAUR_TEST_PROGRAMS ?? join(tmpdir(), `centaur-programs-${userInfo().uid}`);
  const folder = join(root, `${name}-${VERSIONS[name]}`);
  const place = join(folder, 'node_modules', name);
  if (isInstalled(place, VERSIONS[name])) return place;
  // sandboxes read it, as users of their own
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  // in a shared temporary folder somebody else may have been faster
  if (statSync(folder).uid !== userInfo().uid)
    throw new Error(`${folder} belongs to another user: set CENTAUR_TEST_PROGRAMS to a folder of your own.`);
  const release = lock(join(folder, '.lock'));
  try {
    if (isInstalled(place, VERSIONS[name])) return place;
    install(folder, name);
    return place;
  } finally {
    release();
  }
}

function install(folder: string, name: Program): void {
  if (!existsSync(join(folder, 'package.json'))) writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const { status, stderr, error } = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--save-exact', `${name}@${VERSIONS[name]}`], {
    cwd: folder,
    encoding: 'utf8',
    timeout: INSTALL_MS,
  });
  if (status !== 0) throw new Error(`npm could not install ${name}: ${error?.message ?? stderr}`);
}

/** Of several test files, one installs; the others wait for it. */
function lock(place: string): () => void {
  const deadline = Date.now() + INSTALL_MS;
  for (;;) {
    try {
      mkdirSync(place);
      return () => rmSync(place, { recursive: true, force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      // of a run that was killed
      const since = statSync(place, { throwIfNoEntry: false })?.mtimeMs;
      if ((since !== undefined && Date.now() - since > INSTALL_MS) || Date.now() > deadline)
        rmSync(place, { recursive: true, force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
}

/** The programs themselves: killing the script that npm puts before one would leave it running. */
export function workerdBinary(): string {
  return (createRequire(join(installedProgram('workerd'), '..', '..', 'package.json'))('workerd') as { readonly default: string }).default;
}

export function denoBinary(): string {
  const { platform, arch } = process;
  const libc = platform === 'linux' ? '-glibc' : '';
  return join(dirname(installedProgram('deno')), '@deno', `${platform}-${arch}${libc}`, 'deno');
}

/** The folder of `node_modules` that has `emulate`. */
export function emulateModule(): string {
  return installedProgram('emulate');
}

function isInstalled(place: string, version: string): boolean {
  try {
    return (JSON.parse(readFileSync(join(place, 'package.json'), 'utf8')) as { version: string }).version === version;
  } catch {
    return false;
  }
}
