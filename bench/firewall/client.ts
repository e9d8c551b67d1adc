/** A client that costs little: it writes requests that are made beforehand, and counts the bytes of answers it knows. */
import net from 'node:net';
import tls from 'node:tls';

/** An answer that does not come must not hold up the benchmark. */
const LONGEST_MS = 300_000;

export interface Route {
  readonly port: number;
  readonly caPem: string;
  /** Through a proxy, with its token. */
  readonly proxy?: {
    readonly port: number;
    readonly token?: string;
    readonly caPem: string;
    /** The client's own address. Default: any. */
    readonly from?: string;
  };
}

export async function connectRoute(route: Route): Promise<tls.TLSSocket> {
  const from = route.proxy?.from;
  const raw = net.connect({
    port: route.proxy?.port ?? route.port,
    host: '127.0.0.1',
    noDelay: true,
    ...(from === undefined ? {} : { localAddress: from }),
  });
  if (route.proxy !== undefined) {
    const { token } = route.proxy;
    const auth = token === undefined ? '' : `Proxy-Authorization: Basic ${Buffer.from(`lease:${token}`).toString('base64')}\r\n`;
    raw.write(`CONNECT localhost:${route.port} HTTP/1.1\r\nHost: localhost:${route.port}\r\n${auth}\r\n`);
    await new Promise<void>((resolve, reject) => {
      raw.once('data', (data: Buffer) => (data.toString().startsWith('HTTP/1.1 200') ? resolve() : reject(new Error(data.toString()))));
      raw.once('error', reject);
    });
  }
  const socket = tls.connect({ socket: raw, servername: 'localhost', ca: route.proxy?.caPem ?? route.caPem, ALPNProtocols: ['http/1.1'] });
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  return socket;
}

export function requestFor(port: number, path: string, key: string): Buffer {
  return Buffer.from(
    `GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nauthorization: Bearer ${key}\r\naccept: application/json\r\naccept-encoding: identity\r\nuser-agent: bench/1\r\n\r\n`,
  );
}

/** One request at a time on one connection. */
export function createCaller(socket: tls.TLSSocket): (request: Buffer, onData?: (chunk: Buffer) => void) => Promise<number> {
  let done: ((bytes: number) => void) | undefined;
  let fail: ((error: Error) => void) | undefined;
  let onBody: ((chunk: Buffer) => void) | undefined;
  let head = '';
  let left = -1;
  let bytes = 0;
  let chunked = false;
  let tail = '';
  const finish = () => {
    const settle = done;
    const total = bytes;
    [head, left, bytes, chunked, tail] = ['', -1, 0, false, ''];
    settle?.(total);
  };
  socket.on('data', (chunk: Buffer) => {
    let body = chunk;
    if (left === -1 && !chunked) {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      if (!head.startsWith('HTTP/1.1 200')) return fail?.(new Error(head.slice(0, 200)));
      const length = /\r\ncontent-length: (\d+)/i.exec(head.slice(0, end));
      body = Buffer.from(head.slice(end + 4), 'latin1');
      if (length === null) chunked = true;
      else left = Number(length[1]);
    }
    bytes += body.length;
    if (body.length > 0) onBody?.(body);
    if (chunked) {
      tail = (tail + body.toString('latin1')).slice(-8);
      if (tail.endsWith('0\r\n\r\n')) finish();
    } else {
      left -= body.length;
      if (left === 0) finish();
    }
  });
  socket.on('error', (error) => fail?.(error));
  socket.on('close', () => fail?.(new Error('the connection was closed')));
  socket.setTimeout(LONGEST_MS, () => fail?.(new Error(`nothing came for ${LONGEST_MS / 1000} s`)));
  return (request, onData) =>
    new Promise((resolve, reject) => {
      [done, fail, onBody] = [resolve, reject, onData];
      if (socket.destroyed) reject(new Error('the connection was closed'));
      else socket.write(request);
    });
}
