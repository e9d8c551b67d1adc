import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../test/support/wait.ts';
import { RunEventSchema } from './schemas.ts';
import { ADMIN, startTestApi, type TestApi } from '../../test/support/api.ts';

interface Received {
  readonly id: string | null;
  readonly event: string;
  readonly data: { readonly name?: string; readonly result?: unknown };
}

interface OpenOptions {
  readonly key?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly method?: string;
}

const open = (api: TestApi, runId: string, { key = ADMIN, query = '', headers = {}, ...init }: OpenOptions = {}) =>
  fetch(`${api.url}/api/workflows/runs/${runId}/events${query}`, { ...init, headers: { 'x-api-key': key, ...headers } });

/** The events of a whole stream; each is held against its schema. */
async function read(response: Response): Promise<Received[]> {
  const blocks = (await response.text()).split('\n\n').filter((block) => block !== '' && !block.startsWith(':'));
  return blocks.map((block) => {
    const fields = Object.fromEntries(
      block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
    );
    const event = { id: fields['id'] ?? null, event: fields['event'] ?? '', data: JSON.parse(fields['data'] ?? '') };
    RunEventSchema.parse(event);
    return event;
  });
}

async function startWaiting(api: TestApi): Promise<string> {
  api.t.registry.define('three', async (_: unknown, ctx) => {
    for (const name of ['a', 'b', 'c']) await ctx.step(name, () => `${name}\n\nid: 99-99`);
    return ctx.waitForEvent('go', { eventType: 'go' });
  });
  return (await api.call('POST', '/workflows/runs', { workflow_name: 'three' })).body.run_id;
}

const streamsOpen = async (api: TestApi) => Number(/^centaur_http_streams (\d+)$/m.exec((await api.call('GET', '/metrics')).body)?.[1]);

test('a stream tells what happened, then what happens, and ends with the run', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  const response = await open(api, runId);
  assert.deepEqual(
    [response.status, response.headers.get('content-type'), response.headers.get('cache-control')],
    [200, 'text/event-stream', 'no-store'],
  );
  const events = read(response);
  await api.call('POST', '/workflows/events', { event_type: 'go', correlation_id: runId, payload: 'gone' });
  const durable = (await events).filter(({ id }) => id !== null);
  assert.deepEqual(
    durable.map(({ event, data }) => [event, data.name]),
    [
      ['step.completed', 'a'],
      ['step.completed', 'b'],
      ['step.completed', 'c'],
      ['step.completed', 'go'],
      ['run.completed', undefined],
    ],
  );
  assert.equal(durable.at(-1)?.data.result, 'gone');
});

test('a reader that names the last event it saw gets exactly what followed', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  await api.call('POST', '/workflows/events', { event_type: 'go', correlation_id: runId });
  const ids = (await read(await open(api, runId))).map(({ id }) => id).filter((id) => id !== null);
  for (const [index, id] of ids.slice(0, -1).entries()) {
    const byHeader = await read(await open(api, runId, { headers: { 'last-event-id': id } }));
    const byQuery = await read(await open(api, runId, { query: `?after_event_id=${id}` }));
    const followed = ids.slice(index + 1);
    assert.deepEqual([byHeader.map((event) => event.id), byQuery.map((event) => event.id)], [followed, followed], `after ${id}`);
  }
  // A reader that saw the end is told of it again, so that it does not wait for ever
  const afterTheEnd = await read(await open(api, runId, { headers: { 'last-event-id': ids.at(-1) ?? '' } }));
  assert.deepEqual(
    afterTheEnd.map(({ event }) => event),
    ['run.completed'],
  );
  const refused = await open(api, runId, { query: '?after_event_id=yesterday' });
  assert.deepEqual([refused.status, ((await refused.json()) as { code: string }).code], [422, 'INVALID_REQUEST']);
});

test('a reader that leaves stops the stream', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  const readers = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const left = new AbortController();
      const response = await open(api, runId, { signal: left.signal });
      await response.body?.getReader().read();
      return left;
    }),
  );
  assert.equal(await streamsOpen(api), 5);
  for (const reader of readers) reader.abort();
  await eventually(async () => (await streamsOpen(api)) === 0, { what: 'the streams to end' });
});

test('a reader that leaves before it has read anything stops the stream', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  await Promise.all(Array.from({ length: 20 }, (_, i) => open(api, runId, { signal: AbortSignal.timeout(i) }).catch(() => undefined)));
  await eventually(async () => (await streamsOpen(api)) === 0, { what: 'the streams to end' });
});

test('asking only for the headers opens no stream', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  const response = await open(api, runId, { method: 'HEAD' });
  assert.deepEqual([response.status, response.headers.get('content-type')], [200, 'text/event-stream']);
  assert.equal(await streamsOpen(api), 0);
});

test('a stream ends when its key is revoked', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  const { key, key_id } = (await api.call('POST', '/keys', { name: 'reader', scopes: ['workflows.read'] })).body;
  const response = await open(api, runId, { key });
  await api.call('DELETE', `/keys/${key_id}`);
  await response.text();
});

test('a stream ends when the server closes, for its reader to go on elsewhere', async () => {
  await using api = await startTestApi();
  const response = await open(api, await startWaiting(api));
  const text = response.text();
  const closed = api.api.close(120_000);
  assert.match(await text, /event: run\.status/);
  await closed;
});

test('a stream whose database goes away ends, and what followed is there when the reader comes back', async () => {
  await using api = await startTestApi();
  const runId = await startWaiting(api);
  const response = await open(api, runId);
  await api.t.store.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  );
  await eventually(async () => (await api.call('POST', '/workflows/events', { event_type: 'go', correlation_id: runId })).status === 202);
  const before = await read(response);
  const after = before.findLast(({ id }) => id !== null)?.id ?? '0';
  const rest = await eventually(async () => {
    const again = await open(api, runId, { headers: { 'last-event-id': after } });
    return again.status === 200 ? read(again) : undefined;
  });
  assert.equal(rest.at(-1)?.event, 'run.completed');
});
