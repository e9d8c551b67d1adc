/**
 * Secrets that come in pieces: a model says a word or two in each event of its stream, so a key that it repeats is never
 * there as a whole. Here the events' texts are put together, each with what stood at the same place in the events before
 * it, and searched as one. What may become a secret is held back until that is known.
 */
import type { Hit, Scanner, ScanStream } from './index.ts';

/** So few bytes of a secret's beginning are no secret, and common text ends in them all the time. */
const HARMLESS = 3;
/** Who has said no more for so long has said all of it. */
const SILENCE_MS = 2_000;
const LINE_MOST = 1 << 20;
const HELD_MOST = 4 << 20;
const PLACES_MOST = 256;
const DEPTH_MOST = 24;

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;

/** Answers whose texts come in pieces, one a line. */
export function comesInLines(contentType: string): boolean {
  return /^\s*(?:text\/event-stream|application\/(?:x-)?(?:ndjson|jsonl|jsonlines|json-seq|stream\+json))\s*(?:;|$)/i.test(contentType);
}

/** One message of a stream. */
export interface Message {
  readonly bytes: Buffer;
  /** JSON, or any text. Undefined: nothing to search. */
  readonly text: string | undefined;
  /** The message with another text. */
  rewrite(text: string): Buffer;
}

export interface PieceSearch {
  push(message: Message): void;
  /** What may go on now, in the order in which it came. */
  take(): Buffer;
  /** Nothing more comes: what is held back is no secret. */
  end(): void;
  /** Nothing more may go on. */
  drop(): void;
  readonly hits: readonly Hit[];
}

interface Queued {
  readonly message: Message;
  readonly root: { readonly '': unknown };
  readonly isJson: boolean;
  readonly pieces: Piece[];
  /** How many of its pieces may still be a part of a secret. */
  open: number;
}

interface Piece {
  readonly of: Queued;
  /** Pieces of one place are one text. */
  readonly place: string;
  readonly holder: object;
  readonly key: string;
  /** As it goes on: blanked where a secret was. */
  readonly bytes: Buffer;
  searched: number;
  changed: boolean;
  waits: boolean;
}

interface Place {
  readonly stream: ScanStream;
  /** Pieces that are not searched to their ends. */
  pending: Piece[];
}

/** @param onLate the other side has been silent: `take` has something */
export function createPieceSearch(scanner: Scanner, onLate: () => void): PieceSearch {
  /** Those used last are the last. */
  const places = new Map<string, Place>();
  const found = new Map<string, Hit>();
  let queue: Queued[] = [];
  let ready: Buffer[] = [];
  let held = 0;
  let silence: NodeJS.Timeout | undefined;

  function push(message: Message): void {
    const queued = read(message);
    queue.push(queued);
    held += message.bytes.length;
    for (const piece of queued.pieces) search(placeOf(piece.place), piece);
    if (held > HELD_MOST) letGo();
    release();
    if (queue.length === 0) stopWaiting();
  }

  function stopWaiting(): void {
    clearTimeout(silence);
    silence = undefined;
  }

  function late(): void {
    stopWaiting();
    letGo();
    release();
    onLate();
  }

  function placeOf(name: string): Place {
    const known = places.get(name);
    places.delete(name);
    const place = known ?? { stream: scanner.open(), pending: [] };
    places.set(name, place);
    const [oldest] = places;
    if (places.size > PLACES_MOST && oldest !== undefined) {
      places.delete(oldest[0]);
      loosen(oldest[1]);
    }
    return place;
  }

  function search(place: Place, piece: Piece): void {
    const { stream } = place;
    const before = stream.hits.length;
    place.pending.push(piece);
    hand(place, stream.push(Buffer.from(piece.bytes)));
    if (stream.hits.length > before)
      for (const hit of stream.hits)
        found.set(`${hit.secret} ${hit.variant}`, { secret: hit.secret, variant: `${hit.variant}, in pieces` });
    if (stream.held <= HARMLESS) return loosen(place);
    // what other places say meanwhile does not make it longer
    clearTimeout(silence);
    silence = setTimeout(late, SILENCE_MS).unref();
  }

  /** Gives each piece its part of what was searched. */
  function hand(place: Place, clean: Buffer): void {
    let from = 0;
    while (from < clean.length) {
      const piece = place.pending[0] as Piece;
      const part = clean.subarray(from, from + piece.bytes.length - piece.searched);
      if (part.compare(piece.bytes, piece.searched, piece.searched + part.length) !== 0) {
        piece.changed = true;
        part.copy(piece.bytes, piece.searched);
      }
      piece.searched += part.length;
      from += part.length;
      if (piece.searched < piece.bytes.length) break;
      place.pending.shift();
      settle(piece);
    }
  }

  function loosen(place: Place): void {
    for (const piece of place.pending) settle(piece);
  }

  function settle(piece: Piece): void {
    if (piece.waits) piece.of.open -= 1;
    piece.waits = false;
  }

  function letGo(): void {
    for (const place of places.values()) loosen(place);
  }

  function release(): void {
    let count = 0;
    while (count < queue.length && (queue[count] as Queued).open === 0) {
      const { message } = queue[count] as Queued;
      ready.push(written(queue[count] as Queued));
      held -= message.bytes.length;
      count += 1;
    }
    if (count > 0) queue = queue.slice(count);
  }

  return {
    push,
    take() {
      const taken = ready.length === 1 ? (ready[0] as Buffer) : Buffer.concat(ready);
      ready = [];
      return taken;
    },
    end() {
      stopWaiting();
      letGo();
      release();
    },
    drop() {
      stopWaiting();
      queue = [];
      ready = [];
    },
    get hits() {
      return [...found.values()];
    },
  };
}

