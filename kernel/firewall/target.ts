/** Reading where a request goes: one canonical form, and refusal of whatever two programs could read differently. */
import { canonicalHost, type Target } from '../vault/index.ts';

export class RefusedError extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  /** What is said to the client; the log has the details. */
  constructor(status: number, code: string, message: string, details?: Readonly<Record<string, unknown>>) {
    super(message);
    this.name = 'RefusedError';
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

const URL_MOST = 8 * 1024;

/** `host:port` of a CONNECT, or of a Host header. @throws RefusedError 400 */
export function parseAuthority(text: string, scheme: 'https' | 'http', portRequired: 'port' | 'default'): Target {
  const parts = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(text);
  const host = canonicalHost(parts?.[1] ?? '');
  const port = parts?.[2] === undefined ? (portRequired === 'port' ? 0 : scheme === 'https' ? 443 : 80) : Number(parts[2]);
  if (parts === null || host === undefined || port < 1 || port > 65_535)
    throw new RefusedError(400, 'BAD_AUTHORITY', 'the host is not one that a request can be sent to');
  return { scheme, host, port };
}

export function authorityText({ scheme, host, port }: Target): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === (scheme === 'https' ? 443 : 80) ? name : `${name}:${port}`;
}

export function sameTarget(a: Target, b: Target): boolean {
  return a.scheme === b.scheme && a.host === b.host && a.port === b.port;
}

export interface RequestPath {
  /** As it is sent: path and query. */
  readonly raw: string;
  /** What rules are held against: without the query, with harmless escapes decoded. */
  readonly path: string;
  /** With its question mark, or empty. */
  readonly query: string;
}

/**
 * The path of a request. What some servers resolve and others do not, such as dot segments in any encoding and
 * backslashes, is refused: else a rule would be held against one path and the service would serve another.
 *
 * @throws RefusedError 400, 414
 */
export function parsePath(raw: string): RequestPath {
  if (raw.length > URL_MOST) throw new RefusedError(414, 'URL_TOO_LONG', `the URL has more than ${URL_MOST} characters`);
  if (!raw.startsWith('/') || /[^\x21-\x7e]|#/.test(raw))
    throw new RefusedError(400, 'BAD_PATH', 'the path has characters in it that a URL may not have');
  const cut = raw.indexOf('?');
  const path = cut < 0 ? raw : raw.slice(0, cut);
  if (!path.includes('%') && !/\/\/|\\|\/\./.test(path)) return { raw, path, query: cut < 0 ? '' : raw.slice(cut) };
  let decoded = path;
  // twice: a server behind the first one may decode again
  for (let times = 0; times < 2; times++) {
    try {
      decoded = decodeURIComponent(decoded);
    } catch {
      if (times === 0) throw new RefusedError(400, 'BAD_PATH', 'the path has a broken escape in it');
      break;
    }
    if (/[\\\p{Cc}]/u.test(decoded) || decoded.split(/[/;]/).some((segment) => segment === '.' || segment === '..'))
      throw new RefusedError(400, 'BAD_PATH', 'the path has dot segments, backslashes or control characters in it');
  }
  // an escaped slash stays what it is: part of a name
  const canonical = path.replaceAll(/%([0-9a-fA-F]{2})/g, (escape, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return /[A-Za-z0-9._~-]/.test(character) ? character : escape.toUpperCase();
  });
  return { raw, path: canonical.replaceAll(/\/{2,}/g, '/'), query: cut < 0 ? '' : raw.slice(cut) };
}
