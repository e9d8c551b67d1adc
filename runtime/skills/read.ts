/** Reading folders that others have filled: no link is followed, nothing but ordinary files is opened, and all of it is bounded. */
import fs from 'node:fs';
import path from 'node:path';
import { Malformed } from './front-matter.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

/** What is in a folder, by name; nothing when there is no such folder. Links are among it, as what they are. */
export function list(folder: string): fs.Dirent[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw new Malformed(`it cannot be read: ${(error as Error).message}`);
  }
}

/** @throws Malformed for what is no ordinary file, or larger */
export function readFile(file: string, most: number): { readonly data: Buffer; readonly executable: boolean } {
  let fd: number;
  try {
    // a pipe would be waited for
    fd = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Malformed(code === 'ELOOP' ? 'it is a link, and links are not followed' : `it cannot be read: ${message}`);
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw new Malformed('it is no ordinary file');
    if (stat.size > most) throw new Malformed(`it is larger than ${sizeText(most)}`);
    // it may grow while it is read
    const data = Buffer.alloc(stat.size);
    let length = 0;
    for (let read = -1; length < data.length && read !== 0; length += read)
      read = fs.readSync(fd, data, length, data.length - length, null);
    return { data: data.subarray(0, length), executable: (stat.mode & 0o100) !== 0 };
  } finally {
    fs.closeSync(fd);
  }
}

export interface TreeLimits {
  readonly files: number;
  readonly bytes: number;
  readonly depth: number;
}

/** What version control and programs leave behind, and nobody means. */
const LEFT_OUT = new Set(['.git', '.DS_Store', '__pycache__', 'node_modules']);

/** All files below a folder, by path. @throws Malformed naming the file that is refused */
export function readTree(folder: string, limits: TreeLimits): { path: string; data: Buffer; executable: boolean }[] {
  const found: { path: string; data: Buffer; executable: boolean }[] = [];
  let bytes = 0;
  const walk = (below: string, depth: number): void => {
    if (depth > limits.depth) throw new Malformed(`${below}: folders are nested more than ${limits.depth} deep`);
    for (const entry of list(path.join(folder, below))) {
      if (LEFT_OUT.has(entry.name)) continue;
      const at = below === '' ? entry.name : `${below}/${entry.name}`;
      checkName(entry.name, at);
      if (entry.isDirectory()) {
        walk(at, depth + 1);
        continue;
      }
      if (found.length >= limits.files) throw new Malformed(`it has more than ${limits.files} files`);
      try {
        const { data, executable } = readFile(path.join(folder, at), limits.bytes - bytes);
        bytes += data.length;
        found.push({ path: at, data, executable });
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        const tooLarge = error.message.startsWith('it is larger');
        throw new Malformed(
          tooLarge ? `with ${quoted(at)} it is larger than ${sizeText(limits.bytes)}` : `${quoted(at)}: ${error.message}`,
        );
      }
    }
  };
  walk('', 0);
  return found;
}

function checkName(name: string, at: string): void {
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f\\\ufffd]/.test(name)) throw new Malformed(`the name of ${quoted(at)} has characters that are not allowed`);
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, 200));

export function sizeText(bytes: number): string {
  return bytes >= 1024 * 1024 ? `${bytes / 1024 / 1024} MiB` : `${bytes / 1024} KiB`;
}
