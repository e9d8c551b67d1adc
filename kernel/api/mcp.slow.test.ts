/** With the protocol's official client, and by hand where it would not do what is tried here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { createScriptedRunner, type ScriptedRunner, SHOP, Told } from '../../test/support/tools.ts';
import { person, sessionOf } from '../../test/support/people.ts';
import { eventually } from '../../test/support/wait.ts';
import { createTools } from '../tools/index.ts';

interface Served extends AsyncDisposable {
  readonly api: TestApi;
  readonly runner: ScriptedRunner;
  readonly key: string;
  client(key?: string): Promise<Client>;
  /** A request by hand. */
  post(body: unknown, headers?: Record<string, string>): Promise<Response>;
}

async function serve(...told: readonly Record<string, unknown>[]): Promise<Served> {
  const runner = createScriptedRunner();
  runner.serve(...(told.length === 0 ? [SHOP] : told));
  const api = await startTestApi({
    idle: true,
    vault: 'alone',
    toolsOn: (installation, log) => createTools({ store: installation.store, installation, runner, log }),
  });
  const key = await api.keyWith('tools:*');
  const clients: Client[] = [];
  return {
    api,
    runner,
    key,
    async client(as = key) {
      const client = new Client({ name: 'test', version: '1' });
      const transport = new StreamableHTTPClientTransport(new URL(`${api.url}/mcp`), {
        requestInit: { headers: { authorization: `Bearer ${as}` } },
      });
      await client.connect(transport);
      clients.push(client);
      return client;
    },
    post: (body, headers = {}) =>
      fetch(`${api.url}/mcp`, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.close();
      await api[Symbol.asyncDispose]();
    },
  };
}

const rpc = (method: string, params?: unknown, id: unknown = 1) => ({
  jsonrpc: '2.0',
  id,
  method,
  ...(params === undefined ? {} : { params }),
});
const textOf = (answer: unknown) => (answer as { content: { text: string }[] }).content[0]?.text;

test('the official client lists and calls', async () => {
  await using served = await serve();
  const client = await served.client();
  assert.deepEqual(client.getServerVersion()?.name, 'centaur');
  assert.deepEqual(client.getServerCapabilities(), { tools: { listChanged: true } });
  await client.ping();
  const { tools, nextCursor } = await client.listTools();
  assert.deepEqual([tools.map(({ name }) => name), nextCursor], [['shop_create', 'shop_list', 'shop_put', 'shop_remove'], undefined]);
  assert.deepEqual(tools[0]?.inputSchema, SHOP.methods.create.input);
  assert.deepEqual([tools[1]?.annotations?.readOnlyHint, tools[3]?.annotations?.destructiveHint], [true, true]);
  const answer = await client.callTool({ name: 'shop_create', arguments: { item: 'tea' } });
  assert.deepEqual(answer.structuredContent, { args: { item: 'tea' } });
  assert.equal(textOf(answer), '{"args":{"item":"tea"}}');
  served.runner.act = async () => 'plain';
  const plain = await client.callTool({ name: 'shop_list' });
  assert.deepEqual([textOf(plain), plain.structuredContent], ['plain', undefined]);
});

test('what a tool or the platform refuses is an answer with an error, and what is no tool an error of the protocol', async () => {
  await using served = await serve();
  const client = await served.client();
  const wrong = await client.callTool({ name: 'shop_create', arguments: { item: 1 } });
  assert.deepEqual([wrong.isError, textOf(wrong)], [true, 'INVALID_ARGUMENTS: arguments item: expected a string, got a number']);
  served.runner.act = async () => {
    throw new Told({ ok: false, code: 'NOT_FOUND', message: 'no such order', retryable: false, started: true });
  };
  const failed = await client.callTool({ name: 'shop_list', arguments: {} });
  assert.deepEqual([failed.isError, textOf(failed)], [true, 'NOT_FOUND: no such order']);
  await assert.rejects(client.callTool({ name: 'shop_steal' }), /there is no tool "shop_steal"/);
  const key = await served.api.keyWith('tools:other');
  const other = await served.client(key);
  assert.deepEqual((await other.listTools()).tools, []);
  await assert.rejects(other.callTool({ name: 'shop_list' }), /there is no tool/);
});

