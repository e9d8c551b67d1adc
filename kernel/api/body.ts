/** Reading a JSON body: bounded while it arrives, and precise about what is wrong with it. */
import type { IncomingMessage } from 'node:http';
import { createByteBuffer } from '../webhooks/byte-buffer.ts';
import { WebhookError } from '../webhooks/errors.ts';
import { ApiError } from './errors.ts';

export interface BodyLimits {
  /** Most bytes. */
  readonly single: number;
  /** Most bytes when the body is an array. */
  readonly many: number;
}

/** @throws ApiError UNSUPPORTED_MEDIA_TYPE, TOO_LARGE, MALFORMED_JSON */
export async function readJson(request: Request, limits: BodyLimits): Promise<unknown> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/(?:json|[\w.+-]+\+json)\s*(?:;|$)/i.test(type)) {
    throw unsupported(
      type === '' ? 'the body has no Content-Type; send application/json' : `the body is ${JSON.stringify(type)}; send application/json`,
    );
  }
  const encoding = request.headers.get('content-encoding') ?? 'identity';
  if (encoding.toLowerCase() !== 'identity')
    throw unsupported(`Content-Encoding ${JSON.stringify(encoding)} is not supported; send the body as it is`);
  const bytes = await readBytes(request, limits);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError('MALFORMED_JSON', 'the body is not valid UTF-8');
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError('MALFORMED_JSON', `the body is not JSON: ${describeFault(text)}`);
  }
}

/** Which limit holds shows in the first character, so that an oversize body is refused before it has all arrived. */
async function readBytes(request: Request, limits: BodyLimits): Promise<Uint8Array> {
  const announced = Number(request.headers.get('content-length') ?? 0);
  if (announced > Math.max(limits.single, limits.many)) throw tooLarge(Math.max(limits.single, limits.many));
  const buffer = createByteBuffer(Math.max(limits.single, limits.many));
  let limit: number | undefined;
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    if (limit === undefined) {
      const first = chunk.find((byte) => !WHITESPACE.includes(byte));
      if (first !== undefined) limit = first === OPEN_BRACKET ? limits.many : limits.single;
    }
    if (!buffer.add(chunk) || buffer.size > (limit ?? limits.single)) throw tooLarge(limit ?? limits.single);
  }
  return buffer.bytes();
}

/** What bodies that nobody has vouched for yet take of the memory together. */
export interface Held {
  bytes: number;
  readonly most: number;
  /** Ends the reading of each: that which has been coming the longest first. */
  readonly reading: Set<() => void>;
}

/** Of the whole process, as its memory is. */
const HELD: Held = { bytes: 0, most: 64 * 1024 * 1024, reading: new Set() };

/** For a whole body: a provider that needs longer sends too slowly on purpose. */
const BODY_MS = 30_000;

export interface ReadLimits {
  readonly held?: Held;
  /** Default 30,000. */
  readonly withinMs?: number;
}

/**
 * A body of any kind, straight from the socket: a web stream in between costs as much as all the rest of a small request. Where there is no
 * memory left, whichever has been coming the longest gives way: whoever only holds bodies open keeps no service out.
 *
 * @returns undefined when it is over the limit: the rest of it is not read
 * @throws ApiError BODY_CUT_OFF; WebhookError TOO_BUSY, TOO_SLOW
 */
export function readIncoming(
  incoming: IncomingMessage,
  most: number,
  { held = HELD, withinMs = BODY_MS }: ReadLimits = {},
): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const buffer = createByteBuffer(most);
    let counted = 0;
    const settle = (answer: () => void) => {
      clearTimeout(limit);
      held.bytes -= counted;
      held.reading.delete(giveWay);
      incoming.off('data', take).off('end', end).off('error', cut).off('close', cut);
      answer();
    };
    const take = (chunk: Buffer) => {
      if (!buffer.add(chunk)) return settle(() => resolve(undefined));
      held.bytes += buffer.capacity - counted;
      counted = buffer.capacity;
      for (const longest of held.reading) {
        if (held.bytes <= held.most) break;
        longest();
      }
    };
    const giveWay = () => settle(() => reject(unread('TOO_BUSY', 'too much is being sent at once; send this one again later')));
    const end = () => settle(() => resolve(buffer.bytes()));
    const cut = () => settle(() => reject(new ApiError('BODY_CUT_OFF', 'the connection ended before the body did')));
    const limit = setTimeout(() => settle(() => reject(unread('TOO_SLOW', 'the body took too long'))), withinMs);
    // nothing more is heard of a request that has ended
    if (incoming.destroyed) return cut();
    held.reading.add(giveWay);
    incoming.on('data', take).on('end', end).on('error', cut).on('close', cut);
  });
}

