/**
 * Arrays in Postgres' binary wire format. The group-commit writer sends its rows as one array per column; building
 * them here saves the driver's text serialiser, all quoting, and the server's parsing.
 *
 * Layout of a one-dimensional array: dimensions, has-null flag, element type, length, lower bound, then per element
 * its byte length (-1 for null) and its bytes. All integers are big-endian.
 */

const OID = { bytea: 17, int2: 21, int4: 23, int8: 20, text: 25, json: 114, char: 18, uuid: 2950, timestamptz: 1184 } as const;

/** Milliseconds between 1970 and 2000, where Postgres' clock starts. */
const EPOCH_2000_MS = 946_684_800_000;

function header(buffer: Buffer, oid: number, length: number): number {
  buffer.writeInt32BE(1, 0);
  buffer.writeInt32BE(1, 4);
  buffer.writeInt32BE(oid, 8);
  buffer.writeInt32BE(length, 12);
  buffer.writeInt32BE(1, 16);
  return 20;
}

const EMPTY = new Map<number, Buffer>();

function empty(oid: number): Buffer {
  let buffer = EMPTY.get(oid);
  if (buffer === undefined) {
    buffer = Buffer.alloc(12);
    buffer.writeInt32BE(oid, 8);
    EMPTY.set(oid, buffer);
  }
  return buffer;
}

type Put = (buffer: Buffer, at: number, index: number) => void;

function fixed(oid: number, size: number, values: readonly unknown[], put: Put): Buffer {
  if (values.length === 0) return empty(oid);
  const buffer = Buffer.allocUnsafe(20 + values.length * (4 + size));
  let at = header(buffer, oid, values.length);
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null) {
      at = buffer.writeInt32BE(-1, at);
    } else {
      at = buffer.writeInt32BE(size, at);
      put(buffer, at, i);
      at += size;
    }
  }
  // nulls leave room unused at the end
  return at === buffer.length ? buffer : buffer.subarray(0, at);
}

export function int2Array(values: readonly (number | null)[]): Buffer {
  return fixed(OID.int2, 2, values, (buffer, at, i) => buffer.writeInt16BE(values[i] as number, at));
}

export function int4Array(values: readonly (number | null)[]): Buffer {
  return fixed(OID.int4, 4, values, (buffer, at, i) => buffer.writeInt32BE(values[i] as number, at));
}

/** Whole numbers up to 2^53. */
export function int8Array(values: readonly (number | null)[]): Buffer {
  return fixed(OID.int8, 8, values, (buffer, at, i) => buffer.writeBigInt64BE(BigInt(values[i] as number), at));
}

/** Single ASCII characters, for columns of type "char". */
export function charArray(values: readonly (string | null)[]): Buffer {
  return fixed(OID.char, 1, values, (buffer, at, i) => buffer.writeUInt8((values[i] as string).charCodeAt(0), at));
}

export function uuidArray(values: readonly (string | null)[]): Buffer {
  return fixed(OID.uuid, 16, values, (buffer, at, i) => writeUuid(buffer, at, values[i] as string));
}

/** Milliseconds since 1970, fractions allowed. */
export function timestampArray(values: readonly (number | null)[]): Buffer {
  return fixed(OID.timestamptz, 8, values, (buffer, at, i) => {
    const micros = Math.round(((values[i] as number) - EPOCH_2000_MS) * 1000);
    const high = Math.floor(micros / 0x1_0000_0000);
    buffer.writeInt32BE(high, at);
    buffer.writeUInt32BE(micros - high * 0x1_0000_0000, at + 4);
  });
}

export function textArray(values: readonly (string | null)[]): Buffer {
  return variable(OID.text, values);
}

/** Texts that are already JSON. */
export function jsonArray(values: readonly (string | null)[]): Buffer {
  return variable(OID.json, values);
}

export function byteaArray(values: readonly (Buffer | null)[]): Buffer {
  if (values.length === 0) return empty(OID.bytea);
  const buffer = Buffer.allocUnsafe(values.reduce((size, value) => size + 4 + (value?.length ?? 0), 20));
  let at = header(buffer, OID.bytea, values.length);
  for (const value of values) {
    at = buffer.writeInt32BE(value?.length ?? -1, at);
    if (value !== null) at += value.copy(buffer, at);
  }
  return buffer;
}

function variable(oid: number, values: readonly (string | null)[]): Buffer {
  if (values.length === 0) return empty(oid);
  let size = 20 + values.length * 4;
  for (const value of values) if (value !== null) size += Buffer.byteLength(value);
  const buffer = Buffer.allocUnsafe(size);
  let at = header(buffer, oid, values.length);
  for (const value of values) {
    if (value === null) {
      at = buffer.writeInt32BE(-1, at);
    } else {
      const written = buffer.write(value, at + 4);
      buffer.writeInt32BE(written, at);
      at += 4 + written;
    }
  }
  return buffer;
}

function writeUuid(buffer: Buffer, at: number, uuid: string): void {
  buffer.writeUInt32BE(Number.parseInt(uuid.slice(0, 8), 16), at);
  buffer.writeUInt16BE(Number.parseInt(uuid.slice(9, 13), 16), at + 4);
  buffer.writeUInt16BE(Number.parseInt(uuid.slice(14, 18), 16), at + 6);
  buffer.writeUInt16BE(Number.parseInt(uuid.slice(19, 23), 16), at + 8);
  buffer.writeUInt16BE(Number.parseInt(uuid.slice(24, 28), 16), at + 10);
  buffer.writeUInt32BE(Number.parseInt(uuid.slice(28, 36), 16), at + 12);
}
