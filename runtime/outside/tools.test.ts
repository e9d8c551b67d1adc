/** `ctx.callTool` where people have to approve, and where an operator retries the run: on a real engine, with a scripted tool. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listApprovals, withdrawApprovals } from '@centaur/kernel/policy';
import { createEngine, type Engine } from '../../kernel/engine/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { createRegistry } from '../../test/support/registry.ts';
import { createTestTools, type TestTools, Told } from '../../test/support/tools.ts';
import { eventually } from '../../test/support/wait.ts';
import { createApprovals, createOutside } from './index.ts';
import { decideApproval } from '../../test/support/decide.ts';

interface Lab extends AsyncDisposable {
  readonly t: TestTools;
  readonly engine: Engine;
  readonly registry: ReturnType<typeof createRegistry>;
  start(): Promise<string>;
  until(runId: string, ...states: readonly string[]): ReturnType<Engine['getRun']>;
  /** Decides what is asked next. */
  decide(state?: 'approved' | 'denied', reason?: string): Promise<string>;
}

async function open(): Promise<Lab> {
  const t = await createTestTools();
  const store = await connectStore({ url: t.database.url, poolSize: 5 });
  const registry = createRegistry();
  const outside = createOutside({
    installation: t.installation,
    firewallUrl: 'http://127.0.0.1:1',
    slackApiUrl: 'http://127.0.0.1:1',
    toolApiUrl: undefined,
    tools: () => t.tools,
  });
  const engine = await createEngine({ store, registry, outside, approvals: createApprovals(t.installation), residentMs: 20 });
  registry.define('shop', async (_input, ctx) => ctx.callTool('shop', 'remove', { id: '7' }));
  await engine.work();
  return {
    t,
    engine,
    registry,
    start: async () => (await engine.start({ workflow_name: 'shop' })).run_id,
    until: (runId, ...states) =>
      eventually(async () => {
        const run = await engine.getRun(runId);
        return states.includes(run.status) ? run : undefined;
      }),
    async decide(state = 'approved', reason = 'fine') {
      const asked = await eventually(async () => (await listApprovals(t.store, { state: 'pending' })).items[0]);
      await decideApproval(t.installation, 'ann', asked.approval_id, { state, reason });
      return asked.approval_id;
    },
    async [Symbol.asyncDispose]() {
      await engine.drain(0);
      await outside.close();
      await store.close();
      await t[Symbol.asyncDispose]();
    },
  };
}

test('a call at a gate parks its run, and is made once when it is approved', async () => {
  await using lab = await open();
  const runId = await lab.start();
  const run = await lab.until(runId, 'waiting');
  const [wait] = run.waiting_on;
  // its row says so a moment before it has left
  await eventually(() => lab.engine.stats().resident_runs === 0);
  const id = await lab.decide();
  assert.deepEqual(wait?.type === 'approval' && [wait.name, wait.approval_id, wait.gate], ['tool_shop_remove', id, 'default']);
  const ended = await lab.until(runId, 'completed', 'failed');
  assert.deepEqual(ended.result, { args: { id: '7' } }, JSON.stringify(ended.error));
  assert.deepEqual([lab.t.runner.dispatched.length, ended.steps[0]?.attempts], [1, 1]);
  const { rows } = await lab.t.store.query('select 1 from workflow_waits');
  assert.equal(rows.length, 0);
});

test('one that is denied is not made, and the run hears why', async () => {
  await using lab = await open();
  const runId = await lab.start();
  await lab.until(runId, 'waiting');
  await lab.decide('denied', 'not on Fridays');
  const run = await lab.until(runId, 'completed', 'failed');
  assert.equal(run.error?.code, 'APPROVAL_DENIED');
  assert.match(run.error?.message ?? '', /not on Fridays/);
  assert.equal(lab.t.runner.dispatched.length, 0);
  assert.equal((await lab.t.entries('tool.deny')).length, 1);
});

test('one that nobody decides in time fails, and is not made', async () => {
  await using lab = await open();
  const runId = await lab.start();
  await lab.until(runId, 'waiting');
  // its time is up, and the run hears of it when it looks again
  await lab.t.store.query(`update approvals set expires_at = now()`);
  const run = await eventually(async () => {
    // more than once: one that is in memory writes what it knew when it leaves
    await lab.t.store.query(`update workflow_steps set wake_at = now() where status = 'p'`);
    await lab.t.store.query(`update workflow_runs set wake_at = now() where status = 'w'`);
    const now = await lab.engine.getRun(runId);
    return ['completed', 'failed'].includes(now.status) ? now : undefined;
  });
  assert.equal(run.error?.code, 'APPROVAL_EXPIRED');
  assert.equal(lab.t.runner.dispatched.length, 0);
});

