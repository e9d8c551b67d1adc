/**
 * How the built-in tools speak HTTP: with the platform's own `fetch`, which takes the sandbox's proxy, and with one way of telling an
 * agent what went wrong.
 *
 * The vendors' SDKs are not used. On top of the 100 ms that a tool takes anyway (most of it zod), loading them takes 260 ms of CPU for
 * Stripe's, 115 for Linear's, 40 to 130 for Slack's and 25 to 45 for GitHub's, and they are 58 MB. More important: they repeat calls by
 * themselves (Slack's for half an hour), where here the caller's idempotency key and time decide, and none of them tells a refusal of
 * the firewall from one of the service.
 *
 * This folder imports nothing but the SDK, so that a tool that is copied elsewhere needs only a copy of this beside it.
 */
import { type ToolContext, ToolFailure } from '@centaur/sdk';
import { codeOf, retryAfter } from './failures.ts';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RestRequest {
  /** Default GET. */
  readonly method?: string;
  /** Under the base: written with `at`. */
  readonly path: string;
  readonly query?: Query;
  readonly json?: unknown;
  readonly form?: URLSearchParams;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent twice it does no more than once. Default: whether the method says so (all but POST and PATCH). */
  readonly repeatable?: boolean;
  /** Answers a redirect instead of following it. */
  readonly stayHere?: boolean;
  /** Answers the body as it is, a Uint8Array, up to so many bytes. */
  readonly bytes?: number;
}

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed JSON; text when it is none; undefined when there is no body. */
  readonly data: T;
}

export interface Complaint {
  /** Default: by the status. */
  readonly code?: string | undefined;
  readonly message: string;
  /** The request was not carried out and may be sent again. */
  readonly again?: boolean;
  /** Seconds. Default: the header Retry-After. */
  readonly after?: number | undefined;
}

export interface Service {
  /** For people: `GitHub`. */
  readonly name: string;
  readonly base: string;
  headers(): Readonly<Record<string, string>>;
  /** What the service says in an answer that is an error, in its own words, and what to do about it. */
  explain(status: number, data: unknown, headers: Headers): Complaint | undefined;
}

export type Send = <T>(ctx: ToolContext, request: RestRequest) => Promise<Answer<T>>;

/** @throws ToolFailure from each call that the service refuses, or that does not reach it */
export function createRest(service: Service): Send {
  return async <T>(ctx: ToolContext, request: RestRequest) => {
    const response = await reach(service, ctx, request);
    const fine = response.ok || (request.stayHere === true && response.status < 400);
    const bytes = await receive(service, ctx, response, request.bytes ?? MOST_BYTES);
    const data = fine && request.bytes !== undefined ? bytes : parse(new TextDecoder().decode(bytes));
    if (fine) return { status: response.status, headers: response.headers, data: data as T };
    throw failureOf(service, request, response, data);
  };
}

/**
 * A path with values of others in it, each of which stays the one segment that it is.
 *
 * @throws ToolFailure for `..`, which would lead to another method of the service than the one that was decided on
 */
export function at(parts: TemplateStringsArray, ...values: readonly (string | number)[]): string {
  return String.raw(
    { raw: parts },
    ...values.map((value) => {
      const text = String(value);
      if (text === '' || text === '.' || text === '..') throw new ToolFailure('INVALID', `"${text}" is no name.`);
      return encodeURIComponent(text);
    }),
  );
}

/** The same for a value that has segments of its own, as the path of a file. */
export function segments(path: string): string {
  return path
    .replace(/^\/+|\/+$/g, '')
    .split('/')
    .map((part) => at`${part}`)
    .join('/');
}

/** The address from the environment, without a slash at its end. */
export function apiBase(variable: string, usual: string): string {
  return (process.env[variable] || usual).replace(/\/+$/, '');
}

/** `host`, or `host:port` where the port is not the usual one: as declarations of tools have it. */
export function hostOf(address: string): string {
  return new URL(address).host;
}

