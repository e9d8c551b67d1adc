/**
 * What a workflow's process sees of the folder that its file is in: a copy without the files of other workflows, except those
 * that it imports. The copy is named after its content, so a run ends with the code that it began with, whatever happens to the
 * folder; and what is in it is what the version tells.
 */
import { createHash, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { stripTypes } from './strip.ts';

/** A root as it is now, read once for all the workflows in it. */
export interface Tree {
  readonly root: string;
  /** By path relative to the root. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** Every folder, for whoever watches them. */
  readonly directories: readonly string[];
  readonly problems: readonly { readonly file: string; readonly message: string }[];
}

export interface View {
  /** Names the content: 16 hex digits. */
  readonly key: string;
  readonly language: 'node' | 'python';
  /** Of the file, relative to the root. */
  readonly file: string;
  /** As the file says it. */
  readonly name: string;
  readonly files: ReadonlyMap<string, Buffer>;
}

/** In a view: its TypeScript without the types, which the host need not strip at each start then. */
export const STRIPPED = '.stripped';

const FILES_MOST = 5000;
const BYTES_MOST = 64 * 1024 * 1024;
const SKIPPED_FOLDERS = new Set(['node_modules', '__pycache__']);
const VIEWS_KEPT_MS = 30 * 86_400_000;
const NODE = /\.(?:ts|mts|js|mjs)$/;
const TYPED = /\.m?ts$/;
const PYTHON = /\.py$/;
const NO_WORKFLOW = /\.test\.|\.d\.m?ts$|(?:^|\/)test_[^/]*\.py$|(?:^|\/)conftest\.py$/;
/** Code that is longer is somebody's data. */
const CODE_MOST = 1024 * 1024;
/** How far behind `defineWorkflow` its name may stand. */
const DEFINITION_MOST = 4000;
const EXPORTED_NAME = /^export[ \t]+(?:const|let|var)[ \t]+WORKFLOW_NAME\b[^=\n]*=[ \t]*(['"`])([^'"`\n]*)\1/m;
const DEFINED_NAME = /\bname[ \t]*:[ \t]*(['"`])([^'"`\n]*)\1/;
const PYTHON_NAME = /^WORKFLOW_NAME\b[^=\n]*=[ \t]*[rR]?(['"])([^'"\n]*)\1/m;

/** @throws the file system's error when the root cannot be read */
export function readTree(root: string): Tree {
  const files = new Map<string, Buffer>();
  const directories: string[] = [];
  const problems: { file: string; message: string }[] = [];
  const visited = new Set<string>();
  // native: the one in JavaScript takes `link/..` for the folder that the link is in
  const realRoot = fs.realpathSync.native(root);
  let bytes = 0;
  const visit = (directory: string): void => {
    const real = fs.realpathSync.native(directory);
    // a link that leads back up
    if (visited.has(real)) return;
    visited.add(real);
    directories.push(directory);
    const inside = fs.readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of inside) {
      const { name } = entry;
      if (name.startsWith('.') || SKIPPED_FOLDERS.has(name)) continue;
      const full = path.join(directory, name);
      try {
        // links are followed within the folder: a ConfigMap of Kubernetes mounts each file as one. What is elsewhere may be the server's own
        const real = entry.isSymbolicLink() ? fs.realpathSync.native(full) : undefined;
        if (real !== undefined && !real.startsWith(realRoot + path.sep))
          throw new Error(`it is a link to ${real}, outside of the folder: copy what it needs`);
        const stat = fs.statSync(full);
        if (stat.isDirectory()) visit(full);
        else if (stat.isFile()) {
          bytes += stat.size;
          if (files.size >= FILES_MOST || bytes > BYTES_MOST)
            throw new Error(`the folder has more than ${FILES_MOST} files or ${BYTES_MOST / 2 ** 20} MiB; keep what is no code elsewhere`);
          files.set(path.relative(root, full), fs.readFileSync(full));
        }
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== 'ENOENT') problems.push({ file: full, message });
      }
    }
  };
  visit(root);
  return { root, files, directories, problems };
}

/** The workflow files of a tree, each with its view; and those that cannot have one. */
export function viewsOf(tree: Tree): { readonly views: readonly View[]; readonly problems: readonly { file: string; message: string }[] } {
  const texts = new Map<string, string>();
  for (const [file, data] of tree.files)
    if ((NODE.test(file) || PYTHON.test(file)) && data.length <= CODE_MOST) texts.set(file, data.toString());
  const found = [...texts].flatMap(([file, text]) => {
    const language = PYTHON.test(file) ? ('python' as const) : ('node' as const);
    if (NO_WORKFLOW.test(file) || file.split('/').some((part) => part.startsWith('_'))) return [];
    const name = language === 'python' ? pythonName(text, file) : nodeName(text);
    return name === 'none' ? [] : [{ file, language, name: name.text }];
  });
  const mentioned = new Map([...texts].map(([file, text]) => [file, importedNames(text)]));
  const workflows = new Set(found.map(({ file }) => file));
  const problems: { file: string; message: string }[] = [];
  const views = found.flatMap(({ file, language, name }): View[] => {
    if (name === undefined) {
      problems.push({
        file: path.join(tree.root, file),
        message:
          language === 'python'
            ? 'WORKFLOW_NAME must be a text written in place, such as WORKFLOW_NAME = "nightly_report"'
            : "the workflow's name must be a text written in place, such as name: 'nightly_report'",
      });
      return [];
    }
    const files = visibleTo(file, tree.files, mentioned, workflows);
    return [{ file, language, name, files, key: keyOf(file, files) }];
  });
  return { views, problems };
}

/** What a file says of itself: no workflow, or one, with its name where that stands there as plain text. */
type Said = 'none' | { readonly text: string | undefined };

/** The name must stand in the file as plain text: it decides whose secrets the process gets, before any of its code runs. */
function nodeName(text: string): Said {
  const exported = EXPORTED_NAME.exec(text)?.[2];
  if (exported !== undefined) return { text: exported };
  for (let at = text.indexOf('defineWorkflow'); at >= 0; at = text.indexOf('defineWorkflow', at + 1)) {
    const behind = text.slice(at + 'defineWorkflow'.length, at + DEFINITION_MOST);
    // called, and not only imported
    if (/^\s*[(<]/.test(behind.slice(0, 200))) return { text: DEFINED_NAME.exec(behind)?.[2] };
  }
  return /\bWORKFLOW_NAME\b/.test(text) ? { text: undefined } : 'none';
}

/** A prompt and a channel are a workflow of the first generation, called after its file. */
function pythonName(text: string, file: string): Said {
  if (/^WORKFLOW_NAME\b[^=\n]*=/m.test(text)) return { text: PYTHON_NAME.exec(text)?.[2] };
  const prompt = /^PROMPT\b[^=\n]*=/m.test(text) && /^SLACK_CHANNEL\b[^=\n]*=/m.test(text);
  return prompt ? { text: path.basename(file, '.py') } : 'none';
}

/** Every word on a line that imports. */
export function importedNames(text: string): ReadonlySet<string> {
  const words = new Set<string>();
  for (const line of text.split('\n'))
    if (/\b(?:from|import|require)\b/.test(line)) for (const word of line.split(/[^\w$-]+/)) words.add(word);
  return words;
}

function visibleTo(
  file: string,
  all: ReadonlyMap<string, Buffer>,
  mentioned: ReadonlyMap<string, ReadonlySet<string>>,
  workflows: ReadonlySet<string>,
): ReadonlyMap<string, Buffer> {
  const seen = new Set([...all.keys()].filter((each) => each === file || !workflows.has(each)));
  const stems = [...workflows].map((other) => ({ other, stem: path.basename(other).replace(/\.[^.]+$/, '') }));
  const waiting = [...seen];
  for (let each = waiting.pop(); each !== undefined; each = waiting.pop()) {
    const words = mentioned.get(each);
    if (words === undefined) continue;
    for (const { other, stem } of stems)
      if (!seen.has(other) && words.has(stem)) {
        seen.add(other);
        waiting.push(other);
      }
  }
  return new Map([...all].filter(([each]) => seen.has(each)));
}

export function keyOf(file: string, files: ReadonlyMap<string, Buffer>): string {
  const hash = createHash('sha256').update(`${file}\0`);
  for (const [name, data] of files) hash.update(`${name}\0${data.length}\0`).update(data);
  return hash.digest('hex').slice(0, 16);
}

/** Written once; sandboxes run as users of their own, so everybody who can get there may read it. */
export function writeView(folder: string, { key, files }: Pick<View, 'key' | 'files'>): string {
  return written(path.join(folder, key), (put) => {
    for (const [name, data] of files) {
      put(name, data);
      const plain = TYPED.test(name) ? strip(data.toString()) : undefined;
      if (plain !== undefined) put(path.join(STRIPPED, name), plain);
    }
  });
}

/** The same, with TypeScript that has no types any more in its own place: for a host that is told so. Undefined where a file does not parse. */
export function withoutTypes(files: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer | string> | undefined {
  const plain = new Map<string, Buffer | string>();
  for (const [name, data] of files) {
    const text = TYPED.test(name) ? strip(data.toString()) : data;
    if (text === undefined) return undefined;
    plain.set(name, text);
  }
  return plain;
}

/** Files below a folder of this name, all of them or none. */
export function writeFiles(place: string, files: ReadonlyMap<string, Buffer | string>): string {
  return written(place, (put) => {
    for (const [name, data] of files) put(name, data);
  });
}

function written(place: string, write: (put: (name: string, data: Buffer | string) => void) => void): string {
  if (fs.existsSync(place)) return place;
  const draft = `${place}.${randomUUID()}.new`;
  makeFolder(draft);
  const made = new Set<string>();
  // what is made already may be read by everybody, unless this process was told to make nothing so
  const asMade = (process.umask() & 0o055) === 0;
  write((name, data) => {
    const target = path.join(draft, name);
    const directory = path.dirname(target);
    if (!made.has(directory)) fs.mkdirSync(directory, { recursive: true, mode: 0o755 });
    made.add(directory);
    fs.writeFileSync(target, data, { mode: 0o644 });
    if (!asMade) openUp(draft, target);
  });
  try {
    fs.renameSync(draft, place);
  } catch (error) {
    fs.rmSync(draft, { recursive: true, force: true });
    // another process of this installation was faster
    if (!fs.existsSync(place)) throw error;
  }
  return place;
}

/** It is in use: views that nobody has used for long are removed. */
export function touchView(place: string): void {
  const now = new Date();
  fs.utimesSync(place, now, now);
}

/** What does not parse is left to the host, which says where. */
function strip(source: string): string | undefined {
  try {
    return stripTypes(source);
  } catch {
    return undefined;
  }
}

function openUp(root: string, file: string): void {
  fs.chmodSync(file, 0o644);
  for (let at = path.dirname(file); at.length > root.length; at = path.dirname(at)) fs.chmodSync(at, 0o755);
}

function makeFolder(place: string): void {
  fs.mkdirSync(place, { recursive: true });
  fs.chmodSync(place, 0o755);
}

/** Views of code that nobody has run for long. */
export function pruneViews(folder: string): void {
  const before = Date.now() - VIEWS_KEPT_MS;
  for (const name of fs.readdirSync(folder)) {
    const place = path.join(folder, name);
    if ((fs.statSync(place, { throwIfNoEntry: false })?.mtimeMs ?? before) < before) fs.rmSync(place, { recursive: true, force: true });
  }
}

/** Of the folder, or the nearest above it. A link to what is not called so may lead anywhere: it is passed over. */
export function nearestModules(root: string): string | undefined {
  for (let at = root; ; at = path.dirname(at)) {
    const place = path.join(at, 'node_modules');
    const real = fs.existsSync(place) ? fs.realpathSync.native(place) : undefined;
    if (real !== undefined && path.basename(real) === 'node_modules') return real;
    if (path.dirname(at) === at) return undefined;
  }
}

/** Where a missing directory would appear. */
export function nearestDirectory(missing: string): string {
  let directory = path.dirname(missing);
  while (!fs.existsSync(directory)) directory = path.dirname(directory);
  return directory;
}
