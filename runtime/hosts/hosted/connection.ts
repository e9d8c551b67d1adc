/**
 * The line to one host process: messages in, messages out, and what is true of the process as a whole (alive, answering,
 * within its limits). What belongs to a run is handed to whoever serves that run.
 *
 * Whatever comes in is hostile: it is checked for its shape here, and for its sense by whoever reads it.
 */
import { randomBytes } from 'node:crypto';
import type { Duplex, Readable, Writable } from 'node:stream';
import { plainText } from './fields.ts';
import type { Discovery, FromHost, ToHost } from '../protocol/messages.ts';

/** What a host sends about one run. */
export type RunMessage = Extract<FromHost, { readonly run_id: string }> & { readonly rest?: boolean; readonly taken?: number };

export interface RunListener {
  /** @param size of the line, in characters */
  message(message: RunMessage, size: number): void;
  lost(reason: Error): void;
}

export interface Connection {
  send(message: ToHost): void;
  /** Messages of this run go to `listener` until it is taken off again. */
  attach(runId: string, listener: RunListener): () => void;
  /** When nothing of an earlier stay of this run can be on its way any more. */
  settled(runId: string): Promise<void>;
  readonly runs: number;
  discover(timeoutMs: number): Promise<Discovery>;
  /** Ends the line: every run on it is lost for this reason. */
  close(reason: Error): void;
  /** Why it ended; undefined while it has not. */
  readonly closed: Error | undefined;
}

export interface ConnectionOptions {
  readonly input: Writable;
  readonly output: Readable;
  readonly pingMs?: number;
  /** A host that says nothing for so long after a ping is ended. */
  readonly silenceMs?: number;
  /** Bytes of one message. Default 4 MiB. */
  readonly lineMost?: number;
  /** The line has ended, by whichever side. */
  onClose(reason: Error): void;
  onWarning(text: string): void;
}

/** Bytes on their way to a host that does not read them. */
const UNREAD_MOST = 64 * 1024 * 1024;
const PING_MS = 5000;
const SILENCE_MS = 30_000;
const END_MS = 300;
/** What one host may say in a tenth of a second; then it waits for the next, so that it does not take the worker from the others. */
const WINDOW_MS = 100;
const WINDOW_BYTES = 8 * 1024 * 1024;
const WINDOW_LINES = 20_000;
const LEFT_MOST = 1000;
/** Of what a host says: a value is 1 MiB at most. */
const LINE_MOST = 4 * 1024 * 1024;
/** Lines that are no message: more are no mistake. */
const WARNINGS_MOST = 20;

