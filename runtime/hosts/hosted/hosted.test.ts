import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../../../test/support/wait.ts';
import { hostedEngine } from './testing.ts';

const FILES = {
  'steps.ts': `
import { defineWorkflow } from '@centaur/sdk';
export default defineWorkflow({
  name: 'steps',
  handler: async (input: { n: number }, ctx) => {
    const results: number[] = [];
    for (let i = 0; i < input.n; i++) results.push(await ctx.step('count', () => i));
    const both = await Promise.all([ctx.step('a', async () => 'a'), ctx.step('b', async () => ({ b: new Date(0) }))]);
    await ctx.sleep('rest', 10);
    return { results, both, draws: [ctx.random(), ctx.uuid()] };
  },
});
`,
  'waiting.ts': `
export const WORKFLOW_NAME = 'waiting';
export async function handler(input: { id: string }, ctx: any) {
  const before = await ctx.step('before', () => process.pid);
  const event = await ctx.waitForEvent('go', { eventType: 'go', correlationId: input.id });
  return [before, event, await ctx.step('after', () => 'after')];
}
`,
  'parent.ts': `
export const WORKFLOW_NAME = 'parent';
export async function handler(input: unknown, ctx: any) {
  const child = await ctx.runWorkflow('child', { workflow: 'steps', input: { n: 1 } });
  const failed = await ctx.runWorkflow('bad', { workflow: 'failing', input: null }).catch((error: any) => error.code);
  return [child.results, failed];
}
`,
  'failing.ts': `
import { NonRetryableError } from '@centaur/sdk';
export const WORKFLOW_NAME = 'failing';
export const RETRY = { maxAttempts: 2, delay: 1 };
let calls = 0;
export async function handler(input: unknown, ctx: any) {
  const kept = await ctx.step('kept', () => ++calls);
  await ctx.step('retried', () => { calls += 1; throw new TypeError('no ' + calls); }, { retry: { maxAttempts: 2, delay: 1 } });
}
`,
  'crashing.ts': `
import { existsSync, writeFileSync } from 'node:fs';
export const WORKFLOW_NAME = 'crashing';
export async function handler(input: { mark: string; always?: boolean; slow?: number }, ctx: any) {
  if (input.slow) return ctx.step('slow', () => new Promise((resolve) => setTimeout(resolve, input.slow, 'done')));
  const first = await ctx.step('first', () => 'kept');
  await ctx.step('second', async () => {
    if (input.always || !existsSync(input.mark)) { writeFileSync(input.mark, ''); process.exit(7); }
    return 1;
  });
  return first;
}
`,
  'checked.ts': `
export const WORKFLOW_NAME = 'checked';
export const Input = { '~standard': { version: 1, vendor: 'test', validate: (value: any) =>
  typeof value?.id === 'string' ? { value: { id: value.id.toUpperCase() } } : { issues: [{ message: 'expected text', path: ['id'] }] } } };
export const concurrencyKey = (input: { id: string }) => input.id;
export const handler = async (input: { id: string }) => input.id;
`,
  'fresh.ts': "export const WORKFLOW_NAME = 'fresh';\nexport const handler = () => 'fresh';\n",
  'broken.ts': "export const WORKFLOW_NAME = 'broken';\nexport const handler = 7;\n",
  'unnamed.ts': "const name = 'x' + 1;\nexport const WORKFLOW_NAME = name;\nexport const handler = () => 1;\n",
};

