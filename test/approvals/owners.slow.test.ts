/** Who started a run does not approve what comes of it, whichever runs are between them and the question, and however those were started. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Engine } from '../../kernel/engine/index.ts';
import { getApproval, publishPolicy } from '../../kernel/policy/index.ts';
import { hostedEngine } from '../../runtime/hosts/hosted/testing.ts';
import { createApprovals } from '../../runtime/outside/index.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { bearer, person, sessionOf } from '../support/people.ts';
import { eventually } from '../support/wait.ts';

const POLICY = `version: 1
default: deny
gates:
  duty: {exclude: [requester, run_owner, trigger_actor]}
rules: []
`;
const ASKS = `export const WORKFLOW_NAME = 'asks';
export async function handler(input: unknown, ctx: any) {
  return (await ctx.approval('may it', { summary: 'May it?', gate: 'duty' })).verdict;
}
`;
const ASKS_IN_PYTHON = `WORKFLOW_NAME = "asks_in_python"

async def handler(inp, ctx):
    return (await ctx.approval("may it", "May it?", gate="duty"))["verdict"]
`;
const STARTS = `export const WORKFLOW_NAME = 'starts';
export async function handler({ next: [workflow, ...next] }: { next: string[] }, ctx: any) {
  await ctx.step('ready', () => 1);
  await ctx.startWorkflow('next', { workflow, input: { next } });
}
`;
const STARTS_IN_PYTHON = `WORKFLOW_NAME = "starts_in_python"

async def handler(inp, ctx):
    await ctx.start_workflow(inp["next"][0], {"next": inp["next"][1:]})
`;
const STARTS_UNDER_A_KEY = `WORKFLOW_NAME = "starts_under_a_key"

async def handler(inp, ctx):
    await ctx.start_workflow("next", workflow_name=inp["next"][0], run_input={"next": inp["next"][1:]}, idempotency_key=ctx.run_id)
`;

const LONG = { timeoutMs: 200_000 };

/** Of the question that is open now. */
async function question({ t: { store } }: TestApi): Promise<string> {
  return eventually(async () => {
    const { rows } = await store.query<{ approval_id: string }>(`select approval_id from approvals where state = 'pending'`);
    return rows[0]?.approval_id;
  }, LONG);
}

/** None of them may decide, and Eve may. */
async function isOnlyOf(api: TestApi, names: readonly string[], how: string): Promise<void> {
  const id = await question(api);
  const { involved } = await getApproval(api.t.store, id);
  assert.deepEqual(involved, { requester: names, run_owner: names, trigger_actor: names, policy_author: ['zoe'] }, how);
  const vote = async (name: string) => api.call('POST', `/approvals/${id}/approve`, {}, await as(api, name));
  for (const name of names) {
    const own = await vote(name);
    assert.deepEqual([own.status, own.body.code], [403, 'NOT_AN_APPROVER'], `${how}: ${name}`);
  }
  const other = await vote('eve');
  assert.deepEqual([other.status, other.body.state], [200, 'approved'], how);
}

const isNotAnns = (api: TestApi, how: string) => isOnlyOf(api, ['ann'], how);

const as = async (api: TestApi, name: string) => bearer(await sessionOf(api, person(name, 'admin')));

async function startAs(api: TestApi, name: string, workflow: string, input: unknown): Promise<string> {
  const { status, body } = await api.call('POST', '/workflows/runs', { workflow_name: workflow, input }, await as(api, name));
  assert.equal(status, 201, JSON.stringify(body));
  return body.run_id;
}

async function finished(engine: Engine, runId: string): Promise<void> {
  await eventually(async () => (await engine.getRun(runId)).status === 'completed' || undefined, LONG);
}

test('through runs in processes of their own, as children and under idempotency keys, in both languages', async (t) => {
  const hosted = await hostedEngine(
    t,
    {
      'asks.ts': ASKS,
      'asks_in_python.py': ASKS_IN_PYTHON,
      'starts.ts': STARTS,
      'starts_in_python.py': STARTS_IN_PYTHON,
      'starts_under_a_key.py': STARTS_UNDER_A_KEY,
    },
    { idle: true },
  );
  await using api = await startTestApi({ on: hosted.test, vault: 'alone' });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  const engine = await hosted.test.another({ approvals: createApprovals(api.installation) });
  await engine.work();
  for (const path of [
    ['asks'],
    ['asks_in_python'],
    ['starts', 'asks'],
    ['starts_in_python', 'asks_in_python'],
    ['starts_under_a_key', 'asks'],
    ['starts', 'starts_under_a_key', 'asks_in_python'],
    ['starts_under_a_key', 'starts', 'starts_under_a_key', 'asks'],
  ]) {
    const [workflow = '', ...next] = path;
    await startAs(api, 'ann', workflow, { next });
    await isNotAnns(api, path.join(' -> '));
  }
});

test('through runs in this process, and through one whose record is gone by then', async () => {
  await using api = await startTestApi({ idle: true, vault: 'alone' });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  const { registry, store } = api.t;
  registry.define('asks', async (_input, ctx) => (await ctx.approval('may it', { summary: 'May it?', gate: 'duty' })).verdict);
  registry.define('starts', async ({ next: [workflow = '', ...next] }: { next: string[] }, ctx) => {
    await ctx.startWorkflow('next', { workflow, input: { next } });
  });
  const engine = await api.t.another({ approvals: createApprovals(api.installation) });
  await engine.work();
  const first = await startAs(api, 'ann', 'starts', { next: ['starts', 'asks'] });
  await isNotAnns(api, 'in this process');

  const old = await startAs(api, 'ann', 'starts', { next: ['asks'] });
  await question(api);
  await finished(engine, old);
  // as retention does
  await store.query('delete from workflow_runs_finished where run_id = any($1::uuid[])', [[first, old]]);
  await isNotAnns(api, 'after its retention');
});

