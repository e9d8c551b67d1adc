/**
 * A process's journal: one append-only file outside the sandbox. An entry is in the file before anybody hears of it, so a
 * reader that continues at an offset misses nothing, whoever died meanwhile.
 */
import fs from 'node:fs';
import { SandboxError } from '../errors.ts';
import type { JournalEntry } from '../types.ts';

type ExitEntry = Extract<JournalEntry, { kind: 'exit' }>;
export type Exit = Pick<ExitEntry, 'code' | 'signal' | 'reason'>;

const KINDS = { out: 1, err: 2, in: 3, exit: 4 } as const;
/** Only on the wire: says that the holder is still there. */
const HEARTBEAT = 255;
/** Length of note and data, kind, time, own position, length of the note. */
const HEAD = 25;
const NO_NOTE = 0xffff_ffff;
const LARGEST_ENTRY = 64 * 1024 * 1024;
const READ_SIZE = 256 * 1024;

export interface Journal {
  readonly path: string;
  readonly size: number;
  readonly ended: boolean;
  /** The position behind the entry. Nothing follows an exit. */
  append(kind: 'out' | 'err' | 'in', data: Buffer, note?: string | null): number;
  end(exit: Exit): void;
  /** Bytes from a position on, live, until the exit; null where nothing came for `heartbeatMs`. */
  read(from: number, options: { readonly heartbeatMs: number; readonly signal: AbortSignal }): AsyncGenerator<Buffer | null>;
}

export function createJournal(path: string, now: () => number): Journal {
  return journalOf(path, now, fs.openSync(path, 'ax', 0o600), 0);
}

/** One that another holder wrote: ended as lost if it had not ended, and without the entry that a crash cut off. */
export function recoverJournal(path: string, now: () => number): Journal {
  const fd = fs.openSync(path, 'r+');
  let size = 0;
  let ended = false;
  const head = Buffer.alloc(HEAD);
  const { size: length } = fs.fstatSync(fd);
  while (!ended && fs.readSync(fd, head, 0, HEAD, size) === HEAD) {
    const end = size + HEAD + head.readUInt32LE(0);
    if (head.readDoubleLE(13) !== size || end > length) break;
    ended = head.readUInt8(4) === KINDS.exit;
    size = end;
  }
  fs.ftruncateSync(fd, size);
  fs.closeSync(fd);
  const journal = journalOf(path, now, ended ? undefined : fs.openSync(path, 'a'), size);
  if (!ended) journal.end({ code: null, signal: null, reason: 'lost' });
  return journal;
}

function journalOf(path: string, now: () => number, file: number | undefined, length: number): Journal {
  let fd = file;
  let size = length;
  const waiting = new Set<() => void>();

  function put(kind: number, data: Buffer, note: string | null): number {
    if (fd === undefined) return size;
    const entry = encodeEntry(kind, now(), size, data, note);
    for (let at = 0; at < entry.length;) at += fs.writeSync(fd, entry, at);
    size += entry.length;
    for (const wake of waiting) wake();
    return size;
  }

  async function* read(from: number, { heartbeatMs, signal }: { heartbeatMs: number; signal: AbortSignal }): AsyncGenerator<Buffer | null> {
    const reader = fs.openSync(path, 'r');
    try {
      checkPosition(reader, from, size);
      for (let at = from; !signal.aborted;) {
        if (at < size) {
          const chunk = Buffer.allocUnsafe(Math.min(READ_SIZE, size - at));
          at += fs.readSync(reader, chunk, 0, chunk.length, at);
          yield chunk;
        } else if (fd === undefined) return;
        else if ((await nextChange(heartbeatMs, signal)) === 'quiet') yield null;
      }
    } finally {
      fs.closeSync(reader);
    }
  }

  function nextChange(heartbeatMs: number, signal: AbortSignal): Promise<'change' | 'quiet'> {
    return new Promise((done) => {
      const finish = (what: 'change' | 'quiet'): void => {
        clearTimeout(timer);
        waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        done(what);
      };
      const wake = (): void => finish('change');
      const timer = setTimeout(() => finish('quiet'), heartbeatMs);
      waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }

  return {
    path,
    get size() {
      return size;
    },
    get ended() {
      return fd === undefined;
    },
    append: (kind, data, note) => put(KINDS[kind], data, note ?? null),
    end: (exit) => {
      if (fd === undefined) return;
      put(KINDS.exit, Buffer.from(JSON.stringify(exit)), null);
      fs.closeSync(fd);
      fd = undefined;
      for (const wake of waiting) wake();
    },
    read,
  };
}

function checkPosition(fd: number, from: number, size: number): void {
  const head = Buffer.alloc(HEAD);
  if (from === size) return;
  if (Number.isSafeInteger(from) && from >= 0 && from < size) {
    fs.readSync(fd, head, 0, HEAD, from);
    if (head.readDoubleLE(13) === from) return;
  }
  throw new SandboxError('INVALID_SPEC', `no entry of the journal begins at ${from}: continue at an offset that an entry came with`);
}

function encodeEntry(kind: number, at: number, position: number, data: Buffer, note: string | null): Buffer {
  const noteBytes = note === null ? Buffer.alloc(0) : Buffer.from(note);
  const head = Buffer.alloc(HEAD);
  head.writeUInt32LE(noteBytes.length + data.length, 0);
  head.writeUInt8(kind, 4);
  head.writeDoubleLE(at, 5);
  head.writeDoubleLE(position, 13);
  head.writeUInt32LE(note === null ? NO_NOTE : noteBytes.length, 21);
  return Buffer.concat([head, noteBytes, data]);
}

export const heartbeat = (): Buffer => encodeEntry(HEARTBEAT, 0, 0, Buffer.alloc(0), null);

/** Entries of a journal as its bytes arrive, without the heartbeats. */
export function createEntryReader(onEntry: (entry: JournalEntry) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let size = 0;
  let needed = HEAD;
  return (chunk) => {
    parts.push(chunk);
    size += chunk.length;
    if (size < needed) return;
    let buffer = Buffer.concat(parts, size);
    for (;;) {
      needed = buffer.length < HEAD ? HEAD : HEAD + buffer.readUInt32LE(0);
      if (needed > LARGEST_ENTRY) throw new SandboxError('SANDBOX_UNREACHABLE', 'what came from the holder is no journal');
      if (buffer.length < needed) break;
      const entry = decodeEntry(buffer.subarray(0, needed));
      if (entry !== undefined) onEntry(entry);
      buffer = buffer.subarray(needed);
    }
    parts = [buffer];
    size = buffer.length;
  };
}

function decodeEntry(bytes: Buffer): JournalEntry | undefined {
  const kind = bytes.readUInt8(4);
  const at = bytes.readDoubleLE(5);
  const offset = bytes.readDoubleLE(13) + bytes.length;
  const noteLength = bytes.readUInt32LE(21);
  const dataAt = HEAD + (noteLength === NO_NOTE ? 0 : noteLength);
  const data = Buffer.from(bytes.subarray(dataAt));
  if (kind === KINDS.out) return { offset, at, kind: 'out', data };
  if (kind === KINDS.err) return { offset, at, kind: 'err', data };
  if (kind === KINDS.in)
    return { offset, at, kind: 'in', data, note: noteLength === NO_NOTE ? null : bytes.subarray(HEAD, dataAt).toString() };
  if (kind === KINDS.exit) return { offset, at, kind: 'exit', ...(JSON.parse(data.toString()) as Exit) };
  return undefined;
}
