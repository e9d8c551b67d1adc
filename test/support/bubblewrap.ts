/**
 * Makes bubblewrap available where a script may install packages: `node test/support/bubblewrap.ts`, or `ensureBubblewrap()`.
 * Says exactly what is missing where it may not.
 */
import { fileURLToPath } from 'node:url';
import { ensurePackage } from './debian.ts';

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { path, problem } = ensureBubblewrap();
  console.log(path === undefined ? problem : `bubblewrap is at ${path}`);
  process.exitCode = path === undefined ? 1 : 0;
}

export function ensureBubblewrap(): ReturnType<typeof ensurePackage> {
  return ensurePackage({ what: 'bubblewrap', packages: ['bubblewrap'], places: ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/bin/bwrap'] });
}
