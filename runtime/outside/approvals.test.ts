/** `ctx.approval`, on a real engine: what is asked once, what wakes a run, and whose answer it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listApprovals, publishPolicy, withdrawApprovals } from '@centaur/kernel/policy';
import { type ApprovalAnswer, requireApproved } from '@centaur/sdk';
import type { Engine, RunDetail } from '../../kernel/engine/index.ts';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { eventually } from '../../test/support/wait.ts';
import { createApprovals } from './index.ts';
import { decideApproval } from '../../test/support/decide.ts';

const POLICY = `version: 1
default: deny
gates:
  finance: {quorum: 1, expires: 2h}
  board: {expires: 1h, on_expiry: escalate}
rules: []
`;

interface Lab extends AsyncDisposable {
  readonly api: TestApi;
  readonly engine: Engine;
  start(input?: unknown): Promise<string>;
  /** Until the run asks, and is out of memory. */
  asked(runId: string): Promise<string>;
  parked(runId: string): Promise<RunDetail>;
  ended(runId: string): Promise<RunDetail>;
  decide(approvalId: string, state?: 'approved' | 'denied', reason?: string): Promise<unknown>;
  worker(): Promise<Engine>;
  count(sql: string): Promise<number>;
}

async function open(residentMs = 20): Promise<Lab> {
  const api = await startTestApi({ idle: true, vault: 'alone' });
  const { t, installation } = api;
  await publishPolicy(installation, 'ann', { text: POLICY });
  const worker = async () => {
    const engine = await t.another({ approvals: createApprovals(installation), residentMs });
    await engine.work();
    return engine;
  };
  const engine = await worker();
  const lab: Lab = {
    api,
    engine,
    worker,
    start: async (input) => (await engine.start({ workflow_name: 'refund', input })).run_id,
    async asked(runId) {
      const run = await lab.parked(runId);
      const wait = run.waiting_on.find(({ type }) => type === 'approval');
      assert.ok(wait?.type === 'approval', JSON.stringify(run.waiting_on));
      return wait.approval_id;
    },
    parked: (runId) =>
      eventually(async () => {
        const run = await engine.getRun(runId);
        return (run.status === 'waiting' && run) || undefined;
      }),
    ended: (runId) => t.ended(runId),
    decide: (id, state = 'approved', reason = 'looked at it') => decideApproval(installation, 'ann', id, { state, reason }),
    async count(sql) {
      const { rows } = await t.store.query<{ n: number }>(`select count(*)::int as n from ${sql}`);
      return rows[0]?.n ?? -1;
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
  return lab;
}

const QUESTION = { summary: 'Refund 20 EUR to ann?', tool: 'stripe.refund', args: { charge: 'ch_1', amount: 2000 }, gate: 'finance' };

test('a run asks once, leaves memory, and goes on with what was approved', async () => {
  await using lab = await open();
  let handled = 0;
  lab.api.t.registry.define('refund', async (_input, ctx) => {
    handled += 1;
    const answer = await ctx.approval('sign off', QUESTION);
    return ctx.step('refund', () => [requireApproved(answer), answer]);
  });
  const runId = await lab.start();
  const id = await lab.asked(runId);
  const run = await lab.engine.getRun(runId);
  assert.deepEqual(
    run.waiting_on.map((wait) => ({ ...wait, deadline: null })),
    [{ type: 'approval', name: 'sign off', approval_id: id, gate: 'finance', deadline: null }],
  );
  assert.deepEqual([run.steps[0]?.kind, run.steps[0]?.status], ['approval', 'pending']);
  // its row says that it waits a moment before it has left
  await eventually(() => lab.engine.stats().resident_runs === 0);
  const [asked] = (await listApprovals(lab.api.t.store)).items;
  assert.deepEqual(
    [asked?.approval_id, asked?.gate, asked?.principal, asked?.run_id, asked?.summary],
    [
      id,
      'finance',
      'workflow:refund',
      runId,
      { summary: QUESTION.summary, tool: QUESTION.tool, args: QUESTION.args, workflow: 'refund', step: 'sign off' },
    ],
  );
  const hours = (Date.parse(asked?.expires_at as string) - Date.parse(asked?.created_at as string)) / 3_600_000;
  assert.ok(Math.abs(hours - 2) < 0.01, `${hours} h`);
  await lab.decide(id);
  const ended = await lab.ended(runId);
  const answer: ApprovalAnswer = {
    verdict: 'approved',
    args: QUESTION.args,
    asked: QUESTION.args,
    edited: false,
    edited_by: null,
    reason: 'looked at it',
    voters: [{ name: 'ann', verdict: 'approve' }],
    approval_id: id,
  };
  assert.deepEqual(ended.result, [QUESTION.args, answer], JSON.stringify(ended.error));
  assert.ok(handled >= 2);
  const { items } = await listApprovals(lab.api.t.store);
  assert.deepEqual(
    items.map(({ state }) => state),
    ['consumed'],
  );
  assert.equal(await lab.count('workflow_waits'), 0);
});

test('every verdict is an answer; requireApproved throws for those that are none', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => requireApproved(await ctx.approval('sign off', QUESTION)));
  const runId = await lab.start();
  const id = await lab.asked(runId);
  await lab.decide(id, 'denied', 'over the limit');
  const run = await lab.ended(runId);
  assert.deepEqual(
    [run.status, run.error?.code, (run.steps[0]?.result as ApprovalAnswer | undefined)?.verdict],
    ['failed', 'APPROVAL_DENIED', 'denied'],
  );
  assert.match(run.error?.message ?? '', /over the limit/);
});

