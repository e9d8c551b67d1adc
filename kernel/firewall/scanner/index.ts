/**
 * The leak scanner: finds secrets in what services answer, in every form in which they may echo them, and blanks them.
 *
 * It promises that a secret's bytes never leave it in one piece, however the data is cut into chunks, and that bytes
 * which cannot belong to a secret are not delayed. Blanking keeps lengths. What the events of a stream take apart is put
 * together again (pieces.ts). It cannot see a secret that was encrypted, reversed, encoded twice or taken apart in another
 * way: the barrier against that is that a secret goes only to its own hosts.
 */
import { createMatcher, type Match } from './matcher.ts';
import { variantsOf } from './variants.ts';

export { comesInLines, createLineReader, createPieceSearch } from './pieces.ts';
export { variantsOf } from './variants.ts';

export interface ScannedSecret {
  /** What a hit is reported under; never the value. */
  readonly name: string;
  readonly value: Buffer;
}

export interface Hit {
  readonly secret: string;
  /** `raw`, `base64`, `hex` and so on. */
  readonly variant: string;
}

/** One direction of one message: bytes in, bytes out, with what may still become a secret held back. */
export interface ScanStream {
  push(chunk: Uint8Array): Buffer;
  /** What was held back: no secret, since it never became whole. */
  end(): Buffer;
  /** The same, while it stays held back. */
  rest(): Buffer;
  /** What was found so far, each secret and variant once. */
  readonly hits: readonly Hit[];
  /** Grows with `hits`, and costs nothing to look at. */
  readonly found: number;
  /** Bytes held back now. */
  readonly held: number;
}

export interface Scanner {
  open(): ScanStream;
  /** A whole value: a header, a WebSocket message. */
  scan(data: Uint8Array): { readonly data: Buffer; readonly hits: readonly Hit[] };
  /** Whether a secret is in it, or may begin at its end. */
  touches(data: Uint8Array): boolean;
  readonly patterns: number;
}

/** Shorter values would be found where they are not. */
export const SHORTEST_SECRET = 12;

const BLANK = 0x2a;
const EMPTY = Buffer.alloc(0);

/** @throws RangeError for a secret that is too short to be told from other text */
export function createScanner(secrets: readonly ScannedSecret[]): Scanner {
  const patterns: Buffer[] = [];
  const labels: Hit[] = [];
  for (const { name, value } of secrets) {
    if (value.length < SHORTEST_SECRET)
      throw new RangeError(`secret ${name}: ${SHORTEST_SECRET} bytes are the least that can be scanned for`);
    for (const variant of variantsOf(value)) {
      patterns.push(variant.bytes);
      labels.push({ secret: name, variant: variant.name });
    }
  }
  const matcher = createMatcher(patterns);

  function open(): ScanStream {
    let held: Buffer = EMPTY;
    /** Parts of what is held that belong to a secret already found: a second one may begin inside the first. */
    let blanked: readonly Range[] = [];
    const hits = new Map<number, Hit>();

    function push(chunk: Uint8Array): Buffer {
      const data = held.length === 0 ? asBuffer(chunk) : Buffer.concat([held, chunk]);
      const matches = matcher.find(data);
      for (const { pattern } of matches) hits.set(pattern, labels[pattern] as Hit);
      const open = matcher.openFrom(data);
      const ranges = [...blanked, ...matches];
      held = open === data.length ? EMPTY : Buffer.from(data.subarray(open));
      blanked = ranges.filter(({ end }) => end > open).map(({ start, end }) => ({ start: Math.max(0, start - open), end: end - open }));
      return blank(data.subarray(0, open), ranges);
    }

    return {
      push,
      end() {
        const rest = blank(held, blanked);
        held = EMPTY;
        blanked = [];
        return rest;
      },
      rest: () => blank(held, blanked),
      get hits() {
        return distinct([...hits.values()]);
      },
      get found() {
        return hits.size;
      },
      get held() {
        return held.length;
      },
    };
  }

  return {
    open,
    scan(data) {
      const matches = matcher.find(data);
      return { data: blank(asBuffer(data), matches), hits: distinct(matches.map((match) => labels[match.pattern] as Hit)) };
    },
    touches: (data) => matcher.openFrom(data) < data.length || matcher.find(data).length > 0,
    patterns: patterns.length,
  };
}

type Range = Pick<Match, 'start' | 'end'>;

/** A copy with the ranges blanked; the data itself when there are none. */
function blank(data: Buffer, ranges: readonly Range[]): Buffer {
  if (ranges.length === 0) return data;
  const copy = Buffer.from(data);
  for (const { start, end } of ranges) copy.fill(BLANK, Math.max(0, start), Math.min(copy.length, end));
  return copy;
}

function distinct(hits: readonly Hit[]): Hit[] {
  return [...new Map(hits.map((hit) => [`${hit.secret}\0${hit.variant}`, hit])).values()];
}

function asBuffer(data: Uint8Array): Buffer {
  return Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
