/** An export of data as a folder: files of lines, attachments, and a manifest with the SHA-256 of each. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { ArchiveEnd } from '@centaur/kernel/care';
import { HintedError } from './exit.ts';

const MANIFEST = 'manifest.json';
/** What the server may name: nothing that leads elsewhere. */
const FILE = /^(?:[a-z_]+\.jsonl|attachments\/[0-9a-f-]{36})$/;

type Line =
  | { readonly file: string; readonly row: string }
  | { readonly file: string; readonly data: string }
  | { readonly end: ArchiveEnd };

/** Writes the folder, which appears when it is whole. @throws HintedError */
export async function writeArchive(
  folder: string,
  body: AsyncIterable<Uint8Array>,
  onProgress: (bytes: number) => void,
): Promise<ArchiveEnd> {
  if (existsSync(folder)) throw new HintedError(`${folder} is there already`, 'Name a folder that is not: an export overwrites nothing.');
  const draft = `${folder}.part`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(path.join(draft, 'attachments'), { recursive: true, mode: 0o700 });
  let bytes = 0;
  let current: { readonly file: string; readonly handle: FileHandle } | undefined;
  const written = new Map<string, { bytes: number; readonly hash: Hash }>();
  const put = async (file: string, data: Buffer) => {
    if (!FILE.test(file)) throw new Error(`the server named a file that no export has: ${JSON.stringify(file)}`);
    if (current?.file !== file) {
      await current?.handle.close();
      current = { file, handle: await open(path.join(draft, file), 'a', 0o600) };
    }
    const known = written.get(file) ?? { bytes: 0, hash: createHash('sha256') };
    written.set(file, known);
    // unlike `write`, it writes all of it or fails
    await current.handle.appendFile(data);
    known.bytes += data.length;
    known.hash.update(data);
    onProgress((bytes += data.length));
  };
  let end: ArchiveEnd | undefined;
  try {
    for await (const text of createInterface({ input: Readable.from(body), crlfDelay: Number.POSITIVE_INFINITY })) {
      const line = JSON.parse(text) as Line;
      if ('end' in line) end = line.end;
      else await put(line.file, 'row' in line ? Buffer.from(`${line.row}\n`) : Buffer.from(line.data, 'base64'));
    }
    await current?.handle.close();
    current = undefined;
    if (end === undefined) throw new HintedError('the export broke off', 'Ask for it again; the log of the server says why.');
    for (const [file, { sha256, bytes: size }] of Object.entries(end.files)) {
      const kept = written.get(file);
      if (kept === undefined && size === 0) await writeFile(path.join(draft, file), '', { mode: 0o600 });
      else if (kept?.bytes !== size || kept.hash.digest('hex') !== sha256) throw new Error(`${file} did not arrive as it was sent`);
      if ((await stat(path.join(draft, file))).size !== size) throw new Error(`${file} was not written whole`);
    }
    await writeFile(path.join(draft, MANIFEST), `${JSON.stringify(end, null, 2)}\n`, { mode: 0o600 });
    await rename(draft, folder);
    return end;
  } catch (error) {
    await current?.handle.close();
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}

/** Holds every file against the manifest; answers what is wrong. */
export async function checkArchive(folder: string): Promise<{ readonly end: ArchiveEnd; readonly problems: readonly string[] }> {
  let end: ArchiveEnd;
  try {
    end = JSON.parse(readFileSync(path.join(folder, MANIFEST), 'utf8')) as ArchiveEnd;
    if (end.format !== 'centaur-data-1') throw new Error('it is of another format');
  } catch (error) {
    throw new HintedError(
      `${folder} is no export of data: ${(error as Error).message}`,
      'Name the folder that "centaur data export" has written.',
      {
        cause: error,
      },
    );
  }
  const problems: string[] = [];
  for (const [file, { sha256 }] of Object.entries(end.files)) {
    const hash = createHash('sha256');
    try {
      if (!FILE.test(file)) throw new Error('no export has such a file');
      for await (const part of createReadStream(path.join(folder, file))) hash.update(part as Buffer);
      if (hash.digest('hex') !== sha256) problems.push(`${file}: it was changed`);
    } catch (error) {
      problems.push(`${file}: ${(error as Error).message}`);
    }
  }
  for (const entry of await readdir(folder, { recursive: true })) {
    const file = entry.replaceAll('\\', '/');
    if (file !== MANIFEST && file !== 'attachments' && !(file in end.files)) problems.push(`${file}: the manifest does not know it`);
  }
  return { end, problems };
}
