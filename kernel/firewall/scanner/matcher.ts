/**
 * Finding many byte patterns at once, after Wu and Manber: a window as long as the shortest pattern moves over the data,
 * and its last three bytes tell how far it may jump. Most of the data is never looked at.
 */

export interface Match {
  readonly start: number;
  readonly end: number;
  /** Index of the pattern. */
  readonly pattern: number;
}

export interface Matcher {
  /** All matches, those that overlap too, in the order of their ends' windows. */
  find(data: Uint8Array): Match[];
  /** The first position from which the rest of the data is the beginning of a pattern; the length when there is none. */
  openFrom(data: Uint8Array): number;
  /** Length of the longest pattern. */
  readonly longest: number;
}

const BLOCK = 3;
const HASHES = 1 << 18;
/** A longer window would only help with patterns that are all longer. */
const WINDOW_MAX = 24;
const NONE: readonly number[] = [];

export function createMatcher(patterns: readonly Uint8Array[]): Matcher {
  if (patterns.some((pattern) => pattern.length < BLOCK)) throw new RangeError(`a pattern needs at least ${BLOCK} bytes`);
  if (patterns.length === 0) return { find: () => [], openFrom: (data) => data.length, longest: 0 };
  const window = Math.min(WINDOW_MAX, ...patterns.map((pattern) => pattern.length));
  const longest = Math.max(...patterns.map((pattern) => pattern.length));
  const offsets = placeWindows(patterns, window);
  const jump = new Uint8Array(HASHES).fill(window - BLOCK + 1);
  const buckets = new Map<number, number[]>();
  const beginnings = new Map<number, number[]>();
  /** Which bytes a pattern may begin with: nearly all of the data is passed over by one look. */
  const first = new Uint8Array(256);
  for (const [index, pattern] of patterns.entries()) {
    const from = offsets[index] as number;
    for (let at = 0; at <= window - BLOCK; at++) {
      const hash = hashAt(pattern, from + at);
      jump[hash] = Math.min(jump[hash] as number, window - BLOCK - at);
    }
    append(buckets, hashAt(pattern, from + window - BLOCK), index);
    append(beginnings, hashAt(pattern, 0), index);
    first[pattern[0] as number] = 1;
  }

  function find(data: Uint8Array): Match[] {
    const matches: Match[] = [];
    const { length } = data;
    let at = window - 1;
    while (at < length) {
      const hash = ((data[at - 2] as number) << 10) ^ ((data[at - 1] as number) << 5) ^ (data[at] as number);
      const ahead = jump[hash] as number;
      if (ahead !== 0) {
        at += ahead;
        continue;
      }
      for (const index of buckets.get(hash) ?? NONE) {
        const pattern = patterns[index] as Uint8Array;
        const start = at - window + 1 - (offsets[index] as number);
        if (start >= 0 && start + pattern.length <= length && agrees(data, start, pattern, pattern.length))
          matches.push({ start, end: start + pattern.length, pattern: index });
      }
      at += 1;
    }
    return matches;
  }

  function openFrom(data: Uint8Array): number {
    const { length } = data;
    for (let start = Math.max(0, length - longest + 1); start < length; start++) {
      if (first[data[start] as number] === 0) continue;
      const rest = length - start;
      const candidates = rest >= BLOCK ? (beginnings.get(hashAt(data, start)) ?? NONE) : patterns.keys();
      for (const index of candidates) {
        const pattern = patterns[index] as Uint8Array;
        if (rest < pattern.length && agrees(data, start, pattern, rest)) return start;
      }
    }
    return length;
  }

  return { find, openFrom, longest };
}

function hashAt(data: Uint8Array, at: number): number {
  return ((data[at] as number) << 10) ^ ((data[at + 1] as number) << 5) ^ (data[at + 2] as number);
}

function append(map: Map<number, number[]>, key: number, value: number): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** From the end: patterns that begin alike differ there. */
function agrees(data: Uint8Array, start: number, pattern: Uint8Array, length: number): boolean {
  for (let at = length - 1; at >= 0; at--) if (data[start + at] !== pattern[at]) return false;
  return true;
}

/**
 * Where in each pattern the window stands. Keys of one vendor begin alike ("sk-ant-…"): behind what they share, text
 * that is full of such beginnings costs no more than any other.
 */
function placeWindows(patterns: readonly Uint8Array[], window: number): number[] {
  const order = [...patterns.keys()].sort((a, b) => Buffer.compare(patterns[a] as Uint8Array, patterns[b] as Uint8Array));
  const offsets = Array.from({ length: patterns.length }, () => 0);
  for (const [place, index] of order.entries()) {
    const pattern = patterns[index] as Uint8Array;
    const neighbours = [order[place - 1], order[place + 1]].map((other) =>
      other === undefined ? 0 : shared(pattern, patterns[other] as Uint8Array),
    );
    offsets[index] = Math.min(pattern.length - window, Math.max(...neighbours));
  }
  return offsets;
}

function shared(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
