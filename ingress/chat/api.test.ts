import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { createApi } from './api.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(answer: Answer, more: { readonly silentMs?: number } = {}) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    api: createApi({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, apiKey: 'key', ...more }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const EVENT = { platform: 'slack', eventId: 'Ev1', conversation: 'C1', body: { text: 'grüß dich' } };
const refuses = (status: number, code: string) => (error: Error) => {
  const { status: was, code: said } = error as { status?: number; code?: string };
  return was === status && said === code;
};

test('a question goes out with its key and body, and comes back as what was answered; lines are kept', async () => {
  const seen: unknown[] = [];
  const lines = new Set<unknown>();
  await using place = await serve(async (request, response) => {
    lines.add(request.socket);
    const body = await text(request);
    seen.push([request.method, request.url, request.headers['x-api-key'], body === '' ? '' : JSON.parse(body)]);
    response.writeHead(201, { 'content-type': 'application/json' }).end('{"created":true,"state":"pending","said":"grüß"}');
  });
  const answers = [await place.api.inbox.put(EVENT), await place.api.threads.get('slack:C1:1')];
  for (const answer of answers) assert.deepEqual(answer, { created: true, state: 'pending', said: 'grüß' });
  const { eventId: event_id, ...rest } = EVENT;
  assert.deepEqual(seen, [
    ['POST', '/api/agent/inbox', 'key', { event_id, ...rest }],
    ['GET', '/api/agent/threads/slack%3AC1%3A1', 'key', ''],
  ]);
  assert.equal(lines.size, 1);
});

const FAILURES: readonly (readonly [what: string, answer: Answer, status: number, code: string])[] = [
  ['a refusal', (_, response) => response.writeHead(404).end('{"code":"THREAD_NOT_FOUND","message":"no"}'), 404, 'THREAD_NOT_FOUND'],
  ['a proxy that sends elsewhere', (_, response) => response.writeHead(302, { location: 'http://x.invalid/' }).end(), 302, 'HTTP_302'],
  ['a line that is cut', (request) => request.socket.destroy(), 0, 'UNREACHABLE'],
  [
    'an answer that is cut',
    (_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('{');
      setTimeout(() => response.destroy(), 10);
    },
    0,
    'UNREACHABLE',
  ],
  ['something else than JSON', (_, response) => response.end('<html>'), 200, 'NOT_JSON'],
];

for (const [what, answer, status, code] of FAILURES)
  test(`${what} is told as the client tells it`, async () => {
    await using place = await serve(answer);
    await assert.rejects(place.api.threads.get('slack:C1:1'), refuses(status, code));
  });

test('whoever stops asking is not kept', async () => {
  await using place = await serve(() => {});
  const reason = new Error('enough');
  const signal = AbortSignal.abort(reason);
  const claim = { consumerId: 'bot', platform: 'slack' };
  await assert.rejects(place.api.inbox.claim({ ...claim, signal }), (error) => error === reason);
  const later = new AbortController();
  setTimeout(() => later.abort(reason), 20);
  await assert.rejects(place.api.inbox.claim({ ...claim, signal: later.signal }), (error) => error === reason);
});

test('an API that takes a question and says nothing is given up', async () => {
  await using place = await serve(() => {}, { silentMs: 50 });
  await assert.rejects(place.api.inbox.put(EVENT), refuses(0, 'UNREACHABLE'));
});
