import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { startTestApi } from '../../test/support/api.ts';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { createTestThreads } from '../../test/support/threads.ts';
import { createScriptedRunner, SHOP } from '../../test/support/tools.ts';
import { makeThreadToken } from '../api/thread-tokens.ts';
import { createTools } from '../tools/index.ts';
import { readTrace, type SpanView, type TraceView } from './index.ts';

const ALL = { limit: 1000, workflows: 'all' } as const;

async function traceOf({ store }: Pick<TestEngine, 'store'>, id: string, query: Parameters<typeof readTrace>[2] = ALL): Promise<TraceView> {
  return (await readTrace(store, id, query)) ?? assert.fail(`there is no trace ${id}`);
}

/** Each span with what it is part of, as `parent > child`. */
function shape({ spans }: TraceView): string[] {
  const names = new Map(spans.map((span) => [span.span_id, `${span.kind} ${span.name}`]));
  return spans
    .filter((span) => span.kind !== 'state.checkpoint' && span.kind !== 'queue.wait')
    .map((span) => `${' '.repeat(span.depth)}${names.get(span.span_id)}${span.attempt > 1 ? ` x${span.attempt}` : ''} ${span.status}`);
}

test('a trace is the tree of a run, its steps and its children, in the order in which they began', async () => {
  await using t = await createTestEngine();
  t.registry.define('child', async (_, ctx) => ctx.sleep('rest', '20ms'));
  let tries = 0;
  t.registry.define('parent', async (_, ctx) => {
    await ctx.step('first', () => 'canary-result');
    await ctx.step(
      'again',
      () => {
        if (++tries < 3) throw new Error('canary-message');
      },
      { retry: { maxAttempts: 5, delay: 5 } },
    );
    await ctx.runWorkflow('sub', { workflow: 'child' });
    await ctx.step('bad', () => Promise.reject(Object.assign(new Error('canary-message'), { code: 'NO_STOCK' })));
  });
  const run = await t.run('parent', { secret: 'canary-input' });
  const trace = await traceOf(t, run.run_id);
  assert.deepEqual([trace.trace_id, trace.status, trace.truncated], [run.run_id.replaceAll('-', ''), 'error', false]);
  assert.deepEqual(shape(trace), [
    'run parent error',
    ' step first ok',
    ' step again x3 ok',
    ' run.start sub.start ok',
    '  run child ok',
    '   sleep rest ok',
    ' run.wait sub.wait ok',
    ' step bad error',
  ]);
  assert.equal(trace.spans.find((span) => span.name === 'bad')?.error, 'NO_STOCK');
  const sleep = trace.spans.find((span) => span.kind === 'sleep') as SpanView;
  assert.ok((sleep.duration_ms ?? 0) >= 19 && (sleep.duration_ms ?? 0) < 5000, `${sleep.duration_ms} ms`);
  assert.doesNotMatch(JSON.stringify(trace), /canary/, 'no input, result or message is told');
  // a child's id leads to the same
  const child = trace.spans.find((span) => span.name === 'child')?.run_id as string;
  assert.equal((await traceOf(t, child)).trace_id, trace.trace_id);
});

test('what is under way is open, and a run that waits for its turn says so', async () => {
  await using t = await createTestEngine({ idle: true });
  t.registry.define('later', async () => 1);
  const { run_id } = await t.engine.start({ workflow_name: 'later' });
  const trace = await traceOf(t, run_id);
  assert.deepEqual([trace.status, trace.duration_ms], ['open', null]);
  assert.deepEqual(
    trace.spans.map(({ kind, status }) => [kind, status]),
    [
      ['run', 'open'],
      ['queue.wait', 'open'],
    ],
  );
});

test('a run that was retried shows its earlier attempts', async () => {
  await using t = await createTestEngine();
  let tries = 0;
  t.registry.define('flaky', async () => {
    if (++tries === 1) throw Object.assign(new Error('canary'), { code: 'FIRST' });
  });
  const run = await t.run('flaky');
  await t.engine.retryRun(run.run_id);
  await t.ended(run.run_id);
  assert.deepEqual(shape(await traceOf(t, run.run_id)), ['run flaky x2 ok', ' run.attempt attempt 1 error']);
});