test('a decision that is made while the run is in memory, or between its wait and its eviction, is heard', async () => {
  await using lab = await open(1);
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).verdict);
  const { store } = lab.api.t;
  const decided = new Set<string>();
  // as soon as it is asked: in the very notification of that
  const stop = await store.listener.on('centaur_approvals', (id) => {
    if (decided.has(id)) return;
    decided.add(id);
    void lab.decide(id).catch(() => {});
  });
  const runs = await Promise.all(Array.from({ length: 40 }, () => lab.start()));
  for (const run of runs) assert.equal((await lab.ended(run)).result, 'approved');
  stop();
  assert.equal(await lab.count('approvals'), 40);
});

test('nobody decides in time: the run hears that it expired, and a later yes is refused', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', { ...QUESTION, expires: '1s' })).verdict);
  assert.equal((await lab.ended(await lab.start())).result, 'expired');
  const [asked] = (await listApprovals(lab.api.t.store)).items;
  await assert.rejects(lab.decide(asked?.approval_id ?? ''), { code: 'APPROVAL_DECIDED' });
  assert.equal(await lab.count(`audit_log where action = 'approval.expire'`), 1);
});

test('an approval that is not used in time is none: the run hears that it expired', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).verdict);
  const runId = await lab.start();
  const id = await lab.asked(runId);
  const { store } = lab.api.t;
  // as if no worker had been there between the decision and the end of that time
  await store.query(`create function late() returns trigger language plpgsql as $$ begin new.use_by = now(); return new; end $$`);
  await store.query(`create trigger late before update on approvals for each row when (new.state = 'approved') execute function late()`);
  await lab.decide(id);
  assert.equal((await lab.ended(runId)).result, 'expired');
});

test('a gate that asks others when nobody answers does so for a run too', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => ctx.approval('sign off', { ...QUESTION, gate: 'board' }));
  await lab.asked(await lab.start());
  const [asked] = (await listApprovals(lab.api.t.store)).items;
  const hours = (at: string | null | undefined) => (Date.parse(at ?? '') - Date.parse(asked?.created_at ?? '')) / 3_600_000;
  assert.deepEqual([hours(asked?.escalate_at), hours(asked?.expires_at)], [1, 2]);
});

