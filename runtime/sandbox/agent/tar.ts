/** The part of tar that a session needs: folders, ordinary files, links. Names over 100 bytes go into pax records. */

export interface TarEntry {
  readonly path: string;
  readonly type: 'file' | 'folder' | 'link';
  readonly mode: number;
  readonly size: number;
  /** Where a link points. */
  readonly target: string;
}

const BLOCK = 512;
const LARGEST_PAX = 64 * 1024;

export function tarHeader(entry: TarEntry): Buffer {
  const longPath = Buffer.byteLength(entry.path) > 100;
  const longTarget = Buffer.byteLength(entry.target) > 100;
  const large = entry.size >= 8 ** 11;
  const head = ustar(entry, entry.type === 'file' ? '0' : entry.type === 'folder' ? '5' : '2');
  if (!longPath && !longTarget && !large) return head;
  const records = [
    ...(longPath ? [paxRecord('path', entry.path)] : []),
    ...(longTarget ? [paxRecord('linkpath', entry.target)] : []),
    ...(large ? [paxRecord('size', String(entry.size))] : []),
  ].join('');
  const size = Buffer.byteLength(records);
  return Buffer.concat([ustar({ path: 'pax', type: 'file', mode: 0o644, size, target: '' }, 'x'), padded(Buffer.from(records)), head]);
}

export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
export const tarEnd = (): Buffer => Buffer.alloc(2 * BLOCK);

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, tarPadding(data.length)]);
}

function ustar(entry: TarEntry, type: string): Buffer {
  const head = Buffer.alloc(BLOCK);
  head.write(entry.path.slice(0, 100), 0, 100);
  head.write(`${(entry.mode & 0o777).toString(8).padStart(7, '0')}\0`, 100);
  head.write('0001750\0', 108);
  head.write('0001750\0', 116);
  head.write(
    `${Math.min(entry.size, 8 ** 11 - 1)
      .toString(8)
      .padStart(11, '0')}\0`,
    124,
  );
  head.write('00000000000\0', 136);
  head.write('        ', 148);
  head.write(type, 156);
  head.write(entry.target.slice(0, 100), 157, 100);
  head.write('ustar\x0000', 257);
  head.write(`${sum(head).toString(8).padStart(6, '0')}\0 `, 148);
  return head;
}

function sum(head: Buffer): number {
  let total = 0;
  for (let index = 0; index < BLOCK; index++) total += index >= 148 && index < 156 ? 32 : (head[index] as number);
  return total;
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (length !== rest + String(length).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

export interface TarHandler {
  entry(entry: TarEntry): void;
  data(chunk: Buffer): void;
  /** After the last byte of each entry. */
  end(): void;
}

/** Reads an archive as it arrives. Throws on whatever a session's archive never holds: devices, hard links, broken sums. */
export function createTarReader(handler: TarHandler): { push(chunk: Buffer): void; finish(): void } {
  let waiting = Buffer.alloc(0);
  let left = 0;
  let padding = 0;
  let ended = false;
  let pax: Record<string, string> = {};
  let paxLeft: number | undefined;

  function push(chunk: Buffer): void {
    let buffer = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    while (buffer.length > 0 && !ended) {
      const used = step(buffer);
      if (used === 0) break;
      buffer = buffer.subarray(used);
    }
    waiting = ended ? Buffer.alloc(0) : Buffer.from(buffer);
  }

  /** How many bytes it could use; 0 when it needs more. */
  function step(buffer: Buffer): number {
    if (paxLeft !== undefined) {
      const whole = paxLeft + tarPadding(paxLeft).length;
      if (buffer.length < whole) return 0;
      pax = readPax(buffer.subarray(0, paxLeft));
      paxLeft = undefined;
      return whole;
    }
    if (left > 0) {
      const chunk = buffer.subarray(0, left);
      handler.data(chunk);
      left -= chunk.length;
      if (left === 0) handler.end();
      return chunk.length;
    }
    if (padding > 0) {
      const skipped = Math.min(padding, buffer.length);
      padding -= skipped;
      return skipped;
    }
    if (buffer.length < BLOCK) return 0;
    readHeader(buffer.subarray(0, BLOCK));
    return BLOCK;
  }

  function readHeader(head: Buffer): void {
    if (head.every((byte) => byte === 0)) {
      ended = true;
      return;
    }
    if (octal(head, 148, 8) !== sum(head)) throw new Error('the archive is broken: a checksum does not match');
    const type = String.fromCharCode(head[156] as number);
    const size = Number(pax['size'] ?? octal(head, 124, 12));
    if (!Number.isSafeInteger(size) || size < 0) throw new Error('the archive is broken: a size is no number');
    if (type === 'x') {
      if (size > LARGEST_PAX || size === 0) throw new Error('the archive holds a name that is too long');
      paxLeft = size;
      return;
    }
    const prefix = text(head, 345, 155);
    const name = text(head, 0, 100);
    const path = pax['path'] ?? (prefix === '' ? name : `${prefix}/${name}`);
    const target = pax['linkpath'] ?? text(head, 157, 100);
    pax = {};
    const kind = ({ '0': 'file', '\0': 'file', '5': 'folder', '2': 'link' } as const)[type];
    if (kind === undefined) throw new Error(`the archive holds an entry of type ${JSON.stringify(type)}, which is not restored: ${path}`);
    left = kind === 'file' ? size : 0;
    padding = kind === 'file' ? tarPadding(size).length : 0;
    handler.entry({ path: path.replace(/\/$/, ''), type: kind, mode: octal(head, 100, 8) & 0o777, size: left, target });
    if (left === 0) handler.end();
  }

  return {
    push,
    finish: () => {
      if (!ended) throw new Error('the archive is cut off');
    },
  };
}

function octal(head: Buffer, at: number, length: number): number {
  const digits = text(head, at, length).trim();
  if (!/^[0-7]+$/.test(digits)) throw new Error('the archive is broken: a field is not octal');
  return Number.parseInt(digits, 8);
}

function text(head: Buffer, at: number, length: number): string {
  const field = head.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.subarray(0, end === -1 ? length : end).toString('utf8');
}

function readPax(data: Buffer): Record<string, string> {
  const records: Record<string, string> = {};
  let rest = data;
  while (rest.length > 0) {
    const length = Number.parseInt(rest.subarray(0, 8).toString('latin1'), 10);
    const record = rest.subarray(0, length).toString('utf8');
    const parts = /^\d+ ([^=]+)=([^]*)\n$/.exec(record);
    if (!(length > 0) || length > rest.length || parts === null) throw new Error('the archive is broken: a pax record is malformed');
    records[parts[1] as string] = parts[2] as string;
    rest = rest.subarray(length);
  }
  return records;
}
