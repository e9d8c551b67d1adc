import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { type Difference, type ReplayOptions, type ReplayReport, replayRun } from './index.ts';

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const replay = (t: TestEngine, runId: string, options: ReplayOptions = {}): Promise<ReplayReport> =>
  replayRun({ store: t.store, registry: t.registry }, runId, { stallMs: 400, ...options });

/** Every row of every table of the engine, as one text: what a replay must leave as it is. */
async function everything(t: TestEngine): Promise<string> {
  const texts: string[] = [];
  for (const table of [
    'workflow_runs',
    'workflow_runs_finished',
    'workflow_steps',
    'workflow_attempts',
    'workflow_events',
    'workflow_waits',
    'workflow_triggers',
    'audit_log',
  ]) {
    const { rows } = await t.store.query<{ all: string }>(
      `select coalesce(string_agg(x::text, '|' order by x::text), '') as all from ${table} x`,
    );
    texts.push(`${table}: ${rows[0]?.all ?? ''}`);
  }
  return texts.join('\n');
}

test('a replay of a run with everything in it is the same, does nothing and writes nothing', async () => {
  await using t = await createTestEngine({ residentMs: 30 });
  const counts = { step: 0, transaction: 0, child: 0, handler: 0 };
  const counted = <T>(name: keyof typeof counts, value: T): T => {
    counts[name] += 1;
    return value;
  };
  t.registry.define('child', async (input: { n: number }, ctx) => ctx.step('double', () => counted('child', input.n * 2)));
  t.registry.define('bad child', async () => Promise.reject(new Error('always')));
  t.registry.define('everything', async (input: { id: string }, ctx) => {
    counts.handler += 1;
    ctx.log.info('here');
    const draws = [ctx.uuid(), ctx.random(), ctx.now().getTime()];
    const patched = ctx.patched('new way');
    const loop = [];
    for (let i = 0; i < 3; i++) loop.push(await ctx.step('again', () => counted('step', i)));
    await ctx.transaction('stored', async (tx) => counted('transaction', (await tx.query('select 1 as one')).rows));
    await ctx.sleep('short', 5);
    const branch = async (name: string, ms: number) => {
      await ctx.step('first', async () => counted('step', await pause(ms)));
      return ctx.step('second', () => counted('step', name));
    };
    const branches = await Promise.all([branch('slow', 40), branch('fast', 1), branch('middle', 15)]);
    const winner = await Promise.race([ctx.sleep('long', 60_000).then(() => 'long'), ctx.step('quick', () => counted('step', 'quick'))]);
    const event = await ctx.waitForEvent('go', { eventType: 'go', correlationId: input.id });
    const late = await ctx
      .waitForEvent('never', { eventType: 'no', correlationId: input.id, timeout: 10 })
      .catch((error: Error) => error.name);
    const child = await ctx.runWorkflow('child', { workflow: 'child', input: { n: 4 } });
    const bad = await ctx.runWorkflow('bad', { workflow: 'bad child' }).catch((error: Error & { code: string }) => error.code);
    let tries = 0;
    const retried = await ctx.step(
      'retried',
      () => {
        counts.step += 1;
        if (++tries < 3) throw new Error('not yet');
        return tries;
      },
      { retry: { maxAttempts: 3, delay: 5 } },
    );
    const caught = await ctx
      .step('fails', () => Promise.reject(new RangeError(`no ${counted('step', '')}`)))
      .catch((error: Error) => error.message);
    void ctx.step('nobody waits', () => counted('step', 1));
    await ctx.sleep('at the end', 30);
    return { draws, patched, loop, branches, winner, event, late, child, bad, retried, caught };
  });
  const { run_id } = await t.engine.start({ workflow_name: 'everything', input: { id: 'e1' } });
  await t.engine.emitEvent({ event_type: 'go', correlation_id: 'e1', payload: { yes: true } });
  const run = await t.ended(run_id);
  assert.equal(run.status, 'completed', JSON.stringify(run.error));
  // whatever is still under way behind its end
  await t.engine.drain(1000);
  const before = { ...counts, handler: 0 };
  const rows = await everything(t);
  const logged = t.logs.length;
  const report = await replay(t, run_id);
  assert.deepEqual([report.verdict, report.difference], ['same', null]);
  assert.equal(report.calls.recorded, run.steps.length);
  assert.deepEqual({ ...counts, handler: 0 }, before, 'no function of a step ran');
  assert.equal(await everything(t), rows, 'no row was written');
  assert.equal(t.logs.length, logged, 'no line was logged');
});