/** What is left of the body is not read, so the connection cannot be used again. */
function unread(code: 'TOO_BUSY' | 'TOO_SLOW', message: string): WebhookError {
  return new WebhookError(code, message, { headers: { connection: 'close', 'retry-after': '5' } });
}

const OPEN_BRACKET = 0x5b;
const WHITESPACE: readonly number[] = [0x20, 0x09, 0x0a, 0x0d];

function tooLarge(limit: number): ApiError {
  // The rest of the body is not read, so the connection cannot be used again
  return new ApiError('TOO_LARGE', `the body is over the limit of ${limit} bytes`, { headers: { connection: 'close' } });
}

function unsupported(message: string): ApiError {
  return new ApiError('UNSUPPORTED_MEDIA_TYPE', message);
}

/** Where a text stops being JSON. The parser's own message lacks the place for half of the faults and quotes the text. */
export function describeFault(text: string): string {
  if (text.trim() === '') return 'it is empty';
  const at = faultAt(text);
  const before = text.slice(0, at).split('\n');
  const where = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
  return at >= text.length
    ? `it ends too early, at ${where}`
    : `unexpected ${JSON.stringify(String.fromCodePoint(text.codePointAt(at) ?? 0))} at ${where}`;
}

const TOKEN = /[{}[\],:]|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const SPACE = /[ \t\n\r]*/y;
/** A number or word that the end of the text cut off. */
const CUT_OFF = /-$|-?\d+\.$|t(?:r(?:u)?)?$|f(?:a(?:l(?:s)?)?)?$|n(?:u(?:l)?)?$/y;

/** Offset of the first thing that cannot stand where it stands; the text's length when nothing but its end is wrong. */
function faultAt(text: string): number {
  const open: string[] = [];
  // v a value, V a value or the end of an array, k a key, K a key or the end of an object, c a colon, s a comma or an end
  let want = 'v';
  for (let at = 0; ;) {
    at = skip(SPACE, text, at);
    const first = text.charAt(at);
    const { end, fault } = first === '"' ? readString(text, at) : { end: skip(TOKEN, text, at), fault: undefined };
    if (end === at) return at === text.length || skip(CUT_OFF, text, at) > at ? text.length : at;
    if (first === '}' || first === ']') {
      const closes = open.at(-1) === first && (want === 's' || want === (first === '}' ? 'K' : 'V'));
      if (!closes) return at;
      open.pop();
      want = 's';
    } else if (first === ',') {
      if (want !== 's' || open.length === 0) return at;
      want = open.at(-1) === '}' ? 'k' : 'v';
    } else if (first === ':') {
      if (want !== 'c') return at;
      want = 'v';
    } else if (want === 'k' || want === 'K') {
      if (first !== '"') return at;
      want = 'c';
    } else if (want === 'v' || want === 'V') {
      if (first === '{' || first === '[') open.push(first === '{' ? '}' : ']');
      want = first === '{' ? 'K' : first === '[' ? 'V' : 's';
    } else return at;
    if (fault !== undefined) return fault;
    at = end;
  }
}

/** By hand: an expression for it overflows the stack on a megabyte of escapes. */
function readString(text: string, at: number): { readonly end: number; readonly fault: number | undefined } {
  for (let i = at + 1; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '"') return { end: i + 1, fault: undefined };
    if (char < ' ') return { end: i, fault: i };
    if (char === '\\') {
      const escape = /^(?:$|["\\/bfnrt]|u(?:[\da-fA-F]{4}|[\da-fA-F]{0,3}$))/.exec(text.slice(i + 1, i + 6));
      if (escape === null) return { end: i, fault: i };
      i += escape[0].length;
    }
  }
  return { end: text.length, fault: text.length };
}

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
