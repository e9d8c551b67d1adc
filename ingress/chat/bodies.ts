/**
 * Bodies that nobody has vouched for yet. Each may be so large and take so long, and all that are being read together take so much of the
 * memory. Where that is not enough, whichever has been coming the longest gives way: what a service sends is there a moment after its headers,
 * so whoever only holds bodies open keeps nobody out.
 */
import type { IncomingMessage } from 'node:http';

export interface BodyLimits {
  /** Bytes of one. */
  readonly most: number;
  /** Bytes of all that are being read. */
  readonly room: number;
  readonly withinMs: number;
}

/** `gave way`: to others, and may come again. */
type ReadBody = Buffer | 'too large' | 'cut off' | 'gave way';

export type BodyReader = (request: IncomingMessage) => Promise<ReadBody>;

export function createBodyReader({ most, room, withinMs }: BodyLimits): BodyReader {
  let held = 0;
  /** Ends the reading of each: that which has been coming the longest first. */
  const reading = new Set<() => void>();
  return (request) =>
    new Promise((resolve) => {
      // pieces are copied: kept by themselves, those of one byte take a hundred times what they hold
      let buffer = Buffer.alloc(0);
      let size = 0;
      const settle = (found: ReadBody): void => {
        clearTimeout(timer);
        request.off('data', take).off('end', end).off('close', cut).off('error', cut);
        // a socket that breaks later is nobody's problem, and must not become the process's
        request.on('error', () => {});
        reading.delete(giveWay);
        held -= buffer.length;
        resolve(found);
      };
      const take = (part: Buffer): void => {
        const needed = size + part.length;
        if (needed > most) return settle('too large');
        if (needed > buffer.length) {
          const larger = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(most, 2 * buffer.length)));
          buffer.copy(larger, 0, 0, size);
          held += larger.length - buffer.length;
          buffer = larger;
        }
        part.copy(buffer, size);
        size = needed;
        for (const longest of reading) {
          if (held <= room) break;
          longest();
        }
      };
      const end = (): void => settle(buffer.subarray(0, size));
      const cut = (): void => settle('cut off');
      const giveWay = (): void => settle('gave way');
      const timer = setTimeout(cut, withinMs);
      reading.add(giveWay);
      if (request.destroyed) return cut();
      request.on('data', take).on('end', end).on('close', cut).on('error', cut);
    });
}
