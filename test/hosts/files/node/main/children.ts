import { ChildRunError } from '@centaur/sdk';
import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';

export const WORKFLOW_NAME = 'children';

const CASES: Cases = {
  async start(ctx) {
    const child = await ctx.startWorkflow('child', { workflow: 'other', input: { n: 1 } });
    return ctx.waitForWorkflow('child.end', { runId: child.run_id });
  },

  run: (ctx) => ctx.runWorkflow('both', { workflow: 'other', input: { n: 1 } }),

  async failed(ctx) {
    const outcome = await ctx.runWorkflow('fails', { workflow: 'other', input: {} }).then(
      () => 'completed',
      (error: unknown) => (error instanceof ChildRunError ? 'failed' : String(error)),
    );
    return ctx.step('after', () => outcome);
  },
};

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
