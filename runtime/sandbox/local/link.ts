/**
 * The holder's end of the line to an agent. Everything that arrives was written by something that may be hostile: unknown
 * calls are dropped, bytes are counted, and what breaks the form of the protocol ends the sandbox.
 */
import type net from 'node:net';
import { createFrameReader, encodeFrame, encodeJson, FRAME, type Frame, PIECE } from '../agent/frames.ts';
import { isSandboxErrorCode, SandboxError } from '../errors.ts';

export interface ProcessCall {
  write(data: Buffer): void;
  end(): void;
  signal(name: NodeJS.Signals): void;
  /** Bytes that the process has not taken yet. */
  readonly waiting: number;
}

export interface ProcessEvents {
  readonly output: (kind: 'out' | 'err', data: Buffer) => void;
  /** Once, and nothing after it. Null: the sandbox ended first. */
  readonly exit: (status: { readonly code: number | null; readonly signal: string | null } | null) => void;
}

export interface AgentLink {
  request(
    body: Readonly<Record<string, unknown>>,
    options?: { readonly data?: Buffer; readonly maxBytes?: number; readonly timeoutMs?: number },
  ): Promise<Buffer>;
  spawn(body: Readonly<Record<string, unknown>>, events: ProcessEvents): Promise<ProcessCall>;
  close(): void;
}

interface Call {
  frame(kind: number, body: Buffer): void;
  lost(): void;
}

/** An agent that has been stopped by what it started never says that it has. */
const START_MS = 20_000;
const REQUEST_MS = 60_000;
/** Before the line is full, whoever sends a large body waits. */
const MOST_BUFFERED = 4 * 1024 * 1024;

export function createLink(socket: net.Socket, onClose: (problem: string | null) => void): AgentLink {
  const calls = new Map<number, Call>();
  let last = 0;
  let closed = false;

  const read = createFrameReader(({ kind, call, body }: Frame) => calls.get(call)?.frame(kind, body));
  socket.on('data', (chunk: Buffer) => {
    try {
      read(chunk);
    } catch (error) {
      close(`the agent broke the protocol: ${(error as Error).message}`);
    }
  });
  socket.on('error', () => close(null));
  socket.on('close', () => close(null));

  function close(problem: string | null): void {
    if (closed) return;
    closed = true;
    socket.destroy();
    for (const call of calls.values()) call.lost();
    calls.clear();
    onClose(problem);
  }

  function begin(make: (number: number) => Call): number {
    if (closed) throw gone();
    last = (last + 1) >>> 0;
    calls.set(last, make(last));
    return last;
  }

  async function request(
    body: Readonly<Record<string, unknown>>,
    { data, maxBytes = 0, timeoutMs = REQUEST_MS }: { data?: Buffer; maxBytes?: number; timeoutMs?: number } = {},
  ): Promise<Buffer> {
    const parts: Buffer[] = [];
    let size = 0;
    let number = 0;
    let timer: NodeJS.Timeout | undefined;
    const answer = new Promise<Buffer>((done, fail) => {
      const finish = (error: SandboxError | null): void => {
        clearTimeout(timer);
        calls.delete(number);
        if (error === null) done(Buffer.concat(parts, size));
        else fail(error);
      };
      number = begin((call) => ({
        frame: (kind, piece) => {
          if (kind === FRAME.done) return finish(null);
          if (kind === FRAME.failed) return finish(readFailure(piece));
          if (kind !== FRAME.data) return close(`the agent broke the protocol: frame ${kind} in a request`);
          size += piece.length;
          if (size > maxBytes) {
            socket.write(encodeFrame(FRAME.end, call, Buffer.alloc(0)));
            return finish(new SandboxError('SANDBOX_LIMIT', `the answer is larger than ${maxBytes} bytes`));
          }
          parts.push(Buffer.from(piece));
        },
        lost: () => finish(gone()),
      }));
      timer = setTimeout(() => finish(new SandboxError('SANDBOX_LOST', `the sandbox has not answered for ${timeoutMs} ms`)), timeoutMs);
    });
    // whoever waits for the line below must not miss that the call has failed meanwhile
    answer.catch(() => undefined);
    socket.write(encodeJson(FRAME.call, number, body));
    if (data !== undefined) {
      for (let at = 0; at < data.length && calls.has(number); at += PIECE) {
        socket.write(encodeFrame(FRAME.data, number, data.subarray(at, at + PIECE)));
        if (socket.writableLength > MOST_BUFFERED) await drained(answer);
      }
      if (calls.has(number)) socket.write(encodeFrame(FRAME.end, number, Buffer.alloc(0)));
    }
    return answer;
  }

  function drained(orFailed: Promise<unknown>): Promise<unknown> {
    const drain = new Promise((done) => {
      socket.once('drain', done);
    });
    return Promise.race([drain, orFailed.catch(() => undefined)]);
  }

  function spawn(body: Readonly<Record<string, unknown>>, events: ProcessEvents): Promise<ProcessCall> {
    let waiting = 0;
    return new Promise((started, failed) => {
      let running = false;
      const timer = setTimeout(() => close('its agent did not start a process'), START_MS);
      const number = begin((call) => ({
        frame: (kind, piece) => {
          if (kind === FRAME.failed && !running) {
            clearTimeout(timer);
            calls.delete(call);
            failed(readFailure(piece));
          } else if (kind === FRAME.data && !running) {
            clearTimeout(timer);
            running = true;
            started({
              write: (data) => {
                waiting += data.length;
                for (let at = 0; at < data.length; at += PIECE) socket.write(encodeFrame(FRAME.data, call, data.subarray(at, at + PIECE)));
              },
              end: () => void socket.write(encodeFrame(FRAME.end, call, Buffer.alloc(0))),
              signal: (name) => void socket.write(encodeFrame(FRAME.signal, call, Buffer.from(name))),
              get waiting() {
                return waiting;
              },
            });
          } else if (kind === FRAME.out || kind === FRAME.err) events.output(kind === FRAME.out ? 'out' : 'err', piece);
          else if (kind === FRAME.taken) waiting = Math.max(0, waiting - (piece.length === 4 ? piece.readUInt32LE(0) : 0));
          else if (kind === FRAME.exit) {
            calls.delete(call);
            events.exit(readStatus(piece));
          } else close(`the agent broke the protocol: frame ${kind} of a process`);
        },
        lost: () => {
          clearTimeout(timer);
          if (running) events.exit(null);
          else failed(gone());
        },
      }));
      socket.write(encodeJson(FRAME.call, number, body));
    });
  }

  return { request, spawn, close: () => close(null) };
}

function gone(): SandboxError {
  return new SandboxError('SANDBOX_LOST', 'the sandbox has ended');
}

function readFailure(body: Buffer): SandboxError {
  const { code, message } = readObject(body);
  const said = typeof message === 'string' ? message.slice(0, 1000) : 'the sandbox could not do it';
  return new SandboxError(isSandboxErrorCode(code) ? code : 'SANDBOX_FILE', said);
}

function readStatus(body: Buffer): { code: number | null; signal: string | null } {
  const { code, signal } = readObject(body);
  return {
    code: Number.isInteger(code) ? (code as number) : null,
    signal: typeof signal === 'string' && /^SIG[A-Z0-9]{1,12}$/.test(signal) ? signal : null,
  };
}

function readObject(body: Buffer): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(body.toString());
  if (typeof value !== 'object' || value === null) throw new Error('no object');
  return value as Record<string, unknown>;
}
