import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADMIN, startTestApi } from '../../test/support/api.ts';
import { ROUTES } from './routes/index.ts';
import { makeThreadToken } from './thread-tokens.ts';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';

async function serve(t: TestThreads) {
  return startTestApi({ threads: t.threads, on: t.engine });
}

test('one call spawns, sends and executes; the stream tells the turn and ends with it', async () => {
  await using t = await createTestThreads();
  await using api = await serve(t);
  const key = 'github:o/r:1#ü';
  const accepted = await api.call('POST', '/agent/execute', { thread_key: key, message: 'hello', execute_id: 'e1' });
  assert.equal(accepted.status, 202);
  assert.deepEqual([accepted.body.status, accepted.body.final_key], ['queued', accepted.body.execution_id]);
  const again = await api.call('POST', '/agent/execute', { thread_key: key, message: 'hello', execute_id: 'e1' });
  assert.deepEqual([again.body.execution_id, again.body.idempotent], [accepted.body.execution_id, true]);
  const other = await api.call('POST', '/agent/execute', { thread_key: key, message: 'other', execute_id: 'e1' });
  assert.deepEqual([other.status, other.body.code], [409, 'IDEMPOTENCY_PAYLOAD_MISMATCH']);

  const path = `/api/agent/threads/${encodeURIComponent(key)}`;
  const stream = await fetch(`${api.url}${path}/events?execution_id=${accepted.body.execution_id}`, { headers: { 'x-api-key': ADMIN } });
  assert.equal(stream.headers.get('content-type'), 'text/event-stream');
  const text = await stream.text();
  assert.deepEqual(
    [...text.matchAll(/"status":"(\w+)"/g)].map(([, status]) => status),
    ['queued', 'running', 'completed'],
  );
  const lastSeen = /id: (\d+)\n[^]*"status":"running"/.exec(text)?.[1] ?? '';
  const rest = await fetch(`${api.url}${path}/events?execution_id=${accepted.body.execution_id}`, {
    headers: { 'x-api-key': ADMIN, 'last-event-id': String(Number(lastSeen) + 1) },
  });
  assert.deepEqual(
    [...(await rest.text()).matchAll(/"status":"(\w+)"/g)].map(([, status]) => status),
    ['completed'],
  );

  const execution = await api.call('GET', `/agent/executions/${accepted.body.execution_id}`);
  assert.deepEqual([execution.body.status, execution.body.result_text], ['completed', 'done']);
  assert.equal((await api.call('GET', path)).body.last_event_id, 4);
  assert.equal((await api.call('GET', `${path}/executions`)).body.items.length, 1);
  assert.equal((await api.call('GET', `/agent/messages?thread_key=${encodeURIComponent(key)}`)).body.items[0].parts[0].text, 'hello');
  assert.equal((await api.call('GET', '/agent/threads')).body.items[0].thread_key, key);
});

test('what the next turn would be told can be read, by the thread’s own sandbox too', async () => {
  await using t = await createTestThreads();
  await using api = await serve(t);
  await api.call('POST', '/agent/spawn', { thread_key: 'a', persona_id: 'shopper', agents_md_override: 'Only tea.' });
  const { status, body } = await api.call('GET', '/agent/threads/a/prompt');
  assert.equal(status, 200);
  assert.deepEqual(
    [body.thread_key, body.persona, body.parts[0].text],
    ['a', { name: 'shopper', sha256: 'ab'.repeat(32) }, 'Shop. / Only tea.'],
  );
  const missing = await api.call('GET', '/agent/threads/b/prompt');
  assert.deepEqual([missing.status, missing.body.code], [404, 'THREAD_NOT_FOUND']);
  await api.call('POST', '/agent/threads/a/release', {});
  assert.deepEqual((await api.call('GET', '/agent/threads/a/prompt')).body.persona, null);
  const unknown = await api.call('POST', '/agent/spawn', { thread_key: 'a', persona_id: 'shoper' });
  assert.deepEqual([unknown.status, unknown.body.code], [422, 'UNKNOWN_PERSONA_ID']);
  assert.match(unknown.body.message, /did you mean shopper\?/);
});

