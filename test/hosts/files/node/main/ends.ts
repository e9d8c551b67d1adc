import { NonRetryableError } from '@centaur/sdk';
import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';
import { Broken } from './helpers/errors.ts';

export const WORKFLOW_NAME = 'ends';

const CASES: Cases = {
  nothing: () => undefined,

  round_trip: () => [{ toJSON: () => '1970-01-01' }, [1, 2]],

  async not_json(ctx) {
    await ctx.step('one', () => 1);
    return { deep: [10n] };
  },

  async throws(ctx) {
    await ctx.step('one', () => 1);
    throw new Broken('it is broken');
  },

  non_retryable() {
    throw new NonRetryableError('no use');
  },

  step_fails: (ctx) =>
    ctx.step('broken', () => {
      throw new Broken('it is broken');
    }),

  async raised_from(ctx) {
    await ctx.step('one', () => 1);
    try {
      await ctx.step('broken', () => {
        throw new Broken('it is broken');
      });
    } catch (cause) {
      throw new Error('so this is, too', { cause });
    }
  },

  async stray(ctx) {
    void ctx.step('stray', () => {
      throw new Broken('it is broken');
    });
    await ctx.step('one', () => 1);
    return 'done';
  },

  /** Tells what it was given. */
  about: (ctx) => ({ attempt: ctx.attempt, name: ctx.workflowName, id: ctx.runId }),
};

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
