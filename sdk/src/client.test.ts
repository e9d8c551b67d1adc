import assert from 'node:assert/strict';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { CentaurApiError, createClient } from './client.ts';
import type { RunEvent } from './wire.ts';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

/** A server that records each request and answers as the test says. */
async function serve(t: TestContext, answer: (request: Seen, response: ServerResponse) => void) {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const { method = '', url = '', headers } = request;
    const entry = { method, url, headers, body: text === '' ? undefined : JSON.parse(text) };
    seen.push(entry);
    answer(entry, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  t.after(close);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, seen, close, client: createClient({ url, apiKey: 'the-key' }) };
}

const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

const stepEvent = (id: string) => `id: ${id}\nevent: step.completed\ndata: {"name":"step ${id}"}\n\n`;
const doneEvent = (id: string) => `id: ${id}\nevent: run.completed\ndata: {"status":"completed","result":{"n":1}}\n\n`;
const openStream = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' });

async function collect(events: AsyncIterable<RunEvent>): Promise<string[]> {
  const lines: string[] = [];
  for await (const event of events) lines.push(`${event.id} ${event.event}`);
  return lines;
}

test('a start is sent in snake case with the key, and without the options that are not set', async (t) => {
  const { client, seen } = await serve(t, (_request, response) => json(response, 201, { run_id: 'r1', created: true }));
  const run = await client.startRun('report', { topic: 'x' }, { triggerKey: 'k', runAt: new Date(0), eagerStart: false });
  assert.equal(run.run_id, 'r1');
  assert.equal(`${seen[0]?.method} ${seen[0]?.url}`, 'POST /api/workflows/runs');
  assert.equal(seen[0]?.headers['x-api-key'], 'the-key');
  assert.deepEqual(seen[0]?.body, {
    workflow_name: 'report',
    input: { topic: 'x' },
    trigger_key: 'k',
    eager_start: false,
    run_at: '1970-01-01T00:00:00.000Z',
  });
});

test('each call reaches its route', async (t) => {
  const { client, seen } = await serve(t, (_request, response) => json(response, 200, {}));
  await client.startRuns([
    { workflow: 'a', input: 1 },
    { workflow: { name: 'b' }, queue: 'slow' },
  ]);
  await client.getRun('r/1');
  await client.listRuns();
  await client.listRuns({ workflowName: 'a b', status: 'failed', limit: 5 });
  await client.cancelRun('r1');
  await client.retryRun('r1');
  await client.forkRun('r1', { fromStep: 'pay', input: { n: 1 } });
  await client.emitEvent({ eventType: 'paid', correlationId: 'o1', payload: { ok: true }, eventKey: 'k1' });
  await client.listWorkflows();
  await client.listSchedules();
  assert.deepEqual(
    seen.map(({ method, url, body }) => [`${method} ${url.replace('/api', '')}`, body]),
    [
      [
        'POST /workflows/runs',
        [
          { workflow_name: 'a', input: 1 },
          { workflow_name: 'b', queue: 'slow' },
        ],
      ],
      ['GET /workflows/runs/r%2F1', undefined],
      ['GET /workflows/runs', undefined],
      ['GET /workflows/runs?workflow_name=a+b&status=failed&limit=5', undefined],
      ['POST /workflows/runs/r1/cancel', undefined],
      ['POST /workflows/runs/r1/retry', undefined],
      ['POST /workflows/runs/r1/fork', { from_step: 'pay', input: { n: 1 } }],
      ['POST /workflows/events', { event_type: 'paid', correlation_id: 'o1', payload: { ok: true }, event_key: 'k1' }],
      ['GET /workflows', undefined],
      ['GET /workflows/schedules', undefined],
    ],
  );
});

test('a url that already ends in /api is taken as it is', async (t) => {
  const { url, seen } = await serve(t, (_request, response) => json(response, 200, {}));
  await createClient({ url: `${url}/api/` }).getRun('r1');
  assert.equal(seen[0]?.url, '/api/workflows/runs/r1');
  assert.equal(seen[0]?.headers['x-api-key'], undefined);
});

test('a refusal becomes an error with its status, code, message and details', async (t) => {
  const details = { issues: [{ path: 'topic', message: 'required' }] };
  const { client } = await serve(t, (_request, response) =>
    json(response, 422, { code: 'INVALID_INPUT', message: 'topic: required', details }),
  );
  await assert.rejects(client.startRun('report', {}), (error: unknown) => {
    assert.ok(error instanceof CentaurApiError);
    assert.deepEqual(
      [error.name, error.status, error.code, error.message, error.details],
      ['CentaurApiError', 422, 'INVALID_INPUT', 'topic: required', details],
    );
    return true;
  });
});

