import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { startTestApi } from '../../test/support/api.ts';
import { startOtlpServer } from '../../test/support/otlp.ts';
import { createTestThreads } from '../../test/support/threads.ts';
import { createScriptedRunner, SHOP } from '../../test/support/tools.ts';
import { eventually } from '../../test/support/wait.ts';
import { createTools } from '../tools/index.ts';
import { startTraceExport } from '../traces/export.ts';
import { readTrace, type SpanView } from '../traces/index.ts';
import { makeThreadToken } from './thread-tokens.ts';

const called: { tools?: Awaited<ReturnType<typeof createTools>> } = {};

test('a key sees the runs of its workflows and what was done in them, and no other part of a trace', async () => {
  const runner = createScriptedRunner();
  runner.serve(SHOP);
  await using api = await startTestApi({
    vault: 'alone',
    toolsOn: (installation, log) => createTools({ store: installation.store, installation, runner, log }),
  });
  api.t.registry.define('inner', async (_, ctx) => ctx.step('inside', () => 1));
  api.t.registry.define('outer', async (_, ctx) => ctx.runWorkflow('sub', { workflow: 'inner' }));
  const run = await api.run('outer');
  const traceparent = `00-${run.replaceAll('-', '')}-b7ad6b7169203331-01`;
  assert.equal((await api.call('POST', '/tools/shop/list', {}, { headers: { traceparent } })).status, 200);
  const kinds = async (key: string, id = run) => {
    const answer = await api.call('GET', `/api/traces/${id}`, undefined, { key });
    return answer.status === 200
      ? [answer.body.truncated, ...new Set(answer.body.spans.map((span: SpanView) => `${span.kind} ${span.name}`))]
      : answer.body.code;
  };
  const all = await kinds(await api.keyWith('workflows.read'));
  assert.ok(
    all.includes('run outer') && all.includes('step inside') && all.includes('tool.call shop.list') && all[0] === false,
    all.join(),
  );
  assert.deepEqual(
    (await kinds(await api.keyWith('workflows:inner'))).filter((each: unknown) => !/^(?:state|queue)\./.test(String(each))),
    [true, 'run inner', 'step inside'],
  );
  assert.equal(await kinds(await api.keyWith('workflows:other')), 'TRACE_NOT_FOUND', 'what it may not see is not there for it');
  assert.equal(await kinds(await api.keyWith('tools:*', 'audit.read')), 'FORBIDDEN');
  for (const id of [randomUUID(), '0'.repeat(32), 'x', "'; drop table audit_log", '%00', 'f'.repeat(64)])
    assert.equal((await api.call('GET', `/traces/${encodeURIComponent(id)}`)).body.code, 'TRACE_NOT_FOUND', id);
  for (const limit of ['0', '10001', '-1', '1e3', 'all'])
    assert.equal((await api.call('GET', `/traces/${run}?limit=${limit}`)).status, 422, limit);
  assert.equal((await api.call('GET', `/traces/${run}?limit=1`)).body.spans.length, 1);
  assert.equal((await api.call('GET', `/traces/${run}`, undefined, { key: null })).status, 401);
});

test('a sandbox sees no trace, and its calls are part of its own turn whatever it says', async () => {
  await using threads = await createTestThreads();
  const runner = createScriptedRunner();
  runner.serve(SHOP);
  await using api = await startTestApi({
    vault: 'alone',
    toolsOn: (installation, log) => createTools({ store: installation.store, installation, runner, log }),
    threads: threads.threads,
    on: threads.engine,
  });
  const { store } = api.t;
  const [trace, victim] = [randomUUID(), randomBytes(16).toString('hex')];
  await store.query(
    `insert into sandbox_sessions (thread_key, sandbox_id, harness, state, trace_id) values ('a', 'sb', 'demo', 'idle', gen_random_uuid())`,
  );
  await store.query(
    `insert into agent_execution_requests (thread_key, execution_id, assignment_generation, execute_id, request_hash, status, harness, platform,
       delivery, metadata, trace_id, started_at) values ('a', gen_random_uuid(), 1, 'x', '', 'running', 'demo', 'dev', '{}', '{}', $1, now())`,
    [trace],
  );
  const key = makeThreadToken(api.installation.macKey, { threadKey: 'a', sandboxId: 'sb', expiresAt: Date.now() + 3_600_000 });
  const headers = { traceparent: `00-${victim}-b7ad6b7169203331-01`, tracestate: `centaur=r${victim}` };
  assert.equal((await api.call('POST', '/tools/shop/list', {}, { key, headers })).status, 200);
  const rpc = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'shop_list', arguments: {} } };
  assert.equal(
    (await api.call('POST', '/mcp', rpc, { key, headers: { ...headers, accept: 'application/json, text/event-stream' } })).status,
    200,
  );
  const { rows } = await store.query<{ trace_id: string }>(`select trace_id from audit_log where action = 'tool.call'`);
  assert.deepEqual(
    rows.map((row) => row.trace_id),
    [trace, trace],
  );
  for (const id of [trace, victim]) assert.equal((await api.call('GET', `/traces/${id}`, undefined, { key })).body.code, 'FORBIDDEN');
});

