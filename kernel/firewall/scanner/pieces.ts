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
/** Beyond these what a service sends is searched as bytes alone. */
const LINE_MOST = 1 << 20;
const HELD_MOST = 4 << 20;
const PLACES_MOST = 256;
/** Of one message, so that it does not push out all that others began. */
const NEW_MOST = 64;
const TEXTS_MOST = 256;
const DEPTH_MOST = 24;
/** What a message costs that is held back, besides its bytes: itself, and each of its texts. */
const MESSAGE_BYTES = 512;
const TEXT_BYTES = 256;
const NAME_MOST = 64;

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const RECORD = 0x1e;
const STAR = 0x2a;

/** Answers whose texts come in pieces, one a line. */
export function comesInLines(contentType: string): boolean {
  return /^\s*(?:text\/event-stream|application\/(?:x-)?(?:ndjson|jsonl|jsonlines|json-seq|stream\+json))\s*(?:[;,]|$)/i.test(contentType);
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
  readonly pieces: readonly Piece[];
  readonly isJson: boolean;
  /** How many searches of its pieces are not over. */
  open: number;
}

interface Piece {
  /** Where it stands, as members and as the text that it belongs to: with the numbers beside it, and without. */
  readonly path: readonly string[];
  readonly places: readonly string[];
  readonly bytes: Buffer;
  /** As it goes on, where a secret was. */
  blanked: Buffer | undefined;
}

/** A text that ends in the beginning of a secret; there are no others. */
interface Place {
  readonly stream: ScanStream;
  /** Pieces that are not searched to their ends, and hold their messages back. */
  pending: { readonly of: Queued; readonly piece: Piece; at: number }[];
  /** Bytes that went on before they were searched to their ends. */
  owed: number;
  silence: NodeJS.Timeout | undefined;
}

/** @param onLate `take` has something, since the other side has been silent; or nothing more may go on, after an error */
export function createPieceSearch(scanner: Scanner, onLate: (error?: Error) => void): PieceSearch {
  /** Those used last are the last. */
  const places = new Map<string, Place>();
  const found = new Map<string, Hit>();
  let queue: (Queued | undefined)[] = [];
  let first = 0;
  let ready: Buffer[] = [];
  let held = 0;
  let dropped = false;

  function push(message: Message): void {
    if (dropped) return;
    const queued = read(message);
    let room = NEW_MOST;
    for (const piece of queued.pieces)
      for (const name of piece.places) {
        const known = places.get(name);
        // most texts have nothing to do with any secret
        if (known === undefined && (room === 0 || !scanner.touches(piece.bytes))) continue;
        search(name, known, queued, piece);
        if (known === undefined && places.has(name)) room -= 1;
      }
    if (first === queue.length && queued.open === 0) return void ready.push(written(queued));
    queue.push(queued);
    held += costOf(queued);
    if (held > HELD_MOST) for (const place of places.values()) letGo(place);
    release();
  }

  function search(name: string, known: Place | undefined, queued: Queued, piece: Piece): void {
    const place: Place = known ?? { stream: scanner.open(), pending: [], owed: 0, silence: undefined };
    const { stream } = place;
    const before = stream.found;
    places.delete(name);
    clearTimeout(place.silence);
    place.pending.push({ of: queued, piece, at: 0 });
    queued.open += 1;
    hand(place, stream.push(piece.bytes));
    if (stream.found > before)
      for (const { secret, variant } of stream.hits) note(secret, known === undefined ? variant : `${variant}, in pieces`);
    if (stream.held === 0) return;
    places.set(name, place);
    if (stream.held <= HARMLESS) letGo(place);
    else place.silence = setTimeout(() => late(place), SILENCE_MS).unref();
    const [oldest] = places;
    if (places.size <= PLACES_MOST || oldest === undefined) return;
    letGo(oldest[1]);
    places.delete(oldest[0]);
  }

  function note(secret: string, variant: string): void {
    found.set(`${secret} ${variant}`, { secret, variant });
  }

  /** Gives each piece its part of what was searched. */
  function hand(place: Place, clean: Buffer): void {
    let from = Math.min(place.owed, clean.length);
    place.owed -= from;
    while (from < clean.length) {
      const entry = place.pending[0] as Place['pending'][number];
      const length = Math.min(entry.piece.bytes.length - entry.at, clean.length - from);
      blank(entry.piece, entry.at, clean.subarray(from, from + length));
      entry.at += length;
      from += length;
      if (entry.at < entry.piece.bytes.length) break;
      place.pending.shift();
      entry.of.open -= 1;
    }
  }

  function letGo(place: Place): void {
    clearTimeout(place.silence);
    if (place.pending.length === 0) return;
    // what ends one secret may begin another
    hand(place, place.stream.rest());
    place.owed = place.stream.held;
  }

  function late(place: Place): void {
    try {
      letGo(place);
      release();
      onLate();
    } catch (error) {
      drop();
      onLate(error as Error);
    }
  }

  function release(): void {
    for (; first < queue.length && queue[first]?.open === 0; first++) {
      const queued = queue[first] as Queued;
      ready.push(written(queued));
      held -= costOf(queued);
      queue[first] = undefined;
    }
    if (first < 1000 && first < queue.length) return;
    queue = queue.slice(first);
    first = 0;
  }

  function drop(): void {
    dropped = true;
    for (const place of places.values()) clearTimeout(place.silence);
    places.clear();
    queue = [];
    first = 0;
    ready = [];
  }

  return {
    push,
    take() {
      const taken = ready.length === 1 ? (ready[0] as Buffer) : Buffer.concat(ready);
      ready = [];
      return taken;
    },
    end() {
      for (const place of places.values()) letGo(place);
      release();
    },
    drop,
    get hits() {
      return [...found.values()];
    },
  };
}

