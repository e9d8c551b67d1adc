/**
 * The file of a backup: one line that says what it is, and pieces that are sealed.
 *
 *   centaur-backup 1\n
 *   {"key": …, "created_at": …, "master_key": …}\n
 *   then pieces: length (4 bytes), AES-256-GCM of that many bytes
 *
 * A piece's nonce is its number, and whether it is the last one; the two lines are authenticated with each. So pieces that
 * were changed, dropped, swapped, or cut off at the end are found, and the file of a process that was killed never looks
 * whole. The key is made for this file, and is in its second line: wrapped by the master key, or under a passphrase.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes, scrypt } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { Readable, type Transform } from 'node:stream';
import { createZstdCompress, createZstdDecompress } from 'node:zlib';
import { z } from 'zod';
import type { MasterKey } from '../vault/index.ts';
import { BackupError } from './errors.ts';

const MAGIC = 'centaur-backup 1';
const PIECE_BYTES = 1024 * 1024;
const TAG_BYTES = 16;
const HEAD_LONGEST = 16 * 1024;
/** OWASP's for a passphrase: 128 MiB, and half a second. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 } as const;
const PASSPHRASE_SHORTEST = 12;

const HEAD = z.strictObject({
  created_at: z.iso.datetime(),
  /** Of the installation: what it sealed is sealed under this one. Null: it has none. */
  master_key: z.string().max(1000).nullable(),
  key: z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('master'), kek_id: z.string().max(1000), wrapped: z.base64() }),
    z.strictObject({ type: z.literal('passphrase'), salt: z.base64(), wrapped: z.base64() }),
  ]),
});
export type Head = z.output<typeof HEAD>;

/** What opens a backup. */
export interface BackupKeys {
  readonly master?: MasterKey | undefined;
  readonly passphrase?: string | undefined;
}

/** Writes all of `plain` into the file, which must not be there, and sees it on the disk. Answers its size. */
export async function writeSealed(
  file: string,
  plain: AsyncIterable<Buffer>,
  { master, passphrase }: BackupKeys,
  about: { readonly createdAt: Date; readonly masterKey: string | null },
): Promise<number> {
  const key = randomBytes(32);
  const head: Head = {
    created_at: about.createdAt.toISOString(),
    master_key: about.masterKey,
    key: passphrase === undefined ? await underMaster(key, master) : await underPassphrase(key, passphrase),
  };
  const lines = Buffer.from(`${MAGIC}\n${JSON.stringify(head)}\n`);
  const handle = await open(file, 'wx', 0o600);
  try {
    // unlike `write`, it writes all of it or fails
    await handle.appendFile(lines);
    let size = lines.length;
    let n = 0;
    const put = async (piece: Buffer, last: 'more' | 'last') => {
      const cipher = createCipheriv('aes-256-gcm', key, nonceOf(n++, last));
      cipher.setAAD(digestOf(lines));
      const sealed = Buffer.concat([cipher.update(piece), cipher.final(), cipher.getAuthTag()]);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(sealed.length);
      await handle.appendFile(Buffer.concat([length, sealed]));
      size += 4 + sealed.length;
    };
    let held: Buffer | undefined;
    for await (const piece of inPieces(through(plain, createZstdCompress()))) {
      if (held !== undefined) await put(held, 'more');
      held = piece;
    }
    await put(held ?? Buffer.alloc(0), 'last');
    await handle.sync();
    const { size: there } = await handle.stat();
    if (there !== size) throw new Error(`${file} has ${there} bytes of ${size}: it was not written whole`);
    return size;
  } finally {
    await handle.close();
  }
}

/** What was written, once its pieces hold. @throws BackupError BACKUP_BROKEN, BACKUP_KEY_WRONG */
export async function* readSealed(file: string, keys: BackupKeys): AsyncGenerator<Buffer> {
  const opened = await openSealed(file, keys);
  try {
    yield* through(opened.pieces(), createZstdDecompress());
  } catch (error) {
    throw error instanceof BackupError ? error : broken('what is in it cannot be unpacked', error);
  } finally {
    await opened.close();
  }
}

export async function readHead(file: string): Promise<Head> {
  const handle = await openFile(file);
  try {
    return (await headOf(handle)).head;
  } finally {
    await handle.close();
  }
}

