/** What comes back: unpacked, searched for secrets, and sent on without delay. */
import { type Duplex, pipeline, type Transform, Writable } from 'node:stream';
import zlib from 'node:zlib';
import { comesInLines, createLineReader, createPieceSearch, type Hit, type Scanner, type ScanStream } from './scanner/index.ts';
import { RefusedError } from './target.ts';

/** Not sent on: they are about one connection, would lead a client around the firewall, or are the firewall's own word. */
const DROPPED = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'alt-svc',
  'public-key-pins',
  'x-centaur-refused',
]);

/** They tell of the body as it came, which the client does not get. */
const OF_BODY = ['content-encoding', 'content-length', 'content-md5', 'digest', 'content-digest', 'repr-digest'];

const NONE: readonly string[] = [];
const EMPTY = Buffer.alloc(0);

const UNPACKERS: Readonly<Record<string, () => Duplex>> = {
  gzip: () => zlib.createGunzip({ flush: zlib.constants.Z_SYNC_FLUSH }),
  deflate: () => zlib.createInflate({ flush: zlib.constants.Z_SYNC_FLUSH }),
  br: () => zlib.createBrotliDecompress({ flush: zlib.constants.BROTLI_OPERATION_FLUSH }),
  zstd: () => zlib.createZstdDecompress(),
};

/** What may be asked for upstream: nothing that could not be searched. */
export const ENCODINGS = 'gzip, deflate, br, zstd';

export interface AnswerHead {
  readonly status: number;
  readonly contentType: string;
  readonly headers: [string, string][];
  /** Packings of the body, the outermost last. */
  readonly encodings: readonly string[];
  readonly hits: readonly Hit[];
}

/**
 * The head of an answer as the client gets it.
 *
 * @param lines name, value, name, value…
 * @throws RefusedError 502 for a body that cannot be unpacked
 */
export function readHead(status: number, lines: readonly string[], scanner: Scanner): AnswerHead {
  let named: readonly string[] = NONE;
  const encodings: string[] = [];
  let contentType = '';
  for (let i = 0; i < lines.length; i += 2) {
    const name = (lines[i] as string).toLowerCase();
    const value = lines[i + 1] as string;
    if (name === 'connection') named = [...named, ...value.split(',').map((each) => each.trim().toLowerCase())];
    if (name === 'content-type') contentType = value;
    if (name === 'content-encoding') {
      for (const each of value.split(',')) {
        const encoding = each.trim().toLowerCase().replace(/^x-/, '');
        if (encoding !== '' && encoding !== 'identity') encodings.push(encoding);
      }
    }
  }
  if (encodings.some((encoding) => !Object.hasOwn(UNPACKERS, encoding)) || encodings.length > 3)
    throw new RefusedError(502, 'UNREADABLE_ANSWER', 'the service answered in an encoding that cannot be searched for secrets', {
      encodings,
    });
  if (encodings.length > 0) {
    if (status === 206)
      throw new RefusedError(
        502,
        'UNREADABLE_ANSWER',
        'the service answered with a part of a packed body, which cannot be searched for secrets',
      );
  }
  // a line in which something is blanked may get another length
  if (encodings.length > 0 || comesInLines(contentType)) named = [...named, ...OF_BODY];
  const headers: [string, string][] = [];
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] as string;
    const lower = name.toLowerCase();
    if (!DROPPED.has(lower) && !named.includes(lower)) headers.push([name, lines[i + 1] as string]);
  }
  const { hits } = scanner.scan(Buffer.from(headers.map(([name, value]) => `${name}\n${value}`).join('\n'), 'latin1'));
  if (hits.length > 0) {
    for (const header of headers) {
      header[0] = scanText(scanner, header[0]).replaceAll('*', 'x');
      header[1] = scanText(scanner, header[1]);
    }
  }
  return { status, contentType, headers, encodings, hits };
}

function scanText(scanner: Scanner, text: string): string {
  return scanner.scan(Buffer.from(text, 'latin1')).data.toString('latin1');
}