export function createConnection(options: ConnectionOptions): Connection {
  const { input, output } = options;
  const runs = new Map<string, RunListener>();
  let closed: Error | undefined;
  let discovering: ((found: Discovery) => void) | undefined;
  /** Runs that left before their end: the host may be saying something about them just now. */
  const left = new Set<string>();
  const pings = new Map<string, () => void>();
  let outgoing: string[] = [];
  let warnings = 0;
  let heardAt = performance.now();
  let askedAt: number | undefined;

  let windowEnds = 0;
  let bytes = 0;
  let said = 0;
  const lines = createLines(
    (line) => {
      said += 1;
      if (closed !== undefined) return;
      try {
        read(line);
      } catch (error) {
        // whatever a host says ends at most the host
        fail(`it sent what cannot be served: ${(error as Error).message}`);
      }
    },
    fail,
    options.lineMost ?? LINE_MOST,
  );
  output.on('data', (chunk: Buffer) => {
    heardAt = performance.now();
    askedAt = undefined;
    if (heardAt > windowEnds) {
      windowEnds = heardAt + WINDOW_MS;
      bytes = 0;
      said = 0;
    }
    bytes += chunk.length;
    lines(chunk);
    if (bytes < WINDOW_BYTES && said < WINDOW_LINES) return;
    output.pause();
    setTimeout(() => output.resume(), Math.max(1, windowEnds - performance.now()));
  });
  // who knows how it ended says so first
  const end = () => void setTimeout(() => fail('it ended'), END_MS).unref();
  output.once('end', end);
  output.once('close', end);
  output.once('error', (error) => fail(error.message));
  input.once('error', (error) => fail(error.message));
  const health = setInterval(checkHealth, options.pingMs ?? PING_MS);
  health.unref();

  function fail(why: string): void {
    close(new Error(why));
  }

  function close(reason: Error): void {
    if (closed !== undefined) return;
    closed = reason;
    clearInterval(health);
    options.onClose(reason);
    const lost = [...runs.values()];
    runs.clear();
    for (const answered of pings.values()) answered();
    for (const run of lost) run.lost(reason);
  }

  function checkHealth(): void {
    if (input.writableLength > UNREAD_MOST) return fail('it does not read what it is sent');
    if (askedAt !== undefined && performance.now() - askedAt > (options.silenceMs ?? SILENCE_MS))
      return fail('it does not answer: a handler may be holding its thread');
    if (runs.size === 0 || askedAt !== undefined) return;
    if (performance.now() - heardAt < (options.pingMs ?? PING_MS)) return;
    askedAt = performance.now();
    send({ type: 'host.ping', id: randomBytes(4).toString('hex') });
  }

  function send(message: ToHost): void {
    if (closed !== undefined) return;
    outgoing.push(JSON.stringify(message));
    // what is said in one turn of the loop goes out in one write
    if (outgoing.length === 1) setImmediate(flush);
  }

  /** Lines are answered in their order: after the pong, nothing that was said before the ping is on its way. */
  function barrier(): Promise<void> {
    const before = [...left];
    const id = randomBytes(8).toString('hex');
    return new Promise((resolve) => {
      pings.set(id, () => {
        for (const runId of before) left.delete(runId);
        resolve();
      });
      send({ type: 'host.ping', id });
    });
  }

  function flush(): void {
    if (closed !== undefined) return;
    const text = `${outgoing.join('\n')}\n`;
    outgoing = [];
    input.write(text);
  }

  function read(line: string): void {
    let message: FromHost;
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value !== 'object' || value === null || typeof (value as { type?: unknown }).type !== 'string')
        throw new Error('no message');
      message = value as FromHost;
    } catch {
      return warn(`a line is no message: ${line.slice(0, 200)}`);
    }
    switch (message.type) {
      case 'workflow.discovery':
        discovering?.(message);
        return;
      case 'host.pong': {
        const answered = pings.get(message.id);
        pings.delete(message.id);
        answered?.();
        return;
      }
      case 'host.error':
        return warn(plainText(message.message).slice(0, 2000));
      default:
        // of a run that has left this process: nobody waits for it
        if (typeof message.run_id === 'string') runs.get(message.run_id)?.message(message, line.length);
    }
  }

  function warn(text: string): void {
    warnings += 1;
    if (warnings > WARNINGS_MOST) return fail(`it sent more than ${WARNINGS_MOST} lines that are no messages`);
    options.onWarning(text);
  }

  return {
    send,
    attach(runId, listener) {
      if (closed !== undefined) {
        queueMicrotask(() => listener.lost(closed as Error));
        return () => {};
      }
      runs.set(runId, listener);
      return () => {
        if (runs.get(runId) !== listener) return;
        runs.delete(runId);
        left.add(runId);
        if (left.size > LEFT_MOST && pings.size === 0) void barrier();
      };
    },
    async settled(runId) {
      if (left.has(runId)) await barrier();
    },
    get runs() {
      return runs.size;
    },
    discover(timeoutMs) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`it did not tell its workflows within ${timeoutMs} ms`)), timeoutMs);
        const off = this.attach('', {
          message: () => {},
          lost: (reason) => {
            clearTimeout(timer);
            reject(reason);
          },
        });
        discovering = (found) => {
          clearTimeout(timer);
          off();
          resolve(found);
        };
        send({ type: 'workflow.discover' });
      });
    },
    close,
    get closed() {
      return closed;
    },
  };
}

/** From chunks to lines, each read once. */
function createLines(onLine: (line: string) => void, fail: (why: string) => void, longest: number): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let length = 0;
  return (chunk) => {
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const piece = chunk.subarray(from, at);
      from = at + 1;
      if (length === 0) {
        if (piece.length > 0) onLine(piece.toString());
        continue;
      }
      parts.push(piece);
      const whole = Buffer.concat(parts).toString();
      parts = [];
      length = 0;
      onLine(whole);
    }
    if (from === chunk.length) return;
    parts.push(from === 0 ? chunk : chunk.subarray(from));
    length += chunk.length - from;
    if (length > longest) fail(`it wrote a line of more than ${longest} bytes`);
  };
}

/** A line over one socket. */
export function connectionOf(socket: Duplex, options: Omit<ConnectionOptions, 'input' | 'output'>): Connection {
  return createConnection({ ...options, input: socket, output: socket });
}
