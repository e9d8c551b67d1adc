/**
 * Programs that slow tests run against and that not everybody needs: installed on first use, at pinned versions, into a folder that
 * outlives the run.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

const VERSIONS = { deno: '2.9.6', emulate: '0.12.2', workerd: '1.20261117.1' } as const;
export type Program = keyof typeof VERSIONS;

const INSTALL_MS = 240_000;

/** The program's package folder. */
export function installedProgram(name: Program): string {
  const root = process.env.CENTAUR_TEST_PROGRAMS ?? join(tmpdir(), `centaur-programs-${userInfo().uid}`);
  const folder = join(root, `${name}-${VERSIONS[name]}`);
  const place = join(folder, 'node_modules', name);
  if (isInstalled(place, VERSIONS[name])) return place;
  // sandboxes read it, as users of their own
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  // in a shared temporary folder somebody else may have been faster
  if (statSync(folder).uid !== userInfo().uid)
    throw new Error(`${folder} belongs to another user: set CENTAUR_TEST_PROGRAMS to a folder of your own.`);
  if (!existsSync(join(folder, 'package.json'))) writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const { status, stderr, error } = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--save-exact', `${name}@${VERSIONS[name]}`], {
    cwd: folder,
    encoding: 'utf8',
    timeout: INSTALL_MS,
  });
  if (status !== 0) throw new Error(`npm could not install ${name}: ${error?.message ?? stderr}`);
  return place;
}

/** A command of it, as npm links them. */
export function programCommand(name: Program): string {
  return join(installedProgram(name), '..', '.bin', name);
}

function isInstalled(place: string, version: string): boolean {
  try {
    return (JSON.parse(readFileSync(join(place, 'package.json'), 'utf8')) as { version: string }).version === version;
  } catch {
    return false;
  }
}
