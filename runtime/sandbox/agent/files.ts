/** Files of the sandbox, reached one path component at a time and never through a link: a process may swap one in at any moment. */
import fs from 'node:fs';
import { randomBytes } from 'node:crypto';

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

type FileErrorCode = 'SANDBOX_FILE' | 'SANDBOX_LIMIT' | 'SANDBOX_COMMAND_MISSING';

export class FileError extends Error {
  readonly code: FileErrorCode;
  constructor(code: FileErrorCode, message: string) {
    super(message);
    this.name = 'FileError';
    this.code = code;
  }
}

/** The folder that is open as `fd`: what follows is looked up in it, wherever its name leads by now. */
export const inside = (fd: number, name: string): string => `/proc/self/fd/${fd}/${name}`;

/** Names between a root and what a path names. */
export function splitPath(path: string, roots: readonly string[]): { root: string; names: string[] } {
  const root = roots.find((each) => path.startsWith(`${each}/`));
  if (root === undefined) throw new FileError('SANDBOX_FILE', `${path} is not below ${roots.join(', ')}`);
  return { root, names: checkNames(path.slice(root.length + 1).split('/'), path) };
}

export function checkNames(names: readonly string[], path: string): string[] {
  const bad = names.find((name) => name === '' || name === '.' || name === '..' || name.includes('\0'));
  if (bad !== undefined || names.length === 0) throw new FileError('SANDBOX_FILE', `${JSON.stringify(path)} is not a plain path`);
  return [...names];
}

/** Calls back with the folder of the last name, open; `make` makes folders that are missing. */
export function inFolder<T>(root: string, names: readonly string[], make: 'make' | 'find', use: (fd: number, name: string) => T): T {
  let fd = fs.openSync(root, O_RDONLY | O_DIRECTORY);
  try {
    for (const name of names.slice(0, -1)) {
      const next = openFolder(fd, name, make);
      fs.closeSync(fd);
      fd = next;
    }
    return use(fd, names.at(-1) as string);
  } finally {
    fs.closeSync(fd);
  }
}

export function openFolder(fd: number, name: string, make: 'make' | 'find'): number {
  const open = (): number => fs.openSync(inside(fd, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    return open();
  } catch (error) {
    if (make === 'find' || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  try {
    fs.mkdirSync(inside(fd, name), 0o755);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return open();
}

/** An ordinary file, open for reading. A FIFO or a device would hang or do something else: refused. */
export function openFile(fd: number, name: string): { fd: number; stat: fs.Stats } {
  const file = fs.openSync(inside(fd, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  const stat = fs.fstatSync(file);
  if (stat.isFile()) return { fd: file, stat };
  fs.closeSync(file);
  throw new FileError('SANDBOX_FILE', `${name} is not an ordinary file`);
}

export interface Writer {
  write(data: Buffer): void;
  /** Puts the file in its place, at once and whole; what was there, also a link, is replaced and not followed. */
  commit(): void;
  abort(): void;
}

export function createWriter(root: string, names: readonly string[], mode: number): Writer {
  return inFolder(root, names, 'make', (parent, name) => {
    // a descriptor of our own: the walk closes its
    const folder = fs.openSync(`/proc/self/fd/${parent}`, O_RDONLY | O_DIRECTORY);
    const temporary = `.centaur-${randomBytes(8).toString('hex')}`;
    let file: number;
    try {
      file = fs.openSync(inside(folder, temporary), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode & 0o777);
    } catch (error) {
      fs.closeSync(folder);
      throw error;
    }
    const close = (): void => {
      fs.closeSync(file);
      fs.closeSync(folder);
    };
    return {
      write: (data) => {
        for (let at = 0; at < data.length;) at += fs.writeSync(file, data, at);
      },
      commit: () => {
        try {
          // the umask may have taken bits away
          fs.fchmodSync(file, mode & 0o777);
          fs.renameSync(inside(folder, temporary), inside(folder, name));
        } finally {
          close();
        }
      },
      abort: () => {
        fs.rmSync(inside(folder, temporary), { force: true });
        close();
      },
    };
  });
}

/** What an error of the file system means to whoever asked. */
export function asFileError(error: unknown): FileError {
  if (error instanceof FileError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const why: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    ELOOP: 'a link stands in the way; links are not followed',
    ENOTDIR: 'a part of the path is not a folder, or is a link',
    EISDIR: 'it is a folder',
    EACCES: 'it may not be read or written',
    ENXIO: 'it is not an ordinary file',
    ENOSPC: 'there is no room left',
    EFBIG: 'it is larger than the sandbox may write',
  };
  return new FileError(code === 'ENOSPC' || code === 'EFBIG' ? 'SANDBOX_LIMIT' : 'SANDBOX_FILE', why[code ?? ''] ?? String(error));
}
