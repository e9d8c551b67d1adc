/**
 * The workload of the fault suite: every kind of durable call in one run. Each step tells the witness that it executes,
 * under an id that is also its result. So for each step the database names the execution that counted, and the witness
 * knows all that happened.
 */
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import type { MemoryRegistry } from '../support/registry.ts';

/** Resolves once the witness has the line: an outside system that was really called. */
function witnessed(port: number, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = request({ port, host: '127.0.0.1', method: 'POST', path: `/${encodeURIComponent(line)}` }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    call.on('error', reject);
    call.end();
  });
}

export const STEPS_PER_RUN = 8;

export function defineWorkload(registry: MemoryRegistry, witnessPort: string): void {
  const port = Number(witnessPort);
  const execute = (runId: string, step: string, ms: number) => async () => {
    const id = randomUUID();
    await witnessed(port, `${runId} ${step} ${id}`);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * ms));
    return id;
  };
  registry.define('child', async (_: unknown, ctx) => ctx.step('child work', execute(ctx.runId, 'child work', 5)));
  registry.define('work', async (_: unknown, ctx) => {
    const step = (name: string, ms = 8) => ctx.step(name, execute(ctx.runId, name, ms));
    await step('first');
    const [, , child] = await Promise.all([
      step('left').then(() => step('left again')),
      step('right'),
      ctx.runWorkflow('child', { workflow: 'child' }),
    ]);
    await ctx.sleep('short', 5);
    await ctx.sleep('evicted', 40);
    const winner = await Promise.race([ctx.sleep('race', 15).then(() => 'slept'), step('racer', 30).then(() => 'worked')]);
    await step(`after ${winner}`);
    const event = await ctx.waitForEvent('go', { eventType: 'go' });
    await ctx.transaction('paid', async (tx) => {
      await tx.query('insert into fault_payments (run_id) values ($1)', [ctx.runId]);
    });
    await step('last');
    return { child, winner, event };
  });
}
