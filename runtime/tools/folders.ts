/** Which folders of a root are tools, and what the process of each sees: its own folder whole, and what it imports from beside it. */
import path from 'node:path';
import { importedNames, keyOf, type Tree } from '../hosts/hosted/view.ts';

export interface ToolFolder {
  /** Relative to the root. */
  readonly folder: string;
  /** What a host is told to load: relative to the root. */
  readonly file: string;
  readonly language: 'node' | 'python';
  /** By path relative to the root. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** Names the content: 16 hex digits. */
  readonly key: string;
}

const ENTRIES = ['tool.ts', 'tool.mts', 'tool.js', 'tool.mjs'];
const MANIFEST = 'pyproject.toml';
const CODE = /\.(?:m?ts|m?js|py)$/;
const CODE_MOST = 1024 * 1024;

export function foldersOf(tree: Tree): {
  readonly folders: readonly ToolFolder[];
  readonly problems: readonly { readonly file: string; readonly message: string }[];
} {
  const byFolder = new Map<string, string[]>();
  for (const file of tree.files.keys()) {
    const folder = path.dirname(file);
    byFolder.set(folder, [...(byFolder.get(folder) ?? []), path.basename(file)]);
  }
  const problems: { file: string; message: string }[] = [];
  const found: { folder: string; entry: string; language: 'node' | 'python' }[] = [];
  // a folder before what is in it: what a tool brings along is no tool
  for (const folder of [...byFolder.keys()].sort()) {
    const parts = folder.split('/');
    if (folder === '.' || parts.length > 2 || parts.some((part) => part.startsWith('_'))) continue;
    if (found.some((other) => folder.startsWith(`${other.folder}/`))) continue;
    const names = byFolder.get(folder) as string[];
    const entries = ENTRIES.filter((name) => names.includes(name));
    const python = isPython(tree.files.get(`${folder}/${MANIFEST}`), names);
    if (entries.length + (python ? 1 : 0) > 1) {
      problems.push({
        file: path.join(tree.root, folder),
        message: `it holds more than one tool: ${[...entries, ...(python ? [MANIFEST] : [])].join(', ')}; keep one of them`,
      });
      continue;
    }
    const [entry] = entries;
    if (entry !== undefined) found.push({ folder, entry, language: 'node' });
    else if (python) found.push({ folder, entry: MANIFEST, language: 'python' });
  }
  return { folders: viewsOf(tree, found), problems };
}

/** As in the original: a manifest with `[tool.centaur]`, which may be a persona's instead, or one beside a `client.py`. */
function isPython(manifest: Buffer | undefined, names: readonly string[]): boolean {
  if (manifest === undefined) return false;
  const text = manifest.toString();
  if (/^type[ \t]*=[ \t]*["']persona["']/m.test(text)) return false;
  return /^\[tool\.centaur\]/m.test(text) || names.includes('client.py');
}

function viewsOf(
  { files }: Tree,
  found: readonly { readonly folder: string; readonly entry: string; readonly language: 'node' | 'python' }[],
): ToolFolder[] {
  const own = new Map<string, [string, Buffer][]>(found.map(({ folder }) => [folder, []]));
  /** Folders and modules that several tools share, by their path. */
  const shared = new Map<string, [string, Buffer][]>();
  for (const [file, data] of files) {
    const parts = file.split('/');
    const owner = own.get(parts[0] as string) ?? own.get(parts.slice(0, 2).join('/'));
    if (owner !== undefined) {
      owner.push([file, data]);
      continue;
    }
    const at = parts.slice(0, 2).findIndex((part) => part.startsWith('_'));
    if (at < 0) continue;
    const unit = parts.slice(0, at + 1).join('/');
    shared.set(unit, [...(shared.get(unit) ?? []), [file, data]]);
  }
  const words = new Map<string, ReadonlySet<string>>();
  const wordsOf = ([file, data]: [string, Buffer]): ReadonlySet<string> => {
    let known = words.get(file);
    if (known === undefined) {
      known = CODE.test(file) && data.length <= CODE_MOST ? importedNames(data.toString()) : new Set();
      words.set(file, known);
    }
    return known;
  };
  return found.map(({ folder, entry, language }) => {
    const seen = [...(own.get(folder) as [string, Buffer][])];
    // in the root, or beside the tool in its category
    const units = [...shared].filter(([unit]) => path.dirname(unit) === '.' || path.dirname(unit) === path.dirname(folder));
    for (let at = 0; at < seen.length && units.length > 0; at++)
      for (const word of wordsOf(seen[at] as [string, Buffer])) {
        if (!word.startsWith('_')) continue;
        const index = units.findIndex(([unit]) => path.basename(unit).replace(/\.[^.]+$/, '') === word);
        if (index >= 0) seen.push(...(units.splice(index, 1)[0] as [string, [string, Buffer][]])[1]);
      }
    const view = new Map(seen.toSorted(([a], [b]) => (a < b ? -1 : 1)));
    const file = `${folder}/${entry}`;
    return { folder, file, language, files: view, key: keyOf(file, view) };
  });
}
