import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** Whoever starts this may have stripped the types before: below a folder, at the same relative paths. */
export function strippedIn(folder: string | undefined, roots: readonly string[]): ((file: string) => string | undefined) | undefined {
  if (folder === undefined || !existsSync(folder)) return undefined;
  return (file) => {
    const root = roots.find((each) => file.startsWith(each + path.sep));
    if (root === undefined) return undefined;
    const place = path.join(folder, path.relative(root, file));
    return existsSync(place) ? readFileSync(place, 'utf8') : undefined;
  };
}
