/** Whom `on_expiry: cancel_run` ends: who has asked, and nobody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askApproval, sweepApprovals } from '@centaur/kernel/policy';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { createTestThreads, type TestThreads } from '../../test/support/threads.ts';
import { eventually } from '../../test/support/wait.ts';
import { cancelAsker } from './approvals.ts';

interface Lab extends AsyncDisposable {
  readonly t: TestThreads;
  readonly api: TestApi;
  /** A turn of the thread that runs until it is told to end. */
  running(threadKey: string): Promise<string>;
  /** Its gate's time is over at once. */
  ask(of: { readonly threadKey?: string; readonly runId?: string }): Promise<void>;
  sweep(): Promise<{ readonly cancelled: number }>;
  status(executionId: string): Promise<string>;
}

async function open(): Promise<Lab> {
  const t = await createTestThreads();
  const api = await startTestApi({ on: t.engine, vault: 'alone' });
  const { store, audit } = api.installation;
  const ended = new Set<string>();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await eventually(async () => ended.has(owner.executionId) || (await t.threads.getExecution(owner.executionId)).status !== 'running', {
      timeoutMs: 60_000,
    });
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  let n = 0;
  const terms = {
    quorum: 1,
    approvers: [],
    exclude: [],
    expiresMs: 1,
    onExpiry: 'cancel_run',
    editable: [],
    useByMs: 1000,
    pendingMost: 100,
  } as const;
  const lab: Lab = {
    t,
    api,
    async running(threadKey) {
      const id = await t.say(threadKey, 'go');
      await eventually(async () => (await lab.status(id)) === 'running' || undefined);
      return id;
    },
    async ask(of) {
      const digest = Buffer.alloc(32, ++n);
      const question = { digest, gate: 'g', terms, rule: 'r', principal: 'thread:x', summary: {}, audited: {}, askAgainAfter: 0, ...of };
      await askApproval({ store, audit }, question);
      await new Promise((resolve) => setTimeout(resolve, 5));
    },
    sweep: () => sweepApprovals({ store, audit, cancelRun: (of) => cancelAsker(of, t.engine.engine, t.threads) }),
    status: async (id) => (await t.threads.getExecution(id)).status,
    async [Symbol.asyncDispose]() {
      const { rows } = await store.query<{ execution_id: string }>('select execution_id from agent_execution_requests');
      for (const { execution_id } of rows) ended.add(execution_id);
      await api[Symbol.asyncDispose]();
      await t[Symbol.asyncDispose]();
    },
  };
  return lab;
}

test('the turn that has asked is ended, however many wait behind it, and no other thread’s', async () => {
  await using lab = await open();
  const [mine, others] = [await lab.running('mine'), await lab.running('others')];
  await lab.ask({ threadKey: 'mine' });
  const waiting: string[] = [];
  for (let i = 0; i < 25; i++) waiting.push(await lab.t.say('mine', `and ${i}`));
  assert.equal((await lab.sweep()).cancelled, 1);
  assert.notEqual(await lab.status(mine), 'running');
  assert.equal(await lab.status(others), 'running');
  assert.equal(await lab.status(waiting.at(-1) as string), 'queued');
});

test('a later turn of the thread is not ended for one that is over', async () => {
  await using lab = await open();
  const first = await lab.running('mine');
  await lab.ask({ threadKey: 'mine' });
  await lab.t.threads.cancel(first);
  await lab.t.ended(first);
  const second = await lab.running('mine');
  await lab.sweep();
  assert.equal(await lab.status(second), 'running');
});

test('a run’s own question ends that run, and one that cannot be ended keeps no other from its end', async () => {
  await using lab = await open();
  const { engine, registry } = lab.t.engine;
  registry.define('waits', async (_input, ctx) => ctx.waitForEvent('go', { eventType: 'go', correlationId: ctx.runId }));
  const [one, other] = [await engine.start({ workflow_name: 'waits' }), await engine.start({ workflow_name: 'waits' })];
  await lab.ask({ runId: one.run_id });
  const { store, audit } = lab.api.installation;
  await lab.ask({ runId: other.run_id });
  const cancelRun: Parameters<typeof sweepApprovals>[0]['cancelRun'] = async (of) => {
    if (of.runId === one.run_id) throw new Error('Postgres is away');
    await cancelAsker(of, engine, lab.t.threads);
  };
  await assert.rejects(sweepApprovals({ store, audit, cancelRun }));
  assert.notEqual((await engine.getRun(one.run_id)).status, 'cancelled');
  assert.equal((await engine.getRun(other.run_id)).status, 'cancelled');
  assert.equal((await lab.sweep()).cancelled, 1);
  assert.equal((await engine.getRun(one.run_id)).status, 'cancelled');
});