function read(message: Message): Queued {
  const json = parse(message.text);
  const root = { '': json ?? message.text };
  const queued: Queued = { message, root, isJson: json !== undefined, pieces: [], open: 0 };
  collect(queued, root, '', 0);
  queued.open = queued.pieces.length;
  return queued;
}

function parse(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    // a number by itself may be a part of some text
    return typeof value === 'object' ? (value ?? undefined) : undefined;
  } catch {
    return undefined;
  }
}

/** All its texts. What is numbered (`index`, `output_index`…) is told apart by its number: such texts may come by turns. */
function collect(queued: Queued, holder: object, path: string, depth: number): void {
  if (depth > DEPTH_MOST) return;
  const entries = Object.entries(holder);
  let place = path;
  for (const [key, value] of entries) if (typeof value === 'number' && key.endsWith('index')) place += `#${value}`;
  for (const [key, value] of entries) {
    if (typeof value === 'string') {
      if (value.length > 0)
        queued.pieces.push({
          of: queued,
          place: `${place}/${key}`,
          holder,
          key,
          bytes: Buffer.from(value, 'utf8'),
          searched: 0,
          changed: false,
          waits: true,
        });
    } else if (typeof value === 'object' && value !== null) collect(queued, value, `${place}/${key}`, depth + 1);
  }
}

function written({ message, root, isJson, pieces }: Queued): Buffer {
  const changed = pieces.filter((piece) => piece.changed);
  if (changed.length === 0) return message.bytes;
  for (const { holder, key, bytes } of changed)
    // a member may be called __proto__
    Object.defineProperty(holder, key, { value: bytes.toString('utf8'), enumerable: true, configurable: true, writable: true });
  return message.rewrite(isJson ? JSON.stringify(root['']) : String(root['']));
}

/** Lines of a body as messages of a search; what is no `data:` line of an event stream is a line of JSON, or passes. */
export function createLineReader(search: PieceSearch): { push(data: Buffer): void; end(): void } {
  let parts: Buffer[] = [];
  let length = 0;
  let tooLong = false;

  function line(bytes: Buffer): void {
    const end = endOfText(bytes);
    let begin = bytes.subarray(0, 5).toString('latin1') === 'data:' ? 5 : 0;
    if (begin > 0 && bytes[begin] === SPACE) begin += 1;
    const field = begin === 0 && /^(?:event|id|retry)?:/.test(bytes.subarray(0, 6).toString('latin1'));
    search.push({
      bytes,
      text: tooLong || field || begin >= end ? undefined : bytes.toString('utf8', begin, end),
      rewrite: (text) =>
        Buffer.concat([
          bytes.subarray(0, begin),
          // a text is one line, and stays one
          Buffer.from(text.replaceAll(/[\r\n]/g, ' ')),
          bytes.subarray(end),
        ]),
    });
  }

  function push(data: Buffer): void {
    let from = 0;
    for (let at = 0; at < data.length; at++) {
      if (data[at] !== NEWLINE && data[at] !== RETURN) continue;
      parts.push(data.subarray(from, at + 1));
      line(joined());
      tooLong = false;
      from = at + 1;
    }
    if (from === data.length) return;
    parts.push(data.subarray(from));
    length += data.length - from;
    if (length <= LINE_MOST && !tooLong) return;
    tooLong = true;
    line(joined());
  }

  function joined(): Buffer {
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    parts = [];
    length = 0;
    return bytes;
  }

  return {
    push,
    end() {
      if (parts.length > 0) line(joined());
      search.end();
    },
  };
}

function endOfText(line: Buffer): number {
  let end = line.length;
  while (end > 0 && (line[end - 1] === NEWLINE || line[end - 1] === RETURN)) end -= 1;
  return end;
}