test('a gate that the policy does not have is an error before anybody is asked', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => ctx.approval('sign off', { ...QUESTION, gate: 'legal' }));
  const run = await lab.ended(await lab.start());
  assert.equal(run.error?.code, 'UNKNOWN_GATE');
  assert.match(run.error?.message ?? '', /has no gate "legal"; it has default, finance, board/);
  assert.equal(await lab.count('approvals'), 0);
});

test('a question that is not whole is refused by its field', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (input: object, ctx) => ctx.approval('sign off', { ...QUESTION, ...input }));
  const cases: readonly [object, RegExp][] = [
    [{ summary: '' }, /summary: expected 1 to 2000 characters/],
    [{ summary: 'x'.repeat(2001) }, /summary: expected/],
    [{ gate: '' }, /gate: expected/],
    [{ args: { text: 'x'.repeat(33_000) } }, /args: 33011 bytes of JSON; 32768 are the most/],
    [{ expires: '10ms' }, /expires: expected at least a second/],
    [{ approvers: ['ann'] }, /unknown option "approvers"/],
  ];
  for (const [input, message] of cases) {
    const run = await lab.ended(await lab.start(input));
    assert.match(run.error?.message ?? '', message);
  }
  assert.equal(await lab.count('approvals'), 0);
});

test('cancelling the run withdraws its question; retrying it asks anew, and never takes the old answer', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).approval_id);
  const runId = await lab.start();
  const first = await lab.asked(runId);
  await lab.engine.cancelRun(runId);
  await assert.rejects(lab.decide(first), { code: 'APPROVAL_DECIDED' });
  await lab.engine.retryRun(runId);
  const second = await lab.asked(runId);
  assert.notEqual(second, first);
  await lab.decide(second);
  assert.equal((await lab.ended(runId)).result, second);
});

test('what was approved, and not used before its run was cancelled, is withdrawn too', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).approval_id);
  const runId = await lab.start();
  const first = await lab.asked(runId);
  // as if it was decided on between two looks of the run
  const { store } = lab.api.t;
  await store.query(`update approvals set state = 'approved', use_by = now() + interval '1 hour'`);
  await lab.engine.cancelRun(runId);
  const [withdrawn] = (await listApprovals(store)).items;
  assert.deepEqual([withdrawn?.approval_id, withdrawn?.state], [first, 'cancelled']);
  await lab.engine.retryRun(runId);
  assert.notEqual(await lab.asked(runId), first);
});

test('a run that waits for a question which somebody withdraws hears of it', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).verdict);
  const runId = await lab.start();
  await lab.asked(runId);
  await lab.api.t.store.transaction((tx) => withdrawApprovals(tx, { runId }));
  assert.equal((await lab.ended(runId)).result, 'cancelled');
});

test('a run that ends because Postgres refuses its row takes its question with it', async () => {
  await using lab = await open();
  const { store } = lab.api.t;
  await store.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no poison here'; end $$`);
  await store.query(
    `create trigger refuse before insert on workflow_steps for each row when (new.name = 'poison') execute function refuse()`,
  );
  lab.api.t.registry.define('refund', async (_input, ctx) => {
    const answer = ctx.approval('sign off', QUESTION);
    await ctx.step('asks', () => eventually(async () => (await lab.count('approvals')) === 1));
    await ctx.step('poison', () => 1);
    return answer;
  });
  const run = await lab.ended(await lab.start());
  assert.equal(run.error?.code, 'ROW_REJECTED');
  assert.deepEqual(
    (await listApprovals(store)).items.map(({ state }) => state),
    ['cancelled'],
  );
});

test('a handler that ends without its answer withdraws the question', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => {
    const timer = ctx.sleep('patience', '50ms').then(() => 'too late');
    return Promise.race([timer, ctx.approval('sign off', QUESTION).then(({ verdict }) => verdict)]);
  });
  const run = await lab.ended(await lab.start());
  assert.equal(run.result, 'too late');
  const { items } = await listApprovals(lab.api.t.store);
  assert.deepEqual(
    items.map(({ state }) => state),
    ['cancelled'],
  );
});