test('runs that are given one trace id are one trace, whoever began it', async () => {
  await using t = await createTestEngine();
  t.registry.define('a', async () => 1);
  const trace_id = randomBytes(16).toString('hex');
  const [first, second] = await Promise.all([1, 2].map(() => t.engine.start({ workflow_name: 'a', trace_id })));
  for (const each of [first, second]) await t.ended(each?.run_id as string);
  const trace = await traceOf(t, trace_id);
  assert.deepEqual(
    trace.spans.filter((span) => span.kind === 'run').map((span) => span.depth),
    [0, 0],
  );
  assert.equal((await traceOf(t, first?.run_id as string)).trace_id, trace_id);
});

test('a trace of 20,000 steps and 20,000 entries is read within its limits, and says that there is more', async () => {
  await using t = await createTestEngine({ idle: true });
  const runId = randomUUID();
  await t.store.query(
    `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, created_at, started_at)
     values ($1, 'huge', 'c', 'default', 0, 1, now() - interval '1 hour', now() - interval '1 hour')`,
    [runId],
  );
  await t.store.query(
    `insert into workflow_steps (run_id, seq, ord, name, outcome, started_at, ended_at)
     select $1, n, n, 'step ' || n, to_json(repeat('x', 1000)), now() - interval '1 hour' + n * interval '100 ms', now() - interval '1 hour' + n * interval '100 ms' + interval '50 ms'
     from generate_series(0, 19999) n`,
    [runId],
  );
  await t.store.query('create table audit_log_default partition of audit_log default');
  // entries are large: nothing but a few numbers of each comes here
  await t.store.query(
    `insert into audit_log (audit_id, action, actor, resource, decision, run_id, trace_id, entry, mac, leaf)
     select id, 'tool.call', 'workflow:huge', 'tool:shop.list', 'allow', $1, $1,
       json_build_object('id', id, 'at', now() - interval '1 hour', 'details', json_build_object('policy_ms', 1, 'shadow', repeat('s', 2000)))::text, '', ''
     from (select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id from generate_series(1, 20000) n) e`,
    [runId],
  );
  const heap = process.memoryUsage().rss;
  const began = performance.now();
  const trace = await traceOf(t, runId, { limit: 10_000, workflows: 'all' });
  const took = performance.now() - began;
  const grown = (process.memoryUsage().rss - heap) / 2 ** 20;
  assert.deepEqual([trace.spans.length, trace.truncated], [10_000, true]);
  assert.ok(took < 15_000, `${Math.round(took)} ms`);
  assert.ok(grown < 300, `${Math.round(grown)} MiB`);
  const small = await traceOf(t, runId, { limit: 10, workflows: 'all' });
  assert.deepEqual([small.spans.length, small.truncated], [10, true]);
});

test('an entry with what Postgres cannot hold as text in its details is told of, without them', async () => {
  await using t = await createTestEngine({ idle: true });
  const trace = randomUUID();
  await t.store.query('create table audit_log_default partition of audit_log default');
  for (const [i, text] of ['\\u0000', '\\ud800', 'plain'].entries())
    await t.store.query(
      `insert into audit_log (audit_id, action, actor, resource, trace_id, entry, mac, leaf) values ($1, 'tool.deny', 'key:x', 'tool:shop.list', $2, $3, '', '')`,
      [randomUUID(), trace, `{"id":"x","at":"2026-01-01T00:00:0${i}.000Z","details":{"code":"NO","said":"${text}"}}`],
    );
  const { spans } = await traceOf(t, trace);
  assert.deepEqual(
    spans.map((span) => [span.start_ms, span.name, span.error]),
    [
      [0, 'shop.list', 'POLICY_DENIED'],
      [1000, 'shop.list', 'POLICY_DENIED'],
      [2000, 'shop.list', 'NO'],
    ],
  );
});

test('spans that are each other’s parents, and trees as deep as they are long, end', async () => {
  await using t = await createTestEngine({ idle: true });
  const ids = Array.from({ length: 900 }, () => randomUUID());
  await t.store.query(
    `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, parent_run_id, trace_id, created_at)
     select id, 'deep', 'c', 'default', 0, 1, parent, $3, now() from unnest($1::uuid[], $2::uuid[]) u(id, parent)`,
    // the last two are each other's
    [ids, ids.map((_, i) => (i === 0 ? null : i === 898 ? ids[899] : ids[i - 1])), ids[0]],
  );
  const { spans } = await traceOf(t, ids[0] as string, { limit: 5000, workflows: 'all' });
  const runs = spans.filter((span) => span.kind === 'run');
  assert.deepEqual([runs.length, Math.max(...runs.map((span) => span.depth))], [900, 897]);
});

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
  const key = makeThreadToken(api.installation.macKey, { threadKey: 'a', sandboxId: 'sb', expiresAt: Date.now() + 60_000 });
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
