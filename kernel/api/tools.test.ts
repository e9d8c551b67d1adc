import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { createScriptedRunner, type ScriptedRunner, SHOP } from '../../test/support/tools.ts';
import { eventually } from '../../test/support/wait.ts';
import { createTools } from '../tools/index.ts';
import { addGrant, ownSecretName, putSecret } from '../vault/index.ts';
import { makeThreadToken } from './thread-tokens.ts';

interface Served extends AsyncDisposable {
  readonly api: TestApi;
  readonly runner: ScriptedRunner;
}

const OTHER = { ...SHOP, name: 'other' };

async function serve(threads?: TestThreads): Promise<Served> {
  const runner = createScriptedRunner();
  runner.serve(SHOP, OTHER);
  const api = await startTestApi({
    idle: true,
    vault: 'alone',
    toolsOn: (installation, log) =>
      createTools({
        store: installation.store,
        installation,
        runner,
        log,
        ...(threads === undefined
          ? {}
          : {
              attach: async (threadKey, file) => {
                const { id, name, mime_type, size } = await threads.threads.attach(threadKey, file);
                return { attachment_id: id, name, mime_type, size };
              },
            }),
      }),
    ...(threads === undefined ? {} : { threads: threads.threads, on: threads.engine }),
  });
  return { api, runner, [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

async function tokenOf({ api }: Served, threadKey: string): Promise<string> {
  await api.t.store.query(
    `insert into sandbox_sessions (thread_key, sandbox_id, harness, state, trace_id) values ($1, $2, 'demo', 'idle', gen_random_uuid())`,
    [threadKey, `sb-${threadKey}`],
  );
  return makeThreadToken(api.installation.macKey, { threadKey, sandboxId: `sb-${threadKey}`, expiresAt: Date.now() + 3_600_000 });
}

test('tools are listed, read and called', async () => {
  await using served = await serve();
  const { api } = served;
  const list = await api.call('GET', '/tools');
  assert.deepEqual(
    list.body.items.map(({ name }: { name: string }) => name),
    ['other', 'shop'],
  );
  assert.deepEqual([list.body.next, list.body.problems], [null, []]);
  assert.deepEqual(list.body.items[1].methods[1], { name: 'create', description: 'Creates an order.', risk: 'write' });
  const one = await api.call('GET', '/api/tools/shop');
  assert.deepEqual(one.body.methods[1].input, SHOP.methods.create.input);
  assert.deepEqual([one.body.language, one.body.methods[1].timeout_ms], ['node', 5000]);
  const answer = await api.call('POST', '/tools/shop/create', { item: 'tea' });
  assert.deepEqual([answer.status, answer.body], [200, { tool: 'shop', method: 'create', result: { args: { item: 'tea' } } }]);
  const empty = await api.call('POST', '/api/tools/shop/list');
  assert.deepEqual(empty.body.result, { args: { limit: 10 } });
});

test('what is wrong is said with a status and a code', async () => {
  await using served = await serve();
  const { api } = served;
  const asked: [string, unknown, number, string][] = [
    ['/tools/none/list', {}, 404, 'TOOL_NOT_FOUND'],
    ['/tools/shop/none', {}, 404, 'TOOL_METHOD_NOT_FOUND'],
    ['/tools/shop/create', { item: 1 }, 422, 'INVALID_ARGUMENTS'],
    ['/tools/shop/create', [], 422, 'INVALID_ARGUMENTS'],
    ['/tools/shop/create', '{"item":', 400, 'MALFORMED_JSON'],
    ['/tools/shop/create', { item: 'x'.repeat(1024 * 1024) }, 413, 'TOO_LARGE'],
  ];
  for (const [path, body, status, code] of asked) {
    const answer = await api.call('POST', path, body);
    assert.deepEqual([answer.status, answer.body.code], [status, code], path);
  }
  assert.equal((await api.call('POST', '/tools/shop/create', 'x', { headers: { 'content-type': 'text/plain' } })).status, 415);
  const wrong = await api.call('PUT', '/tools/shop/create', {});
  assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST']);
  assert.equal((await api.call('GET', '/tools/none')).body.code, 'TOOL_NOT_FOUND');
  assert.equal((await api.call('POST', '/tools/shop/list', {}, { key: null })).status, 401);
});

test('a process without tools says so', async () => {
  await using api = await startTestApi({ idle: true });
  for (const [method, path] of [
    ['GET', '/tools'],
    ['GET', '/tools/shop'],
    ['POST', '/tools/shop/list'],
    ['POST', '/mcp'],
  ] as const)
    assert.equal((await api.call(method, path, method === 'POST' ? {} : undefined)).body.code, 'TOOLS_UNAVAILABLE');
});

test('a key sees and calls the tools of its scopes', async () => {
  await using served = await serve();
  const { api } = served;
  const [shop, all, none] = [await api.keyWith('tools:shop'), await api.keyWith('tools:*'), await api.keyWith('workflows:*')];
  const names = async (key: string) =>
    (await api.call('GET', '/tools', undefined, { key })).body.items?.map((tool: { name: string }) => tool.name);
  assert.deepEqual([await names(shop), await names(all)], [['shop'], ['other', 'shop']]);
  assert.equal((await api.call('POST', '/tools/shop/list', {}, { key: shop })).status, 200);
  for (const [key, path] of [
    [shop, '/tools/other/list'],
    [shop, '/tools/none/list'],
    [none, '/tools/shop/list'],
  ] as const) {
    const refused = await api.call('POST', path, {}, { key });
    assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN']);
  }
  assert.equal((await api.call('GET', '/tools/other', undefined, { key: shop })).status, 403);
  assert.equal((await api.call('GET', '/tools', undefined, { key: none })).status, 403);
});

test('an idempotency key is its caller’s', async () => {
  await using served = await serve();
  const { api, runner } = served;
  let n = 0;
  runner.act = async () => (n += 1);
  const headers = { 'idempotency-key': 'order-1' };
  const call = (item: string, key?: string) =>
    api.call('POST', '/tools/shop/create', { item }, { headers, ...(key === undefined ? {} : { key }) });
  const answers = await Promise.all(Array.from({ length: 5 }, () => call('tea')));
  assert.deepEqual(
    answers.map(({ body }) => body.result),
    [1, 1, 1, 1, 1],
  );
  assert.equal((await call('coffee')).body.code, 'IDEMPOTENCY_PAYLOAD_MISMATCH');
  assert.equal((await call('tea', await api.keyWith('tools:*'))).body.result, 2);
});

test('a sandbox’s token calls as its thread, and as no other', async () => {
  await using threads = await createTestThreads();
  await using served = await serve(threads);
  const { api, runner } = served;
  const [key, other] = [await tokenOf(served, 'slack:C1:1'), await tokenOf(served, 'slack:C2:2')];
  assert.equal((await api.call('GET', '/tools', undefined, { key })).body.items.length, 2);
  await api.call('POST', '/tools/shop/list', {}, { key });
  assert.deepEqual([runner.dispatched[0]?.caller.principal, runner.dispatched[0]?.caller.threadKey], ['thread:slack:C1:1', 'slack:C1:1']);
  const headers = { 'idempotency-key': 'k' };
  await api.call('POST', '/tools/shop/create', { item: 'a' }, { key, headers });
  assert.equal((await api.call('POST', '/tools/shop/create', { item: 'b' }, { key: other, headers })).status, 200);
  // a large result is the thread's
  runner.act = async () => ({ rows: Array.from({ length: 20_000 }, (_, i) => i) });
  const { attachment, preview } = (await api.call('POST', '/tools/shop/list', {}, { key })).body.result;
  assert.match(preview, /^\{"rows":\[0,1,2/);
  const path = `/agent/attachments/${attachment.attachment_id}/download`;
  const whole = await fetch(`${api.url}${path}`, { headers: { 'x-api-key': key } });
  assert.equal(((await whole.json()) as { rows: number[] }).rows.length, 20_000);
  assert.equal((await api.call('GET', path, undefined, { key: other })).status, 404);
  const { items } = (await api.call('GET', '/agent/attachments?thread_key=slack:C1:1', undefined, { key })).body;
  assert.deepEqual(
    items.map(({ name }: { name: string }) => name),
    ['shop.list.json'],
  );
  // and it may do nothing else than before
  for (const [method, at] of [
    ['GET', '/secrets'],
    ['GET', '/approvals'],
    ['GET', '/agent/threads'],
    ['POST', '/leases'],
  ] as const)
    assert.equal((await api.call(method, at, method === 'POST' ? {} : undefined, { key })).status, 403);
});

test('a sandbox’s call is its turn’s user’s, while that turn runs', async () => {
  await using threads = await createTestThreads();
  await using served = await serve(threads);
  const { api, runner } = served;
  const key = await tokenOf(served, 'a');
  const users: unknown[] = [];
  runner.act = async ({ caller }) => void users.push(await caller.user?.());
  threads.onTurn(async (owner, { turns }) => {
    await turns.begin(owner);
    const { status } = await api.call('POST', '/tools/shop/list', {}, { key });
    users.push(status);
    await turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  await threads.ended(await threads.say('a', 'hello', { user_id: 'ana' }));
  await api.call('POST', '/tools/shop/list', {}, { key });
  assert.deepEqual(users, ['ana', 200, undefined]);
});

test('a tool for which only its turn’s user has an account is there for that turn, by whichever way it is asked for', async () => {
  await using threads = await createTestThreads();
  await using served = await serve(threads);
  const { api, runner } = served;
  runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['shop.example.com'] }] });
  const own = ownSecretName('SHOP_KEY', 'ana');
  await putSecret(api.installation, 'test', own, { hosts: ['shop.example.com'], value: 'the-key-of-ana-alone' });
  await addGrant(api.installation, 'test', 'user:ana', own);
  await eventually(async () => (await api.call('GET', '/tools/shop')).body.missing_secrets.join() === 'SHOP_KEY');
  const key = await tokenOf(served, 'a');
  const rpc = async (method: string, params: object): Promise<string> =>
    JSON.stringify((await api.call('POST', '/mcp', { jsonrpc: '2.0', id: 1, method, params }, { key })).body);
  const look = async () => ({
    listed: /"shop_list"/.test(await rpc('tools/list', {})),
    called: /"limit/.test(await rpc('tools/call', { name: 'shop_list', arguments: {} })),
    missing: (await api.call('GET', '/tools', undefined, { key })).body.items[0].missing_secrets,
    missingOfOne: (await api.call('GET', '/tools/shop', undefined, { key })).body.missing_secrets,
  });
  const seen: unknown[] = [];
  threads.onTurn(async (owner, { turns }) => {
    await turns.begin(owner);
    seen.push(await look());
    await turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  for (const user_id of ['ana', 'bo', undefined]) await threads.ended(await threads.say('a', 'hello', { user_id }));
  const none = { listed: false, called: false, missing: ['SHOP_KEY'], missingOfOne: ['SHOP_KEY'] };
  assert.deepEqual(seen, [{ listed: true, called: true, missing: [], missingOfOne: [] }, none, none]);
  assert.deepEqual(
    runner.dispatched.map((call) => call.own?.user),
    ['ana'],
  );
});

test('a thread’s persona leaves it the tools that it names, by whichever way they are asked for', async () => {
  await using threads = await createTestThreads();
  await using served = await serve(threads);
  const { api, runner } = served;
  const key = await tokenOf(served, 'a');
  const names = async (): Promise<string[]> =>
    (await api.call('GET', '/tools', undefined, { key })).body.items.map(({ name }: { name: string }) => name);
  const rpc = async (method: string, params: object): Promise<string> =>
    JSON.stringify((await api.call('POST', '/mcp', { jsonrpc: '2.0', id: 1, method, params }, { key })).body);
  assert.deepEqual(await names(), ['other', 'shop']);
  await threads.threads.spawn({ thread_key: 'a', persona_id: 'shopper' });
  assert.deepEqual(await names(), ['shop']);
  assert.equal((await api.call('POST', '/tools/shop/list', {}, { key })).status, 200);
  for (const [method, path] of [
    ['POST', '/tools/other/list'],
    ['GET', '/tools/other'],
  ] as const) {
    const refused = await api.call(method, path, method === 'POST' ? {} : undefined, { key });
    assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN']);
    assert.match(refused.body.message, /the persona of this thread may not call "other"/);
  }
  assert.doesNotMatch(await rpc('tools/list', {}), /other_list/);
  await rpc('tools/call', { name: 'other_list', arguments: {} });
  assert.deepEqual([...new Set(runner.dispatched.map(({ tool }) => (typeof tool === 'string' ? tool : tool.name)))], ['shop']);
  // a token outlives the persona
  await threads.threads.release({ thread_key: 'a' });
  await threads.threads.spawn({ thread_key: 'a' });
  assert.deepEqual(await names(), ['other', 'shop']);
});

test('whoever hangs up stops the call', async () => {
  await using served = await serve();
  const { api, runner } = served;
  let aborted = false;
  runner.act = (call) =>
    new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(new Error(String((aborted = true))))));
  const leaving = new AbortController();
  const key = await api.keyWith('tools:*');
  const gone = fetch(`${api.url}/tools/shop/create`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    body: '{"item":"tea"}',
    signal: leaving.signal,
  }).catch(() => 'gone');
  await eventually(() => runner.dispatched.length === 1);
  leaving.abort();
  assert.equal(await gone, 'gone');
  await eventually(() => aborted);
});

test('a grant that follows from a declaration is shown as such', async () => {
  await using served = await serve();
  const { api, runner } = served;
  await api.call('PUT', '/secrets/SHOP_KEY', { value: 'value-of-shop-0123456789', hosts: ['api.example.com'] });
  runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['api.example.com'] }] });
  const [grant] = await eventually(async () => {
    const { items } = (await api.call('GET', '/grants')).body;
    return items.length === 0 ? undefined : (items as { principal: string; declared: boolean }[]);
  });
  assert.deepEqual([grant?.principal, grant?.declared], ['tool:shop', true]);
});
