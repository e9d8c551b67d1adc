import { createEngine, type RegisteredWorkflow } from '@centaur/kernel/engine';
import { connectStore, migrate } from '@centaur/kernel/store';
import type { Adapter } from '../adapter.ts';

/** Everything on and at its default, as `centaur worker` has it. */
export async function create(url: string): Promise<Adapter> {
  await migrate(url);
  const log = (entry: { level: string; message: string }) => {
    if (entry.level === 'error' || entry.level === 'warn') console.error(entry);
  };
  const workflows = new Map<string, RegisteredWorkflow>();
  const store = await connectStore({ url, log });
  const engine = await createEngine({
    store,
    log,
    registry: { get: (name) => workflows.get(name), list: () => [...workflows.values()], onChange: () => () => undefined },
  });
  return {
    define(name, handler) {
      workflows.set(name, {
        name,
        version: '1',
        handler: (input, ctx) =>
          handler(input, {
            step: (step, fn) => ctx.step(step, fn) as ReturnType<typeof fn>,
            sleepUntil: (time) => ctx.sleepUntil('sleep', new Date(time)),
            waitFor: (key) => ctx.waitForEvent('wait', { eventType: 'bench', correlationId: key }),
          }),
      });
    },
    launch: () => engine.work(),
    start: async (name, input) => (await engine.start({ workflow_name: name, input })).run_id,
    async startMany(name, inputs) {
      await engine.startMany(inputs.map((input) => ({ workflow_name: name, input })));
    },
    async emit(_runId, key) {
      await engine.emitEvent({ event_type: 'bench', correlation_id: key, payload: {} });
    },
    async done() {
      const { rows } = await store.query<{ n: number }>('select count(*) as n from workflow_runs_finished');
      return rows[0]?.n ?? 0;
    },
  };
}
