/** From the table of routes to a server. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { z } from 'zod';
import type { Engine, WorkflowRegistry } from '../engine/index.ts';
import type { Store } from '../store/index.ts';
import { type BodyLimits, readJson } from './body.ts';
import type { Bots } from './bots.ts';
import { ApiError, refusal } from './errors.ts';
import { authenticate, createSourceOf } from './credentials.ts';
import { createKeys } from './keys.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { send } from './reply.ts';
import { actorOf, type Answer, type Attribution, type Call, type Route } from './route.ts';
import { ROUTES } from './routes/index.ts';
import { authorise, authoriseThread, type Caller } from './scopes.ts';
import type { FileProblem, Log, Replays, Services, Trust } from './services.ts';
import { parse } from './validate.ts';
import type { OAuth } from '../oauth/index.ts';
import { createChats, type SlackSettings } from '../chats/index.ts';
import { createSignIn, type OidcSettings } from '../oidc/index.ts';
import type { Threads } from '../threads/index.ts';
import type { Tools } from '../tools/index.ts';
import { createUsers, type UsersOptions } from '../users/index.ts';
import type { Webhooks } from '../webhooks/index.ts';

export interface ApiOptions {
  readonly engine: Engine;
  readonly registry: WorkflowRegistry;
  readonly store: Store;
  /** Of this release, as shown in `/healthz`. */
  readonly version: string;
  readonly log?: Log;
  /** Without it, what concerns secrets, policy and the audit log answers 503. */
  readonly trust?: Trust;
  readonly replays?: Replays;
  /** Default 30. */
  readonly retentionDays?: number;
  /** Without it, what concerns threads answers 503. */
  readonly threads?: Threads;
  /** Without it, what concerns webhooks answers 503. */
  readonly webhooks?: Webhooks;
  /** Without it, what concerns tools answers 503. */
  readonly tools?: Tools;
  /** Without it, what concerns accounts at other services answers 503. */
  readonly accounts?: OAuth;
  /** Where people's browsers reach it: decides which cookies and which origins count. Default: this machine, without TLS. */
  readonly publicUrl?: () => string;
  /** The provider by which people sign in; without it, with a password only. */
  readonly oidc?: OidcSettings;
  /** How what people click in Slack is known to be Slack's; without it, nothing of it counts. */
  readonly slack?: SlackSettings;
  /** Addresses or ranges, whose `X-Forwarded-For` counts. */
  readonly trustedProxies?: readonly string[];
  /** For tests: the clock of sessions, and cheaper passwords. */
  readonly people?: Pick<UsersOptions, 'now' | 'passwordCost'>;
  /** Bots of chats: what is sent to the webhooks of their slugs is theirs. */
  readonly bots?: Bots;
  /** What is wrong with the workflow files, as their host reports it. */
  readonly problems?: () => readonly FileProblem[];
  /** Where requests are counted, and what /metrics tells. Default: its own, closed with it. */
  readonly metrics?: Metrics;
  /** Most bytes of a request's body. Default 1 MiB. */
  readonly maxBodyBytes?: number;
  /** Most bytes of a body that is an array of starts. Default 16 MiB. */
  readonly maxBulkBodyBytes?: number;
}

export interface Api {
  /** Answers a request without a socket. */
  fetch(request: Request): Promise<Response>;
  /** @param address port 0 takes any that is free. @throws the error of `listen`, such as EADDRINUSE */
  listen(address: { readonly host: string; readonly port: number }): Promise<{ readonly url: string; readonly port: number }>;
  /** From now on `/readyz` answers 503, so that no new requests are sent here; what comes is still answered. */
  drain(): void;
  /** Ends the streams, lets requests in progress finish for up to `graceMs` (default 5,000), and closes. */
  close(graceMs?: number): Promise<void>;
}

const MIB = 1024 * 1024;
const HOUR_MS = 3_600_000;

const NO_QUERY = z.strictObject({});

/** A caller of a route that asks for no key. */
const NOBODY: Caller = { keyId: '', scopes: [] };

