/** The HTTP side: every call is authenticated, counted, made to fail when a test wants it, answered as Slack answers, and kept. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Methods, needed, readArgs, SlackError } from './api.ts';
import type { Delivery } from './delivery.ts';
import type { EmulatedSlack } from './emulate.ts';
import type { Fault, Faults } from './faults.ts';
import { METHODS } from './methods.ts';
import type { RateLimits } from './rate-limits.ts';
import type { ResponseUrls } from './response-urls.ts';
import { APP, type Json, type Token, type World } from './world.ts';

export interface ApiCall {
  readonly method: string;
  /** Milliseconds since 1970, on the clock of the test. */
  readonly at: number;
  /** How long it took here. */
  readonly ms: number;
  /** Without the token. */
  readonly args: Json;
  /** Of HTTP; undefined when the connection was cut. */
  readonly status: number | undefined;
  /** What was answered, or would have been. */
  readonly answer: Json;
}

export interface DoorOptions {
  readonly world: World;
  readonly url: string;
  readonly methods: Methods;
  readonly emulate: () => EmulatedSlack;
  readonly limits: RateLimits;
  readonly faults: Faults;
  readonly delivery: Delivery;
  readonly responseUrls: ResponseUrls;
  /** Methods whose events arrive before their answer. */
  readonly eventsFirst: ReadonlySet<string>;
  readonly isRevoked: () => boolean;
  readonly calls: ApiCall[];
}

interface Answer {
  readonly status: number;
  readonly body: Json;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Bot {
  readonly bot_id: string;
  readonly app_id: string;
  readonly user_id: string;
  readonly name: string;
}

const BODY_MAX = 128 * 1024 ** 2;

export function createDoor(options: DoorOptions): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const { world, url, methods, emulate, limits, faults, delivery, responseUrls, calls } = options;
  return async (request, response) => {
    const at = new URL(request.url ?? '/', url);
    const body = await read(request);
    const contentType = request.headers['content-type'] ?? '';
    if (at.pathname.startsWith('/api/')) {
      await serveMethod(request, response, at, body.toString());
      return;
    }
    if (at.pathname.startsWith('/actions/')) {
      const { status, body: answer } = responseUrls.answer(at.pathname, readJson(body.toString()));
      response.writeHead(status, { 'content-type': 'application/json' }).end(answer);
      return;
    }
    if (at.pathname.startsWith('/files-pri/') && tokenOf(request, {}) === undefined) {
      // without a token Slack sends to its sign-in page, which is answered 200
      response.writeHead(302, { location: `${url}/signin` }).end();
      return;
    }
    if (at.pathname === '/signin') {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!DOCTYPE html><title>Sign in | Slack</title>');
      return;
    }
    // uploads and downloads
    const headers = new Headers({ 'content-type': contentType, authorization: request.headers.authorization ?? '' });
    const { method = 'GET' } = request;
    const hasBody = method !== 'GET' && method !== 'HEAD';
    const answer = await emulate().fetch(new Request(at, { method, headers, ...(hasBody ? { body: new Uint8Array(body) } : {}) }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(Buffer.from(await answer.arrayBuffer()));
  };

  async function serveMethod(request: IncomingMessage, response: ServerResponse, at: URL, body: string): Promise<void> {
    const method = at.pathname.slice('/api/'.length);
    const begun = { at: world.clock.now(), started: performance.now(), events: delivery.all.length };
    const args = argsOf(request, at, body);
    const fault = 'refused' in args ? undefined : faults.next(method, args.read);
    const answer = 'refused' in args ? args.refused : await answerTo(method, args.read, request, fault);

    if (fault?.kind === 'slow') await sleep(fault.ms);
    if (options.eventsFirst.has(method)) await delivery.sentOnce(begun.events);
    const isCut = fault?.kind === 'answer lost' || fault?.kind === 'call lost';
    const { token: _token, ...kept } = 'refused' in args ? ({} as Json) : args.read;
    const { at: when, started } = begun;
    calls.push({
      method,
      at: when,
      ms: performance.now() - started,
      args: kept,
      status: isCut ? undefined : answer.status,
      answer: answer.body,
    });
    if (isCut) request.socket.destroy();
    else
      response
        .writeHead(answer.status, { 'content-type': 'application/json; charset=utf-8', ...answer.headers })
        .end(JSON.stringify(answer.body));
  }

  async function answerTo(method: string, args: Json, request: IncomingMessage, fault: Fault | undefined): Promise<Answer> {
    const token = tokenOf(request, args);
    const facts = METHODS[method];
    try {
      if (token === undefined) throw new SlackError(hasToken(request, args) ? 'invalid_auth' : 'not_authed');
      if (options.isRevoked()) throw new SlackError('token_revoked');
      if (facts === undefined) throw new SlackError('unknown_method', { req_method: method });
      if (token.token_type === 'app' && method !== 'apps.connections.open' && method !== 'auth.test')
        throw new SlackError('not_allowed_token_type');
      if (token.token_type === 'bot' && method === 'apps.connections.open') throw new SlackError('not_allowed_token_type');
      if (fault?.kind === 'call lost') throw new SlackError('lost');
      if (fault?.kind === 'status') return { status: fault.status, body: { ok: false, error: 'internal_error' } };
      if (fault?.kind === 'error' && fault.effect === 'none') throw new SlackError(fault.error);
      if (fault?.kind === 'ratelimited') {
        limits.block(method, fault.retryAfter);
        return tooMany(fault.retryAfter);
      }
      const seconds = limits.take(method, args);
      if (seconds !== undefined) return tooMany(seconds);
      if (facts.scopes.length > 0 && !facts.scopes.some((scope) => token.scopes.includes(scope)))
        throw new SlackError('missing_scope', { needed: facts.scopes.join(','), provided: token.scopes.join(',') });
      const done = await run(method, args, token, fault);
      if (fault?.kind === 'error') throw new SlackError(fault.error);
      return { status: 200, body: done, headers: scopeHeaders(token, facts.scopes) };
    } catch (error) {
      if (!(error instanceof SlackError)) throw error;
      return { status: 200, body: error.answer, ...(token === undefined ? {} : { headers: scopeHeaders(token, facts?.scopes ?? []) }) };
    }
  }

  async function run(method: string, args: Json, token: Token, fault: Fault | undefined): Promise<Json> {
    const own = methods[method];
    if (own === undefined) {
      const response = await emulate().fetch(
        new Request(`${url}/api/${method}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${token.token}`, 'content-type': 'application/json' },
          body: JSON.stringify(args),
        }),
      );
      if (response.status === 404) throw new SlackError('unknown_method', { req_method: method });
      return (await response.json()) as Json;
    }
    // methods do not wait, so that this holds for one call only
    world.unseenMs = fault?.kind === 'seen late' ? fault.ms : 0;
    try {
      return { ok: true, ...own({ method, args, token }) };
    } finally {
      world.unseenMs = 0;
    }
  }

