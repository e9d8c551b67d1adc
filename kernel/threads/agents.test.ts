/** Agent turns that workflows ask for. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { AgentResult, RunAgentsResult } from '@centaur/sdk';
import { cancelAsked } from './control.ts';
import { createTestThreads } from '../../test/support/threads.ts';
import { eventually } from '../../test/support/wait.ts';

test('a workflow runs a turn and gets its answer; what it waits for is a checkpoint', async () => {
  await using t = await createTestThreads();
  const heard: string[] = [];
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    heard.push(JSON.stringify(turn.messages.map(({ parts }) => parts)));
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'four', usage: { input: 3 } });
  });
  t.engine.registry.define('asks', (_: unknown, ctx) => ctx.runAgent('sum', { text: 'two and two', threadKey: 'maths', model: 'small' }));
  const run = await t.engine.run('asks');
  const result = run.result as AgentResult;
  assert.deepEqual([result.status, result.result_text, result.thread_key, result.usage], ['completed', 'four', 'maths', { input: 3 }]);
  assert.deepEqual(heard, ['[[{"type":"text","text":"two and two"}]]']);
  assert.deepEqual(
    run.steps.map(({ name, kind }) => `${name} ${kind}`),
    ['sum step', 'sum.wait wait_workflow'],
  );
  assert.equal((await t.threads.getExecution(result.execution_id)).model, 'small');
});

test('a start goes on at once, a turn that fails is returned, and at least three run side by side on threads of their own', async () => {
  await using t = await createTestThreads();
  let together = 0;
  let most = 0;
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    most = Math.max(most, ++together);
    await eventually(async () => most >= 3);
    together -= 1;
    const bad = owner.threadKey.endsWith('bad');
    await threads.turns.finish(owner, {
      status: bad ? 'failed_permanent' : 'completed',
      reason: bad ? 'harness_error' : 'completed',
      resultText: bad ? '' : `from ${owner.threadKey.split(':').at(-1)}`,
      ...(bad ? { errorText: 'no model' } : {}),
    });
  });
  t.engine.registry.define('several', async (_: unknown, ctx) => {
    const started = await ctx.startAgent('first', { text: 'hello' });
    const all = await ctx.runAgents(
      [
        { name: 'one', text: 'a' },
        { name: 'bad', text: 'b' },
        { name: 'three', text: 'c' },
      ],
      { maxConcurrency: 3 },
    );
    return { all, first: await ctx.waitForAgent('first.wait', started) };
  });
  const run = await t.engine.run('several');
  const { all, first } = run.result as { all: RunAgentsResult; first: AgentResult };
  assert.deepEqual(
    all.results.map(({ name, ok, result_text, error_text }) => [name, ok, result_text, error_text]),
    [
      ['one', true, 'from one', null],
      ['bad', false, '', 'no model'],
      ['three', true, 'from three', null],
    ],
  );
  assert.deepEqual([all.succeeded, all.failed, first.result_text], [2, 1, 'from first']);
});

test('a step that is executed again asks for the same turn', async () => {
  await using t = await createTestThreads();
  const request = { id: 'wf:x:ask', runId: randomUUID(), threadKey: 'again', traceId: null, text: 'once' };
  const first = await t.threads.startAgent(request);
  const second = await t.threads.startAgent(request);
  assert.deepEqual(second, first);
  assert.equal((await t.threads.listMessages('again', { limit: 10 })).items.length, 1);
  await assert.rejects(t.threads.startAgent({ ...request, text: 'twice' }), { code: 'IDEMPOTENCY_PAYLOAD_MISMATCH' });
});

test('a turn whose run is cancelled ends, with an event that says so', async () => {
  await using t = await createTestThreads();
  let inTurn = () => undefined as unknown;
  const begun = new Promise((resolve) => (inTurn = () => resolve(undefined)));
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    inTurn();
    await new Promise(() => {});
  });
  const executionId = await t.say('c', 'go');
  await begun;
  const { run_id } = await t.threads.getExecution(executionId);
  await t.engine.engine.cancelRun(run_id as string);
  const execution = await t.ended(executionId);
  assert.deepEqual([execution.status, execution.terminal_reason], ['cancelled', 'cancelled']);
});

test('a workflow that is cancelled takes its turns with it, those that wait too', async () => {
  await using t = await createTestThreads();
  let inTurn = () => undefined as unknown;
  const begun = new Promise((resolve) => (inTurn = () => resolve(undefined)));
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    inTurn();
    await eventually(async () => (await threads.turns.readSignals(owner, 0)).cancelRequested);
    await threads.turns.finish(owner, { status: 'cancelled', reason: 'cancelled', resultText: '' });
  });
  t.engine.registry.define('asks', async (_: unknown, ctx) => {
    const first = await ctx.startAgent('first', { text: 'a', threadKey: 'shared' });
    const second = await ctx.startAgent('second', { text: 'b', threadKey: 'shared' });
    return [await ctx.waitForAgent('one', first), await ctx.waitForAgent('two', second)];
  });
  const { run_id } = await t.engine.engine.start({ workflow_name: 'asks' });
  await begun;
  const executions = await eventually(async () => {
    const { items } = await t.threads.listExecutions('shared', { limit: 10 });
    return items.length === 2 ? items : undefined;
  });
  await t.engine.engine.cancelRun(run_id);
  for (const { execution_id } of executions) assert.equal((await t.ended(execution_id)).status, 'cancelled');
});

test('a fork of a cancelled workflow keeps the turn that it waits for', async () => {
  await using t = await createTestThreads();
  let done = () => undefined as unknown;
  const released = new Promise((resolve) => (done = () => resolve(undefined)));
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await released;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'kept' });
  });
  t.engine.registry.define('asks', async (_: unknown, ctx) => {
    const started = await ctx.startAgent('first', { text: 'a', threadKey: 'shared' });
    return (await ctx.waitForAgent('one', started)).result_text;
  });
  const { engine } = t.engine;
  const { run_id } = await engine.start({ workflow_name: 'asks' });
  const waits = (id: string) => eventually(async () => (await engine.getRun(id)).waiting_on.length === 1);
  await waits(run_id);
  const fork = await engine.forkRun(run_id, { from_step: 'one' });
  await waits(fork.run_id);
  await engine.cancelRun(run_id);
  await cancelAsked(t.store);
  done();
  assert.equal((await t.engine.ended(fork.run_id)).result, 'kept');
});

test('bad calls of agents say what is wrong', async () => {
  await using t = await createTestThreads();
  t.engine.registry.define('empty', (_: unknown, ctx) => ctx.runAgent('x', {}));
  t.engine.registry.define('twins', (_: unknown, ctx) =>
    ctx.runAgents([
      { name: 'a', text: '1' },
      { name: 'a', text: '2' },
    ]),
  );
  t.engine.registry.define('unknown', (_: unknown, ctx) => ctx.runAgent('x', { text: 'hi', harness: 'abacus' }));
  assert.match((await t.engine.run('empty')).error?.message ?? '', /"x": expected text or parts/);
  assert.match((await t.engine.run('twins')).error?.message ?? '', /same name/);
  assert.match((await t.engine.run('unknown')).error?.message ?? '', /abacus/);
});

test('whoever a workflow says it speaks for, its turns are nobody’s', async () => {
  await using t = await createTestThreads();
  const seen: unknown[] = [];
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    seen.push(await threads.userOfTurn('a'), turn.metadata['user_id']);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  t.engine.registry.define('asks', (_: unknown, ctx) => ctx.runAgent('ask', { text: 'all of her mail', threadKey: 'a', userId: 'ana' }));
  await t.engine.run('asks');
  assert.deepEqual(seen, [undefined, 'ana']);
});
