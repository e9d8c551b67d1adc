/**
 * What a tool under test talks to: a server that hands on to an emulator what the emulator knows, answers itself what it does not (as
 * the vendor documents it, and strictly), and says what a test tells it to say next.
 */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Seen {
  /** `GET /repos/acme/site`, without the query. */
  readonly line: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Said {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON, unless it is text or bytes. */
  readonly body?: unknown;
}

export type Handler = (seen: Seen, match: RegExpExecArray) => Said | Promise<Said>;

export interface Front {
  readonly url: string;
  readonly seen: readonly Seen[];
  readonly last: Seen;
  /** Where to hand on what nobody here answers. '' for nowhere: then it is 404. */
  target: string;
  /** Said to the next request, whatever it is. */
  next(said: Said): void;
  close(): void;
}

const OF_CONNECTION = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'accept-encoding', 'expect', 'keep-alive']);

/** @param routes `GET /v1/refunds/(\\w+)`, the whole line as an expression */
export async function startFront(routes: Readonly<Record<string, Handler>> = {}): Promise<Front> {
  const seen: Seen[] = [];
  const queued: Said[] = [];
  const handlers = Object.entries(routes).map(([line, handler]) => ({ expression: new RegExp(`^${line}$`), handler }));
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const url = new URL(request.url ?? '/', 'http://front');
    const one: Seen = {
      line: `${request.method} ${url.pathname}`,
      query: url.searchParams,
      headers: request.headers,
      body: Buffer.concat(parts),
    };
    seen.push(one);
    const said = queued.shift() ?? (await answer(one, request.url ?? '/'));
    const isText = typeof said.body === 'string' || said.body instanceof Uint8Array;
    response.writeHead(said.status ?? 200, { ...(isText ? {} : { 'content-type': 'application/json' }), ...said.headers });
    response.end(said.body === undefined ? undefined : isText ? said.body : JSON.stringify(said.body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const front: Front = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    get last() {
      return seen.at(-1) as Seen;
    },
    target: '',
    next: (said) => void queued.push(said),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return front;

  async function answer(one: Seen, at: string): Promise<Said> {
    for (const { expression, handler } of handlers) {
      const match = expression.exec(one.line);
      if (match !== null) return handler(one, match);
    }
    if (front.target === '') return { status: 404, body: { message: `nobody answers ${one.line}` } };
    const headers = Object.entries(one.headers).filter(([name]) => !OF_CONNECTION.has(name)) as [string, string][];
    const method = one.line.split(' ')[0] ?? 'GET';
    const response = await fetch(front.target + at, {
      method,
      headers,
      redirect: 'manual',
      ...(method === 'GET' || method === 'HEAD' ? {} : { body: new Uint8Array(one.body) }),
    });
    const kept = [...response.headers].filter(([name]) => !OF_CONNECTION.has(name) && name !== 'content-encoding');
    return { status: response.status, headers: Object.fromEntries(kept), body: new Uint8Array(await response.arrayBuffer()) };
  }
}
