/** `pack` and `unpack`: what of the home outlives a sandbox. Both walk folder by folder and go through no link. */
import fs from 'node:fs';
import { posix } from 'node:path';
import zlib from 'node:zlib';
import { checkNames, createWriter, FileError, inFolder, inside, openFile, openFolder, type Writer } from './files.ts';
import { createTarReader, tarEnd, tarHeader, tarPadding, type TarEntry } from './tar.ts';
import { PIECE } from './frames.ts';

const MOST_ENTRIES = 200_000;
const DEEPEST = 64;
const { O_RDONLY, O_DIRECTORY } = fs.constants;

/** Compressed pieces of a tar of what the globs match; none at all when nothing does. */
export async function* pack(home: string, globs: readonly string[]): AsyncGenerator<Buffer> {
  const patterns = globs.map((glob) => checkNames(glob.split('/'), glob).map(segmentPattern));
  const tar = walk(home, patterns);
  const first = tar.next();
  if (first.done === true) return;
  const compress = zlib.createZstdCompress();
  const feed = async (): Promise<void> => {
    for (let next: IteratorResult<Buffer> = first; next.done !== true; next = tar.next()) {
      if (!compress.write(next.value)) await new Promise((done) => compress.once('drain', done));
    }
    compress.end(tarEnd());
  };
  feed().catch((error: Error) => compress.destroy(error));
  try {
    for await (const chunk of compress as AsyncIterable<Buffer>) yield chunk;
  } finally {
    tar.return(undefined);
  }
}

type Segment = RegExp | 'any depth';

function segmentPattern(segment: string): Segment {
  if (segment === '**') return 'any depth';
  const source = segment
    .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  return new RegExp(`^${source}$`, 's');
}

function* walk(home: string, patterns: readonly Segment[][]): Generator<Buffer> {
  let entries = 0;
  const root = fs.openSync(home, O_RDONLY | O_DIRECTORY);
  try {
    yield* folder(root, '', patterns, 0);
  } finally {
    fs.closeSync(root);
  }

  function* folder(fd: number, path: string, wanted: readonly Segment[][], depth: number): Generator<Buffer> {
    if (depth > DEEPEST) return;
    for (const found of fs.readdirSync(`/proc/self/fd/${fd}`, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const rest = wanted.flatMap((pattern) => advance(pattern, found.name));
      if (rest.length === 0) continue;
      if (++entries > MOST_ENTRIES) throw new FileError('SANDBOX_LIMIT', `more than ${MOST_ENTRIES} files match`);
      const name = path === '' ? found.name : `${path}/${found.name}`;
      const whole = rest.some((pattern) => pattern.length === 0);
      if (found.isDirectory()) yield* subfolder(fd, found.name, name, whole ? [['any depth']] : rest, whole, depth);
      else if (whole && found.isFile()) yield* file(fd, found.name, name);
      else if (whole && found.isSymbolicLink()) yield* link(fd, found.name, name);
    }
  }

  function* subfolder(
    fd: number,
    name: string,
    path: string,
    wanted: readonly Segment[][],
    whole: boolean,
    depth: number,
  ): Generator<Buffer> {
    let inner: number;
    try {
      inner = openFolder(fd, name, 'find');
    } catch {
      // gone, swapped or unreadable since it was listed: not part of what was asked for any more
      return;
    }
    try {
      if (whole) yield tarHeader({ path: `${path}/`, type: 'folder', mode: fs.fstatSync(inner).mode, size: 0, target: '' });
      yield* folder(inner, path, wanted, depth + 1);
    } finally {
      fs.closeSync(inner);
    }
  }

  function* file(fd: number, name: string, path: string): Generator<Buffer> {
    let open: ReturnType<typeof openFile>;
    try {
      open = openFile(fd, name);
    } catch {
      return;
    }
    try {
      const { size, mode } = open.stat;
      yield tarHeader({ path, type: 'file', mode, size, target: '' });
      // exactly as many bytes as the header says, whatever happens to the file meanwhile
      for (let left = size; left > 0;) {
        const piece = Buffer.alloc(Math.min(left, PIECE));
        fs.readSync(open.fd, piece, 0, piece.length, null);
        left -= piece.length;
        yield piece;
      }
      yield tarPadding(size);
    } finally {
      fs.closeSync(open.fd);
    }
  }

  function* link(fd: number, name: string, path: string): Generator<Buffer> {
    const target = fs.readlinkSync(inside(fd, name));
    if (staysInside(path, target)) yield tarHeader({ path, type: 'link', mode: 0o777, size: 0, target });
  }
}

/** What is left of a pattern behind a name; nothing when it does not match, an empty pattern when it matches whole. */
function advance(pattern: readonly Segment[], name: string): Segment[][] {
  const [first, ...rest] = pattern;
  if (first === undefined) return [];
  if (first === 'any depth') return [[...pattern], ...(rest.length === 0 ? [[]] : advance(rest, name))];
  return first.test(name) ? [rest] : [];
}

export function staysInside(path: string, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false;
  const reached = posix.normalize(posix.join(posix.dirname(path), target));
  return reached !== '..' && !reached.startsWith('../');
}

/** Restores an archive below the home as it arrives. */
export function createUnpacker(
  home: string,
  options: { readonly maxBytes: number },
): { push(data: Buffer): Promise<void>; finish(): Promise<void> } {
  let entries = 0;
  let bytes = 0;
  let writer: Writer | undefined;
  const reader = createTarReader({
    entry: (entry) => {
      if (++entries > MOST_ENTRIES) throw new FileError('SANDBOX_LIMIT', `the archive holds more than ${MOST_ENTRIES} entries`);
      bytes += entry.size;
      if (bytes > options.maxBytes) throw new FileError('SANDBOX_LIMIT', `the archive holds more than ${options.maxBytes} bytes`);
      writer = restore(home, entry);
    },
    data: (chunk) => writer?.write(chunk),
    end: () => {
      writer?.commit();
      writer = undefined;
    },
  });
  const decompress = zlib.createZstdDecompress();
  let failure: Error | undefined;
  const reading = (async () => {
    try {
      for await (const chunk of decompress as AsyncIterable<Buffer>) reader.push(chunk);
      reader.finish();
    } catch (error) {
      failure = error as Error;
      writer?.abort();
      decompress.destroy();
    }
  })();
  return {
    push: async (data) => {
      if (failure !== undefined || decompress.write(data)) return;
      await Promise.race([new Promise((done) => decompress.once('drain', done)), reading]);
    },
    finish: async () => {
      decompress.end();
      await reading;
      if (failure === undefined) return;
      throw failure instanceof FileError || 'errno' in failure ? failure : new FileError('SANDBOX_FILE', failure.message);
    },
  };
}

/** A writer for a file's content; folders and links are made at once. */
function restore(home: string, entry: TarEntry): Writer | undefined {
  const names = checkNames(entry.path.split('/'), entry.path);
  if (entry.type === 'file') return createWriter(home, names, entry.mode);
  inFolder(home, names, 'make', (fd, name) => {
    if (entry.type === 'folder') {
      const made = openFolder(fd, name, 'make');
      // whoever restores must be able to write into it
      fs.fchmodSync(made, (entry.mode & 0o777) | 0o700);
      fs.closeSync(made);
      return;
    }
    if (!staysInside(entry.path, entry.target)) throw new FileError('SANDBOX_FILE', `the link ${entry.path} leads out of the home`);
    fs.rmSync(inside(fd, name), { force: true });
    fs.symlinkSync(entry.target, inside(fd, name));
  });
  return undefined;
}
