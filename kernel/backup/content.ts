/**
 * What is in a backup, as a stream of frames: a letter (J: a line of JSON; D: rows as COPY writes them), a length, the bytes.
 * A manifest; then each table, with what it should have come to behind its rows; then the end, which counts them.
 */
import { createHash, type Hash } from 'node:crypto';
import { z } from 'zod';
import { BackupError } from './errors.ts';

/** Names go into statements when a backup is restored: nothing but what our migrations could have made. */
const name = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/);
const bound = z.string().regex(/^(?:DEFAULT|FOR VALUES FROM \('[0-9a-f-]{36}'\) TO \('[0-9a-f-]{36}'\))$/);

const MANIFEST = z.strictObject({
  type: z.literal('manifest'),
  backup_id: z.uuid(),
  created_at: z.iso.datetime(),
  postgres: z.string().max(100),
  migrations: z.array(z.strictObject({ id: z.int(), name: z.string().max(200), checksum: z.string().max(100) })).min(1),
  /** Of each master key that something is sealed under: whoever restores must be able to unwrap them. */
  keys: z.array(z.strictObject({ kek_id: z.string().max(1000), wrapped: z.base64() })),
  /** In an order in which each refers only to those before it. */
  tables: z.array(z.strictObject({ name, columns: z.array(name).min(1) })),
  partitions: z.array(z.strictObject({ parent: name, name, bound })),
  sequences: z.array(z.strictObject({ name, last_value: z.string().regex(/^-?\d{1,19}$/), is_called: z.boolean() })),
  /** Tables and schemas of the database that are not in it. */
  left_out: z.array(z.string().max(200)),
});
const TABLE = z.strictObject({ type: z.literal('table'), name });
const TABLE_END = z.strictObject({ type: z.literal('table_end'), name, rows: z.int(), sha256: z.string() });
const END = z.strictObject({ type: z.literal('end'), tables: z.int(), rows: z.int() });

export type Manifest = z.output<typeof MANIFEST>;

const PIECE_MOST = 16 * 1024 * 1024;
/** A row can be large: COPY writes a file of 64 MiB as twice as many digits. */
const FRAME_MOST = 1024 * 1024 * 1024;

export function* frameOf(letter: 'J' | 'D', bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at === 0 || at < bytes.length; at += PIECE_MOST) {
    const piece = letter === 'J' ? bytes : bytes.subarray(at, at + PIECE_MOST);
    const head = Buffer.alloc(5);
    head.write(letter);
    head.writeUInt32BE(piece.length, 1);
    yield head;
    yield piece;
    if (letter === 'J') return;
  }
}

export const jsonFrame = (value: object): Generator<Buffer> => frameOf('J', Buffer.from(JSON.stringify(value)));

/** Counts and hashes a table's rows while they pass. */
export function meter(): { readonly hash: Hash; rows: number; add(piece: Buffer): void } {
  const hash = createHash('sha256');
  const met = {
    hash,
    rows: 0,
    add(piece: Buffer) {
      hash.update(piece);
      // the text format has one line per row, and no other line feeds
      for (let at = piece.indexOf(10); at >= 0; at = piece.indexOf(10, at + 1)) met.rows += 1;
    },
  };
  return met;
}

export interface Content {
  readonly manifest: Manifest;
  /**
   * Each table in turn; its rows must be read to their end before the next. What it came to is held against what is written
   * behind it.
   *
   * @throws BackupError BACKUP_BROKEN
   */
  tables(): AsyncGenerator<{ readonly name: string; readonly columns: readonly string[]; readonly rows: AsyncGenerator<Buffer, number> }>;
}

/** @throws BackupError BACKUP_BROKEN */
export async function readContent(plain: AsyncIterable<Buffer>): Promise<Content> {
  const frames = framesOf(plain);
  const manifest = await nextJson(frames, MANIFEST);
  return {
    manifest,
    async *tables() {
      let total = 0;
      for (const { name: wanted, columns } of manifest.tables) {
        const begun = await nextJson(frames, TABLE);
        if (begun.name !== wanted) throw broken(`expected the table ${wanted}, found ${begun.name}`);
        let ended = false;
        async function* rows(): AsyncGenerator<Buffer, number> {
          const met = meter();
          for (;;) {
            const { value: frame, done } = await frames.next();
            if (done === true) throw broken('it ends in the middle of a table');
            if (frame.letter === 'D') {
              met.add(frame.bytes);
              yield frame.bytes;
              continue;
            }
            const end = parse(frame.bytes, TABLE_END);
            if (end.name !== wanted || end.rows !== met.rows || end.sha256 !== met.hash.digest('hex'))
              throw broken(`the rows of ${wanted} are not those that were written`);
            ended = true;
            total += met.rows;
            return met.rows;
          }
        }
        yield { name: wanted, columns, rows: rows() };
        if (!ended) throw new Error(`the rows of ${wanted} were not read`);
      }
      const end = await nextJson(frames, END);
      if (end.tables !== manifest.tables.length || end.rows !== total) throw broken('its tables are not those that were written');
      if ((await frames.next()).done !== true) throw broken('something follows its end');
    },
  };
}

interface Frame {
  readonly letter: 'J' | 'D';
  readonly bytes: Buffer;
}

async function* framesOf(plain: AsyncIterable<Buffer>): AsyncGenerator<Frame> {
  let held: Buffer[] = [];
  let have = 0;
  const take = (length: number): Buffer => {
    const all = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held);
    held = [all.subarray(length)];
    have -= length;
    return all.subarray(0, length);
  };
  let head: { readonly letter: 'J' | 'D'; readonly length: number } | undefined;
  for await (const part of plain) {
    held.push(part);
    have += part.length;
    for (;;) {
      if (head === undefined) {
        if (have < 5) break;
        const bytes = take(5);
        const letter = String.fromCharCode(bytes[0] as number);
        const length = bytes.readUInt32BE(1);
        if ((letter !== 'J' && letter !== 'D') || length > FRAME_MOST) throw broken('a frame of no known kind');
        head = { letter, length };
      }
      if (have < head.length) break;
      yield { letter: head.letter, bytes: take(head.length) };
      head = undefined;
    }
  }
  if (have > 0 || head !== undefined) throw broken('it ends in the middle of a frame');
}

async function nextJson<T>(frames: AsyncGenerator<Frame>, schema: z.ZodType<T>): Promise<T> {
  const { value: frame, done } = await frames.next();
  if (done === true || frame.letter !== 'J') throw broken('it does not go on as a backup does');
  return parse(frame.bytes, schema);
}

function parse<T>(bytes: Buffer, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw broken('a line in it is not what a backup has there', error);
  }
}

function broken(why: string, cause?: unknown): BackupError {
  return new BackupError('BACKUP_BROKEN', `this is no whole backup: ${why}`, { cause });
}
