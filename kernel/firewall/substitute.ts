/**
 * Placeholders in a request: where they are, whether they may be there, and the request with the real values in their
 * stead. A placeholder in any place that its secret is not bound to refuses the request, whether it is plain or in
 * percent-encoding. In other encodings it is what it is: text that is of no use to whoever gets it. So it is in one more
 * place: see `sortFound`.
 */
import { type Binding, matchesHost, matchesPath, PLACEHOLDER_PREFIX, type Target } from '../vault/index.ts';
import type { LiveLease } from './lease-book.ts';
import { RefusedError, type RequestPath } from './target.ts';

export interface Found {
  readonly secret: string;
  readonly placeholder: string;
  /** `header authorization`, `query key`, `path`, `body`. */
  readonly place: string;
}

/** Header lines in the order in which they came, names in lower case. */
export type HeaderLines = readonly (readonly [name: string, value: string])[];

export interface OutgoingRequest {
  readonly method: string;
  readonly target: Target;
  readonly path: RequestPath;
  readonly headers: HeaderLines;
  /** The whole body, when it is in memory. */
  readonly body: Buffer | undefined;
}

/** Every place where one of the lease's placeholders stands. */
export function findPlaceholders(lease: LiveLease, request: OutgoingRequest): Found[] {
  const found: Found[] = [];
  for (const [placeholder, secret] of lease.placeholders) {
    const add = (place: string) => found.push({ secret, placeholder, place });
    for (const [name, value] of request.headers) if (headerHas(value, placeholder)) add(`header ${name}`);
    if (has(request.path.path, placeholder) || has(request.path.raw.split('?', 1)[0] as string, placeholder)) add('path');
    for (const [name, value] of queryPairs(request.path.query)) {
      if (has(value, placeholder)) add(`query ${name}`);
      if (has(name, placeholder)) add('query name');
    }
    if (request.body !== undefined && bodyHas(request.body, placeholder)) add('body');
  }
  return found;
}

export interface Sorted {
  /** In places where they may be: they are exchanged. */
  readonly used: readonly Found[];
  /** In the body, and sent on as they are. */
  readonly inert: readonly Found[];
  /** Whether a placeholder outside of the body is exchanged: then the request is one that its lease is for. */
  readonly authenticated: boolean;
}

/**
 * What an agent has read goes to its model, its own environment too. So in the body of a request that has its credential
 * elsewhere, a placeholder that may not be there is text: it is sent as it is, and recorded. Anywhere else it refuses.
 *
 * @throws RefusedError 403 for a placeholder where its secret is not bound to go
 */
export function sortFound(found: readonly Found[], bindingOf: (secret: string) => Binding, request: OutgoingRequest): Sorted {
  const used: Found[] = [];
  const misplaced: { readonly each: Found; readonly why: string }[] = [];
  for (const each of found) {
    const why = unfitness(bindingOf(each.secret), each, request);
    if (why === undefined) used.push(each);
    else misplaced.push({ each, why });
  }
  const authenticated = used.some(({ place }) => place !== 'body');
  for (const { each, why } of misplaced) {
    if (authenticated && each.place === 'body') continue;
    throw new RefusedError(403, 'PLACEHOLDER_NOT_BOUND', `the placeholder of ${each.secret} ${why}`, {
      secret: each.secret,
      place: each.place,
    });
  }
  return { used, inert: misplaced.map(({ each }) => each), authenticated };
}

/** Why a placeholder may not be exchanged where it stands. */
function unfitness(binding: Binding, found: Found, request: OutgoingRequest): string | undefined {
  const { target } = request;
  if (!binding.hosts.some((host) => matchesHost(host, target))) return `is not for ${target.scheme}://${target.host}:${target.port}`;
  if (binding.methods.length > 0 && !binding.methods.includes(request.method)) return `is not for ${request.method} requests`;
  if (binding.paths.length > 0 && !binding.paths.some((path) => matchesPath(path, request.path.path))) return 'is not for this path';
  const [kind = '', name = ''] = found.place.split(' ');
  const { places } = binding;
  const allowed =
    (kind === 'header' && (places.headers === 'any' ? !NEVER.has(name) : places.headers.includes(name))) ||
    (kind === 'query' && found.place !== 'query name' && (places.query === 'any' || places.query.includes(name))) ||
    (kind === 'path' && places.path) ||
    (kind === 'body' && places.body);
  return allowed ? undefined : `may not stand in the ${found.place}`;
}

/** Headers that services log, echo or send on. */
const NEVER = new Set([
  'host',
  'user-agent',
  'referer',
  'origin',
  'accept',
  'accept-encoding',
  'accept-language',
  'content-type',
  'content-length',
  'range',
  'via',
  'forwarded',
  'x-forwarded-for',
  'traceparent',
  'tracestate',
  'baggage',
]);

/**
 * The request as it is sent, with the values in place.
 *
 * @param inBody the placeholders that are exchanged in the body too
 */
