import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createClient } from './client.ts';
import type { ThreadEvent } from './thread-wire.ts';

interface Seen {
  readonly request: string;
  readonly after: string | undefined;
  readonly body: unknown;
}

/** A server that records each request and answers as the test says. */
async function serve(t: TestContext, answer: (request: Seen, response: ServerResponse) => void) {
  const seen: Seen[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const entry = {
      request: `${request.method} ${request.url?.replace('/api', '')}`,
      after: request.headers['last-event-id'] as string | undefined,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
    };
    seen.push(entry);
    answer(entry, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { seen, ...createClient({ url, apiKey: 'the-key' }) };
}

const json = (response: ServerResponse, body: unknown) =>
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const stream = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' });
const delta = (id: number) => `id: ${id}\nevent: text.delta\ndata: {"type":"text.delta","message_id":"m","text":"${id}"}\n\n`;
const state = (id: number, status: string, execution = 'e1') =>
  `id: ${id}\nevent: execution_state\ndata: ${JSON.stringify({ type: 'execution.state', execution_id: execution, status })}\n\n`;

async function collect(events: AsyncIterable<ThreadEvent>): Promise<number[]> {
  const ids: number[] = [];
  for await (const event of events) ids.push(event.id);
  return ids;
}

test('each call reaches its route, in snake case and without the options that are not set', async (t) => {
  const { threads, deliveries, inbox, seen } = await serve(t, (_request, response) => json(response, { deliveries: [], events: [] }));
  await threads.send('slack:C/1#2', 'hi', { executeId: 'x', personaId: 'p', effort: 'low', delivery: { channel: 'C' } });
  await threads.spawn('a', { spawnId: 's', harness: 'demo', agentsMdOverride: 'Be brief.' });
  await threads.message('a', 'hi', { assignmentGeneration: 2, messageId: 'm', role: 'system', userId: 'ann', metadata: {} });
  await threads.execute('a', { assignmentGeneration: 2, executeId: 'x', model: 'small', platform: 'chat' });
  await threads.cancel('e/1');
  await threads.steer('e1', [{ type: 'text', text: 'more' }], { messageId: 'm' });
  await threads.release('a', { releaseId: 'r', cancelInflight: true });
  await threads.get('a/b');
  await threads.list({ limit: 2 });
  await threads.messages('a&b', { after: 'm' });
  await threads.executions('a');
  await threads.execution('e1');
  await threads.attachments('a');
  await deliveries.claim({ consumerId: 'c', limit: 1, leaseSeconds: 15, platform: 'chat' });
  await deliveries.claimLive({ consumerId: 'c', waitMs: 1000 });
  await deliveries.heartbeat('e1', { consumerId: 'c', leaseSeconds: 15, progress: { ts: '1' } });
  await deliveries.delivered('e1', { consumerId: 'c' });
  await deliveries.failed('e1', { consumerId: 'c', error: 'busy', errorClass: 'E', retryAfterSeconds: 5, nonRetryable: false });
  const event = { platform: 'slack', eventId: 'Ev/1' };
  await inbox.put({ ...event, conversation: 'C', body: { text: 'hi' } });
  await inbox.claim({ consumerId: 'c', platform: 'slack', limit: 2, waitMs: 5 });
  await inbox.heartbeat(event, { consumerId: 'c' });
  await inbox.done(event, { consumerId: 'c' });
  await inbox.failed(event, { consumerId: 'c', error: 'no', retryAfterSeconds: 1, nonRetryable: true });
  const text = [{ type: 'text', text: 'hi' }];
  assert.deepEqual(
    seen.map(({ request, body }) => [request, body]),
    [
      [
        'POST /agent/execute',
        { thread_key: 'slack:C/1#2', message: 'hi', persona_id: 'p', execute_id: 'x', effort: 'low', delivery: { channel: 'C' } },
      ],
      ['POST /agent/spawn', { thread_key: 'a', spawn_id: 's', harness: 'demo', agents_md_override: 'Be brief.' }],
      [
        'POST /agent/message',
        { thread_key: 'a', assignment_generation: 2, message_id: 'm', role: 'system', parts: text, user_id: 'ann', metadata: {} },
      ],
      ['POST /agent/execute', { thread_key: 'a', assignment_generation: 2, execute_id: 'x', model: 'small', platform: 'chat' }],
      ['POST /agent/executions/e%2F1/cancel', undefined],
      ['POST /agent/executions/e1/steer', { content_blocks: [{ type: 'text', text: 'more' }], message_id: 'm' }],
      ['POST /agent/threads/a/release', { release_id: 'r', cancel_inflight: true }],
      ['GET /agent/threads/a%2Fb', undefined],
      ['GET /agent/threads?limit=2', undefined],
      ['GET /agent/messages?thread_key=a%26b&after=m', undefined],
      ['GET /agent/threads/a/executions', undefined],
      ['GET /agent/executions/e1', undefined],
      ['GET /agent/attachments?thread_key=a', undefined],
      ['POST /agent/final-deliveries/claim', { consumer_id: 'c', limit: 1, lease_seconds: 15, platform: 'chat' }],
      ['POST /agent/final-deliveries/claim', { consumer_id: 'c', live: true, wait_ms: 1000 }],
      ['POST /agent/final-deliveries/e1/heartbeat', { consumer_id: 'c', lease_seconds: 15, progress: { ts: '1' } }],
      ['POST /agent/final-deliveries/e1/delivered', { consumer_id: 'c' }],
      [
        'POST /agent/final-deliveries/e1/failed',
        { consumer_id: 'c', error: 'busy', error_class: 'E', retry_after_seconds: 5, non_retryable: false },
      ],
      ['POST /agent/inbox', { platform: 'slack', event_id: 'Ev/1', conversation: 'C', body: { text: 'hi' } }],
      ['POST /agent/inbox/claim', { consumer_id: 'c', platform: 'slack', limit: 2, wait_ms: 5 }],
      ['POST /agent/inbox/slack/Ev%2F1/heartbeat', { consumer_id: 'c' }],
      ['POST /agent/inbox/slack/Ev%2F1/done', { consumer_id: 'c' }],
      ['POST /agent/inbox/slack/Ev%2F1/failed', { consumer_id: 'c', error: 'no', retry_after_seconds: 1, non_retryable: true }],
    ],
  );
});

test('an attachment comes back as its bytes, and a refusal as an error', async (t) => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const { threads } = await serve(t, ({ request }, response) => {
    if (request.endsWith('/a1/download')) return response.writeHead(200).end(bytes);
    response.writeHead(404).end(JSON.stringify({ code: 'ATTACHMENT_NOT_FOUND', message: 'no' }));
  });
  assert.deepEqual(await threads.readAttachment('a1'), bytes);
  await assert.rejects(threads.readAttachment('a2'), { code: 'ATTACHMENT_NOT_FOUND', status: 404 });
});

test('the events of a turn end with its last one, and with no other turn’s', async (t) => {
  const { threads, seen } = await serve(t, (_request, response) => {
    stream(response).write(state(7, 'completed', 'e0') + delta(8) + state(9, 'cancelled') + delta(10));
  });
  assert.deepEqual(await collect(threads.events('a b', { executionId: 'e1', after: 6 })), [7, 8, 9]);
  assert.deepEqual([seen[0]?.request, seen[0]?.after], ['GET /agent/threads/a%20b/events?execution_id=e1', '6']);
});

test('a lost connection is taken up after the last event, and what comes twice is told once', async (t) => {
  const { threads, seen } = await serve(t, (_request, response) => {
    stream(response);
    if (seen.length === 1) response.write(delta(1) + delta(2), () => response.destroy());
    // the second loses what names the place, as behind a careless proxy
    else response.end(delta(1) + delta(2) + delta(3) + state(4, 'completed'));
  });
  const lost: string[] = [];
  const events = threads.events('a', { executionId: 'e1', onDisconnect: (error) => lost.push(error.message) });
  assert.deepEqual(await collect(events), [1, 2, 3, 4]);
  assert.deepEqual(
    seen.map(({ after }) => after),
    [undefined, '2'],
  );
  assert.equal(lost.length, 1);
});

test('a reader that resumes behind a turn’s last event comes to an end', async (t) => {
  const { threads, seen } = await serve(t, ({ request }, response) => {
    if (request.endsWith('/e1')) json(response, { status: 'completed' });
    else stream(response).end();
  });
  assert.deepEqual(await collect(threads.events('a', { executionId: 'e1', after: 9 })), []);
  assert.equal(seen.length, 3, 'a stream, the question, and a stream that was opened after its answer');
});

test('a stream that the server ends before the turn has ended is opened again', async (t) => {
  const { threads, seen } = await serve(t, ({ request }, response) => {
    if (request.endsWith('/e1')) return json(response, { status: seen.length < 4 ? 'running' : 'completed' });
    // it closes for a restart, twice; the last event is committed in between
    stream(response).end(seen.length < 5 ? '' : state(3, 'completed'));
  });
  assert.deepEqual(await collect(threads.events('a', { executionId: 'e1', after: 2 })), [3]);
});

test('the events of a whole thread go on after a turn has ended', async (t) => {
  const { threads } = await serve(t, (_request, response) => void stream(response).write(state(1, 'completed') + delta(2)));
  const ids: number[] = [];
  for await (const { id } of threads.events('a')) if (ids.push(id) === 2) break;
  assert.deepEqual(ids, [1, 2]);
});
