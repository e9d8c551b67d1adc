/**
 * Where GitHub's webhooks come in. The signature is checked over the bytes before anything of them is read; what somebody acts on is
 * in the inbox before GitHub is answered. GitHub sends nothing again by itself, so an API that is away is waited for.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { InboxClient } from '@centaur/sdk';
import { type BodyReader, createBodyReader, pause } from '../../chat/index.ts';
import { decideEarly } from '../act/rules.ts';
import { type Log, PLATFORM, type Self, threadKeyOf } from '../context.ts';
import { readEvent } from '../heard.ts';
import type { GitHubRules } from '../settings.ts';
import { isSigned } from './signature.ts';

export const WEBHOOK_PATH = '/api/webhooks/github-bot';

export interface ReceiveOptions {
  readonly secret: string;
  readonly rules: GitHubRules;
  readonly inbox: InboxClient;
  /** Undefined until it is known. */
  readonly self: () => Self | undefined;
  readonly log: Log;
}

/** A body of 65,536 characters in an issue and in its comment, each as long as JSON can make it, and what is around them. */
const BODY_MOST = 4 * 1024 ** 2;
/** Of all bodies that are being read. */
const HELD_MOST = 64 * 1024 ** 2;
/** GitHub waits ten seconds. */
const STORE_WITHIN_MS = 8_000;
const READ_WITHIN_MS = 10_000;

export function createReceiver(options: ReceiveOptions): Server {
  const readBody = createBodyReader({ most: BODY_MOST, room: HELD_MOST, withinMs: READ_WITHIN_MS });
  const server = createServer((request, response) => {
    serve(request, response, options, readBody).catch((error: Error) => {
      options.log({ level: 'error', message: 'a webhook could not be served', error: error.message });
      if (!response.headersSent) answer(response, 500, 'something went wrong; the log has more');
    });
  });
  server.requestTimeout = READ_WITHIN_MS;
  server.headersTimeout = READ_WITHIN_MS;
  return server;
}

async function serve(request: IncomingMessage, response: ServerResponse, options: ReceiveOptions, readBody: BodyReader): Promise<void> {
  const path = (request.url ?? '/').split('?')[0];
  if (path === '/healthz') return options.self() === undefined ? answer(response, 503, 'starting') : answer(response, 200, 'ok');
  if (path !== WEBHOOK_PATH) return answer(response, 404, `webhooks are taken at ${WEBHOOK_PATH}`);
  if (request.method !== 'POST') return answer(response, 405, 'expected POST', { allow: 'POST' });
  const body = await readBody(request);
  if (body === 'too large') return answer(response, 413, `longer than ${BODY_MOST} bytes`, { connection: 'close' });
  if (body === 'gave way') return answer(response, 503, 'too much is being sent at once', { connection: 'close', 'retry-after': '5' });
  if (body === 'cut off') return answer(response, 408, 'the body did not come', { connection: 'close' });
  if (!isSigned(options.secret, body, header(request, 'x-hub-signature-256')))
    return answer(response, 401, 'the signature is missing or wrong: is the secret of the webhook the one of this bot?');
  return take(request, response, body, options);
}

/** What is signed. */
async function take(request: IncomingMessage, response: ServerResponse, body: Buffer, options: ReceiveOptions): Promise<void> {
  const { inbox, log, rules } = options;
  const event = header(request, 'x-github-event') ?? '';
  const deliveryId = header(request, 'x-github-delivery') ?? '';
  if (!/^[\w-]{1,100}$/.test(deliveryId)) return answer(response, 400, 'X-GitHub-Delivery: expected the id of the delivery');
  if (!(header(request, 'content-type') ?? '').startsWith('application/json'))
    return answer(response, 415, 'expected application/json: choose it as the content type of the webhook');
  let payload: unknown;
  try {
    payload = JSON.parse(body.toString('utf8'));
  } catch {
    return answer(response, 400, 'the body is no JSON');
  }
  if (event === 'ping') return answer(response, 200, 'pong');
  const self = options.self();
  if (self === undefined) return answer(response, 503, 'starting: deliver it again');
  const heard = readEvent(event, payload);
  const early = heard === undefined ? undefined : decideEarly(heard, rules, self);
  if (heard === undefined || early?.kind === 'ignore') {
    log({
      level: 'debug',
      message: 'nobody acts on it',
      event,
      delivery_id: deliveryId,
      why: early?.kind === 'ignore' ? early.why : 'event',
    });
    return answer(response, 202, 'nobody acts on it');
  }
  const stored = await store(() => inbox.put({ platform: PLATFORM, eventId: deliveryId, conversation: threadKeyOf(heard), body: heard }));
  if (stored === undefined) return answer(response, 202, 'taken');
  log({ level: 'warn', message: 'an event could not be stored', event, delivery_id: deliveryId, error: stored.message });
  return answer(response, 503, 'it could not be stored: deliver it again');
}

/** Undefined when it is stored; else why it is not. */
async function store(put: () => Promise<unknown>): Promise<Error | undefined> {
  const budget = AbortSignal.timeout(STORE_WITHIN_MS);
  const late = new Promise<Error>((resolve) =>
    budget.addEventListener('abort', () => resolve(new Error('the API took too long')), { once: true }),
  );
  const trying = async (): Promise<Error | undefined> => {
    for (let tries = 0; ; tries++) {
      try {
        await put();
        return undefined;
      } catch (error) {
        // what the API refuses it refuses again
        const { status } = error as { status?: number };
        if (budget.aborted || (status !== undefined && status >= 400 && status < 500 && status !== 429)) return error as Error;
        await pause(Math.min(2_000, 100 * 2 ** tries), budget);
      }
    }
  };
  return Promise.race([trying(), late]);
}

const header = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
};

function answer(response: ServerResponse, status: number, message: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ ok: status < 400, message }));
}
