/** What is said in a thread, from a command line: a text, and files. */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import type { InputPart } from '@centaur/sdk';
import { UsageError } from './exit.ts';

/** What the API takes of one part. */
const FILE_LONGEST = 32 * 1024 * 1024;

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.gif': 'image/gif',
  '.webp': 'image/webp',
  '.pdf': 'application/pdf',
  '.json': 'application/json',
  '.csv': 'text/csv',
  '.html': 'text/html',
  '.md': 'text/markdown',
  '.txt': 'text/plain',
  '.log': 'text/plain',
};

/**
 * @param text `-` for stdin; may be left out where there are files
 * @throws UsageError when there is nothing to say, or a file cannot be read
 */
export async function readParts(text: string | undefined, files: readonly string[] = []): Promise<readonly InputPart[]> {
  // the line break at the end is the shell's
  const said = text === '-' ? (await readStream(process.stdin)).replace(/\r?\n$/, '') : text;
  if (said !== undefined && said.trim() === '') throw new UsageError(text === '-' ? 'text: stdin was empty' : 'text: it is empty');
  if (said === undefined && files.length === 0) throw new UsageError('nothing to say: give a text, - for stdin, or --file');
  return [...(said === undefined ? [] : [{ type: 'text' as const, text: said }]), ...files.map(readPart)];
}

function readPart(file: string): InputPart {
  const mediaType = MEDIA_TYPES[path.extname(file).toLowerCase()] ?? 'application/octet-stream';
  return {
    type: mediaType.startsWith('image/') ? 'image' : 'document',
    name: path.basename(file),
    source: { type: 'base64', media_type: mediaType, data: readFile(file).toString('base64') },
  };
}

function readFile(file: string): Buffer {
  let data: Buffer;
  try {
    const { size } = statSync(file);
    if (size > FILE_LONGEST) throw new UsageError(`--file: ${file} has ${size} bytes; ${FILE_LONGEST} are the most`);
    data = readFileSync(file);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`--file: cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
  if (data.length === 0) throw new UsageError(`--file: ${file} is empty`);
  return data;
}