test('a call that takes long tells of its progress, so that the client waits', async () => {
  await using served = await serve();
  const client = await served.client();
  served.runner.act = async (call) => {
    for (const done of [1, 3, 2, 4]) {
      call.onProgress?.(`order ${done}`, done, 4);
      await new Promise((resolve) => setTimeout(resolve, 2500));
    }
    return 'done';
  };
  const told: { progress: number; total?: number | undefined; message?: string | undefined }[] = [];
  const answer = await client.callTool({ name: 'shop_list', arguments: {} }, undefined, {
    onprogress: (progress) => told.push(progress),
    // longer than a pause of a busy machine, and shorter than the call
    timeout: 8000,
    resetTimeoutOnProgress: true,
  });
  assert.equal(textOf(answer), 'done');
  assert.ok(told.length >= 2, JSON.stringify(told));
  assert.deepEqual([told.at(-1)?.progress, told.at(-1)?.total, told.at(-1)?.message], [4, 4, 'order 4']);
  told.forEach(({ progress }, i) => assert.ok(progress > (told[i - 1]?.progress ?? -1), 'it never goes back'));
});

test('a call that waits for a person says so', async () => {
  await using served = await serve();
  const client = await served.client();
  const said: (string | undefined)[] = [];
  const answer = client.callTool({ name: 'shop_remove', arguments: { id: '7' } }, undefined, {
    onprogress: ({ message }) => said.push(message),
  });
  await eventually(() => said.some((message) => message?.startsWith('waiting for a person')));
  const { items } = (await served.api.call('GET', '/approvals?state=pending')).body;
  const ada = { key: await sessionOf(served.api, person('ada')) };
  assert.equal((await served.api.call('POST', `/approvals/${items[0].approval_id}/approve`, { reason: 'ok' }, ada)).status, 200);
  assert.equal(textOf(await answer), '{"args":{"id":"7"}}');
});

test('what the client takes back is stopped', async () => {
  await using served = await serve();
  const client = await served.client();
  let aborted = 0;
  served.runner.act = (call) =>
    new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(new Error(`${(aborted += 1)}`))));
  const stop = new AbortController();
  const answer = client.callTool({ name: 'shop_list', arguments: {} }, undefined, { signal: stop.signal });
  answer.catch(() => {});
  await eventually(() => served.runner.dispatched.length === 1);
  // of another key, or another session, with the same id
  const taken = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } };
  for (let requestId = 0; requestId < 5; requestId++) await served.post({ ...taken, params: { requestId } }, { 'mcp-session-id': 'mine' });
  assert.equal(aborted, 0);
  stop.abort();
  await assert.rejects(answer);
  await eventually(() => aborted === 1);
  // and a connection that ends, before its answer has begun and after
  for (const when of ['early', 'late'] as const) {
    const leaving = new AbortController();
    const n = aborted;
    let hasBegun = false;
    const gone = fetch(`${served.api.url}/mcp`, {
      method: 'POST',
      headers: { 'x-api-key': served.key, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify(rpc('tools/call', { name: 'shop_list', arguments: {} })),
      signal: leaving.signal,
    }).then((response) => ((hasBegun = true), response.text()));
    gone.catch(() => {});
    // the call is under way: it is stopped, and not only never begun
    await eventually(() => served.runner.dispatched.length === n + 1 && (when === 'early' || hasBegun));
    leaving.abort();
    await assert.rejects(gone);
    await eventually(() => aborted === n + 1);
  }
});

