/**
 * A model to run agents against without an account: it answers by script, in the wire formats of the Anthropic Messages,
 * OpenAI Responses and OpenAI chat completions APIs, and real agent CLIs take it for the real thing. It demands its key,
 * so that whoever reaches it has proven to hold one; it keeps no key, and writes none, unless a prompt asks for it with
 * `echo-key`. It listens on the loopback only.
 *
 * What the last thing that the user said tells it to do, line by line:
 *
 *   say: text        the text as the answer          think: text       a thought before the answer
 *   run: command     a call of the shell tool        tool: NAME {…}    a call of any tool
 *   slow: n          n deltas, spaced in time        long: n           n kB of text
 *   error: 429       this status; with a count       cut               the answer breaks off, if it is streamed
 *                    (`error: 529 2`) so often only  echo-key          the key that it was called with
 *   recall           what the user said before
 *
 * A script that ends with a call is closed by an answer that quotes what the tool said. Other text is answered with itself.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { anthropic } from './anthropic.ts';
import { completions } from './completions.ts';
import type { Dialect, JsonObject } from './dialect.ts';
import { readBody, readKey, sameKey } from './request.ts';
import { responses } from './responses.ts';
import { createPlayer } from './script.ts';

export interface ModelServerOptions {
  /** What every caller must present, as `x-api-key` or as a bearer token. */
  readonly key: string;
  /** 0, the default, takes any free one. */
  readonly port?: number;
  /** PEM; with it the server speaks HTTPS. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Between two deltas of `slow`, in milliseconds. */
  readonly paceMs?: number;
  /** Gets the body of each request that is answered, for whoever looks at what a client says besides the prompt. */
  readonly onRequest?: (body: JsonObject) => void;
}

export interface ServedRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly model?: string;
  /** What it was asked, as far as it was read. */
  readonly prompt?: string;
}

export interface ModelServer {
  readonly url: string;
  /** The last thousand, oldest first. */
  readonly requests: readonly ServedRequest[];
  close(): Promise<void>;
}

const DIALECTS: Readonly<Record<string, Dialect>> = {
  '/v1/messages': anthropic,
  '/v1/responses': responses,
  '/v1/chat/completions': completions,
};
const MOST_REQUESTS = 1000;
const PACE_MS = 100;

export async function createModelServer({ key, port = 0, tls, paceMs = PACE_MS, onRequest }: ModelServerOptions): Promise<ModelServer> {
  if (key.length < 8) throw new Error('The key of the model server must have 8 characters at least.');
  const requests: ServedRequest[] = [];
  const play = createPlayer({ paceMs });

  const note = (request: IncomingMessage, status: number, about: { readonly model?: string; readonly prompt?: string } = {}): void => {
    if (requests.length >= MOST_REQUESTS) requests.shift();
    requests.push({ method: request.method ?? '', path: pathOf(request), status, ...about });
  };

  const refuse = (request: IncomingMessage, response: ServerResponse, status: number, message: string): void => {
    note(request, status);
    sendJson(response, status, dialectOf(pathOf(request)).error(status, message));
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = pathOf(request);
    if (path === '/healthz') return sendJson(response, 200, { status: 'ok' });
    // a client that tries a WebSocket first goes on with plain requests after this
    if (request.headers.upgrade !== undefined) return refuse(request, response, 426, 'Only plain HTTP requests are served.');
    const presented = readKey(request);
    if (presented === undefined || !sameKey(presented, key)) return refuse(request, response, 401, 'The API key is missing or wrong.');
    if (request.method === 'GET' && path === '/v1/models') return sendJson(response, 200, { object: 'list', data: [], has_more: false });
    const dialect = DIALECTS[path.replace(/\/count_tokens$/, '')];
    if (request.method !== 'POST' || dialect === undefined) return refuse(request, response, 404, `There is no ${path} here.`);
    const body = await readBody(request);
    if ('refused' in body) return refuse(request, response, body.refused, body.why);
    const input = Math.ceil(body.length / 4);
    if (path.endsWith('/count_tokens')) return sendJson(response, 200, { input_tokens: input });

    onRequest?.(body.json);
    const conversation = dialect.read(body.json);
    const { model, prompt } = conversation;
    const played = play(conversation, presented);
    if ('error' in played) {
      note(request, played.error, { model, prompt });
      return sendJson(response, played.error, dialect.error(played.error, `The script asked for ${played.error}.`));
    }
    note(request, 200, { model, prompt });
    const about = { id: randomBytes(9).toString('hex'), model, input };
    if (!conversation.stream) return sendJson(response, 200, dialect.whole(played, about));
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'request-id': `req_${about.id}` });
    for await (const frame of dialect.stream(played, about, gone.signal)) {
      if (gone.signal.aborted) return;
      if (!response.write(frame)) await drained(response, gone.signal);
    }
    // broken off only when what was said before has left, or the caller would see no answer at all
    if (played.ending === 'cut') response.write(':\n\n', () => response.destroy());
    else response.end();
  };

  const listener: RequestListener = (request, response) => {
    answer(request, response).catch((error: Error) => {
      if (response.headersSent) response.destroy();
      else sendJson(response, 500, dialectOf(pathOf(request)).error(500, error.message));
    });
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/';
}

/** Whose errors a caller of this path understands. */
function dialectOf(path: string): Dialect {
  return DIALECTS[path] ?? anthropic;
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

async function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    response.once('drain', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