function costOf({ message, pieces }: Queued): number {
  return MESSAGE_BYTES + message.bytes.length + pieces.length * TEXT_BYTES;
}

/** Copies the stars alone: another search may have found something else in it. */
function blank(piece: Piece, at: number, clean: Buffer): void {
  if (clean.compare(piece.bytes, at, at + clean.length) === 0) return;
  const bytes = (piece.blanked ??= Buffer.from(piece.bytes));
  for (let i = 0; i < clean.length; i++) if (clean[i] !== piece.bytes[at + i]) bytes[at + i] = STAR;
}

function read(message: Message): Queued {
  const value = message.text === undefined ? undefined : parse(message.text);
  const texts: Piece[] = [];
  if (value !== undefined && collect(texts, value, [], '', '')) return { message, pieces: texts, isJson: true, open: 0 };
  const whole = message.text === undefined || message.text === '' ? [] : [pieceOf(message.text, [], '', '')];
  return { message, pieces: whole, isJson: false, open: 0 };
}

/** A number by itself may be a part of some text. */
function parse(text: string): object | string | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value ?? undefined) : typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * All its texts. Those that are told apart by a number beside them (`index`, `output_index`…) may come by turns; where that
 * number counts events, they are one text: so each is searched under both names. Kinds of events are told apart by `type`.
 *
 * @returns false for what is nested too deep to be written again
 */
function collect(texts: Piece[], value: object | string, path: readonly string[], numbered: string, plain: string): boolean {
  if (typeof value === 'string') {
    if (value !== '' && texts.length < TEXTS_MOST) texts.push(pieceOf(value, path, numbered, plain));
    return true;
  }
  if (path.length > DEPTH_MOST) return false;
  let kind = '';
  let numbers = '';
  if (!Array.isArray(value))
    for (const [key, each] of Object.entries(value)) {
      if (typeof each === 'number' && /index$/i.test(key)) numbers += `#${each}`;
      else if (key === 'type' && typeof each === 'string') kind = `@${each.slice(0, NAME_MOST)}`;
    }
  for (const [key, each] of Object.entries(value) as [string, unknown][]) {
    if (typeof each !== 'string' && (typeof each !== 'object' || each === null)) continue;
    const name = `${kind}/${key.slice(0, NAME_MOST)}`;
    if (!collect(texts, each, [...path, key], `${numbered}${numbers}${name}`, `${plain}${name}`)) return false;
  }
  return true;
}

function pieceOf(text: string, path: readonly string[], numbered: string, plain: string): Piece {
  return { path, places: numbered === plain ? [plain] : [numbered, plain], bytes: Buffer.from(text, 'utf8'), blanked: undefined };
}