test('the list changes: the client hears of it', async () => {
  await using served = await serve();
  const client = await served.client();
  let changed = 0;
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (changed += 1));
  await eventually(async () => {
    // the stream is opened behind the client's back
    served.runner.serve(SHOP, { ...SHOP, name: 'new' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    return changed > 0;
  });
  assert.equal((await client.listTools()).tools.length, 8);
});

test('names are no longer than 64, unambiguous, and the same for whoever sees a part', async () => {
  const long = 'x'.repeat(60);
  const method = { description: 'Does it.', risk: 'read' };
  const tool = (name: string, ...methods: string[]) => ({
    name,
    description: name,
    methods: Object.fromEntries(methods.map((each) => [each, method])),
  });
  await using served = await serve(tool('a', 'b_c'), tool('a_b', 'c'), tool(long, 'method_one', 'method_two'));
  served.runner.act = async ({ tool: { name }, method: { name: called } }) => `${name}.${called}`;
  const client = await served.client();
  const { tools } = await client.listTools();
  assert.equal(new Set(tools.map(({ name }) => name)).size, 4);
  for (const { name, title } of tools) {
    assert.match(name, /^[A-Za-z0-9_-]{1,64}$/);
    assert.equal(textOf(await client.callTool({ name, arguments: {} })), title);
  }
  const part = await (await served.client(await served.api.keyWith('tools:a'))).listTools();
  assert.deepEqual(
    part.tools.map(({ name }) => name),
    tools.filter(({ title }) => title === 'a.b_c').map(({ name }) => name),
  );
});

test('pages go on where they ended', async () => {
  const method = { description: 'Does it.', risk: 'read', input: { type: 'object', description: 'x'.repeat(50_000) } };
  await using served = await serve({
    name: 'big',
    description: 'Big.',
    methods: Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`m${i}`, method])),
  });
  const client = await served.client();
  const names: string[] = [];
  let pages = 0;
  for (let cursor: string | undefined; ;) {
    const page = await client.listTools(cursor === undefined ? {} : { cursor });
    names.push(...page.tools.map(({ name }) => name));
    pages += 1;
    cursor = page.nextCursor;
    if (cursor === undefined) break;
  }
  assert.deepEqual([pages, names.length, new Set(names).size], [2, 15, 15]);
  await assert.rejects(client.listTools({ cursor: '../..' }), /cursor/);
});

test('with more than a hundred, three tools find, describe and call them', async () => {
  const method = { description: 'Does it.', risk: 'read', input: { type: 'object', properties: { n: { type: 'integer' } } } };
  await using served = await serve(SHOP, {
    name: 'many',
    description: 'Many.',
    methods: Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`m${i}`, method])),
  });
  const client = await served.client();
  const { tools } = await client.listTools();
  assert.deepEqual(
    tools.map(({ name }) => name),
    ['tools_search', 'tools_describe', 'tools_call'],
  );
  const found = await client.callTool({ name: 'tools_search', arguments: { query: 'create an order' } });
  assert.equal((found.structuredContent as { tools: { name: string }[] }).tools[0]?.name, 'shop_create');
  const described = await client.callTool({ name: 'tools_describe', arguments: { name: 'shop_create' } });
  assert.deepEqual((described.structuredContent as { input: unknown }).input, SHOP.methods.create.input);
  const called = await client.callTool({ name: 'tools_call', arguments: { name: 'shop_create', arguments: { item: 'tea' } } });
  assert.deepEqual(called.structuredContent, { args: { item: 'tea' } });
  assert.equal((await client.callTool({ name: 'many_m7', arguments: { n: 1 } })).isError, undefined);
  assert.equal((await client.callTool({ name: 'tools_call', arguments: { name: 'none' } })).isError, true);
  // a key that sees few has them listed
  const few = await served.client(await served.api.keyWith('tools:shop'));
  assert.equal((await few.listTools()).tools.length, 4);
});