export function createApi(options: ApiOptions): Api {
  const { engine, registry, store, version } = options;
  const log = options.log ?? (() => {});
  const single = options.maxBodyBytes ?? MIB;
  const bulk: BodyLimits = { single, many: options.maxBulkBodyBytes ?? 16 * MIB };
  const closing = new AbortController();
  let draining = false;
  let document: object | undefined;
  const installation = options.trust?.installation;
  const users = installation && createUsers({ store, audit: installation.audit, ...options.people });
  const chats =
    installation && users && createChats({ store, audit: installation.audit, macKey: installation.macKey, users, slack: options.slack });
  const publicUrl = options.publicUrl ?? (() => 'http://127.0.0.1');
  const signIn =
    installation === undefined || users === undefined || options.oidc === undefined
      ? undefined
      : createSignIn({
          installation,
          users,
          settings: options.oidc,
          publicUrl,
          log,
          ...(options.people?.now && { now: options.people.now }),
        });
  const services: Services = {
    engine,
    registry,
    store,
    keys: createKeys(store, {
      macKey: installation?.macKey,
      audit: installation?.audit,
      ...(users && { isSessionActive: users.isActive }),
    }),
    metrics: options.metrics ?? createMetrics(version, { entries: installation?.counts, audit: installation?.audit }),
    version,
    log,
    trust: options.trust,
    threads: options.threads,
    webhooks: options.webhooks,
    tools: options.tools,
    accounts: options.accounts,
    users,
    chats,
    bots: options.bots ?? {},
    signIn,
    publicUrl,
    sourceOf: createSourceOf(options.trustedProxies ?? []),
    replays: options.replays,
    retentionDays: options.retentionDays ?? 30,
    problems: () => [
      ...(options.problems?.() ?? []),
      ...(options.webhooks?.problems() ?? []).map(({ file, message }) => ({ file, message })),
    ],
    isDraining: () => draining,
    closing: closing.signal,
    openapi: () => (document ??= openApiDocument(ROUTES, version)),
  };

  const forget = async () => {
    await users?.prune();
    await signIn?.prune();
    await chats?.prune();
  };
  const forgetting = setInterval(
    () =>
      void forget().catch((error: Error) =>
        log({ level: 'warn', message: 'forgetting old sessions failed; trying again', error: error.message }),
      ),
    HOUR_MS,
  );
  forgetting.unref();

  const app = new Hono();
  for (const route of ROUTES)
    for (const path of bothPaths(route.path)) app.on(route.raw ? 'ALL' : route.method, path, (c) => serve(route, c));
  for (const [pattern, methods] of methodsByPath(ROUTES)) {
    const message = (method: string) => `${method} is not allowed here; use ${methods}`;
    for (const path of bothPaths(pattern))
      app.all(path, (c) => refuse(c, new ApiError('METHOD_NOT_ALLOWED', message(c.req.method), { headers: { allow: methods } })));
  }
  app.notFound((c) => refuse(c, new ApiError('NOT_FOUND', `there is no ${c.req.path}; /openapi.json lists what there is`)));
  app.onError((error, c) => refuse(c, error));
  const refuse = (c: Context, error: Error) => send(refusal(error, log, {}), socketOf(c).outgoing);

  async function serve(route: Route, c: Context): Promise<Response> {
    const started = performance.now();
    const traceId = traceIdOf(c.req.raw.headers);
    let reply: Answer;
    try {
      reply = await answer(route, c, traceId);
    } catch (error) {
      reply = refusal(error, log, { route: route.id, ...(traceId === undefined ? {} : { trace_id: traceId }) });
    }
    const response = reply instanceof Response ? reply : send(reply, socketOf(c).outgoing);
    const ms = performance.now() - started;
    services.metrics.request(route.path, route.method, reply.status, ms / 1000);
    log({
      level: 'debug',
      message: 'request',
      method: c.req.method,
      path: c.req.path,
      status: reply.status,
      ms: Math.round(ms * 10) / 10,
    });
    return response;
  }

  async function answer(route: Route, c: Context, traceId: string | undefined): Promise<Answer> {
    const request = c.req.raw;
    const { incoming, outgoing } = socketOf(c);
    // First of all, so that nobody without a key makes us read a body or look into the database for a run
    const known = route.access === 'public' ? NOBODY : await authenticate(services, request);
    if (route.access !== 'public') authorise(known, route.access);
    const caller = route.group === 'Tools' ? await withTools(known) : known;
    const params = route.params && parse(route.params, c.req.param(), 'path');
    const query = route.raw ? {} : parse(route.query ?? NO_QUERY, queryOf(c), 'query');
    if (route.access !== 'public') authoriseThread(caller, route.access, params, query);
    const call: Call = {
      params,
      query,
      body: route.body && (await readBody(route, route.body, request)),
      caller,
      request,
      incoming,
      traceId,
      hangUp: outgoing && (() => void outgoing.destroy()),
    };
    return route.attribute === undefined ? route.handle(call, services) : attributed(route, call, route.attribute(call));
  }

  /** Told to the audit log before it is done, or not done. */
  async function attributed(route: Route, call: Call, entry: Attribution): Promise<Answer> {
    const audit = installation?.audit;
    const actor = actorOf(call.caller);
    const intentId = await audit?.write({ ...entry, actor });
    try {
      return await route.handle(call, services);
    } catch (error) {
      const { body } = refusal(error, () => {}, {});
      const { code } = body as { readonly code: string };
      await audit?.writeSoon({ ...entry, action: `${entry.action}.refused`, actor, intentId, details: { code } });
      throw error;
    }
  }

  /** Asked each time: a token outlives the persona under which it was made. */
  async function withTools(caller: Caller): Promise<Caller> {
    if (caller.thread === undefined) return caller;
    const tools = (await services.threads?.allowedTools(caller.thread)) ?? null;
    return tools === null ? caller : { ...caller, tools };
  }

  async function readBody(route: Route, schema: z.ZodType, request: Request): Promise<unknown> {
    const most = route.maxBodyBytes ?? single;
    const value = await readJson(request, route.bodyMany === undefined ? { single: most, many: most } : bulk);
    if (route.bodyMany === undefined || !Array.isArray(value)) return parse(schema, value);
    return parse(z.array(schema).max(route.bodyMany.max), value);
  }

  const server = createAdaptorServer({
    fetch: app.fetch,
    // Workflows run in this process too: the globals they see stay Node's own
    overrideGlobalObjects: false,
    // Longer than load balancers keep a line open, or they send a request into a line that is just being closed
    // A head is short; a body may be a large upload on a slow line, and has Node's five minutes
    serverOptions: { keepAliveTimeout: 75_000, headersTimeout: 30_000, requestTimeout: 300_000 },
  }) as import('node:http').Server;

  return {
    fetch: async (request) => app.fetch(request),
    async listen({ host, port }) {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, () => {
          server.off('error', reject);
          resolve();
        });
      });
      const { port: bound } = server.address() as AddressInfo;
      return { url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`, port: bound };
    },
    drain() {
      draining = true;
    },
    async close(graceMs = 5000) {
      draining = true;
      closing.abort();
      if (options.metrics === undefined) services.metrics.close();
      clearInterval(forgetting);
      if (!server.listening) return;
      const limit = setTimeout(() => server.closeAllConnections(), graceMs);
      // A connection whose answer has just ended is kept alive, and would keep the server open
      const idle = setInterval(() => server.closeIdleConnections(), 20);
      await new Promise<void>((resolve) => server.close(() => resolve()));
      clearTimeout(limit);
      clearInterval(idle);
    },
  };
}

/** Nothing for a request that was handed over without one. */
function socketOf(c: Context): { readonly incoming?: IncomingMessage; readonly outgoing?: ServerResponse } {
  return (c.env ?? {}) as { incoming?: IncomingMessage; outgoing?: ServerResponse };
}

/** With and without `/api`, and with Hono's form of parameters. */
function bothPaths(path: string): string[] {
  const pattern = path.replace(/\{(\w+)\}/g, ':$1');
  return [pattern, `/api${pattern}`];
}

function methodsByPath(routes: readonly Route[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const { path, method, raw } of routes) {
    if (raw) continue;
    const allowed = method === 'GET' ? 'GET, HEAD' : method;
    found.set(path, found.has(path) ? `${found.get(path)}, ${allowed}` : allowed);
  }
  return found;
}

/** @throws ApiError INVALID_REQUEST when a parameter is given twice */
function queryOf(c: Context): Record<string, string> {
  const all = c.req.queries();
  const twice = Object.entries(all).find(([, values]) => values.length > 1);
  if (twice)
    throw new ApiError('INVALID_REQUEST', `query ${twice[0]}: given ${twice[1].length} times`, {
      details: { issues: [{ path: twice[0], message: 'given more than once' }] },
    });
  return Object.fromEntries(Object.entries(all).map(([key, values]) => [key, values[0] ?? '']));
}

/** The trace id of a W3C `traceparent`; one that is malformed counts as none, as the standard asks. */
function traceIdOf(headers: Headers): string | undefined {
  const id = /^(?!ff)[\da-f]{2}-([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}/.exec(headers.get('traceparent') ?? '')?.[1];
  return id === '0'.repeat(32) ? undefined : id;
}