test('through a fork, whoever makes it: what it does is what the first one wanted', async () => {
  await using api = await startTestApi({ idle: true, vault: 'alone' });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  api.t.registry.define('asks', async (_input, ctx) => {
    await ctx.step('ready', () => 1);
    return (await ctx.approval('may it', { summary: 'May it?', gate: 'duty' })).verdict;
  });
  const engine = await api.t.another({ approvals: createApprovals(api.installation) });
  await engine.work();
  const run = await startAs(api, 'ann', 'asks', {});
  await question(api);
  await engine.cancelRun(run);
  // by a key, which is nobody
  const fork = await api.call('POST', `/workflows/runs/${run}/fork`, { from_step: 'may it' });
  assert.equal(fork.status, 201, JSON.stringify(fork.body));
  await isNotAnns(api, 'a fork');
  await finished(engine, fork.body.run_id);
  const again = await api.call('POST', `/workflows/runs/${fork.body.run_id}/fork`, { from_step: 'may it' });
  assert.equal(again.status, 201, JSON.stringify(again.body));
  await isNotAnns(api, 'a fork of a fork');
});

/** Asks once it has gone past a step; started by itself or by another one. */
async function openAsking(): Promise<{ readonly api: TestApi; readonly engine: Engine }> {
  const api = await startTestApi({ idle: true, vault: 'alone' });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  api.t.registry.define('asks', async (_input, ctx) => {
    await ctx.step('ready', () => 1);
    return (await ctx.approval('may it', { summary: 'May it?', gate: 'duty' })).verdict;
  });
  api.t.registry.define('starts', async (_input, ctx) => {
    await ctx.waitForEvent('go', { eventType: 'go' });
    await ctx.startWorkflow('next', { workflow: 'asks', input: {} });
  });
  const engine = await api.t.another({ approvals: createApprovals(api.installation) });
  await engine.work();
  return { api, engine };
}

test('whoever retries a run approves nothing that comes of it from then on, and nor does who started it', async () => {
  const { api, engine } = await openAsking();
  await using _ = api;
  const retry = async (run: string, by: string) => {
    await engine.cancelRun(run);
    const { status, body } = await api.call('POST', `/workflows/runs/${run}/retry`, undefined, await as(api, by));
    assert.equal(status, 200, JSON.stringify(body));
  };
  const asks = await startAs(api, 'ann', 'asks', {});
  await question(api);
  await retry(asks, 'bob');
  await isOnlyOf(api, ['ann', 'bob'], 'a retry');

  const starts = await startAs(api, 'ann', 'starts', {});
  await retry(starts, 'bob');
  await engine.emitEvent({ event_type: 'go', correlation_id: starts, payload: {} });
  await isOnlyOf(api, ['ann', 'bob'], 'a child of what was retried');
});

test('whoever forks a run has a part in the forks of the fork, also when nothing is left of the first ones', async () => {
  const { api, engine } = await openAsking();
  await using _ = api;
  const fork = async (run: string, by: string): Promise<string> => {
    await question(api);
    await engine.cancelRun(run);
    const body = { from_step: 'may it', input: { by } };
    const made = await api.call('POST', `/workflows/runs/${run}/fork`, body, await as(api, by));
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body.run_id;
  };
  const first = await startAs(api, 'ann', 'asks', {});
  const second = await fork(first, 'bob');
  const third = await fork(second, 'cem');
  await isOnlyOf(api, ['ann', 'bob', 'cem'], 'a fork of a fork');
  await finished(engine, third);

  const old = await startAs(api, 'ann', 'asks', {});
  const between = await fork(old, 'bob');
  await fork(between, 'cem');
  await question(api);
  // as retention does
  for (const table of ['workflow_runs_finished', 'run_askers'])
    await api.t.store.query(`delete from ${table} where run_id = any($1::uuid[])`, [[old, between]]);
  await isOnlyOf(api, ['ann', 'bob', 'cem'], 'after their retention');
});

test('whoever asks again under a trigger key has asked for the run', async () => {
  const { api, engine } = await openAsking();
  await using _ = api;
  const start = async (by: string, many: 'one' | 'many') => {
    const body = { workflow_name: 'asks', input: { day: 1 }, trigger_key: 'day-1' };
    const { body: started, status } = await api.call('POST', '/workflows/runs', many === 'many' ? [body] : body, await as(api, by));
    assert.ok(status === 200 || status === 201, JSON.stringify(started));
    return many === 'many' ? started[0] : started;
  };
  const { run_id: run } = await start('ann', 'one');
  await question(api);
  for (const [by, many] of [
    ['ann', 'one'],
    ['bob', 'one'],
    ['cem', 'many'],
  ] as const) {
    const again = await start(by, many);
    assert.deepEqual([again.run_id, again.idempotent], [run, true]);
  }
  // another input is another thing: it is refused, and asks for nothing
  const other = { workflow_name: 'asks', input: { day: 2 }, trigger_key: 'day-1' };
  assert.equal((await api.call('POST', '/workflows/runs', other, await as(api, 'eve'))).body.code, 'TRIGGER_KEY_MISMATCH');
  await isOnlyOf(api, ['ann', 'bob', 'cem'], 'under a key');
  await finished(engine, run);
});