test('a picture goes in as base64 and comes out as its bytes, never as a page of ours', async () => {
  await using t = await createTestThreads();
  await using api = await serve(t);
  const { assignment_generation } = (await api.call('POST', '/agent/spawn', { thread_key: 'a' })).body;
  const bytes = Buffer.from(`<script>alert(1)</script>${'x'.repeat(2 * 1024 * 1024)}`);
  const part = { type: 'image', name: 'p.html', source: { type: 'base64', media_type: 'text/html', data: bytes.toString('base64') } };
  const stored = await api.call('POST', '/agent/message', {
    thread_key: 'a',
    assignment_generation,
    event: { type: 'user', message: { role: 'user', content: [part] } },
  });
  assert.equal(stored.status, 200);
  const { items } = (await api.call('GET', '/agent/attachments?thread_key=a')).body;
  const download = await fetch(api.url + items[0].download_url, { headers: { 'x-api-key': ADMIN } });
  assert.deepEqual(
    [
      download.headers.get('content-type'),
      download.headers.get('content-disposition'),
      Buffer.from(await download.arrayBuffer()).equals(bytes),
    ],
    ['application/octet-stream', "attachment; filename*=UTF-8''p.html", true],
  );
  const missing = await api.call('GET', '/agent/attachments/nothing/download');
  assert.deepEqual([missing.status, missing.body.code], [404, 'ATTACHMENT_NOT_FOUND']);
});

const BAD: readonly [what: string, path: string, body: unknown, status: number, code: string, pattern: RegExp][] = [
  ['an unknown harness', '/agent/spawn', { thread_key: 'b', harness: 'gpt' }, 422, 'UNKNOWN_HARNESS', /demo/],
  ['an unknown field', '/agent/spawn', { thread_key: 'b', harnes: 'demo' }, 422, 'INVALID_REQUEST', /harnes/],
  [
    'a thread without an assignment',
    '/agent/message',
    { thread_key: 'b', assignment_generation: 1, parts: [{ type: 'text', text: 'x' }] },
    409,
    'NO_ACTIVE_ASSIGNMENT',
    /spawn/,
  ],
  [
    'an old generation',
    '/agent/message',
    { thread_key: 'a', assignment_generation: 9, parts: [{ type: 'text', text: 'x' }] },
    409,
    'ASSIGNMENT_GENERATION_STALE',
    /9/,
  ],
  ['a message without parts', '/agent/message', { thread_key: 'a', assignment_generation: 1, parts: [] }, 422, 'INVALID_REQUEST', /parts/],
  [
    'a text part without text',
    '/agent/message',
    { thread_key: 'a', assignment_generation: 1, parts: [{ type: 'text' }] },
    422,
    'INVALID_REQUEST',
    /parts\[0\].text/,
  ],
  [
    'data that is no base64',
    '/agent/message',
    { thread_key: 'a', assignment_generation: 1, parts: [{ type: 'image', source: { type: 'base64', data: '%%' } }] },
    422,
    'INVALID_BASE64_ATTACHMENT',
    /parts\[0\]/,
  ],
  ['nothing to answer', '/agent/execute', { thread_key: 'a', assignment_generation: 1 }, 409, 'NO_INPUT', /message/],
  ['neither generation nor message', '/agent/execute', { thread_key: 'a' }, 422, 'INVALID_REQUEST', /assignment_generation/],
  ['a cancel of what is not there', '/agent/executions/nothing/cancel', undefined, 404, 'EXECUTION_NOT_FOUND', /nothing/],
  ['a claim of too many', '/agent/final-deliveries/claim', { consumer_id: 'x', limit: 21 }, 422, 'INVALID_REQUEST', /limit/],
  [
    'a delivery that is not claimed',
    '/agent/final-deliveries/00000000-0000-7000-8000-000000000000/delivered',
    { consumer_id: 'x' },
    409,
    'DELIVERY_NOT_CLAIMED',
    /claimed/,
  ],
];

test('bad requests are refused by name, and change nothing', async () => {
  await using t = await createTestThreads();
  await using api = await serve(t);
  await api.call('POST', '/agent/spawn', { thread_key: 'a' });
  for (const [what, path, body, status, code, pattern] of BAD) {
    const answer = await api.call('POST', path, body);
    assert.deepEqual([answer.status, answer.body.code], [status, code], what);
    assert.match(answer.body.message, pattern, what);
  }
  assert.equal((await api.call('GET', '/agent/threads')).body.items.length, 1);
  assert.deepEqual((await api.call('GET', '/agent/messages?thread_key=a')).body.items, []);
  const stream = await api.call('GET', '/agent/threads/a/events?after_event_id=x');
  assert.deepEqual([stream.status, stream.body.code], [422, 'INVALID_REQUEST']);
  assert.equal((await api.call('GET', '/agent/threads/nowhere/events')).status, 404);
});

test('each scope opens its own routes and no others', async () => {
  await using t = await createTestThreads();
  await using api = await serve(t);
  await api.call('POST', '/agent/spawn', { thread_key: 'a' });
  const calls: readonly [method: string, path: string, body: unknown, scope: string][] = [
    ['GET', '/agent/threads/a', undefined, 'threads.read'],
    ['POST', '/agent/spawn', { thread_key: 'a' }, 'threads.write'],
    ['POST', '/agent/final-deliveries/claim', { consumer_id: 'x' }, 'deliveries.claim'],
  ];
  for (const [, , , scope] of calls) {
    const key = await api.keyWith(scope);
    for (const [method, path, body, needed] of calls) {
      const { status } = await api.call(method, path, body, { key });
      assert.equal(status, scope === needed ? 200 : 403, `${scope} on ${path}`);
    }
  }
});

