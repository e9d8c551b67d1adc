/** An app that Slack sends requests to: it keeps them, and answers as a test says. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Slack } from './index.ts';

export interface Received {
  readonly headers: IncomingHttpHeaders;
  /** The parsed payload: an envelope, an interaction, or the fields of a command. */
  // oxlint-disable-next-line typescript/no-explicit-any -- payloads of many shapes
  readonly body: any;
  readonly isSigned: boolean;
  readonly at: number;
}

export interface TestApp extends AsyncDisposable {
  readonly received: readonly Received[];
  /** What it answers; default: 200 and nothing. */
  answer: (received: Received) => Answer | Promise<Answer>;
}

interface Answer {
  readonly status?: number;
  readonly body?: unknown;
}

/** Starts one, and points Slack at it. */
export async function startTestApp(slack: Slack): Promise<TestApp> {
  const received: Received[] = [];
  const app = { received, answer: () => ({}) } as unknown as TestApp;
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request.setEncoding('utf8')) text += part;
    const { headers } = request;
    const one: Received = {
      headers,
      body: parse(headers['content-type'] ?? '', text),
      isSigned: isSigned(headers, text, slack.signingSecret),
      at: Date.now(),
    };
    received.push(one);
    const { status = 200, body = '' } = one.body.type === 'url_verification' ? { body: one.body.challenge } : await app.answer(one);
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  slack.pointAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  return Object.assign(app, {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  });
}

function parse(contentType: string, text: string): unknown {
  if (contentType.includes('json')) return JSON.parse(text);
  const fields = Object.fromEntries(new URLSearchParams(text));
  return fields.payload === undefined ? fields : JSON.parse(fields.payload);
}

function isSigned(headers: IncomingHttpHeaders, text: string, secret: string): boolean {
  const base = `v0:${String(headers['x-slack-request-timestamp'])}:${text}`;
  const right = Buffer.from(`v0=${createHmac('sha256', secret).update(base).digest('hex')}`);
  const given = Buffer.from(String(headers['x-slack-signature']));
  return right.length === given.length && timingSafeEqual(right, given);
}
