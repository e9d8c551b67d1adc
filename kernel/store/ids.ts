import { getRandomValues } from 'node:crypto';

/** Random bytes in stock: asking for 8 at a time costs more than all the rest of an id. */
const stock = Buffer.allocUnsafe(4096);
let used = stock.length;

let lastMs = 0;
let counter = 0;

/**
 * A UUID of version 7: 48 bits of milliseconds, then 12 bits that count within one millisecond, then random bits.
 * Ids made by one process sort in the order they were made, which keeps inserts on the right edge of their index.
 */
export function uuidv7(nowMs: number): string {
  const ms = Math.max(Math.floor(nowMs), lastMs);
  if (ms > lastMs) {
    lastMs = ms;
    counter = 0;
  } else if (++counter > 0xfff) {
    lastMs += 1;
    counter = 0;
  }
  const bytes = Buffer.allocUnsafe(16);
  if (used === stock.length) {
    getRandomValues(stock);
    used = 0;
  }
  stock.copy(bytes, 8, used, (used += 8));
  bytes.writeUIntBE(lastMs, 0, 6);
  bytes[6] = 0x70 | (counter >> 8);
  bytes[7] = counter & 0xff;
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return formatUuid(bytes);
}

export function formatUuid(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a UUID in its canonical lower-case form. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}
