/**
 * The host programs as processes get them: plain JavaScript, beside the SDK, in a folder of their own. Stripping types at each start
 * would cost more than all else that a start does; and a sandbox sees nothing of the server but this.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripTypes } from './strip.ts';

export interface ProgramCopy {
  /** Holds `runtime/hosts/program/main.js` and `runtime/hosts/python/workflow-host`. */
  readonly folder: string;
  /** Of all that is in it, and of the Node that made it. */
  readonly fingerprint: string;
}

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PARTS = ['runtime/hosts/program', 'runtime/hosts/node', 'runtime/hosts/protocol', 'runtime/hosts/python', 'sdk/src'];
const LEFT_OUT = /\.test\.ts$|\/testing\.ts$|\.pyc$/;
const SKIPPED = new Set(['__pycache__', 'samples', 'node_modules']);

/** Made once for each state of the sources. */
export function copyProgram(stateDir: string): ProgramCopy {
  const files = PARTS.flatMap((part) => filesBelow(path.join(ROOT, part))).map((file) => path.relative(ROOT, file));
  const hash = createHash('sha256').update(process.version);
  const contents = new Map(files.map((file) => [file, fs.readFileSync(path.join(ROOT, file))]));
  for (const [file, data] of contents) hash.update(`${file}\0${data.length}\0`).update(data);
  const fingerprint = hash.digest('hex').slice(0, 16);
  const folder = path.join(stateDir, 'program', fingerprint);
  if (fs.existsSync(folder)) return { folder, fingerprint };
  const draft = `${folder}.${process.pid}`;
  fs.rmSync(draft, { recursive: true, force: true });
  put(draft, 'package.json', '{ "type": "module" }\n');
  for (const [file, data] of contents) {
    if (file.endsWith('.ts')) put(draft, file.replace(/\.ts$/, '.js'), plain(data.toString()));
    else put(draft, file, data, fs.statSync(path.join(ROOT, file)).mode & 0o111);
  }
  try {
    fs.renameSync(draft, folder);
  } catch (error) {
    fs.rmSync(draft, { recursive: true, force: true });
    // another process of this installation was faster
    if (!fs.existsSync(folder)) throw error;
  }
  return { folder, fingerprint };
}

/** Our own imports name files with `.ts`. */
function plain(source: string): string {
  return stripTypes(source).replaceAll(/(['"])(\.\.?\/[^'"\n]+)\.ts\1/g, '$1$2.js$1');
}

function put(root: string, file: string, data: string | Buffer, executable = 0): void {
  const target = path.join(root, file);
  fs.mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 });
  fs.writeFileSync(target, data);
  // read by sandboxes, as users of their own
  fs.chmodSync(target, 0o644 | executable);
}

function filesBelow(folder: string): string[] {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const full = path.join(folder, entry.name);
      if (entry.name.startsWith('.') || SKIPPED.has(entry.name)) return [];
      if (entry.isDirectory()) return filesBelow(full);
      return LEFT_OUT.test(full) ? [] : [full];
    })
    .sort();
}