test('a fork does not take what was approved for another run', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => {
    const answer = await ctx.approval('sign off', QUESTION);
    await ctx.step('refund', () => {
      if (answer.verdict === 'denied') return null;
      throw new Error('the bank is closed');
    });
    return answer.approval_id;
  });
  const runId = await lab.start();
  const first = await lab.asked(runId);
  // while it waits: the question of the fork is its own
  const early = await lab.engine.forkRun(runId, { from_step: 'sign off' });
  const second = await lab.asked(early.run_id);
  assert.notEqual(second, first);
  await lab.decide(first);
  assert.equal((await lab.ended(runId)).status, 'failed');
  await assert.rejects(lab.engine.forkRun(runId, { from_step: 'refund' }), { code: 'FORK_AFTER_APPROVAL', message: /"sign off"/ });
  // what was refused stays refused
  await lab.decide(second, 'denied');
  await lab.ended(early.run_id);
  const later = await lab.engine.forkRun(early.run_id, { from_step: 'refund' });
  assert.equal((await lab.ended(later.run_id)).result, second);
});

test('code that asks about something else than what people see makes the run stuck', async () => {
  await using lab = await open();
  const { registry } = lab.api.t;
  registry.define('refund', async (_input, ctx) => ctx.approval('sign off', QUESTION));
  const runId = await lab.start();
  const id = await lab.asked(runId);
  registry.define('refund', async (_input, ctx) => ctx.approval('sign off', { ...QUESTION, args: { charge: 'ch_1', amount: 900_000 } }));
  await lab.decide(id);
  const run = await lab.ended(runId);
  assert.deepEqual([run.status, run.error?.code], ['stuck', 'HISTORY_MISMATCH']);
  assert.match(run.error?.message ?? '', /asks about something else than approval/);
});

test('other words for the same question are no other question', async () => {
  await using lab = await open();
  const { registry } = lab.api.t;
  registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).verdict);
  const runId = await lab.start();
  const id = await lab.asked(runId);
  registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', { ...QUESTION, summary: 'Refund?' })).verdict);
  await lab.decide(id);
  assert.equal((await lab.ended(runId)).result, 'approved');
});

test('two questions of one run are two, and each gets its own answer', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => {
    const answers = await Promise.all([ctx.approval('sign off', QUESTION), ctx.approval('sign off', QUESTION)]);
    return answers.map(({ verdict }) => verdict);
  });
  const runId = await lab.start();
  const run = await eventually(async () => {
    const now = await lab.parked(runId);
    return now.waiting_on.length === 2 ? now : undefined;
  });
  for (const wait of run.waiting_on)
    if (wait.type === 'approval') await lab.decide(wait.approval_id, wait.name === 'sign off' ? 'denied' : 'approved');
  assert.deepEqual((await lab.ended(runId)).result, ['denied', 'approved']);
});

test('nobody can send a decision but who decides', async () => {
  await using lab = await open();
  lab.api.t.registry.define('refund', async (_input, ctx) => (await ctx.approval('sign off', QUESTION)).verdict);
  const id = await lab.asked(await lab.start());
  await assert.rejects(lab.engine.emitEvent({ event_type: '$approval', correlation_id: id, payload: { verdict: 'approved' } }), {
    code: 'INVALID_REQUEST',
    message: /names that begin with \$ are reserved/,
  });
});

test('without an installation nobody can be asked, and the run says so', async () => {
  await using lab = await open();
  const plain = await lab.api.t.another();
  lab.api.t.registry.define('alone', async (_input, ctx) => ctx.approval('sign off', QUESTION), { queue: 'alone' });
  await lab.engine.drain(0);
  await plain.work();
  const { run_id: runId } = await plain.start({ workflow_name: 'alone' });
  assert.match((await lab.ended(runId)).error?.message ?? '', /CENTAUR_MASTER_KEY/);
});