function written({ message, isJson, pieces }: Queued): Buffer {
  const blanked = pieces.filter((piece) => piece.blanked !== undefined);
  if (blanked.length === 0) return message.bytes;
  const textOf = ({ blanked: bytes }: Piece) => (bytes as Buffer).toString('utf8');
  if (!isJson) return message.rewrite(textOf(blanked[0] as Piece));
  const root = { '': parseExactly(message.text as string) };
  for (const piece of blanked) {
    const path = ['', ...piece.path];
    const key = path.pop() as string;
    const holder = path.reduce<object>((at, member) => (at as Record<string, object>)[member] as object, root);
    // a member may be called __proto__
    Object.defineProperty(holder, key, { value: textOf(piece), enumerable: true, configurable: true, writable: true });
  }
  return message.rewrite(JSON.stringify(root['']));
}

/** Numbers stay as they are written. */
function parseExactly(text: string): unknown {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  const reviver = (_: string, value: unknown, { source }: { readonly source?: string }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value;
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

/** Lines of a body as messages of a search; what is no `data:` line of an event stream is a line of JSON, or passes. */
export function createLineReader(
  search: PieceSearch,
  onLate: (error?: Error) => void,
): { push(data: Buffer): void; end(): void; drop(): void } {
  let parts: Buffer[] = [];
  let length = 0;
  /** The rest of the line passes. */
  let passing = false;
  let silence: NodeJS.Timeout | undefined;

  function push(data: Buffer): void {
    clearTimeout(silence);
    let from = 0;
    /** Lines before this are sent on: those without a text are sent together. */
    let sent = 0;
    for (let at = 0; at < data.length; at++) {
      if (data[at] !== NEWLINE && data[at] !== RETURN) continue;
      const start = from;
      from = at + 1;
      if (parts.length === 0 && isPlain(data, start, from)) continue;
      if (start > sent) send(data.subarray(sent, start));
      parts.push(data.subarray(start, from));
      line();
      passing = false;
      sent = from;
    }
    if (from > sent) send(data.subarray(sent, from));
    if (from < data.length) keep(data.subarray(from));
  }

  /** Whether a line, with its end, has nothing to search. */
  function isPlain(data: Buffer, start: number, end: number): boolean {
    if (passing) return false;
    return end - start === 1 || data[start] === COLON;
  }

  function keep(part: Buffer): void {
    parts.push(part);
    length += part.length;
    if (parts.length > PARTS_MOST) parts = [Buffer.concat(parts)];
    if (length > LINE_MOST || passing) pass();
    // nobody may be going to end it
    else silence = setTimeout(late, SILENCE_MS).unref();
  }

  function late(): void {
    try {
      pass();
      onLate();
    } catch (error) {
      search.drop();
      onLate(error as Error);
    }
  }

  function pass(): void {
    passing = true;
    line();
  }

  function line(): void {
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    parts = [];
    length = 0;
    const { begin, end } = textIn(bytes);
    if (passing || begin >= end) return send(bytes);
    search.push({
      bytes,
      text: bytes.toString('utf8', begin, end),
      // a text is one line, and stays one
      rewrite: (text) => Buffer.concat([bytes.subarray(0, begin), Buffer.from(text.replaceAll(/[\r\n]/g, ' ')), bytes.subarray(end)]),
    });
  }

  function send(bytes: Buffer): void {
    search.push({ bytes, text: undefined, rewrite: () => bytes });
  }

  return {
    push,
    end() {
      clearTimeout(silence);
      if (parts.length > 0) line();
      search.end();
    },
    drop() {
      clearTimeout(silence);
      search.drop();
    },
  };
}

/** Of a line that has come in as many chunks. */
const PARTS_MOST = 64;
const COLON = 0x3a;

/** Where the text of a line is; nowhere, in a line of another field. */
function textIn(line: Buffer): { readonly begin: number; readonly end: number } {
  let end = line.length;
  while (end > 0 && (line[end - 1] === NEWLINE || line[end - 1] === RETURN)) end -= 1;
  const head = line.toString('latin1', 0, 6);
  if (/^(?:event|id|retry)?:/.test(head)) return { begin: end, end };
  if (head.startsWith('data:')) return { begin: line[5] === SPACE ? 6 : 5, end };
  return { begin: line[0] === RECORD ? 1 : 0, end };
}