test('hosted workflows', async (t) => {
  const { test: t1, hosts, dir, logged, failStarts } = await hostedEngine(t, FILES, { residentMs: 30 });

  await t.test('a broken file and one without a plain name are problems, and the others are served', () => {
    assert.deepEqual(
      hosts.registry.list().map(({ name }) => name),
      ['checked', 'crashing', 'failing', 'fresh', 'parent', 'steps', 'waiting'],
    );
    const problems = hosts.problems().map(({ file, line, message }) => [file, line, message]);
    assert.equal(problems.length, 2);
    assert.deepEqual(new Set(problems.map(([file]) => file)), new Set([dir.at('broken.ts'), dir.at('unnamed.ts')]));
    assert.match(JSON.stringify(problems), /handler must be a function/);
    assert.match(JSON.stringify(problems), /text written in place/);
  });

  await t.test('steps, branches, sleeps and draws do what they do in process', async () => {
    const run = await t1.run('steps', { n: 3 });
    assert.equal(run.status, 'completed', JSON.stringify(run.error));
    const { results, both, draws } = run.result as { results: number[]; both: unknown[]; draws: [number, string] };
    assert.deepEqual(
      [results, both],
      [
        [0, 1, 2],
        ['a', { b: '1970-01-01T00:00:00.000Z' }],
      ],
    );
    assert.match(draws[1], /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.deepEqual(
      run.steps.map(({ name, status }) => `${name} ${status}`),
      ['count completed', 'count#2 completed', 'count#3 completed', 'a completed', 'b completed', 'rest completed'],
    );
  });

  await t.test('a run that left memory comes back by a replay, in the process that is there', async () => {
    const { run_id: runId } = await t1.engine.start({ workflow_name: 'waiting', input: { id: 'w1' } });
    await eventually(async () => (await t1.engine.getRun(runId)).status === 'waiting' && t1.engine.stats().resident_runs === 0);
    await t1.engine.emitEvent({ event_type: 'go', correlation_id: 'w1', payload: { n: 1 } });
    const run = await t1.ended(runId);
    const [pid, event, after] = run.result as [number, unknown, string];
    assert.deepEqual([event, after], [{ n: 1 }, 'after']);
    assert.notEqual(pid, process.pid);
  });

  await t.test('children run, and one that fails throws its error', async () => {
    assert.deepEqual((await t1.run('parent')).result, [[0], 'CHILD_FAILED']);
  });

  await t.test('a failed step is tried again, and a failed run, from that step on', async () => {
    const run = await t1.run('failing');
    assert.equal(run.status, 'failed');
    assert.equal(run.attempt, 2);
    assert.equal(run.error?.name, 'TypeError');
    assert.deepEqual(
      run.steps.map(({ name, status, attempts }) => `${name} ${status} ${attempts}`),
      ['kept completed 1', 'retried failed 2'],
    );
    assert.equal((run.error as { step?: string }).step, 'retried');
  });

  await t.test('a process that ends takes nothing along that was stored, and the run goes on in the next', async () => {
    const run = await t1.run('crashing', { mark: dir.at('mark-1') });
    assert.deepEqual([run.status, run.result], ['completed', 'kept']);
  });

  await t.test('a run whose process ends again and again fails, and says how it ended', async () => {
    const [bad, good] = await Promise.all([t1.run('crashing', { mark: dir.at('mark-2'), always: true }), t1.run('steps', { n: 2 })]);
    assert.equal(good.status, 'completed');
    assert.deepEqual([bad.status, bad.error?.code], ['failed', 'HOST_CRASHED']);
    assert.match(bad.error?.message ?? '', /exit code 7/);
  });

  await t.test('who shares a process with it gets one of its own, and ends well', async () => {
    const bad = t1.run('crashing', { mark: dir.at('mark-3'), always: true });
    const good = await Promise.all([t1.run('crashing', { slow: 900 }), t1.run('crashing', { slow: 900 })]);
    assert.equal((await bad).error?.code, 'HOST_CRASHED');
    assert.deepEqual(
      good.map(({ status, result }) => [status, result]),
      [
        ['completed', 'done'],
        ['completed', 'done'],
      ],
    );
  });

  await t.test('that no process can be started is no crash of the run: it waits until one can', async () => {
    failStarts(2);
    const run = await t1.run('fresh');
    assert.deepEqual([run.status, run.result], ['completed', 'fresh']);
    assert.equal(logged.filter(({ message }) => message === 'workflow host started').length > 0, true);
  });

  await t.test('an input is checked before the run is there, and gives the key', async () => {
    await assert.rejects(t1.engine.start({ workflow_name: 'checked', input: { id: 7 } }), (error: { code: string; message: string }) => {
      assert.equal(error.code, 'INVALID_INPUT');
      assert.match(error.message, /input\.id: expected text/);
      return true;
    });
    const run = await t1.run('checked', { id: 'abc' });
    assert.deepEqual([run.result, run.concurrency_key], ['ABC', 'ABC']);
  });

  await t.test('a cancelled run ends in its process too', async () => {
    const { run_id: runId } = await t1.engine.start({ workflow_name: 'waiting', input: { id: 'never' } });
    await eventually(async () => (await t1.engine.getRun(runId)).status === 'waiting');
    await t1.engine.cancelRun(runId);
    assert.equal((await t1.engine.getRun(runId)).status, 'cancelled');
  });

  await t.test('a change is in service after a reload, and a run that began before ends with its own code', async () => {
    const { run_id: runId } = await t1.engine.start({ workflow_name: 'waiting', input: { id: 'w2' } });
    await eventually(async () => (await t1.engine.getRun(runId)).status === 'waiting' && t1.engine.stats().resident_runs === 0);
    const source = readFileSync(dir.at('waiting.ts'), 'utf8').replace("'after')]", "'changed')]");
    writeFileSync(dir.at('waiting.ts'), source);
    await hosts.reload();
    const next = await t1.engine.start({ workflow_name: 'waiting', input: { id: 'w3' } });
    for (const id of ['w2', 'w3']) await t1.engine.emitEvent({ event_type: 'go', correlation_id: id });
    assert.equal(((await t1.ended(runId)).result as unknown[])[2], 'after');
    assert.equal(((await t1.ended(next.run_id)).result as unknown[])[2], 'changed');
  });

  assert.deepEqual(
    logged.filter(({ level, message }) => level === 'error' && !message.startsWith('workflow file')),
    [],
  );
});
