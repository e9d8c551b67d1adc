/**
 * Makes bubblewrap available where a script may install packages: `node test/support/bubblewrap.ts`, or `ensureBubblewrap()`.
 * Says exactly what is missing where it may not.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PLACES = ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/bin/bwrap'];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { path, problem } = ensureBubblewrap();
  console.log(path === undefined ? problem : `bubblewrap is at ${path}`);
  process.exitCode = path === undefined ? 1 : 0;
}

/** Where bwrap is, after installing it if need be; or why there is none, with what to do about it. */
export function ensureBubblewrap(): { readonly path?: string; readonly problem?: string } {
  const there = findBubblewrap();
  if (there !== undefined) return { path: there };
  if (process.getuid?.() !== 0)
    return { problem: 'bubblewrap is not installed, and only root may install it: sudo apt-get install bubblewrap' };
  if (!isExecutable('/usr/bin/apt-get')) {
    return { problem: 'bubblewrap is not installed, and there is no apt-get: install the package bubblewrap of this distribution' };
  }
  // the lists may be missing or old: only then is it worth the seconds to fetch them
  const said = install() ?? (apt('update') === undefined ? install() : 'apt-get update failed');
  const path = findBubblewrap();
  return path === undefined
    ? { problem: `apt-get could not install bubblewrap (${said}): run apt-get install bubblewrap to see why` }
    : { path };
}

function findBubblewrap(): string | undefined {
  return PLACES.find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function install(): string | undefined {
  return apt('install', '-y', '--no-install-recommends', 'bubblewrap');
}

/** What apt-get said last when it failed. */
function apt(...args: string[]): string | undefined {
  const run = spawnSync('/usr/bin/apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=120', ...args], {
    encoding: 'utf8',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', ...proxySettings() },
  });
  if (run.status === 0) return undefined;
  return run.error?.message ?? run.stderr.trim().split('\n').at(-1) ?? `status ${run.status}`;
}

/** apt reads its own configuration; only where machines reach the mirror through a proxy does it need these. */
function proxySettings(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(https?|no)_proxy$/i.test(name))) as Record<string, string>;
}
