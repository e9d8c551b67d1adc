/** Answers in JSON, and the way they take to the socket. */
import type { ServerResponse } from 'node:http';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';

/** A status and what is sent as JSON. */
export interface Reply {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

const JSON_HEADERS = { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

/**
 * Straight to the socket, where there is one: a `Response` with a web stream for the body in between takes longer than all the
 * rest of a small answer.
 *
 * @param outgoing undefined for a request without a socket
 * @returns what the server's adapter wants to get: the answer, or the mark that it has been sent
 */
export function send(reply: Reply, outgoing: ServerResponse | undefined): Response {
  const text = JSON.stringify(reply.body);
  const headers = { ...JSON_HEADERS, ...reply.headers };
  if (outgoing === undefined) return new Response(text, { status: reply.status, headers });
  outgoing.writeHead(reply.status, { ...headers, 'content-length': Buffer.byteLength(text) });
  outgoing.end(text);
  return RESPONSE_ALREADY_SENT;
}