  function tokenOf(request: IncomingMessage, args: Json): Token | undefined {
    const given = givenToken(request, args);
    return given === undefined ? undefined : world.tokens.findOneBy('token', given);
  }
}

/** Who the caller is, and what a bot is: of it emulate leaves out the user and the app. */
export function identityMethods(world: World): Methods {
  return {
    'auth.test': ({ token }) =>
      token.token_type === 'app'
        ? { app_name: APP.name, app_id: APP.appId }
        : {
            url: 'https://home.slack.com/',
            team: 'Home',
            user: world.users.findOneBy('user_id', token.user_id)?.name,
            team_id: token.team_id,
            user_id: token.user_id,
            bot_id: token.bot_id,
            is_enterprise_install: false,
          },
    'bots.info': ({ args }) => {
      const bot = world.tables.collection<Bot>('slack.bots').findOneBy('bot_id', needed(args, 'bot', 'bot_not_found'));
      if (bot === undefined) throw new SlackError('bot_not_found');
      return { bot: { id: bot.bot_id, deleted: false, name: bot.name, updated: 0, app_id: bot.app_id, user_id: bot.user_id, icons: {} } };
    },
  };
}

function argsOf(request: IncomingMessage, at: URL, body: string): { readonly read: Json } | { readonly refused: Answer } {
  try {
    return { read: readArgs(request.headers['content-type'] ?? '', body, at.searchParams) };
  } catch (error) {
    if (error instanceof SlackError) return { refused: { status: 200, body: error.answer } };
    throw error;
  }
}

function givenToken({ headers }: IncomingMessage, args: Json): string | undefined {
  const inHeader = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
  return inHeader ?? (typeof args.token === 'string' ? args.token : undefined);
}

function hasToken(request: IncomingMessage, args: Json): boolean {
  return givenToken(request, args) !== undefined;
}

function scopeHeaders(token: Token, accepted: readonly string[]): Record<string, string> {
  return { 'x-oauth-scopes': token.scopes.join(','), 'x-accepted-oauth-scopes': accepted.join(',') };
}

function tooMany(seconds: number): Answer {
  return { status: 429, body: { ok: false, error: 'ratelimited' }, headers: { 'retry-after': String(seconds) } };
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > BODY_MAX) throw new Error('The body is too large for a test.');
    parts.push(part);
  }
  return Buffer.concat(parts);
}
