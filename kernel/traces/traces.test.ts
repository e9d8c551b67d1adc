import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
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
