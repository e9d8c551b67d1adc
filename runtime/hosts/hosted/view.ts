/**
 * What a workflow's process sees of the folder that its file is in: a copy without the files of other workflows, except those
 * that it imports. The copy is named after its content, so a run ends with the code that it began with, whatever happens to the
 * folder; and what is in it is what the version tells.
 */
import { createHash } from 'node:crypto';
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
const NODE = /\.(?:ts|mts|js|mjs)$/;
const PYTHON = /\.py$/;
const NO_WORKFLOW = /\.test\.|\.d\.m?ts$|(?:^|\/)test_[^/]*\.py$|(?:^|\/)conftest\.py$/;
/** The name must stand in the file as plain text: it decides whose secrets the process gets, before any of its code runs. */
const NAMES: Readonly<Record<View['language'], readonly RegExp[]>> = {
  node: [
    /^export\s+(?:const|let|var)\s+WORKFLOW_NAME\b[^=]*=\s*(['"`])([^'"`\n]*)\1/m,
    /\bdefineWorkflow\b[\s\S]*?\(\s*\{[\s\S]*?\bname\s*:\s*(['"`])([^'"`\n]*)\1/,
  ],
  python: [/^WORKFLOW_NAME\b[^=\n]*=\s*[rR]?(['"])([^'"\n]*)\1/m],
};
const MARKS: Readonly<Record<View['language'], RegExp>> = {
  node: /\bWORKFLOW_NAME\b|\bdefineWorkflow\s*(?:<[^>]*>)?\s*\(/,
  python: /^WORKFLOW_NAME\b[^=\n]*=|^PROMPT\b[^=\n]*=[^]*^SLACK_CHANNEL\b[^=\n]*=|^SLACK_CHANNEL\b[^=\n]*=[^]*^PROMPT\b[^=\n]*=/m,
};

/** @throws the file system's error when the root cannot be read */
export function readTree(root: string): Tree {
  const files = new Map<string, Buffer>();
  const directories: string[] = [];
  const problems: { file: string; message: string }[] = [];
  const visited = new Set<string>();
  let bytes = 0;
  const visit = (directory: string): void => {
    const real = fs.realpathSync(directory);
    // a link that leads back up
    if (visited.has(real)) return;
    visited.add(real);
    directories.push(directory);
    for (const name of fs.readdirSync(directory).sort()) {
      if (name.startsWith('.') || SKIPPED_FOLDERS.has(name)) continue;
      const full = path.join(directory, name);
      try {
        // links are followed: a ConfigMap of Kubernetes mounts each file as one
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
  for (const [file, data] of tree.files) if (NODE.test(file) || PYTHON.test(file)) texts.set(file, data.toString());
  const found = [...texts].flatMap(([file, text]) => {
    const language = PYTHON.test(file) ? ('python' as const) : ('node' as const);
    if (NO_WORKFLOW.test(file) || file.split('/').some((part) => part.startsWith('_')) || !MARKS[language].test(text)) return [];
    return [{ file, language, name: nameIn(text, language, file) }];
  });
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
    const files = visibleTo(file, tree.files, texts, workflows);
    return [{ file, language, name, files, key: keyOf(file, files) }];
  });
  return { views, problems };
}

/** A prompt and a channel are a workflow of the first generation, called after its file. */
function nameIn(text: string, language: View['language'], file: string): string | undefined {
  for (const pattern of NAMES[language]) {
    const name = pattern.exec(text)?.[2];
    if (name !== undefined) return name;
  }
  if (language === 'python' && !/^WORKFLOW_NAME\b/m.test(text)) return path.basename(file, '.py');
  return undefined;
}

function visibleTo(
  file: string,
  all: ReadonlyMap<string, Buffer>,
  texts: ReadonlyMap<string, string>,
  workflows: ReadonlySet<string>,
): ReadonlyMap<string, Buffer> {
  const seen = new Set([...all.keys()].filter((each) => each === file || !workflows.has(each)));
  const wanted = (): string | undefined =>
    [...workflows].find((other) => {
      if (seen.has(other)) return false;
      const stem = path
        .basename(other)
        .replace(/\.[^.]+$/, '')
        .replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`);
      const imported = new RegExp(String.raw`^\s*(?:from|import)\b[^\n]*\b${stem}\b|['"][^'"\n]*\b${stem}(?:\.[mc]?[jt]s)?['"]`, 'm');
      return [...seen].some((each) => imported.test(texts.get(each) ?? ''));
    });
  for (let other = wanted(); other !== undefined; other = wanted()) seen.add(other);
  return new Map([...all].filter(([each]) => seen.has(each)));
}

function keyOf(file: string, files: ReadonlyMap<string, Buffer>): string {
  const hash = createHash('sha256').update(`${file}\0`);
  for (const [name, data] of files) hash.update(`${name}\0${data.length}\0`).update(data);
  return hash.digest('hex').slice(0, 16);
}

/** Written once; sandboxes run as users of their own, so everybody who can get there may read it. */
export function writeView(folder: string, { key, files }: View): string {
  const place = path.join(folder, key);
  if (fs.existsSync(place)) return place;
  const draft = `${place}.${process.pid}.new`;
  fs.rmSync(draft, { recursive: true, force: true });
  makeFolder(draft);
  for (const [name, data] of files) {
    put(draft, name, data);
    const plain = /\.m?ts$/.test(name) ? strip(data.toString()) : undefined;
    if (plain !== undefined) put(path.join(draft, STRIPPED), name, plain);
  }
  try {
    fs.renameSync(draft, place);
  } catch (error) {
    fs.rmSync(draft, { recursive: true, force: true });
    // another process of this installation was faster
    if (!fs.existsSync(place)) throw error;
  }
  return place;
}

/** What does not parse is left to the host, which says where. */
function strip(source: string): string | undefined {
  try {
    return stripTypes(source);
  } catch {
    return undefined;
  }
}

function put(root: string, name: string, data: Buffer | string): void {
  const target = path.join(root, name);
  fs.mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 });
  fs.writeFileSync(target, data);
  fs.chmodSync(target, 0o644);
}

function makeFolder(place: string): void {
  fs.mkdirSync(place, { recursive: true });
  fs.chmodSync(place, 0o755);
}