export function substitute(
  request: OutgoingRequest,
  values: ReadonlyMap<string, string>,
  inBody: ReadonlySet<string>,
): { path: string; headers: HeaderLines; body: Buffer | undefined } {
  let headers = request.headers;
  let path = request.path.raw;
  let { body } = request;
  for (const [placeholder, value] of values) {
    headers = headers.map(([name, text]) => [name, replaceInHeader(text, placeholder, value)] as const);
    path = replaceInUrl(path, placeholder, value);
    if (body !== undefined && inBody.has(placeholder)) body = replaceInBody(body, contentType(headers), placeholder, value);
  }
  return { path, headers, body };
}

function headerHas(value: string, placeholder: string): boolean {
  return value.includes(placeholder) || decodedBasic(value)?.includes(placeholder) === true || has(value, placeholder);
}

/** Plain, or in any percent-encoding. */
function has(text: string, placeholder: string): boolean {
  return text.includes(placeholder) || (text.includes('%') && looseDecode(text).includes(placeholder));
}

export function looseDecode(text: string): string {
  return text.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function decodedBasic(value: string): string | undefined {
  const encoded = /^basic +([A-Za-z0-9+/_-]+={0,2})\s*$/i.exec(value)?.[1];
  return encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString('utf8');
}

function replaceInHeader(text: string, placeholder: string, value: string): string {
  const credentials = decodedBasic(text);
  if (credentials?.includes(placeholder))
    return `Basic ${Buffer.from(credentials.replaceAll(placeholder, () => value)).toString('base64')}`;
  return text.includes(placeholder) ? text.replaceAll(placeholder, () => inHeader(value)) : text;
}

/** Headers are bytes: each character of their text is one. */
export function inHeader(value: string): string {
  return Buffer.from(value, 'utf8').toString('latin1');
}

function replaceInUrl(url: string, placeholder: string, value: string): string {
  if (!has(url, placeholder)) return url;
  const encoded = encodeURIComponent(value).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  if (url.includes(placeholder)) return url.replaceAll(placeholder, () => encoded);
  // written with escapes that it does not need
  const loose = Array.from(placeholder, (c) => `(?:${c.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}|%${c.charCodeAt(0).toString(16)})`).join(
    '',
  );
  return url.replaceAll(new RegExp(loose, 'gi'), (text) => (looseDecode(text) === placeholder ? encoded : text));
}

export function queryPairs(query: string): [name: string, value: string][] {
  return query
    .slice(1)
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const cut = pair.indexOf('=');
      const plain = (text: string) => looseDecode(text.replaceAll('+', ' '));
      return cut < 0 ? [plain(pair), ''] : [plain(pair.slice(0, cut)), plain(pair.slice(cut + 1))];
    });
}

function bodyHas(body: Buffer, placeholder: string): boolean {
  return body.includes(placeholder) || (body.includes('%') && looseDecode(body.toString('latin1')).includes(placeholder));
}

function contentType(headers: HeaderLines): string {
  return (headers.find(([name]) => name === 'content-type')?.[1] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

function replaceInBody(body: Buffer, type: string, placeholder: string, value: string): Buffer {
  const text = body.toString('latin1');
  const raw = Buffer.from(value, 'utf8').toString('latin1');
  if (type === 'application/x-www-form-urlencoded') return Buffer.from(replaceInUrl(text, placeholder, value), 'latin1');
  const written =
    type === 'application/json' || type.endsWith('+json')
      ? Buffer.from(JSON.stringify(value).slice(1, -1), 'utf8').toString('latin1')
      : raw;
  return Buffer.from(
    text.replaceAll(placeholder, () => written),
    'latin1',
  );
}

/** How many such words of one request are looked up, and how far into its body they are looked for. */
const WORDS_MOST = 512;
const BODY_SEARCHED = 256 * 1024;
const GLUED_MOST = 64;

/** Words in a request that could be a placeholder of another lease: looked up once each. */
export function suspiciousWords(lease: LiveLease | undefined, { headers, path, body }: OutgoingRequest): string[] {
  const words = new Set<string>();
  const take = (text: string) => {
    if (text.length < 24) return;
    for (const [run] of text.matchAll(/[A-Za-z0-9_.-]{24,}/g)) {
      for (const word of candidates(run)) if (lease?.placeholders.has(word) !== true && words.size < WORDS_MOST) words.add(word);
    }
  };
  for (const [name, value] of headers) {
    if (name === 'user-agent' || name === 'accept' || name === 'content-type') continue;
    take(value);
    take(decodedBasic(value) ?? '');
  }
  take(looseDecode(path.path));
  for (const [, value] of queryPairs(path.query)) take(value);
  if (body !== undefined) take(body.subarray(0, BODY_SEARCHED).toString('latin1'));
  return [...words];
}

/** The word itself; and what in it begins as placeholders begin, in case other text is glued to it. */
function candidates(run: string): string[] {
  const found = run.length <= 300 ? [run] : [];
  for (const { index } of run.matchAll(PLACEHOLDER_PREFIX)) {
    const rest = run.slice(index, index + 300);
    found.push(rest);
    // what is glued to its end is a letter more each time
    for (let length = rest.length - 1; length >= 28 && found.length < GLUED_MOST; length--) found.push(rest.slice(0, length));
  }
  return found;
}