test('versions, and what is no message of the protocol', async () => {
  await using served = await serve();
  const { post, api, key } = served;
  for (const version of ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']) {
    const answer = (await (await post(rpc('initialize', { protocolVersion: version, capabilities: {}, clientInfo: {} }))).json()) as any; // oxlint-disable-line typescript/no-explicit-any -- by hand
    assert.equal(answer.result.protocolVersion, version);
    assert.equal((await post(rpc('ping'), { 'mcp-protocol-version': version })).status, 200);
  }
  const future = (await (await post(rpc('initialize', { protocolVersion: '2099-01-01' }))).json()) as {
    result: { protocolVersion: string };
  };
  assert.equal(future.result.protocolVersion, '2025-11-25');
  assert.equal((await post(rpc('ping'), { 'mcp-protocol-version': '1999-01-01' })).status, 400);
  const wrong: [unknown, number, number][] = [
    ['{"jsonrpc":', 400, -32_700],
    [{ id: 1, method: 'ping' }, 400, -32_600],
    [rpc('ping', [], 1), 400, -32_600],
    [rpc('ping', {}, { a: 1 }), 400, -32_600],
    [7, 400, -32_600],
    [[], 400, -32_600],
    [rpc('resources/list'), 200, -32_601],
    [rpc('tools/call', {}), 200, -32_602],
    [rpc('tools/call', { name: 7 }), 200, -32_602],
  ];
  for (const [body, status, code] of wrong) {
    const response = await post(body);
    assert.deepEqual(
      [response.status, ((await response.json()) as { error: { code: number } }).error.code],
      [status, code],
      JSON.stringify(body),
    );
  }
  assert.equal((await post({ jsonrpc: '2.0', method: 'notifications/initialized' })).status, 202);
  assert.equal((await post({ jsonrpc: '2.0', id: 7, result: {} })).status, 202);
  const batch = (await (
    await post([rpc('ping', {}, 'a'), { jsonrpc: '2.0', method: 'notifications/x' }, rpc('ping', {}, 'b')])
  ).json()) as { id: string }[];
  assert.deepEqual(
    batch.map(({ id }) => id),
    ['a', 'b'],
  );
  // an answer as one text for those who read no streams
  served.runner.act = () => new Promise((resolve) => setTimeout(resolve, 1300, 'late'));
  const plain = await post(rpc('tools/call', { name: 'shop_list' }), { accept: 'application/json' });
  assert.equal(plain.headers.get('content-type'), 'application/json');
  assert.equal((await fetch(`${api.url}/mcp`, { method: 'DELETE', headers: { 'x-api-key': key } })).status, 204);
  const put = await fetch(`${api.url}/mcp`, { method: 'PUT', headers: { 'x-api-key': key } });
  assert.deepEqual([put.status, put.headers.get('allow')], [405, 'GET, POST, DELETE']);
});

test('pages of other places may not speak to it, and nobody without a key', async () => {
  await using served = await serve();
  for (const [origin, status] of [
    ['https://evil.example', 403],
    ['http://localhost.evil.example', 403],
    ['null', 403],
    ['http://localhost:3000', 200],
    ['http://127.0.0.1:8080', 200],
  ] as const)
    assert.equal((await served.post(rpc('ping'), { origin })).status, status, origin);
  assert.equal((await served.post(rpc('ping'), { 'x-api-key': 'ck_00000000_none' })).status, 401);
});

test('a silent stream says that it is there, and ends when its key is revoked', async () => {
  await using served = await serve();
  const response = await fetch(`${served.api.url}/mcp`, { headers: { 'x-api-key': served.key, accept: 'text/event-stream' } });
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  const reader = response.body!.getReader();
  const [id] = /ck_[0-9a-f]{8}/.exec(served.key) ?? [];
  const ended = (async () => {
    for (;;) if ((await reader.read()).done) return 'ended';
  })();
  await served.api.call('DELETE', `/keys/${id}`);
  assert.equal(await ended, 'ended');
});
