/**
 * Requests of code that runs here say to which call or run they belong, without its author doing anything: W3C `traceparent` and `tracestate`.
 * They are for the firewall, which checks them, and takes them out again before a request goes to anybody else.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';

export interface TraceHeaders {
  readonly traceparent: string;
  readonly tracestate: string;
}

const current = new AsyncLocalStorage<TraceHeaders>();
let listening = false;

/** Runs `work`, and whatever it begins, under these headers; with undefined, as it is. */
export function withTrace<T>(headers: TraceHeaders | undefined, work: () => T): T {
  if (headers === undefined) return work();
  listen();
  return current.run(headers, work);
}

/** Node tells of each request before it is sent: of `fetch` and undici in one place, of `node:http` in another. */
function listen(): void {
  if (listening) return;
  listening = true;
  subscribe('undici:request:create', (message) => {
    const headers = current.getStore();
    const { request } = message as { readonly request: UndiciRequest };
    if (headers === undefined || request.method === 'CONNECT' || names(request.headers).includes('traceparent')) return;
    for (const [name, value] of Object.entries(headers)) request.addHeader(name, value);
  });
  subscribe('http.client.request.created', (message) => {
    const headers = current.getStore();
    const { request } = message as { readonly request: import('node:http').ClientRequest };
    if (headers === undefined || request.headersSent || request.method === 'CONNECT' || request.hasHeader('traceparent')) return;
    for (const [name, value] of Object.entries(headers)) request.setHeader(name, value);
  });
}

interface UndiciRequest {
  readonly method: string;
  /** Names and values in turns; one text in older ones. */
  readonly headers: readonly unknown[] | string;
  addHeader(name: string, value: string): void;
}

function names(headers: UndiciRequest['headers']): readonly string[] {
  const all = typeof headers === 'string' ? headers.split('\r\n').map((line) => line.split(':', 1)[0] as string) : headers;
  return all.map((name) => String(name).toLowerCase());
}

/** From a message of the worker, which may be of another release. */
export function traceHeadersOf(given: { readonly traceparent?: string; readonly tracestate?: string }): TraceHeaders | undefined {
  const { traceparent, tracestate } = given;
  return traceparent === undefined || tracestate === undefined ? undefined : { traceparent, tracestate };
}