export interface BodyOut {
  /** False when the client is slow: wait for `onDrain`. */
  write(chunk: Buffer): boolean;
  onDrain(resume: () => void): void;
  end(): void;
  /** Everything failed: nothing more may come out. */
  abort(error: Error): void;
}

export interface BodyIn {
  /** False: pause until `resume` is called. */
  push(chunk: Buffer): boolean;
  end(): void;
  abort(error: Error): void;
  readonly hits: readonly Hit[];
}

export interface BodyOptions {
  readonly encodings: readonly string[];
  readonly contentType: string;
  readonly scanner: Scanner;
  readonly out: BodyOut;
  readonly resume: () => void;
  /** A secret was seen: `true` lets the blanked text pass, `false` ends the answer. */
  readonly onHit: () => boolean;
}

/** Unpacks and searches. An error anywhere releases nothing more: what is held back is thrown away. */
export function openBody(options: BodyOptions): BodyIn {
  const { scanner, out, onHit } = options;
  const stream: ScanStream = scanner.open();
  const pieces = comesInLines(options.contentType) ? createPieceSearch(scanner, sendLate) : undefined;
  const lines = pieces === undefined ? undefined : createLineReader(pieces, sendLate);
  let seen = 0;
  let failed = false;

  function fail(error: Error): void {
    if (failed) return;
    failed = true;
    lines?.drop();
    out.abort(error);
  }

  function scan(chunk: Buffer): boolean {
    let clean = stream.push(chunk);
    if (pieces !== undefined && lines !== undefined) {
      lines.push(clean);
      clean = pieces.take();
    }
    return refused() || clean.length === 0 || out.write(clean);
  }

  /** A secret was seen that may not even pass blanked. */
  function refused(): boolean {
    const { length } = hits();
    if (length === seen) return false;
    seen = length;
    if (onHit()) return false;
    fail(new RefusedError(502, 'SECRET_IN_ANSWER', 'the answer had a secret in it'));
    return true;
  }

  function hits(): readonly Hit[] {
    return pieces === undefined ? stream.hits : [...stream.hits, ...pieces.hits];
  }

  function sendLate(error?: Error): void {
    if (error !== undefined) return fail(error);
    const late = pieces?.take() ?? EMPTY;
    if (late.length > 0 && !failed) out.write(late);
  }

  function finish(): void {
    if (failed) return;
    let rest: Buffer;
    try {
      rest = stream.end();
      if (pieces !== undefined && lines !== undefined) {
        lines.push(rest);
        lines.end();
        rest = pieces.take();
        if (refused()) return;
      }
    } catch (error) {
      return fail(error as Error);
    }
    if (rest.length > 0) out.write(rest);
    out.end();
  }

  if (options.encodings.length === 0) {
    return {
      push(chunk) {
        if (failed) return true;
        try {
          if (scan(chunk)) return true;
        } catch (error) {
          fail(error as Error);
          return true;
        }
        out.onDrain(options.resume);
        return false;
      },
      end: finish,
      abort: fail,
      get hits() {
        return hits();
      },
    };
  }

  const unpackers = options.encodings.toReversed().map((encoding) => (UNPACKERS[encoding] as () => Duplex)());
  const sink = new Writable({
    write(chunk: Buffer, _, next) {
      if (failed) return next();
      try {
        if (scan(chunk)) next();
        else out.onDrain(() => next());
      } catch (error) {
        next(error as Error);
      }
    },
  });
  const [first, ...rest] = unpackers as [Transform, ...Transform[]];
  pipeline([first, ...rest, sink], (error) => (error ? fail(error) : finish()));
  let empty = true;
  return {
    push(chunk) {
      empty = false;
      if (failed || first.write(chunk)) return true;
      first.once('drain', options.resume);
      return false;
    },
    end() {
      // an empty body is packed by nobody, whatever its head says
      if (!empty) return void first.end();
      failed = true;
      first.destroy();
      out.end();
    },
    abort(error) {
      fail(error);
      first.destroy();
    },
    get hits() {
      return hits();
    },
  };
}
