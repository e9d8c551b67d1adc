/** Finding workflow files. */
import { type Dirent, readdirSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';

export interface Discovered {
  /** Module files, sorted by path: which of two duplicates wins must not depend on the file system. */
  readonly files: readonly string[];
  /** The directories they were looked for in, the root included. */
  readonly directories: readonly string[];
  /** What is there and could not be looked at. */
  readonly unreadable: readonly { readonly file: string; readonly message: string }[];
}

/** Extensions that Node runs as an ES module. */
const MODULE = /\.(?:ts|mts|js|mjs)$/;
/** Not run as workflows: tests beside them, and declarations. */
const SKIPPED = /\.test\.|\.d\.m?ts$/;

/**
 * Every module file under a directory. Names that begin with `_` or `.` are left out, which is how a helper or a
 * half-written file is kept from being loaded on its own, and so is `node_modules`. Links are followed: a Kubernetes
 * ConfigMap mounts each file as one.
 *
 * @throws the file system's error when the root cannot be read
 */
export function discover(root: string): Discovered {
  const files: string[] = [];
  const directories: string[] = [];
  const unreadable: { file: string; message: string }[] = [];
  const visited = new Set<string>();

  const visit = (directory: string, entries: readonly Dirent[]): void => {
    const real = realpathSync(directory);
    // A link that leads back up
    if (visited.has(real)) return;
    visited.add(real);
    directories.push(directory);
    for (const entry of entries) {
      if (entry.name.startsWith('_') || entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      const full = path.join(directory, entry.name);
      try {
        const kind = entry.isSymbolicLink() ? statSync(full) : entry;
        if (kind.isDirectory()) visit(full, list(full));
        else if (kind.isFile() && MODULE.test(entry.name) && !SKIPPED.test(entry.name)) files.push(full);
      } catch (error) {
        // Gone since it was listed, or a link to nothing, is not there; anything else the author should know of
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== 'ENOENT') unreadable.push({ file: full, message });
      }
    }
  };
  visit(root, list(root));
  return { files: files.sort(), directories, unreadable };
}

const list = (directory: string): Dirent[] => readdirSync(directory, { withFileTypes: true });