test('failed, cancelled and retried runs are replayed to where they came', async (t1) => {
  await using t = await createTestEngine({ residentMs: 30 });
  let works = false;
  t.registry.define('fails', async (input: { plain?: boolean }, ctx) => {
    await ctx.step('kept', () => 1);
    if (input.plain) throw new TypeError('of its own');
    return ctx.step('breaks', () => (works ? 'mended' : Promise.reject(new Error('broken'))));
  });
  t.registry.define('waits', async (_: unknown, ctx) => {
    await ctx.step('before', () => 1);
    return Promise.all([ctx.waitForEvent('never', { eventType: 'never' }), ctx.sleep('long', 3_600_000)]);
  });
  await t1.test('by a step, and by the handler itself', async () => {
    for (const input of [{}, { plain: true }]) {
      const run = await t.run('fails', input);
      assert.equal(run.status, 'failed');
      assert.equal((await replay(t, run.run_id)).verdict, 'same');
    }
  });
  await t1.test('the last attempt of one that was retried', async () => {
    const run = await t.run('fails', {});
    works = true;
    await t.engine.retryRun(run.run_id);
    assert.equal((await t.ended(run.run_id)).status, 'completed');
    const report = await replay(t, run.run_id);
    assert.deepEqual([report.verdict, report.attempt], ['same', 2]);
  });
  await t1.test('one that was cancelled while it waited', async () => {
    const { run_id } = await t.engine.start({ workflow_name: 'waits' });
    await pause(100);
    await t.engine.cancelRun(run_id);
    const report = await replay(t, run_id);
    assert.deepEqual([report.status, report.verdict], ['cancelled', 'same']);
  });
  await t1.test('one that is alive, unknown, or without code is refused', async () => {
    const { run_id } = await t.engine.start({ workflow_name: 'waits' });
    await assert.rejects(replay(t, run_id), { code: 'RUN_NOT_ENDED' });
    await t.engine.cancelRun(run_id);
    await assert.rejects(replay(t, '0198c0de-0000-7000-8000-000000000000'), { code: 'RUN_NOT_FOUND' });
    const registry = { ...t.registry, get: () => undefined };
    await assert.rejects(replayRun({ store: t.store, registry }, run_id), { code: 'UNKNOWN_WORKFLOW' });
  });
});

