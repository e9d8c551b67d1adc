/** Python workflows under the real engine: parked, replayed, and answered by it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { hostedEngine } from '../hosted/testing.ts';
import { HERE } from './testing.ts';

const fixture = (name: string) => readFileSync(path.join(HERE, 'fixtures/main', name), 'utf8');

test('a Python workflow that is parked again and again does everything once', async (t) => {
  const { test: engine, dir } = await hostedEngine(
    t,
    {
      'steps.py': fixture('steps.py'),
      'outer.py': `
from datetime import timedelta

WORKFLOW_NAME = "outer"


async def both(ctx, path):
    with open(path, "a") as file:
        file.write("work ")
    child = await ctx.run_workflow("child", workflow_name="steps", run_input={})
    await ctx.sleep("nap", 0.2)
    return child["status"]


async def handler(inp, ctx):
    first = ctx.patched("first")
    status = await ctx.step("both", lambda: both(ctx, inp["path"]))
    await ctx.sleep("rest", timedelta(milliseconds=200))
    second = ctx.patched("second")
    ended = await ctx.run_workflow("again", workflow_name="steps", run_input={})
    await ctx.sleep("end", 0.2)
    return [first, second, status, ended["result"], ctx.uuid()[14]]
`,
    },
    { residentMs: 20 },
  );
  const file = dir.at('trace.txt');
  const run = await engine.run('outer', { path: file });
  assert.equal(run.status, 'completed', JSON.stringify(run.error));
  const steps = [{ 3: '2026-01-02T00:00:00+00:00', tuple: [1, 2] }, 2, 3, 4, 5, null, 6];
  assert.deepEqual(run.result, [true, true, 'completed', steps, '4']);
  assert.equal(readFileSync(file, 'utf8'), 'work ');
});