test('a traceparent that is malformed counts as none; a call of a tool without one begins a trace of its own', async () => {
  const runner = createScriptedRunner();
  runner.serve(SHOP);
  await using api = await startTestApi({
    idle: true,
    vault: 'alone',
    toolsOn: (installation, log) => createTools({ store: installation.store, installation, runner, log }),
  });
  const id = '0af7651916cd43dd8448eb211c80319c';
  for (const traceparent of [
    'x',
    `00-${id}`,
    `00-${id.toUpperCase()}-b7ad6b7169203331-01`,
    `ff-${id}-b7ad6b7169203331-01`,
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-${id}-${'0'.repeat(16)}-01`,
    'y'.repeat(8000),
  ])
    assert.equal((await api.call('POST', '/tools/shop/list', {}, { headers: { traceparent } })).status, 200);
  const { rows } = await api.t.store.query<{ trace_id: string | null }>(`select trace_id from audit_log where action = 'tool.call'`);
  const seen = rows.map((row) => row.trace_id?.replaceAll('-', ''));
  assert.equal(new Set(seen).size, 7, 'each its own');
  assert.ok(seen.every((each) => each !== undefined && each !== id));
});

test('what a trace tells is exported, with the conventions’ names, the same ids, and nothing of what was sent', async () => {
  const runner = createScriptedRunner();
  runner.serve(SHOP);
  await using server = await startOtlpServer();
  await using api = await startTestApi({
    vault: 'alone',
    toolsOn: async (installation, log) => {
      const tools = await createTools({ store: installation.store, installation, runner, log });
      called.tools = tools;
      return tools;
    },
  });
  const { store, registry } = api.t;
  const exporter = startTraceExport({
    store,
    receiver: { url: server.url, headers: {}, timeoutMs: 2000, compression: 'gzip' },
    resource: { 'service.name': 'centaur-test' },
    version: '1',
    ratio: 1,
    delayMs: 50,
    log: () => {},
  });
  await eventually(async () => (await store.query('select 1 from trace_exports')).rowCount === 1);
  registry.define('shops', async (_, ctx) => {
    await ctx.step('look', () => 'canary-result');
    await ctx.step('buy', async () => {
      const caller = { principal: 'workflow:shops', workflow: 'shops', runId: ctx.runId, step: 'buy', traceId: ctx.runId };
      await called.tools?.call(caller, { tool: 'shop', method: 'create', args: { item: 'canary-argument' } });
    });
  });
  const run = await api.run('shops', { name: 'canary-input' });
  const sent = () => server.spans.filter((span) => span.traceId === run.replaceAll('-', ''));
  for (const name of ['invoke_workflow shops', 'execute_tool shop.create'])
    await eventually(() => sent().some((span) => span.name === name), { what: name });
  const told = await readTrace(store, run, { limit: 1000, workflows: 'all' });
  assert.deepEqual(new Set(sent().map((span) => span.spanId)), new Set(told?.spans.map((span) => span.span_id)));
  const named = (name: string) => sent().find((span) => span.name === name) ?? assert.fail(name);
  assert.equal(named('tool.call shop.create').parentSpanId, named('step buy').spanId);
  const made = named('execute_tool shop.create');
  assert.equal(made.parentSpanId, named('tool.call shop.create').spanId);
  assert.deepEqual([made.attributes['gen_ai.operation.name'], made.attributes['gen_ai.tool.name']], ['execute_tool', 'shop.create']);
  assert.equal(named('invoke_workflow shops').attributes['gen_ai.operation.name'], 'invoke_workflow');
  assert.deepEqual(server.resources[0], { 'service.name': 'centaur-test' });
  assert.equal(server.requests[0]?.headers['content-encoding'], 'gzip');
  for (const { body } of server.requests) assert.doesNotMatch(body, /canary/);
  await exporter.close();
});