test('the first difference ends a replay, and is named', async (t1) => {
  await using t = await createTestEngine();
  type Handler = Parameters<TestEngine['registry']['define']>[1];
  const original: Handler = async (_: unknown, ctx) => {
    const a = await ctx.step('a', () => 'A');
    const b = await ctx.step('b', () => 'B');
    await ctx.sleep('c', 1);
    const child = await ctx.startWorkflow('child', { workflow: 'other', input: { n: 1 } });
    await ctx.waitForEvent('event', { eventType: 'e', correlationId: 'x', timeout: 1 }).catch(() => undefined);
    await ctx.waitForWorkflow('child.wait', { runId: child.run_id });
    return [a, b];
  };
  t.registry.define('other', async () => 1);
  t.registry.define('changes', original);
  const { run_id } = await t.run('changes');
  let ran = 0;
  assert.equal((await replay(t, run_id)).verdict, 'same');
  const cases: [string, Handler, Partial<Difference>][] = [
    ['another name', async (_: unknown, ctx) => ctx.step('z', () => 'A'), { what: 'name', seq: 0, step: 'a' }],
    ['another order', async (_: unknown, ctx) => ctx.step('b', () => 'B'), { what: 'order', seq: 0, step: 'a' }],
    ['another kind', async (_: unknown, ctx) => ctx.sleep('a', 1), { what: 'kind', seq: 0, step: 'a' }],
    ['an early end', async (_: unknown, ctx) => ctx.step('a', () => 'A'), { what: 'ended_early', seq: 1, step: 'b' }],
    [
      'a wait that nothing ends',
      async (_: unknown, ctx) => {
        await ctx.step('a', () => 'A');
        return new Promise(() => {});
      },
      { what: 'stalled', seq: 1, step: 'b' },
    ],
    [
      'another result',
      async (input: never, ctx) => {
        await original(input, ctx);
        return 'else';
      },
      { what: 'result', seq: null },
    ],
    [
      'a failure',
      async (input: never, ctx) => {
        await original(input, ctx);
        throw new Error('new');
      },
      { what: 'outcome', seq: null },
    ],
    [
      'a call at the end',
      async (input: never, ctx) => {
        await original(input, ctx);
        return ctx.step('new', () => (ran += 1));
      },
      { what: 'past_end', seq: 6, step: 'new' },
    ],
    [
      'another input of a child',
      async (_: unknown, ctx) => {
        await ctx.step('a', () => 'A');
        await ctx.step('b', () => 'B');
        await ctx.sleep('c', 1);
        await ctx.startWorkflow('child', { workflow: 'other', input: { n: 2 } });
      },
      { what: 'asks', seq: 3, step: 'child' },
    ],
    [
      'another event',
      async (_: unknown, ctx) => {
        await ctx.step('a', () => 'A');
        await ctx.step('b', () => 'B');
        await ctx.sleep('c', 1);
        await ctx.startWorkflow('child', { workflow: 'other', input: { n: 1 } });
        await ctx.waitForEvent('event', { eventType: 'e', correlationId: 'y', timeout: 1 });
      },
      { what: 'asks', seq: 4, step: 'event' },
    ],
  ];
  for (const [name, handler, expected] of cases)
    await t1.test(name, async () => {
      t.registry.define('changes', handler, { version: 'v2' });
      const { verdict, difference, code } = await replay(t, run_id);
      const { what, seq, step } = difference ?? {};
      assert.deepEqual({ verdict, what, seq, ...(expected.step === undefined ? {} : { step }) }, { verdict: 'different', ...expected });
      assert.equal(code.same, false);
      await assert.rejects(replay(t, run_id, { code: 'same' }), { code: 'CODE_CHANGED' });
    });
  await t1.test('a handler that goes by the clock', async () => {
    t.registry.define('random', async (_: unknown, ctx) => ctx.step(`at ${Math.random()}`, () => 1));
    const run = await t.run('random');
    assert.equal((await replay(t, run.run_id)).difference?.what, 'name');
  });
  await t1.test('guarded by patched, it is no difference', async () => {
    t.registry.define('changes', async (input: never, ctx) => {
      const result = await original(input, ctx);
      if (ctx.patched('and more')) await ctx.step('more', () => (ran += 1));
      return result;
    });
    assert.deepEqual((await replay(t, run_id)).difference, null);
  });
  await t1.test('no step ran in any of them', () => assert.equal(ran, 0));
  await t1.test('a process that stands still is not a handler that waits', async () => {
    t.registry.define('changes', async (input: never, ctx) => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
      await new Promise((resolve) => setImmediate(resolve));
      return original(input, ctx);
    });
    assert.equal((await replay(t, run_id)).verdict, 'same');
  });
  await t1.test('one that takes too long is stopped', async () => {
    t.registry.define('changes', async () => {
      for (let i = 0; i < 200; i++) await pause(5);
    });
    await assert.rejects(replay(t, run_id, { timeoutMs: 100 }), { code: 'REPLAY_STOPPED' });
  });
});
