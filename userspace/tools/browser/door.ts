/**
 * The way of one session to the firewall: a proxy on the loopback. It adds the token of the tool's lease, which the browser
 * therefore never has, and remembers what was refused, of which a browser says no more than that a tunnel failed.
 */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Duplex, pipeline } from 'node:stream';

export interface Refusal {
  /** With the port, as it was asked for. */
  readonly host: string;
  readonly code: string;
  readonly message: string;
}

export interface Door {
  readonly server: string;
  /** What was refused since it was last asked, each host once. */
  refused(): readonly Refusal[];
  close(): void;
}

const CONNECTIONS_MOST = 64;
const REMEMBERED_MOST = 50;
const ANSWER_MOST = 4096;
const ANSWER_MS = 2000;

/** @param way of the firewall, with the lease as its user and password, as it is in the environment of every tool */
export async function openDoor(way: URL): Promise<Door> {
  const authorization = `Basic ${Buffer.from(`${decodeURIComponent(way.username)}:${decodeURIComponent(way.password)}`).toString('base64')}`;
  // not the agent of all: that one takes the proxy of the environment, which is where this leads to
  const firewall = { host: way.hostname, port: Number(way.port), agent: new http.Agent(), setHost: false };
  const known = new Map<string, Refusal>();
  const sockets = new Set<Duplex>();
  const hold = <T extends Duplex>(socket: T): T => {
    sockets.add(socket);
    return socket.on('error', () => socket.destroy()).once('close', () => sockets.delete(socket));
  };
  const remember = (refusal: Refusal): void => {
    if (known.size < REMEMBERED_MOST || known.has(refusal.host)) known.set(refusal.host, refusal);
  };

  const server = http.createServer((request, response) => {
    const { 'proxy-connection': _, 'proxy-authorization': __, ...headers } = request.headers;
    const onward = http.request({
      ...firewall,
      method: request.method,
      path: request.url,
      headers: { ...headers, 'proxy-authorization': authorization },
    });
    onward.on('response', (answer) => {
      const code = answer.headers['x-centaur-refused'];
      if (typeof code === 'string') remember({ host: headers.host ?? '', code, message: '' });
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      // an answer that breaks off does so for the page, too
      pipeline(answer, response, () => undefined);
    });
    onward.on('error', () => response.destroy());
    response.once('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.maxConnections = CONNECTIONS_MOST;
  server.on('connection', hold);
  server.on('clientError', (_, socket) => socket.destroy());

  server.on('connect', (request, socket, head) => {
    const host = request.url ?? '';
    const onward = http.request({
      ...firewall,
      method: 'CONNECT',
      path: host,
      headers: { host, 'proxy-authorization': authorization },
    });
    const fail = (status: number): void => void socket.end(`HTTP/1.1 ${status} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
    onward.on('error', () => fail(502));
    onward.on('connect', (answer, tunnel: Socket, first) => {
      hold(tunnel);
      if (answer.statusCode === 200) {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        socket.write(first);
        tunnel.write(head);
        tunnel.pipe(socket).pipe(tunnel);
        socket.once('close', () => tunnel.destroy());
        tunnel.once('close', () => socket.destroy());
        return;
      }
      void readWords(tunnel, first).then((message) => {
        remember({ host, code: String(answer.headers['x-centaur-refused'] ?? 'REFUSED_BY_FIREWALL'), message });
        tunnel.destroy();
        fail(answer.statusCode ?? 502);
      });
    });
    onward.end();
  });

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // a connection that could not be taken is one that the page does not get
  server.on('error', () => undefined);
  return {
    server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    refused() {
      const all = [...known.values()];
      known.clear();
      return all;
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Of an answer to CONNECT, which ends with its connection: the firewall's own words. */
async function readWords(tunnel: Socket, first: Buffer): Promise<string> {
  let text = first.toString();
  const timer = setTimeout(() => tunnel.destroy(), ANSWER_MS);
  try {
    for await (const part of tunnel) {
      text += String(part);
      if (text.length > ANSWER_MOST) break;
    }
  } catch {
    // what there is of it is enough
  }
  clearTimeout(timer);
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown };
    return typeof message === 'string' ? message.slice(0, 500) : '';
  } catch {
    return '';
  }
}
