/** The protocol of Postgres, as far as a listener needs it that only lets clients in. */
import type net from 'node:net';
import { RefusedError } from './target.ts';

const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;
const CANCEL_REQUEST = 80_877_102;
const PROTOCOL_3 = 3;
const STARTUP_MOST = 10_000;

export interface Reader {
  bytes(count: number): Promise<Buffer>;
  message(): Promise<{ readonly type: string; readonly body: Buffer }>;
  /** Stops reading; what was read too far. */
  release(): Buffer;
}

export function createReader(socket: net.Socket): Reader {
  let data: Buffer = Buffer.alloc(0);
  let wake: (() => void) | undefined;
  let gone = false;
  const take = (chunk: Buffer) => {
    data = Buffer.concat([data, chunk]);
    wake?.();
  };
  const end = () => {
    gone = true;
    wake?.();
  };
  socket.on('data', take).once('close', end);
  async function bytes(count: number): Promise<Buffer> {
    while (data.length < count) {
      if (gone || data.length > STARTUP_MOST) throw new RefusedError(499, 'CLIENT_GONE', 'the client went away');
      await new Promise<void>((resolve) => (wake = resolve));
    }
    const taken = data.subarray(0, count);
    data = data.subarray(count);
    return taken;
  }
  return {
    bytes,
    async message() {
      const head = await bytes(5);
      const length = head.readInt32BE(1) - 4;
      if (length < 0 || length > STARTUP_MOST) throw new RefusedError(400, 'BAD_REQUEST', 'this is not the protocol of Postgres');
      return { type: String.fromCharCode(head[0] as number), body: await bytes(length) };
    },
    release() {
      socket.off('data', take).off('close', end);
      socket.pause();
      return data;
    },
  };
}

/** The parameters of a session; undefined when the connection came for something else. */
export async function readStartup(
  reader: Reader,
  socket: net.Socket,
  onCancel: (key: string) => void,
): Promise<ReadonlyMap<string, string> | undefined> {
  for (let i = 0; i < 4; i++) {
    const length = (await reader.bytes(4)).readInt32BE(0) - 4;
    if (length < 4 || length > STARTUP_MOST) throw new RefusedError(400, 'BAD_REQUEST', 'this is not the protocol of Postgres');
    const body = await reader.bytes(length);
    const code = body.readInt32BE(0);
    if (code === SSL_REQUEST || code === GSS_REQUEST) {
      socket.write('N');
      continue;
    }
    if (code === CANCEL_REQUEST) {
      onCancel(body.subarray(4, 12).toString('hex'));
      return undefined;
    }
    if (code >> 16 !== PROTOCOL_3) throw new RefusedError(400, 'BAD_REQUEST', 'this version of the protocol of Postgres is not known here');
    const words = body.subarray(4).toString('utf8').split('\0');
    const parameters = new Map<string, string>();
    for (let at = 0; at + 1 < words.length && words[at] !== ''; at += 2) parameters.set(words[at] as string, words[at + 1] as string);
    return parameters;
  }
  throw new RefusedError(400, 'BAD_REQUEST', 'this is not the protocol of Postgres');
}

/** Asks for it in clear: the way here is the sandbox's own. */
export async function readPassword(reader: Reader, socket: net.Socket): Promise<string> {
  socket.write(message('R', int32(3)));
  const answer = await reader.message();
  if (answer.type !== 'p') throw new RefusedError(407, 'LEASE_REQUIRED', 'a password was expected');
  return answer.body.subarray(0, Math.max(0, answer.body.length - 1)).toString('utf8');
}

/** What a server says when a session begins. */
export function greeting(settings: ReadonlyMap<string, string>, key: Buffer): Buffer {
  return Buffer.concat([
    message('R', int32(0)),
    ...[...settings].map(([name, value]) => message('S', Buffer.from(`${name}\0${value}\0`))),
    message('K', key),
    message('Z', Buffer.from('I')),
  ]);
}

export function refuse(socket: net.Socket, refusal: RefusedError): void {
  if (!socket.writable) return void socket.destroy();
  const state = STATES[refusal.code] ?? (refusal.status === 407 ? '28P01' : refusal.status === 403 ? '42501' : '08006');
  socket.end(message('E', Buffer.from(`SFATAL\0VFATAL\0C${state}\0M${refusal.message} (${refusal.code})\0\0`)));
}

/** Those by which a driver knows what to do. */
const STATES: Readonly<Record<string, string>> = { TOO_MANY_SESSIONS: '53300' };

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
