import { randomUUID } from 'node:crypto';
import { serve, type ServerType } from '@hono/node-server';
import { Hono } from 'hono';
import { type Engine, EngineError, type WorkflowRegistry } from '../engine/index.ts';
import { isTransient, type Store, type StoreLogEntry } from '../store/index.ts';
import { API_ERRORS, ApiError } from './errors.ts';
import { createKeys, requireScope } from './keys.ts';
import { openApiDocument } from './openapi.ts';
import { type Call, type Deps, type Route, ROUTES } from './routes.ts';

export interface ApiOptions {
  readonly engine: Engine;
  readonly registry: WorkflowRegistry;
  readonly store: Store;
  /** Files that the host could not load, shown to those who see all workflows. */
  readonly problems?: () => readonly unknown[];
  readonly isDraining?: () => boolean;
  readonly log?: (entry: StoreLogEntry) => void;
  readonly version: string;
}

export interface Api {
  fetch(request: Request): Promise<Response>;
  /** @throws Error with code EADDRINUSE when the port is taken */
  listen(address: { readonly host: string; readonly port: number }): Promise<{ readonly url: string }>;
  close(): Promise<void>;
}

/** Largest body of one start, and of an array of them. */
const BODY_BYTES_MAX = 1024 * 1024 + 64 * 1024;
const ARRAY_BYTES_MAX = 16 * 1024 * 1024;

export function createApi(options: ApiOptions): Api {
  const log = options.log ?? (() => {});
  const deps: Deps = { ...options, problems: options.problems ?? (() => []), isDraining: options.isDraining ?? (() => false), keys: createKeys(options.store) };
  const app = new Hono();
  const document = openApiDocument(options.version);
  let server: ServerType | undefined;

  for (const prefix of ['', '/api']) {
    app.get(`${prefix}/openapi.json`, (c) => c.json(document as object));
    for (const route of ROUTES) {
      app.on(route.method, prefix + honoPath(route.path), async (c) => answer(await run(route, c.req.raw, c.req.param() as Record<string, string>)));
    }
    for (const path of new Set(ROUTES.map((route) => route.path))) {
      const allowed = ROUTES.filter((route) => route.path === path).map((route) => route.method).join(', ');
      app.all(prefix + honoPath(path), (c) => {
        c.header('allow', allowed);
        return c.json({ code: 'METHOD_NOT_ALLOWED', message: `${path} takes ${allowed}` }, API_ERRORS.METHOD_NOT_ALLOWED);
      });
    }
  }
  app.notFound((c) => c.json({ code: 'NOT_FOUND', message: `there is no ${c.req.path}; see /openapi.json` }, API_ERRORS.NOT_FOUND));
  app.onError((error) => failure(error, log));

  async function run(route: Route, request: Request, params: Record<string, string>) {
    const caller = route.scopes === 'open' ? { keyId: '', scopes: [] } : await deps.keys.authenticate(givenKey(request));
    if (route.scopes !== 'open' && !route.scopes.includes('workflows:<name>')) requireScope(caller, ...route.scopes);
    if (route.scopes !== 'open' && route.scopes.includes('workflows:<name>') && !caller.scopes.some((scope) => scope === 'admin' || scope.startsWith('workflows'))) {
      requireScope(caller, ...route.scopes);
    }
    const url = new URL(request.url);
    for (const name of url.searchParams.keys()) {
      if (!(route.query ?? []).includes(name)) throw new ApiError('INVALID_REQUEST', `${name}: unknown parameter${route.query ? `; use ${route.query.join(', ')}` : ''}`);
    }
    const call: Call = { caller, params, query: url.searchParams, headers: request.headers, signal: request.signal, body: route.body === undefined ? undefined : await readBody(request, route.body) };
    return route.handle(deps, call);
  }

  return {
    fetch: async (request) => app.fetch(request),
    listen({ host, port }) {
      return new Promise((resolve, reject) => {
        const listening = serve({ fetch: app.fetch, hostname: host, port }, (info) => resolve({ url: `http://${host.includes(':') ? `[${host}]` : host}:${info.port}` }));
        listening.once('error', reject);
        server = listening;
      });
    },
    async close() {
      const open = server;
      if (open === undefined) return;
      if ('closeAllConnections' in open) setTimeout(() => open.closeAllConnections(), 500).unref();
      await new Promise<void>((resolve) => open.close(() => resolve()));
    },
  };
}

const honoPath = (path: string) => path.replace(/\{(\w+)\}/g, ':$1');

function answer(result: Awaited<ReturnType<Route['handle']>>): Response {
  return result instanceof Response ? result : Response.json(result.body, { status: result.status ?? 200 });
}

function givenKey(request: Request): string | undefined {
  return request.headers.get('x-api-key') ?? /^Bearer\s+(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1];
}

async function readBody(request: Request, schema: NonNullable<Route['body']>): Promise<unknown> {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim();
  if (type !== 'application/json') throw new ApiError('UNSUPPORTED_MEDIA_TYPE', `content-type: expected application/json, got ${type ?? 'none'}`);
  const text = await readText(request);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ApiError('MALFORMED_JSON', `the body is not JSON: ${(error as Error).message}`);
  }
  if (!Array.isArray(value) && text.length > BODY_BYTES_MAX) throw tooLarge(BODY_BYTES_MAX);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(parsed.error.issues, value);
}

interface Issue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly errors?: readonly (readonly Issue[])[];
}

/** Of a body that may be one thing or a list, only the complaints about the form that was sent are told. */
function invalid(issues: readonly Issue[], value: unknown): ApiError {
  const flat = issues.flatMap((issue) => (issue.errors !== undefined && issue.path.length === 0 ? (issue.errors[Array.isArray(value) ? 1 : 0] ?? []) : [issue]));
  // a misspelt field explains why the right one is missing
  flat.sort((a, b) => Number(b.code === 'unrecognized_keys') - Number(a.code === 'unrecognized_keys'));
  const told = flat.map((issue) => ({ path: issue.path.join('.'), message: issue.message }));
  const first = told[0];
  return new ApiError('INVALID_REQUEST', first === undefined ? 'the body is not valid' : `${first.path === '' ? 'body' : first.path}: ${first.message}`, { issues: told });
}

/** Reads no more than the limit, whatever the length header says. */
async function readText(request: Request): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += (chunk as Uint8Array).byteLength;
    if (size > ARRAY_BYTES_MAX) throw tooLarge(ARRAY_BYTES_MAX);
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function tooLarge(most: number): ApiError {
  return new ApiError('TOO_LARGE', `the body is larger than ${most} bytes`);
}

function failure(error: unknown, log: (entry: StoreLogEntry) => void): Response {
  if (error instanceof ApiError || error instanceof EngineError) {
    const details = error.details === undefined ? {} : { details: error.details };
    return Response.json({ code: error.code, message: error.message, ...details }, { status: error.httpStatus });
  }
  if (isTransient(error)) return Response.json({ code: 'STORE_UNAVAILABLE', message: 'Postgres cannot be reached right now; try again' }, { status: 503 });
  const id = randomUUID();
  log({ level: 'error', message: 'a request failed', error_id: id, error: (error as Error).stack ?? String(error) });
  return Response.json({ code: 'INTERNAL', message: `something went wrong; the log has it under ${id}`, details: { error_id: id } }, { status: 500 });
}