test('attachments and tools alone find the thread by themselves that a sandbox may read', () => {
  const found = ROUTES.filter(({ access }) => access !== 'public' && access !== 'person' && access.ofThread === 'found').map(
    ({ id }) => id,
  );
  assert.deepEqual(found, ['downloadAttachment', 'listTools', 'getTool', 'callTool', 'mcp']);
});

test('the token of a sandbox reads its own thread, as long as that is its sandbox, and does nothing else', async () => {
  await using t = await createTestThreads();
  await using api = await startTestApi({ threads: t.threads, on: t.engine, vault: 'alone' });
  for (const key of ['mine', 'other']) await t.ended(await t.say(key, `to ${key}`));
  const inSandbox = (sandboxId: string | null) =>
    t.store.query(`update sandbox_sessions set sandbox_id = $1 where thread_key = 'mine'`, [sandboxId === null ? null : `${sandboxId}/p`]);
  await inSandbox('box');
  const { macKey } = api.installation;
  const about = { threadKey: 'mine', sandboxId: 'box', expiresAt: Date.now() + 3_600_000 };
  const key = makeThreadToken(macKey, about);
  const status = async (method: string, path: string, body?: unknown, with_ = key) =>
    (await api.call(method, path, body, { key: with_ })).status;

  for (const path of [
    '/agent/threads/mine',
    '/agent/threads/mine/executions',
    '/agent/messages?thread_key=mine',
    '/agent/attachments?thread_key=mine',
  ])
    assert.equal(await status('GET', path), 200, path);
  for (const thread of ['mine', 'other']) {
    const { assignment_generation } = await t.threads.spawn({ thread_key: thread });
    const source = { type: 'base64', media_type: 'text/plain', data: Buffer.from(`of ${thread}`.repeat(500)).toString('base64') };
    await t.threads.message({ thread_key: thread, assignment_generation, parts: [{ type: 'document', source, name: 'a.txt' }] });
  }
  const [mine] = await t.threads.listAttachments('mine');
  const [other] = await t.threads.listAttachments('other');
  assert.equal(await status('GET', `/agent/attachments/${mine?.id}/download`), 200);
  // as one that is not there at all
  assert.equal(await status('GET', `/agent/attachments/${other?.id}/download`), 404);
  assert.equal(await status('GET', `/agent/attachments/${other?.id}/download`, undefined, ADMIN), 200);
  const stream = await fetch(`${api.url}/agent/threads/mine/events`, {
    headers: { 'x-api-key': key },
    signal: AbortSignal.timeout(60_000),
  });
  assert.equal(stream.status, 200);
  await stream.body?.cancel();

  const refused: [method: string, path: string, body?: unknown][] = [
    ['GET', '/agent/threads/other'],
    ['GET', '/agent/threads/other/events'],
    ['GET', '/agent/messages?thread_key=other'],
    ['GET', '/agent/threads'],
    ['POST', '/agent/execute', { thread_key: 'mine', message: 'again' }],
    ['POST', '/agent/threads/mine/release', {}],
    ['POST', '/agent/final-deliveries/claim', { consumer_id: 'x', limit: 1, lease_seconds: 10 }],
    ['POST', '/workflows/events', { event_type: 'go', correlation_id: 'x' }],
    ['POST', '/workflows/runs', { workflow_name: 'greet', input: { name: 'x' } }],
    ['GET', '/approvals'],
    ['GET', '/secrets'],
    ['GET', '/audit'],
    ['POST', '/keys', { name: 'more', scopes: ['admin'] }],
    ['POST', '/leases', { secrets: ['X'] }],
  ];
  for (const [method, path, body] of refused) assert.equal(await status(method, path, body), 403, path);

  const [, claims = ''] = /^ct_(.+)_/.exec(key) ?? [];
  const forged = Buffer.from(JSON.stringify({ thread_key: 'other', sandbox_id: 'box', expires_at: Date.now() + 3_600_000 })).toString(
    'base64url',
  );
  for (const bad of [
    key.replace(claims, forged),
    `${key.slice(0, -2)}${key.endsWith('AA') ? 'BB' : 'AA'}`,
    makeThreadToken(Buffer.alloc(32), about),
    makeThreadToken(macKey, { ...about, expiresAt: Date.now() - 1 }),
    makeThreadToken(macKey, { ...about, sandboxId: 'another' }),
    'ct_',
    'ct_x_y',
  ])
    assert.equal(await status('GET', '/agent/threads/mine', undefined, bad), 401, bad);
  await inSandbox(null);
  assert.equal(await status('GET', '/agent/threads/mine'), 401);
});