async function openSealed(file: string, keys: BackupKeys) {
  const handle = await openFile(file);
  try {
    const { head, lines } = await headOf(handle);
    const key = await keyOf(head, keys);
    return {
      close: () => handle.close(),
      async *pieces(): AsyncGenerator<Buffer> {
        let at = lines.length;
        for (let n = 0; ; n++) {
          const prefix = await readExactly(handle, 4, at);
          const length = prefix.readUInt32BE();
          if (length < TAG_BYTES || length > PIECE_BYTES + TAG_BYTES) throw broken('a piece has an impossible length');
          const sealed = await readExactly(handle, length, at + 4);
          at += 4 + length;
          const more = openPiece(key, sealed, nonceOf(n, 'more'), lines);
          const piece = more ?? openPiece(key, sealed, nonceOf(n, 'last'), lines);
          if (piece === undefined) throw broken(`piece ${n + 1} was changed, or is not in its place`);
          yield piece;
          if (more !== undefined) continue;
          if ((await handle.stat()).size !== at) throw broken('something follows its end');
          return;
        }
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function openPiece(key: Buffer, sealed: Buffer, nonce: Buffer, lines: Buffer): Buffer | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(digestOf(lines));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const plain = decipher.update(sealed.subarray(0, -TAG_BYTES));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    return undefined;
  }
}

/** The key is new with each file, so a number is enough: the last piece has a bit of its own. */
function nonceOf(n: number, last: 'more' | 'last'): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt8(last === 'last' ? 1 : 0, 0);
  nonce.writeUInt32BE(n, 8);
  return nonce;
}

const digestOf = (lines: Buffer): Buffer => createHash('sha256').update(lines).digest();

async function underMaster(key: Buffer, master: MasterKey | undefined): Promise<Head['key']> {
  if (master === undefined)
    throw new BackupError('BACKUP_KEY_WRONG', 'a backup is sealed: give the master key of the installation, or a passphrase');
  return { type: 'master', kek_id: master.id, wrapped: (await master.wrap(key)).toString('base64') };
}

async function underPassphrase(key: Buffer, passphrase: string): Promise<Head['key']> {
  if (passphrase.length < PASSPHRASE_SHORTEST)
    throw new BackupError('BACKUP_KEY_WRONG', `the passphrase: at least ${PASSPHRASE_SHORTEST} characters`);
  const salt = randomBytes(16);
  const cipher = createCipheriv('aes-256-gcm', await stretch(passphrase, salt), Buffer.alloc(12));
  const wrapped = Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()]);
  return { type: 'passphrase', salt: salt.toString('base64'), wrapped: wrapped.toString('base64') };
}

async function keyOf({ key }: Head, { master, passphrase }: BackupKeys): Promise<Buffer> {
  const wrapped = Buffer.from(key.wrapped, 'base64');
  if (key.type === 'master') {
    if (master === undefined)
      throw new BackupError(
        'BACKUP_KEY_WRONG',
        `it is sealed under the master key ${key.kek_id}: set CENTAUR_MASTER_KEY or CENTAUR_MASTER_KEY_FILE`,
      );
    return master
      .unwrap(wrapped, key.kek_id)
      .catch((error: Error) => Promise.reject(new BackupError('BACKUP_KEY_WRONG', error.message, { cause: error })));
  }
  if (passphrase === undefined)
    throw new BackupError('BACKUP_KEY_WRONG', 'it is sealed under a passphrase: give it with --passphrase-file');
  const decipher = createDecipheriv('aes-256-gcm', await stretch(passphrase, Buffer.from(key.salt, 'base64')), Buffer.alloc(12));
  decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(wrapped.subarray(0, -TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw new BackupError('BACKUP_KEY_WRONG', 'it is not the passphrase of this backup', { cause: error });
  }
}

function stretch(passphrase: string, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) =>
    scrypt(passphrase.normalize('NFC'), salt, 32, SCRYPT, (error, key) => (error === null ? resolve(key) : reject(error))),
  );
}

async function openFile(file: string): Promise<FileHandle> {
  return open(file, 'r').catch((error: Error) =>
    Promise.reject(new BackupError('BACKUP_BROKEN', `it cannot be read: ${error.message}`, { cause: error })),
  );
}

async function headOf(handle: FileHandle): Promise<{ readonly head: Head; readonly lines: Buffer }> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_LONGEST), 0, HEAD_LONGEST, 0);
  const start = buffer.subarray(0, bytesRead);
  const first = start.indexOf(10);
  const second = start.indexOf(10, first + 1);
  const magic = start.toString('utf8', 0, Math.max(0, first));
  if (!magic.startsWith('centaur-backup ') || second < 0) throw broken('it is no backup of Centaur');
  if (magic !== MAGIC) throw new BackupError('BACKUP_UNSUITABLE', 'it was made by another release, whose format this one does not know');
  try {
    return { head: HEAD.parse(JSON.parse(start.toString('utf8', first + 1, second))), lines: Buffer.from(start.subarray(0, second + 1)) };
  } catch (error) {
    throw broken('its second line is not what a backup says of itself', error);
  }
}

async function readExactly(handle: FileHandle, length: number, at: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let have = 0; have < length;) {
    const { bytesRead } = await handle.read(bytes, have, length - have, at + have);
    if (bytesRead === 0) throw broken('it is cut off');
    have += bytesRead;
  }
  return bytes;
}

/** A source that fails makes the other end fail, and whoever stops early stops the source. */
async function* through(source: AsyncIterable<Buffer>, packer: Transform): AsyncGenerator<Buffer> {
  const input = Readable.from(source, { objectMode: false });
  input.on('error', (error) => packer.destroy(error));
  try {
    yield* input.pipe(packer) as AsyncIterable<Buffer>;
  } finally {
    input.destroy();
  }
}

/** Pieces of one size, the last one shorter. */
async function* inPieces(packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let bytes = 0;
  for await (const part of packed) {
    held.push(part);
    bytes += part.length;
    if (bytes < PIECE_BYTES) continue;
    let all = Buffer.concat(held);
    for (; all.length >= PIECE_BYTES; all = all.subarray(PIECE_BYTES)) yield all.subarray(0, PIECE_BYTES);
    held = [all];
    bytes = all.length;
  }
  if (bytes > 0) yield Buffer.concat(held);
}

function broken(why: string, cause?: unknown): BackupError {
  return new BackupError('BACKUP_BROKEN', `this is no whole backup: ${why}`, { cause });
}
