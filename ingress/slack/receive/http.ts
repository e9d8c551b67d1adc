/** Where Slack sends events, interactions and commands: signature first, then what is in it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type BodyLimits, type BodyReader, createBodyReader } from '../../chat/index.ts';
import type { Log } from '../context.ts';
import type { Raw } from '../heard.ts';
import { objectOf, textOf, type Told } from './classify.ts';
import type { Outcome } from './keep.ts';
import { refuseEarly, verify } from './signature.ts';

export const EVENTS_PATH = '/api/webhooks/slack';
/** Whatever is asked for where: what came is seen by what it is. */
const PATHS = [EVENTS_PATH, '/api/slack/events', '/api/slack/actions', '/api/slack/commands'];
const BODY_MOST = 1024 * 1024;
/** Whoever needs long gives way to Slack, which does not. */
const LIMITS: BodyLimits = { most: BODY_MOST, room: 64 * 1024 * 1024, withinMs: 5_000 };

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Undefined: nothing is heard here, and only `/healthz` is answered. */
  readonly signingSecret: string | undefined;
  hear(told: Told): Promise<Outcome>;
  /** What is missing; undefined: nothing. */
  problem(): Promise<string | undefined>;
  readonly log: Log;
  readonly now: () => number;
}

export interface Door {
  readonly url: string;
  /** Takes nothing more, and answers what it has taken. */
  close(): Promise<void>;
}

interface Reply {
  readonly status: number;
  readonly body?: string;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** @throws the error of `listen`, such as EADDRINUSE */
export async function listen(options: ListenOptions, limits = LIMITS): Promise<Door> {
  const readBody = createBodyReader(limits);
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 75_000 }, (request, response) => {
    void answer(request, options, readBody)
      .catch((error: Error): Reply => {
        options.log({ level: 'error', message: 'a request of Slack could not be answered', error: error.message });
        return { status: 500 };
      })
      .then((reply) => send(request, response, reply));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const host = options.host === '0.0.0.0' || options.host === '::' ? '127.0.0.1' : options.host;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      await closed;
    },
  };
}

async function answer(request: IncomingMessage, options: ListenOptions, readBody: BodyReader): Promise<Reply> {
  const path = (request.url ?? '/').replace(/\?.*$/s, '');
  if (path === '/healthz' && request.method === 'GET') {
    const problem = await options.problem();
    return json(problem === undefined ? 200 : 503, problem === undefined ? { ok: true } : { ok: false, problem });
  }
  const { signingSecret: secret } = options;
  if (secret === undefined || !PATHS.includes(path)) return json(404, { error: 'not found' });
  if (request.method !== 'POST') return { ...json(405, { error: 'use POST' }), headers: { allow: 'POST' } };

  const signature = header(request, 'x-slack-signature');
  const timestamp = header(request, 'x-slack-request-timestamp');
  const early = refuseEarly({ signature, timestamp }, options.now());
  if (early !== undefined) return refused(early, options.log);
  const body = await readBody(request);
  if (body === 'too large') return { ...json(413, { error: `more than ${BODY_MOST} bytes` }), headers: { connection: 'close' } };
  if (body === 'gave way') return { ...AGAIN, headers: { ...AGAIN.headers, connection: 'close' } };
  if (body === 'cut off') return { ...json(408, { error: 'the body did not come' }), headers: { connection: 'close' } };
  const verdict = verify(secret, { body, signature, timestamp }, options.now());
  if (verdict !== 'signed') return refused(verdict, options.log);

  const text = body.toString('utf8');
  const told = read(header(request, 'content-type') ?? '', text);
  if (told === undefined) return json(400, { error: 'neither JSON nor a form of Slack' });
  if (told === 'ssl check') return { status: 200 };
  if (told.body['type'] === 'url_verification') {
    const challenge = textOf(told.body['challenge']) ?? '';
    return { status: 200, body: challenge, type: 'text/plain; charset=utf-8' };
  }
  const signed = { body: text, signature: signature ?? '', timestamp: timestamp ?? '' };
  const outcome = await options.hear({ ...told, signed });
  switch (outcome.kind) {
    case 'acknowledged':
      return outcome.answer === undefined ? { status: 200 } : json(200, outcome.answer);
    case 'later':
      return AGAIN;
    case 'never':
      return { ...json(422, { error: 'it cannot be stored' }), headers: { 'x-slack-no-retry': '1' } };
  }
}

function refused(why: 'signed' | 'unsigned' | 'stale' | 'forged', log: Log): Reply {
  log({ level: 'warn', message: 'a request was refused', why });
  // whoever forges need not hear how close it was
  return { ...json(401, { error: why === 'stale' ? 'the timestamp is not of the last five minutes' : 'not signed by Slack' }) };
}

const header = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name];
  return typeof value === 'string' ? value : undefined;
};

/** By its content type, and a form by its fields. */
function read(contentType: string, text: string): Omit<Told, 'signed'> | 'ssl check' | undefined {
  if (/^application\/json\b/i.test(contentType)) {
    const body = parse(text);
    return body === undefined ? undefined : { kind: 'event', body };
  }
  if (!/^application\/x-www-form-urlencoded\b/i.test(contentType)) return undefined;
  const form = Object.fromEntries(new URLSearchParams(text));
  if (form['payload'] !== undefined) {
    const body = parse(form['payload']);
    return body === undefined ? undefined : { kind: 'interaction', body };
  }
  if (form['command'] !== undefined) return { kind: 'command', body: form };
  return form['ssl_check'] === undefined ? undefined : 'ssl check';
}

function parse(text: string): Raw | undefined {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return undefined;
  }
}

const json = (status: number, body: object): Reply => ({ status, body: JSON.stringify(body), type: 'application/json' });

const AGAIN = { ...json(503, { error: 'try again' }), headers: { 'retry-after': '1' } };

function send(request: IncomingMessage, response: ServerResponse, { status, body = '', type, headers = {} }: Reply): void {
  // the rest of a body that was not read
  if (!request.readableEnded) request.resume();
  response.writeHead(status, {
    ...headers,
    'content-length': Buffer.byteLength(body),
    ...(type === undefined ? {} : { 'content-type': type }),
  });
  response.end(body);
}
