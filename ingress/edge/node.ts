/** Entry for Node: `node ingress/edge/node.ts`, which listens at `CENTAUR_EDGE_HOST` and `CENTAUR_EDGE_PORT`. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Edge } from './edge.ts';
import { startEdge } from './start.ts';

/** For a whole request: a provider that needs longer sends too slowly on purpose. */
const REQUEST_TIMEOUT_MS = 30_000;

if (import.meta.main) {
  const server = serveEdge(startEdge(process.env));
  server.listen(Number(process.env['CENTAUR_EDGE_PORT'] ?? 8787), process.env['CENTAUR_EDGE_HOST'] ?? '127.0.0.1', () => {
    console.log(`the edge listens on port ${(server.address() as AddressInfo).port}`);
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => server.close());
}

/** Not listening yet. */
export function serveEdge(edge: Edge): Server {
  return createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (incoming, outgoing) => {
    serve(edge, incoming, outgoing).catch(() => {
      // what no Request can hold, such as the method TRACE; or a sender that went away while it was answered
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(400, { connection: 'close' }).end();
    });
  });
}

async function serve(edge: Edge, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const response = await edge.fetch(toRequest(incoming), incoming.socket.remoteAddress?.replace(/^::ffff:/, '') ?? null);
  const body = new Uint8Array(await response.arrayBuffer());
  // what is left of a body that was not read cannot be skipped
  const close = incoming.complete ? {} : { connection: 'close' };
  outgoing.writeHead(response.status, { ...Object.fromEntries(response.headers), 'content-length': body.length, ...close }).end(body);
}

function toRequest(incoming: IncomingMessage): Request {
  const { method = 'GET', url = '/', rawHeaders } = incoming;
  const headers = new Headers();
  // not `headers`, which leaves out some that were sent twice
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i] as string, rawHeaders[i + 1] as string);
  const body = method === 'GET' || method === 'HEAD' ? null : ReadableStream.from(incoming);
  return new Request(new URL(url, 'http://edge.invalid'), { method, headers, body, duplex: 'half' });
}
