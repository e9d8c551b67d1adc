/**
 * Who asks: an API key, a sandbox's token, or a person's session. A session comes in a header, as the CLI has it, or in a cookie, as browsers
 * have it. A browser sends its cookies whoever makes it ask, so with one nothing is changed unless the request comes from a page of ours.
 */
import type { SessionUser, Source } from '../users/index.ts';
import { createSources } from '../webhooks/source.ts';
import { ApiError } from './errors.ts';
import { presentedKey, unauthenticated } from './keys.ts';
import { type Caller, SCOPES_OF_ROLE } from './scopes.ts';
import type { Services } from './services.ts';

/** @throws ApiError UNAUTHENTICATED, CROSS_ORIGIN */
export async function authenticate(
  { keys, users, publicUrl }: Pick<Services, 'keys' | 'users' | 'publicUrl'>,
  request: Request,
): Promise<Caller> {
  const presented = presentedKey(request.headers);
  if (presented?.startsWith('cs_')) {
    const user = await users?.find(presented);
    if (user === undefined) throw unauthenticated('the session is not known here, or has ended: sign in again');
    return callerOf(user);
  }
  const token = presented === undefined ? sessionCookie(request.headers, publicUrl()) : undefined;
  if (token === undefined || users === undefined) return keys.authenticate(request.headers);
  // before the session is looked at: another origin learns nothing of it
  if (request.method !== 'GET' && request.method !== 'HEAD') requireOwnOrigin(request, publicUrl());
  const user = await users.find(token);
  if (user === undefined) throw unauthenticated('the session has ended: sign in again');
  return callerOf(user);
}

function callerOf(user: SessionUser): Caller {
  const { sessionId, userId, name, role, roles, provenAt } = user;
  return { keyId: sessionId, scopes: SCOPES_OF_ROLE[role], user: { userId, name, role, roles, provenAt }, session: user };
}

// ---- cookies

export type CookieName = 'centaur' | 'centaur-signin';

/** `__Host-`: no other host, and no page without TLS, can set it. */
function nameOf(cookie: CookieName, publicUrl: string): string {
  return isSecure(publicUrl) ? `__Host-${cookie}` : cookie;
}

const isSecure = (publicUrl: string): boolean => publicUrl.startsWith('https:');

export function readCookie(headers: Headers, cookie: CookieName, publicUrl: string): string | undefined {
  const prefix = `${nameOf(cookie, publicUrl)}=`;
  const found = (headers.get('cookie') ?? '')
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part.startsWith(prefix));
  // of two with one name, somebody has set the other one
  return found.length === 1 ? found[0]?.slice(prefix.length) : undefined;
}

export function sessionCookie(headers: Headers, publicUrl: string): string | undefined {
  return readCookie(headers, 'centaur', publicUrl);
}

/**
 * @param value empty: it is taken away
 * @param sameSite `Lax` for what must come along when a provider sends the browser back
 */
export function makeCookie(
  cookie: CookieName,
  value: string,
  { publicUrl, seconds, sameSite }: { readonly publicUrl: string; readonly seconds: number; readonly sameSite: 'Strict' | 'Lax' },
): string {
  const age = value === '' ? 0 : Math.max(0, Math.floor(seconds));
  return `${nameOf(cookie, publicUrl)}=${value}; Path=/; HttpOnly; SameSite=${sameSite}; Max-Age=${age}${isSecure(publicUrl) ? '; Secure' : ''}`;
}

// ---- origins

/**
 * That a page of ours makes this request. Browsers say so in `Sec-Fetch-Site`; those that do not, in `Origin`. `same-site` is not enough:
 * other ports of this machine, and other hosts of the domain, are other people's.
 *
 * @throws ApiError CROSS_ORIGIN
 */
export function requireOwnOrigin(request: Request, publicUrl: string): void {
  const site = request.headers.get('sec-fetch-site');
  const origin = request.headers.get('origin');
  if (site !== null && site !== 'same-origin') throw crossOrigin();
  if (origin !== null ? !isOwn(origin, request, publicUrl) : site === null) throw crossOrigin();
}

/** For what programs call too, which say nothing of an origin. @throws ApiError CROSS_ORIGIN */
export function refuseOtherOrigins(request: Request, publicUrl: string): void {
  if (request.headers.has('origin') || request.headers.has('sec-fetch-site')) requireOwnOrigin(request, publicUrl);
}

function isOwn(origin: string, { headers }: Request, publicUrl: string): boolean {
  const host = headers.get('host');
  return origin === new URL(publicUrl).origin || (host !== null && (origin === `http://${host}` || origin === `https://${host}`));
}

function crossOrigin(): ApiError {
  return new ApiError(
    'CROSS_ORIGIN',
    'a browser may change something here only from a page of this server; programs send the session as a bearer token',
  );
}

/** Where people go after they have signed in: a page of this server and of no other. Whatever is not plainly one is the sign-in page. */
export function readReturnTo(text: string | null | undefined): string {
  const usual = '/signin';
  if (typeof text !== 'string' || text.length > 500 || !/^\/[A-Za-z0-9\-._~/?#@!$&'()*+,;=:%]*$/.test(text)) return usual;
  const here = new URL('http://here.invalid');
  const url = URL.parse(text, here.href);
  if (url === null || url.origin !== here.origin) return usual;
  const path = `${url.pathname}${url.search}${url.hash}`;
  // what remains of `/.//example.com`
  return path.startsWith('//') ? usual : path;
}

/** @param trustedProxies addresses or ranges, whose `X-Forwarded-For` counts */
export function createSourceOf(trustedProxies: readonly string[]): (request: Request, peer: string | undefined) => Source {
  const sources = createSources(trustedProxies);
  return ({ headers }, peer) => ({
    address: sources.addressOf(peer, headers.get('x-forwarded-for')),
    agent: headers.get('user-agent'),
  });
}
