/**
 * A body while it arrives. Pieces are copied into one buffer: kept by themselves, pieces of one byte take five hundred
 * times what they hold, and whoever sends needs no key for that.
 */
import type { Bytes } from './encoding.ts';

export interface ByteBuffer {
  /** False when the piece would go over the limit; it is left out then. */
  add(piece: Bytes): boolean;
  readonly size: number;
  /** What it takes of the memory. */
  readonly capacity: number;
  bytes(): Uint8Array<ArrayBuffer>;
}

/** @param most bytes that it may hold */
export function createByteBuffer(most: number): ByteBuffer {
  let buffer = new Uint8Array(0);
  let size = 0;
  return {
    add(piece) {
      const needed = size + piece.length;
      if (needed > most) return false;
      if (needed > buffer.length) {
        const larger = new Uint8Array(Math.max(needed, Math.min(most, 2 * buffer.length)));
        larger.set(buffer.subarray(0, size));
        buffer = larger;
      }
      buffer.set(piece, size);
      size = needed;
      return true;
    },
    get size() {
      return size;
    },
    get capacity() {
      return buffer.length;
    },
    bytes: () => buffer.subarray(0, size),
  };
}
