/**
 * Values that a service makes and takes back by requests of its own API. A request goes to a host that its values are bound to, and
 * nowhere else: what an answer says of another place is not followed. Whether a request that made a value came through cannot always be
 * known; then nothing is guessed, and a person is told.
 */
import { presentRules } from '../firewall/present-rules.ts';
import { authorityText, parseAuthority, RefusedError } from '../firewall/target.ts';
import { createUpstreams, type Upstreams } from '../firewall/upstream.ts';
import type { Store } from '../store/index.ts';
import {
  type HttpRequest,
  matchesHost,
  matchesPath,
  namesIn,
  type OpenedSecret,
  RotationError,
  type Target,
  TEMPLATE,
} from '../vault/index.ts';

const ASK_MS = 20_000;
const ANSWER_MOST = 256 * 1024;

/** What stands for the templates of a request. */
export type Stands = Readonly<Partial<Record<'current' | 'new' | 'revoked' | 'id' | 'admin', string | undefined>>>;

export interface Asked {
  readonly request: HttpRequest;
  readonly secret: OpenedSecret;
  readonly admin: OpenedSecret | undefined;
  readonly stands: Stands;
  /** Told to the service, which may know by it that it was asked before. */
  readonly idempotencyKey?: string;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * @param before is called when it is known that the service can be reached, and before anything is sent
 * @throws RotationError SERVICE_UNREACHABLE, NOT_BOUND, ADMIN_REFUSED, ADDRESS_DENIED, NO_ID, NOT_SENDABLE: nothing was sent;
 *   REQUEST_FAILED: it may have been
 */
export async function ask(store: Store, asked: Asked, before: () => Promise<void>): Promise<Answer> {
  const prepared = prepare(asked);
  const rules = await presentRules(store);
  if (!rules.isPortOpen(prepared.target)) throw new RotationError('ADDRESS_DENIED');
  const upstreams = createUpstreams({ ...rules, headersTimeoutMs: ASK_MS, idleTimeoutMs: ASK_MS });
  try {
    await knock(upstreams, prepared.target);
    await before();
    return await send(upstreams, prepared);
  } finally {
    await upstreams.close();
  }
}

/** What may be said of a request: no value is in its address, and what stands for an id is left as it is declared. */
export function describeRequest(what: string, { method, url }: HttpRequest): object {
  return { what, method, url };
}

/** A text or a number at the place that a JSON pointer names. */
export function readPointer(text: string, pointer: string): string | undefined {
  let at: unknown;
  try {
    at = JSON.parse(text);
  } catch {
    return undefined;
  }
  for (const part of pointer.slice(1).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  return typeof at === 'string' || typeof at === 'number' ? String(at) : undefined;
}

interface Prepared {
  readonly target: Target;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

function prepare({ request, secret, admin, stands, idempotencyKey }: Asked): Prepared {
  const used = new Set(namesIn(request));
  if (used.has('id') && stands.id === undefined) throw new RotationError('NO_ID');
  const fill = (text: string, write: (value: string) => string = (value) => value) =>
    text.replace(TEMPLATE, (_, name: keyof Stands) => write(stands[name] ?? ''));
  const url = new URL(fill(request.url, encodeURIComponent));
  const target = parseAuthority(url.host, 'https', 'default');
  const usesOwn = ['current', 'new', 'revoked'].some((name) => used.has(name));
  const isBound = (to: OpenedSecret) => to.binding.hosts.some((pattern) => matchesHost(pattern, target));
  // each value where it may go; a request without any where one of them may
  if (usesOwn && !isBound(secret)) throw new RotationError('NOT_BOUND');
  if (used.has('admin') && (admin === undefined || !isBound(admin) || !isAllowed(admin, request.method, url.pathname)))
    throw new RotationError('ADMIN_REFUSED');
  if (!isBound(secret) && (admin === undefined || !isBound(admin))) throw new RotationError('NOT_BOUND');
  const body = bodyOf(request, fill);
  const headers: Record<string, string> = {
    accept: 'application/json',
    ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    ...(body === null ? {} : { 'content-type': request.form === undefined ? 'application/json' : 'application/x-www-form-urlencoded' }),
  };
  for (const [name, text] of Object.entries(request.headers ?? {})) {
    const filled = fill(text);
    if (!/^[\t\x20-\x7e]*$/.test(filled)) throw new RotationError('NOT_SENDABLE');
    headers[name.toLowerCase()] = filled;
  }
  return {
    target,
    path: `${url.pathname}${url.search}`,
    method: request.method,
    headers: { ...headers, host: authorityText(target) },
    body,
  };
}

function isAllowed({ binding: { methods, paths } }: OpenedSecret, method: string, path: string): boolean {
  return (methods.length === 0 || methods.includes(method)) && (paths.length === 0 || paths.some((pattern) => matchesPath(pattern, path)));
}

function bodyOf({ json, form }: HttpRequest, fill: (text: string) => string): string | null {
  if (form !== undefined)
    return new URLSearchParams(Object.fromEntries(Object.entries(form).map(([name, text]) => [name, fill(text)]))).toString();
  // in the strings of it, and not in its text: so a value ends no string
  const filled = (value: unknown): unknown =>
    typeof value === 'string'
      ? fill(value)
      : Array.isArray(value)
        ? value.map(filled)
        : typeof value === 'object' && value !== null
          ? Object.fromEntries(Object.entries(value).map(([name, each]) => [name, filled(each)]))
          : value;
  return json === undefined ? null : JSON.stringify(filled(json));
}

/** Whether there is anybody: what fails from then on may have come through. */
async function knock(upstreams: Upstreams, target: Target): Promise<void> {
  try {
    (await upstreams.dial(target)).destroy();
  } catch (error) {
    throw new RotationError(error instanceof RefusedError && error.code === 'ADDRESS_DENIED' ? 'ADDRESS_DENIED' : 'SERVICE_UNREACHABLE');
  }
}

async function send(upstreams: Upstreams, { target, path, method, headers, body }: Prepared): Promise<Answer> {
  try {
    const answer = await upstreams.pool(target).request({
      path,
      method,
      headers,
      body,
      headersTimeout: ASK_MS,
      bodyTimeout: ASK_MS,
      signal: AbortSignal.timeout(ASK_MS),
    });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      size += part.length;
      // leaving the loop closes the connection
      if (size > ANSWER_MOST) throw new RotationError('REQUEST_FAILED');
      parts.push(part);
    }
    return { status: answer.statusCode, text: Buffer.concat(parts).toString('utf8') };
  } catch {
    // without its cause: a parser quotes what it refuses
    throw new RotationError('REQUEST_FAILED');
  }
}
