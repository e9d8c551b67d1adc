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

const LONG = { timeoutMs: 60_000 };

/** Of the question that is open now. */
async function question({ t: { store } }: TestApi): Promise<string> {
  return eventually(async () => {
    const { rows } = await store.query<{ approval_id: string }>(`select approval_id from approvals where state = 'pending'`);
    return rows[0]?.approval_id;
  }, LONG);
}

/** Ann may not decide, and Bob may. */
async function isNotAnns(api: TestApi, how: string): Promise<void> {
  const id = await question(api);
  const { involved } = await getApproval(api.t.store, id);
  assert.deepEqual(involved, { requester: ['ann'], run_owner: ['ann'], trigger_actor: ['ann'], policy_author: ['zoe'] }, how);
  const as = async (name: string) => bearer(await sessionOf(api, person(name, 'admin')));
  const own = await api.call('POST', `/approvals/${id}/approve`, {}, await as('ann'));
  assert.deepEqual([own.status, own.body.code], [403, 'NOT_AN_APPROVER'], how);
  const other = await api.call('POST', `/approvals/${id}/approve`, {}, await as('bob'));
  assert.deepEqual([other.status, other.body.state], [200, 'approved'], how);
}

async function startAs(api: TestApi, name: string, workflow: string, input: unknown): Promise<string> {
  const session = bearer(await sessionOf(api, person(name, 'admin')));
  const { status, body } = await api.call('POST', '/workflows/runs', { workflow_name: workflow, input }, session);
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
  const again = await api.call('POST', `/workflows/runs/${fork.body.run_id}/fork`, { from_step: 'may it' });
  assert.equal(again.status, 201, JSON.stringify(again.body));
  await isNotAnns(api, 'a fork of a fork');
});
