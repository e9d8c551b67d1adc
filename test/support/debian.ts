/** Installs a Debian package that a test needs, where a script may; says exactly what is missing where it may not. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

export interface Wanted {
  /** For people. */
  readonly what: string;
  readonly packages: readonly string[];
  /** Where its program may be. */
  readonly places: readonly string[];
}

/** Where its program is, after installing it if need be; or why there is none, with what to do about it. */
export function ensurePackage({ what, packages, places }: Wanted): { readonly path?: string; readonly problem?: string } {
  const find = (): string | undefined => places.find(isExecutable);
  const there = find();
  if (there !== undefined) return { path: there };
  const names = packages.join(' ');
  if (process.getuid?.() !== 0) return { problem: `${what} is not installed, and only root may install it: sudo apt-get install ${names}` };
  if (!isExecutable('/usr/bin/apt-get'))
    return { problem: `${what} is not installed, and there is no apt-get: install the package ${names} of this distribution` };
  const install = (): string | undefined => apt('install', '-y', '--no-install-recommends', ...packages);
  // the lists may be missing or old: only then is it worth the seconds to fetch them
  const said = install() ?? (apt('update') === undefined ? install() : 'apt-get update failed');
  const path = find();
  return path === undefined
    ? { problem: `apt-get could not install ${what} (${said}): run apt-get install ${names} to see why` }
    : { path };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
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
