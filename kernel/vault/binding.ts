/**
 * Where a secret may go: hosts, ports, methods, paths, and the places in a request in which its placeholder counts.
 * Hosts are compared in one form, whatever way they were written: see `canonicalHost`.
 */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { globMatcher } from '../policy/index.ts';
import { VaultError } from './errors.ts';

export interface HostPattern {
  readonly scheme: 'https' | 'http';
  /** Canonical; `*.` in front stands for one or more labels. */
  readonly host: string;
  readonly port: number;
}

export interface Places {
  /** Names in lower case, or any header. */
  readonly headers: readonly string[] | 'any';
  readonly query: readonly string[] | 'any';
  readonly path: boolean;
  readonly body: boolean;
}

export interface Binding {
  readonly hosts: readonly HostPattern[];
  /** Empty: all. */
  readonly methods: readonly string[];
  /** Globs: `*` stands for anything but a slash, a trailing `/*` or `**` for all below. Empty: all. */
  readonly paths: readonly string[];
  readonly places: Places;
  /** Put into this header of every request to its hosts, whether or not a placeholder was sent. `{value}` in the format. */
  readonly inject?: { readonly header: string; readonly format: string };
}

export interface BindingRequest {
  readonly hosts: readonly string[];
  readonly methods?: readonly string[] | undefined;
  readonly paths?: readonly string[] | undefined;
  readonly match_headers?: readonly string[] | true | undefined;
  readonly match_query?: readonly string[] | true | undefined;
  readonly match_path?: boolean | undefined;
  readonly match_body?: boolean | undefined;
  readonly inject?: { readonly header: string; readonly format?: string | undefined } | undefined;
}

/** Where a request goes, in canonical form. */
export interface Target {
  readonly scheme: 'https' | 'http';
  readonly host: string;
  readonly port: number;
}

/**
 * One way to write a host: lower case, punycode, no trailing dot, addresses as the URL standard writes them. Undefined
 * for what is no host: with userinfo, a zone id, a port, spaces, or an odd form of an address.
 */
