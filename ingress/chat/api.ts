/**
 * The platform's API as a bot asks it: many small questions a second, by `node:http`. What belongs to a request of the global `fetch` lives
 * until all of the memory is collected, and with some hundred requests a second that holds everything up for a tenth of a second every few
 * seconds, acknowledgements among it.
 */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { buffer } from 'node:stream/consumers';
import { type Client, createClient } from '@centaur/sdk';

const SILENT_MS = 60_000;

export interface ApiOptions {
  readonly url: string;
  readonly apiKey: string;
  /** Without a byte: then it is given up. Default 60,000: the longest wait that is asked for is 30 s. */
  readonly silentMs?: number;
}

export function createApi({ url, apiKey, silentMs = SILENT_MS }: ApiOptions): Client {
  return createClient({ url, apiKey, fetch: asking(silentMs) });
}

const asking =
  (silentMs: number): typeof globalThis.fetch =>
  (input, init = {}) => {
    const { method = 'GET', body, signal } = init;
    const headers = Object.fromEntries(new Headers(init.headers));
    // a stream is one request for a long time
    if (headers['accept'] === 'text/event-stream' || (typeof body !== 'string' && body != null)) return globalThis.fetch(input, init);
    const url = input instanceof Request ? input.url : input.toString();
    return new Promise((resolve, reject) => {
      const { request } = url.startsWith('https:') ? https : http;
      const options = { method, headers, timeout: silentMs, ...(signal == null ? {} : { signal }) };
      request(url, options, (message) => resolve(toResponse(message)))
        .on('error', reject)
        .on('timeout', function (this: ClientRequest) {
          this.destroy(new Error(`nothing came for ${silentMs} ms`));
        })
        .end(body ?? undefined);
    });
  };

/** As much of a `Response` as the client reads. */
function toResponse(message: IncomingMessage): Response {
  const status = message.statusCode ?? 0;
  const read = buffer(message);
  // whoever does not read it must not die of it
  read.catch(() => {});
  const answer: Pick<Response, 'ok' | 'status' | 'text' | 'arrayBuffer'> = {
    ok: status >= 200 && status < 300,
    status,
    text: async () => (await read).toString(),
    arrayBuffer: async () => Uint8Array.from(await read).buffer,
  };
  return answer as Response;
}