test('runs that call alike are asked about apart, and one that is cancelled takes its own question with it', async () => {
  await using lab = await open();
  const runs = [await lab.start(), await lab.start()];
  for (const run of runs) await lab.until(run, 'waiting');
  assert.equal((await listApprovals(lab.t.store, { state: 'pending' })).items.length, 2);
  await lab.engine.cancelRun(runs[0] as string);
  assert.equal((await listApprovals(lab.t.store, { state: 'pending' })).items.length, 1);
  await lab.decide();
  assert.equal((await lab.until(runs[1] as string, 'completed', 'failed')).status, 'completed');
  assert.equal(lab.t.runner.dispatched.length, 1);
});

test('a call whose question somebody withdraws asks again', async () => {
  await using lab = await open();
  const runId = await lab.start();
  await lab.until(runId, 'waiting');
  const [first] = (await listApprovals(lab.t.store)).items;
  await lab.t.store.transaction((tx) => withdrawApprovals(tx, { approvalIds: [first?.approval_id as string] }));
  assert.notEqual(await lab.decide(), first?.approval_id);
  assert.equal((await lab.until(runId, 'completed', 'failed')).status, 'completed');
  assert.equal(lab.t.runner.dispatched.length, 1);
});

test('a handler that ends without waiting for the call withdraws its question, and the call is never made', async () => {
  await using lab = await open();
  lab.registry.define('shop', async (_input, ctx) => {
    const timer = ctx.sleep('patience', '50ms').then(() => 'too late');
    return Promise.race([timer, ctx.callTool('shop', 'remove', { id: '7' })]);
  });
  const run = await lab.until(await lab.start(), 'completed', 'failed');
  assert.equal(run.result, 'too late');
  assert.deepEqual(
    (await listApprovals(lab.t.store)).items.map(({ state }) => state),
    ['cancelled'],
  );
  assert.equal(lab.t.runner.dispatched.length, 0);
});

test('an approval that another call used first is asked for again, on another question', async () => {
  await using lab = await open();
  lab.registry.define('shop', async (_input, ctx) => {
    const calls = ['one', 'two'].map((name) => ctx.callTool('shop', 'remove', { id: '7' }, { name }));
    return (await Promise.all(calls)).length;
  });
  const runId = await lab.start();
  await lab.until(runId, 'waiting');
  const first = await lab.decide();
  await eventually(() => lab.t.runner.dispatched.length === 1);
  assert.notEqual(await lab.decide(), first);
  assert.equal((await lab.until(runId, 'completed', 'failed')).result, 2);
  assert.equal(lab.t.runner.dispatched.length, 2);
});

test('a run that failed by a call makes it again when it is retried', async () => {
  await using lab = await open();
  lab.registry.define('shop', async (_input, ctx) => ctx.callTool('shop', 'create', { item: 'tea' }));
  lab.t.runner.act = async () => {
    throw new Told({ ok: false, code: 'BANK_CLOSED', message: 'the bank is closed', retryable: false, started: true });
  };
  const runId = await lab.start();
  assert.match((await lab.until(runId, 'failed')).error?.message ?? '', /the bank is closed/);
  lab.t.runner.act = async ({ args }) => args;
  await lab.engine.retryRun(runId);
  const run = await lab.until(runId, 'completed', 'failed');
  assert.deepEqual(run.result, { item: 'tea' }, JSON.stringify(run.error));
});

test('a run that failed by a call of which nobody knows whether it was done does not make it again when it is retried', async () => {
  await using lab = await open();
  lab.registry.define('shop', async (_input, ctx) => ctx.callTool('shop', 'create', { item: 'tea' }));
  lab.t.runner.act = async () => {
    throw new Told({ ok: false, code: 'RESULT_NOT_JSON', message: 'it returned a cycle', retryable: false, started: true });
  };
  const runId = await lab.start();
  assert.match((await lab.until(runId, 'failed')).error?.message ?? '', /it returned a cycle/);
  lab.t.runner.act = async ({ args }) => args;
  await lab.engine.retryRun(runId);
  const run = await lab.until(runId, 'completed', 'failed');
  assert.match(run.error?.message ?? '', /nobody knows whether it was done/);
  assert.equal(lab.t.runner.dispatched.length, 1);
});
