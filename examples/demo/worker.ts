/**
 * A worker process as `centaur worker` is one: the Node host, the engine, and Postgres. The demo kills it.
 *
 * The one addition is the observer, which tells the demo for each step whether its function was called here or its
 * result came out of a checkpoint. It looks on from outside the engine and changes nothing.
 */
import { fileURLToPath } from 'node:url';
import { type RegisteredWorkflow, type WorkflowRegistry, createEngine } from '@centaur/kernel/engine';
import { connectStore } from '@centaur/kernel/store';
import { createNodeHost } from '@centaur/runtime/hosts/node';
import type { WorkflowContext } from '@centaur/sdk';

/** What a worker tells the demo. */
export type Report =
  | { readonly type: 'ready' }
  | { readonly type: 'started' | 'completed' | 'replayed'; readonly step: string }
  /** Something other than a step: whether it was replayed, only the checkpoints can tell. */
  | { readonly type: 'passed'; readonly step: string; readonly what: string }
  | { readonly type: 'problem'; readonly message: string };

const tell = (report: Report): void => void process.send?.(report);

// Its parent is gone: nobody else would end it
process.on('disconnect', () => process.exit(0));

const host = await createNodeHost({ dirs: [fileURLToPath(new URL('workflows', import.meta.url))], watch: false });
for (const { file, line, message } of host.problems()) tell({ type: 'problem', message: `${file}:${line}: ${message}` });

const log = (entry: { level: string; message: string }): void => {
  if (entry.level === 'error') tell({ type: 'problem', message: entry.message });
};
const store = await connectStore({ url: process.env['DATABASE_URL'] ?? '', log });
const engine = await createEngine({ store, registry: observed(host.registry), log });
await engine.work();
tell({ type: 'ready' });

function observed(registry: WorkflowRegistry): WorkflowRegistry {
  const wrap = (workflow: RegisteredWorkflow): RegisteredWorkflow => ({
    ...workflow,
    handler(input: never, ctx) {
      const { service, region } = input as { service?: string; region?: string };
      // A run that an interrupted demo left in CENTAUR_HOME is none of this demo's business
      return workflow.handler(input, service === process.env['DEMO_SERVICE'] ? observe(ctx, region) : ctx);
    },
  });
  return {
    get(name, version) {
      const workflow = registry.get(name, version);
      return workflow && wrap(workflow);
    },
    list: () => registry.list().map(wrap),
    onChange: (listener) => registry.onChange(listener),
  };
}

function observe(ctx: WorkflowContext, region: string | undefined): WorkflowContext {
  const passed = <T>(step: string, what: string, call: Promise<T>): Promise<T> =>
    call.then((value) => {
      tell({ type: 'passed', step, what });
      return value;
    });
  return {
    ...ctx,
    async step(name, fn, options) {
      const step = region === undefined ? name : `${region}/${name}`;
      let called = false;
      const result = await ctx.step(
        name,
        (info) => {
          called = true;
          tell({ type: 'started', step });
          return fn(info);
        },
        options,
      );
      tell({ type: called ? 'completed' : 'replayed', step });
      return result;
    },
    sleep: (name, duration) => passed(name, 'slept', ctx.sleep(name, duration)),
    waitForEvent: (name, options) => passed(name, 'got its event', ctx.waitForEvent(name, options)),
    runWorkflow: (name, options) => passed(name, 'child workflow has its result', ctx.runWorkflow(name, options)),
  };
}
