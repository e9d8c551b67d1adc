/**
 * The workload of the fault suite: every kind of durable call in one run. Each step tells the witness that it executes,
 * under an id that is also its result. So for each step the database names the execution that counted, and the witness
 * knows all that happened.
 */
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import type { MemoryRegistry } from '../support/registry.ts';

/** What a step tells the witness as it begins. */
export interface Testimony {
  readonly run: string;
  readonly step: string;
  readonly id: string;
  /** When its function began, in microseconds of the clock that all processes of the machine share. */
  readonly began: number;
}

/** Resolves once the witness has it: an outside system that was really called. */
function witnessed(port: number, testimony: Testimony): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = `/${encodeURIComponent(JSON.stringify(testimony))}`;
    const call = request({ port, host: '127.0.0.1', method: 'POST', path }, (response) => {
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
    const began = Number(process.hrtime.bigint() / 1000n);
    const id = randomUUID();
    await witnessed(port, { run: runId, step, id, began });
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