test('an answer that is not from the API says so', async (t) => {
  const { client } = await serve(t, ({ url }, response) => {
    response.writeHead(url.endsWith('/schedules') ? 502 : 200).end('<html>');
  });
  await assert.rejects(client.listSchedules(), { status: 502, code: 'HTTP_502' });
  await assert.rejects(client.listWorkflows(), { status: 200, code: 'NOT_JSON', message: /is it the Centaur API/ });
});

test('a server that is not there is an error that names the address and not the key', async (t) => {
  const { client, close, url } = await serve(t, () => undefined);
  close();
  await assert.rejects(client.getRun('r1'), (error: unknown) => {
    assert.ok(error instanceof CentaurApiError);
    assert.equal(error.code, 'UNREACHABLE');
    assert.ok(error.message.includes(url) && error.message.includes('ECONNREFUSED'), error.message);
    assert.ok(!error.message.includes('the-key'));
    return true;
  });
});

test('a tail yields events in order and ends after the last', async (t) => {
  const { client } = await serve(t, (_request, response) => {
    openStream(response);
    // Comments, an event without an id, and events cut in the middle by the network
    response.write(': hello\n\nevent: run.status\ndata: {"status":"running"}\n\nid: 1-1\nevent: step.comp');
    setTimeout(() => response.write('leted\r\ndata: {"name":"a"}\r'), 5);
    setTimeout(() => response.write(`\n\r\n${stepEvent('1-2')}: ping\n\n${doneEvent('1-3')}${stepEvent('never read')}`), 10);
  });
  assert.deepEqual(await collect(client.tailRun('r1')), [
    'null run.status',
    '1-1 step.completed',
    '1-2 step.completed',
    '1-3 run.completed',
  ]);
});

test('a tail that loses its connection resumes after the last event it saw', async (t) => {
  const { client, seen } = await serve(t, ({ headers }, response) => {
    const after = headers['last-event-id'];
    if (seen.length === 3) return json(response, 503, { code: 'STORE_UNAVAILABLE', message: 'soon' });
    openStream(response);
    if (after === undefined) response.end(stepEvent('1-1'));
    else if (after === '1-1') response.write(stepEvent('1-2'), () => response.destroy());
    else response.end(doneEvent('1-3'));
  });
  const pauses: number[] = [];
  const events = await collect(client.tailRun('r1', { onDisconnect: (_error, pause) => pauses.push(pause) }));
  assert.deepEqual(events, ['1-1 step.completed', '1-2 step.completed', '1-3 run.completed']);
  assert.deepEqual(
    seen.map(({ headers }) => headers['last-event-id']),
    [undefined, '1-1', '1-2', '1-2'],
  );
  assert.equal(pauses.length, 3);
});

test('a tail does not try again when the API refuses', async (t) => {
  const { client, seen } = await serve(t, (_request, response) => json(response, 404, { code: 'RUN_NOT_FOUND', message: 'no run r1' }));
  await assert.rejects(collect(client.tailRun('r1')), { code: 'RUN_NOT_FOUND', status: 404 });
  assert.equal(seen.length, 1);
});

test('a tail gives up when nothing answers for as long as it was told to try', async (t) => {
  const { client, close } = await serve(t, () => undefined);
  close();
  await assert.rejects(collect(client.tailRun('r1', { giveUpAfter: 50 })), { code: 'UNREACHABLE' });
});

test('a tail that the reader leaves closes its connection', async (t) => {
  let closed: Promise<unknown> | undefined;
  const { client } = await serve(t, (_request, response) => {
    closed = new Promise((resolve) => response.once('close', resolve));
    openStream(response).write(stepEvent('1-1'));
  });
  for await (const event of client.tailRun('r1')) {
    assert.equal(event.id, '1-1');
    break;
  }
  await closed;
});

test('an aborted tail throws the reason of its signal', async (t) => {
  const { client } = await serve(t, (_request, response) => openStream(response).write(stepEvent('1-1')));
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error('enough')), 20);
  await assert.rejects(collect(client.tailRun('r1', { signal: abort.signal })), { message: 'enough' });
});

test('waitForRun returns the finished run', async (t) => {
  const { client } = await serve(t, (_request, response) => {
    openStream(response).end(stepEvent('1-1') + doneEvent('1-2'));
  });
  const run = await client.waitForRun('r1', { timeout: 60_000 });
  assert.deepEqual(run, { status: 'completed', result: { n: 1 } });
});

test('waitForRun gives up after its timeout', async (t) => {
  const { client } = await serve(t, (_request, response) => openStream(response).write(': waiting\n\n'));
  await assert.rejects(client.waitForRun('r1', { timeout: 30 }), { code: 'TIMEOUT', message: /did not end within 30 ms/ });
});
