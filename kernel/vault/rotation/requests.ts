/**
 * Requests by which a service makes a value, is asked whether it takes it, and takes one back. Values stand in headers and in the strings
 * of bodies, and never in an address, which services and proxies log.
 */
import { VaultError } from '../errors.ts';

export interface HttpRequest {
  readonly method: string;
  /** https; `{{id}}` may stand in its path and query. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Sent as JSON. */
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string>> | undefined;
}

export interface MintRequest extends HttpRequest {
  /** JSON pointers (RFC 6901) into its answer. */
  readonly value: string;
  readonly id?: string | undefined;
}

export interface HttpRotation {
  readonly mint: MintRequest;
  readonly probe?: HttpRequest | undefined;
  readonly revoke?: HttpRequest | undefined;
}

/**
 * What may stand for something. `current`: the value in use. `new`: the one that was made. `revoked`: the one that is taken back.
 * `id`: what the service calls the new one, or the one that is taken back. `admin`: the value of the admin secret.
 */
const NAMES = { mint: ['current', 'admin'], probe: ['new', 'id', 'admin'], revoke: ['current', 'revoked', 'id', 'admin'] } as const;
type RequestName = keyof typeof NAMES;

export const TEMPLATE = /\{\{(\w+)\}\}/g;
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];
/** What the connection is about, and what is said here. */
const OWN_HEADERS = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'keep-alive',
]);
const DECLARED_MOST = 16 * 1024;

/** @throws VaultError INVALID_SECRET naming the field */
export function parseHttpRotation(given: HttpRotation, hasAdmin: boolean): HttpRotation {
  if (JSON.stringify(given).length > DECLARED_MOST) throw invalid('http', `${DECLARED_MOST} characters are the most`);
  const declared = JSON.parse(JSON.stringify(given)) as HttpRotation;
  for (const [name, request] of Object.entries(declared) as [RequestName, HttpRequest][]) checkRequest(name, request, hasAdmin);
  for (const field of ['value', 'id'] as const) {
    const pointer = declared.mint[field];
    if (pointer !== undefined && !/^(?:\/(?:[^~/]|~[01])*)+$/.test(pointer))
      throw invalid(`http.mint.${field}`, 'expected a JSON pointer, such as /data/key');
  }
  return declared;
}

function checkRequest(name: RequestName, request: HttpRequest, hasAdmin: boolean): void {
  const at = `http.${name}`;
  if (!METHODS.includes(request.method)) throw invalid(`${at}.method`, `expected ${METHODS.join(', ')}`);
  checkUrl(`${at}.url`, request.url);
  if (request.json !== undefined && request.form !== undefined) throw invalid(at, 'give json or form, not both');
  for (const [header, text] of Object.entries(request.headers ?? {})) {
    if (!/^[!#$%&'*+.^_`|~\w-]{1,100}$/.test(header) || OWN_HEADERS.has(header.toLowerCase()))
      throw invalid(`${at}.headers`, `${JSON.stringify(header)} is no header that can be given`);
    if (!/^[\t\x20-\x7e]*$/.test(text)) throw invalid(`${at}.headers.${header}`, 'visible characters alone, and no line break');
  }
  const { url: _, ...rest } = request;
  for (const used of namesIn(rest)) {
    if (!(NAMES[name] as readonly string[]).includes(used))
      throw invalid(at, `{{${used}}} stands for nothing in it; there are ${NAMES[name].map((each) => `{{${each}}}`).join(', ')}`);
    if (used === 'admin' && !hasAdmin) throw invalid(at, '{{admin}} needs an admin_secret');
  }
}

function checkUrl(field: string, text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '' || url.hash !== '' || !/^[\x21-\x7e]+$/.test(text))
    throw invalid(field, 'expected an https:// address without a user or a fragment');
  // only behind the host: else it chose where the rest goes
  if (
    !/^https:\/\/[^/\\{]/i.test(text) ||
    namesIn(text.slice(0, text.indexOf('/', 'https://'.length) + 1 || undefined)).length > 0 ||
    namesIn(text).some((name) => name !== 'id')
  )
    throw invalid(field, 'only {{id}} may stand in it, behind the host: addresses are logged');
}

/** Of templates in any text of it. */
export function namesIn(value: unknown): string[] {
  return [...JSON.stringify(value).matchAll(TEMPLATE)].map(([, name]) => name as string);
}

function invalid(field: string, problem: string): VaultError {
  return new VaultError('INVALID_SECRET', `rotation.${field}: ${problem}`);
}