export function canonicalHost(text: string): string | undefined {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  if (isIP(bare) === 6) {
    if (bare.includes('%')) return undefined;
    return new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  }
  if (bare !== text || text.length === 0 || text.length > 254 || /[\s/@:?#\\%[\]]/.test(text)) return undefined;
  const ascii = domainToASCII(text.endsWith('.') ? text.slice(0, -1) : text).toLowerCase();
  if (ascii === '' || ascii.endsWith('.')) return undefined;
  // "127.1", "0x7f.1", "2130706433" are addresses to some and names to others; the call above has made 127.0.0.1 of them
  if (isIP(ascii) === 4) return isIP(text.replace(/\.$/, '')) === 4 ? ascii : undefined;
  if (/(?:^|\.)(?:\d+|0x[0-9a-f]*)$/i.test(ascii)) return undefined;
  return ascii.length <= 253 && ascii.split('.').every((label) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label)) ? ascii : undefined;
}

/** @throws VaultError INVALID_SECRET naming the field */
export function parseBinding(request: BindingRequest): Binding {
  if (request.hosts.length === 0) throw invalid('hosts', 'expected at least one host: a secret goes nowhere else');
  const places: Places = {
    headers: names('match_headers', request.match_headers, (name) => headerName('match_headers', name)),
    query: names('match_query', request.match_query, (name) => name),
    path: request.match_path === true,
    body: request.match_body === true,
  };
  const nowhere = places.headers.length === 0 && places.query.length === 0 && !places.path && !places.body;
  return {
    hosts: request.hosts.map(parseHostPattern),
    methods: (request.methods ?? []).map(parseMethod),
    paths: (request.paths ?? []).map(parsePathPattern),
    // said nothing: any header, which is where keys go
    places: nowhere && request.inject === undefined ? { ...places, headers: 'any' } : places,
    ...(request.inject === undefined ? {} : { inject: parseInjection(request.inject) }),
  };
}

export function parseMethod(method: string): string {
  if (!/^[A-Za-z]{1,20}$/.test(method)) throw invalid('methods', `${JSON.stringify(method)} is no method`);
  return method.toUpperCase();
}

/** As it is: paths have case. */
export function parsePathPattern(path: string): string {
  if (!path.startsWith('/') || /[?#\\]|\/\.{1,2}(\/|$)/.test(path))
    throw invalid('paths', `${JSON.stringify(path)}: expected a path such as /v1/*`);
  return path;
}

function parseInjection({ header, format = '{value}' }: { readonly header: string; readonly format?: string | undefined }) {
  if (!format.includes('{value}') || /[\r\n\0]/.test(format))
    throw invalid('inject.format', 'expected a text with {value} in it, such as "Bearer {value}"');
  return { header: headerName('inject.header', header), format };
}

function headerName(field: string, name: string): string {
  const lower = name.toLowerCase();
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]{1,100}$/.test(lower)) throw invalid(field, `${JSON.stringify(name)} is no header name`);
  if (['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer', 'proxy-authorization'].includes(lower))
    throw invalid(field, `${lower} cannot carry a secret`);
  return lower;
}

function names(field: string, given: readonly string[] | true | undefined, parse: (name: string) => string): readonly string[] | 'any' {
  if (given === undefined) return [];
  if (given === true || given.length === 0) return 'any';
  return given.map((name) => {
    if (name === '' || name.length > 200) throw invalid(field, 'expected names of 1 to 200 characters');
    return parse(name);
  });
}

/** `api.example.com`, `*.example.com`, `host:8443`, or `http://host:8080` for a service without TLS. */
export function parseHostPattern(text: string): HostPattern {
  const parts = /^(?:(https?):\/\/)?(\*\.)?(\[[^\]]+\]|[^:/]+)(?::(\d{1,5}))?\/?$/.exec(text.trim());
  const host = canonicalHost(parts?.[3] ?? '');
  const scheme = (parts?.[1] ?? 'https') as 'https' | 'http';
  const port = parts?.[4] === undefined ? (scheme === 'https' ? 443 : 80) : Number(parts[4]);
  if (parts === null || host === undefined || port < 1 || port > 65_535)
    throw invalid('hosts', `${JSON.stringify(text)}: expected a host such as api.example.com, *.example.com or api.example.com:8443`);
  const wild = parts[2] !== undefined;
  if (wild && (isIP(host) !== 0 || !host.includes('.')))
    throw invalid('hosts', `${JSON.stringify(text)}: a wildcard needs a domain of at least two labels`);
  return { scheme, host: wild ? `*.${host}` : host, port };
}

/** As `parseHostPattern` reads it. */
export function formatHostPattern({ scheme, host, port }: HostPattern): string {
  const name = isIP(host) === 6 ? `[${host}]` : host;
  return scheme === 'http' ? `http://${name}:${port}` : port === 443 ? name : `${name}:${port}`;
}

export function matchesHost(pattern: HostPattern, target: Target): boolean {
  if (pattern.scheme !== target.scheme || pattern.port !== target.port) return false;
  return pattern.host.startsWith('*.')
    ? target.host.endsWith(pattern.host.slice(1)) && target.host.length > pattern.host.length - 1
    : pattern.host === target.host;
}

/** @param path canonical, without the query */
export function matchesPath(pattern: string, path: string): boolean {
  const [base] = pattern.split(/\/\*{1,2}$/) as [string];
  if (base !== pattern && !base.includes('*')) return path === base || path.startsWith(`${base}/`);
  if (!pattern.includes('*')) return pattern === path;
  return matcherOf(pattern)(path);
}

const matchers = new Map<string, (path: string) => boolean>();

function matcherOf(pattern: string): (path: string) => boolean {
  let matcher = matchers.get(pattern);
  if (matcher === undefined) {
    const [base] = pattern.split(/\/\*{1,2}$/) as [string];
    const itself = globMatcher(base);
    const below = base === pattern ? undefined : globMatcher(`${base}/**`);
    if (matchers.size > 1000) matchers.clear();
    matchers.set(pattern, (matcher = (path) => itself(path) || below?.(path) === true));
  }
  return matcher;
}

function invalid(field: string, message: string): VaultError {
  return new VaultError('INVALID_SECRET', `${field}: ${message}`);
}