async function reach(service: Service, ctx: ToolContext, request: RestRequest): Promise<Response> {
  const { method = 'GET', path, query = {}, json, form, body, headers, stayHere } = request;
  const url = new URL(service.base + path);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  try {
    return await fetch(url, {
      method,
      headers: {
        'user-agent': 'centaur',
        accept: 'application/json',
        ...(json === undefined ? {} : { 'content-type': 'application/json' }),
        ...service.headers(),
        ...headers,
      },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(form === undefined ? {} : { body: form }),
      ...(body === undefined ? {} : { body }),
      redirect: stayHere === true ? 'manual' : 'follow',
      signal: ctx.signal,
    });
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    const why = deepest(error);
    const refused = /^Proxy response \((\d+)\)/.exec(why)?.[1];
    if (refused !== undefined) throw noTunnel(url.host, Number(refused), error);
    throw new ToolFailure('UNREACHABLE', `${service.name} could not be reached: ${why}.${isRepeatable(request) ? '' : MAY_BE_DONE}`, {
      cause: error,
      retryable: isRepeatable(request),
    });
  }
}

/** `fetch` says only that it failed, and often so does what it was caused by. */
function deepest(error: unknown): string {
  let { message, cause } = error as Error;
  while (cause instanceof Error) ({ message, cause } = cause);
  return message.replace(/\.$/, '');
}

/** Already the connection was refused: nothing has been sent, and of the firewall's answer `fetch` tells no more than the status. */
function noTunnel(host: string, status: number, cause: unknown): ToolFailure {
  const why =
    status === 403
      ? 'it is not among the hosts that this tool declares, or a policy forbids it; the audit log has the reason'
      : `it answered ${status}`;
  return new ToolFailure('REFUSED_BY_FIREWALL', `The firewall makes no connection to ${host}: ${why}.`, {
    cause,
    retryable: status === 429 || status >= 500,
  });
}

const MOST_BYTES = 32 * 1024 * 1024;

/** The body, of which a service may send more than a process can hold. */
async function receive(service: Service, ctx: ToolContext, response: Response, most: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of response.body ?? []) {
      size += part.byteLength;
      // leaving the loop closes the connection
      if (size > most) throw new ToolFailure('TOO_LARGE', `${service.name} answered more than ${most} bytes.`);
      parts.push(part);
    }
  } catch (error) {
    if (ctx.signal.aborted || error instanceof ToolFailure) throw error;
    throw new ToolFailure('UNREACHABLE', `${service.name} broke off in the middle of its answer.${response.ok ? MAY_BE_DONE : ''}`, {
      cause: error,
    });
  }
  return Buffer.concat(parts);
}

const MAY_BE_DONE = ' It may have been done all the same: look before you call again.';

function failureOf(service: Service, request: RestRequest, response: Response, data: unknown): ToolFailure {
  const { status, headers } = response;
  const refused = headers.get('x-centaur-refused');
  if (refused !== null) return refusedByFirewall(refused, response, request, data);
  const complaint = service.explain(status, data, headers) ?? { message: textOf(data) };
  // 429 and 503 say that nothing was done
  const again = complaint.again ?? (status === 429 || status === 503 || (status >= 500 && isRepeatable(request)));
  const after = complaint.after ?? retryAfter(headers);
  const advice = again
    ? ` Try again ${after === undefined ? 'later' : `after ${after} s`}.`
    : status >= 500 && !isRepeatable(request)
      ? MAY_BE_DONE
      : '';
  const said = complaint.message.trim() || `status ${status}`;
  return new ToolFailure(complaint.code ?? codeOf(status), `${service.name}: ${said}${/[.!?]$/.test(said) ? '' : '.'}${advice}`, {
    retryable: again,
  });
}

/** Not the service's answer: the request has not got there, unless the firewall lost it on the way. */
function refusedByFirewall(code: string, { status, headers }: Response, request: RestRequest, data: unknown): ToolFailure {
  const { message = textOf(data) } = (data ?? {}) as { readonly message?: string };
  const after = retryAfter(headers);
  const lost = status === 502 || status === 504;
  const retryable = after !== undefined || status === 503 || (lost && isRepeatable(request));
  const advice = after !== undefined ? ` Try again after ${after} s.` : lost && !retryable ? MAY_BE_DONE : '';
  return new ToolFailure(code, `The firewall answered: ${message}.${advice}`, { retryable });
}

function isRepeatable({ method = 'GET', repeatable }: RestRequest): boolean {
  return repeatable ?? (method !== 'POST' && method !== 'PATCH');
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Characters of a page that is an error. */
const LOOKED_AT = 10_000;

function textOf(data: unknown): string {
  if (data === undefined) return '';
  const text =
    typeof data === 'string'
      ? data
          .slice(0, LOOKED_AT)
          // each character is looked at once, also of a page that opens tags and closes none
          .replaceAll(/<[^<>]*>/g, ' ')
          .replaceAll(/\s+/g, ' ')
          .trim()
      : JSON.stringify(data);
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}
