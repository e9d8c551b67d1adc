import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../../test/support/engine.ts';
import { eventually } from '../../../test/support/wait.ts';
import { directory, host } from './testing.ts';

const waiting = (text: string) => `
import { defineWorkflow } from '@centaur/sdk';
import { text } from './_text.ts';
export default defineWorkflow({
  name: 'waiting',
  handler: async (input: { id: string }, ctx) => {
    const before = await ctx.step('before', () => text);
    await ctx.waitForEvent('go', { eventType: 'go', correlationId: input.id });
    return [before, await ctx.step('after', () => '${text}')];
  },
});
`;

test('a run ends with the code it began with, and the next one begins with the new code', async (t) => {
  const dir = directory(t, { 'waiting.ts': waiting('old'), '_text.ts': "export const text = 'old helper';" });
  const made = await host(t, dir);
  await using t1 = await createTestEngine({ registry: made.registry, residentMs: 20 });
  const { run_id: runId } = await t1.engine.start({ workflow_name: 'waiting', input: { id: 'a' } });
  await eventually(async () => (await t1.engine.getRun(runId)).status === 'waiting' && t1.engine.stats().resident_runs === 0);

  dir.write({ 'waiting.ts': waiting('new'), '_text.ts': "export const text = 'new helper';" });
  await made.reload();
  // The first run is out of memory by now: it comes back by a replay
  for (const id of ['a', 'b']) await t1.engine.emitEvent({ event_type: 'go', correlation_id: id });
  assert.deepEqual((await t1.ended(runId)).result, ['old helper', 'old']);
  assert.deepEqual((await t1.run('waiting', { id: 'b' })).result, ['new helper', 'new']);
});
