import { setTimeout } from 'node:timers/promises';
import { NonRetryableError, StepError } from '@centaur/sdk';
import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';
import { effect } from './helpers/effects.ts';
import { Broken } from './helpers/errors.ts';

export const WORKFLOW_NAME = 'steps';

const tries = new Map<string, number>();

const CASES: Cases = {
  async sequence(ctx) {
    const values: number[] = [];
    for (const name of ['one', 'two', 'three']) {
      const value = await ctx.step(name, () => {
        effect(ctx, name);
        return { next: values.length + 1 };
      });
      values.push(value.next);
    }
    return values;
  },

  async waiting(ctx) {
    const slowly = async (name: string, value: string) => {
      await setTimeout(2);
      effect(ctx, name);
      return value;
    };
    return [await ctx.step('first', () => slowly('first', 'a')), await ctx.step('second', () => slowly('second', 'b'))];
  },

  async twice(ctx) {
    const same = (value: number) =>
      ctx.step('same', () => {
        effect(ctx, `same ${value}`);
        return value;
      });
    return [await same(1), await same(2)];
  },

  async retry(ctx) {
    const flaky = () => {
      const tried = tries.get(ctx.runId) ?? 0;
      tries.set(ctx.runId, tried + 1);
      if (tried < 2) throw new Error('not yet');
      effect(ctx, 'flaky');
      return 'third time lucky';
    };
    const value = await ctx.step('flaky', flaky, { retry: { maxAttempts: 8, delay: '10s' } });
    await ctx.step('after', () => effect(ctx, 'after'));
    return value;
  },

  async exhausted(ctx) {
    const fails = () => {
      throw new Broken('it is broken');
    };
    const error = await ctx.step('broken', fails, { retry: { maxAttempts: 2, delay: '1s' } }).catch((reason: unknown) => reason);
    if (!(error instanceof StepError)) throw new Error(`not a StepError: ${String(error)}`);
    const then = await ctx.step('instead', () => {
      effect(ctx, 'instead');
      return 'instead';
    });
    const { name, stepName: step, attempts, causeName: cause, message } = error;
    return { name, step, attempts, cause, message, then };
  },

  non_retryable: (ctx) => failing(ctx, 'hopeless', new NonRetryableError('no use'), []),

  listed: (ctx) => failing(ctx, 'listed', new Broken('it is broken'), ['Broken']),

  async slow(ctx) {
    const slow = ctx.step('slow', async () => {
      await setTimeout(60);
      effect(ctx, 'slow');
      return 'slow';
    });
    const quick = ctx.step('quick', () => {
      effect(ctx, 'quick');
      return 'quick';
    });
    const nap = ctx.sleep('nap', '1h').then(() => 'slept');
    const all = await Promise.all([slow, quick, nap]);
    await ctx.step('after', () => effect(ctx, 'after'));
    return all;
  },

  async round_trip(ctx) {
    const value: Record<string, unknown> = await ctx.step('odd', () => ({ at: new Date(0), gone: undefined }));
    await ctx.step('after', () => null);
    return { plain: typeof value.at === 'string' && !('gone' in value) };
  },

  async not_json(ctx) {
    const outcome = await ctx
      .step('odd', () => new Map([[1, 2]]) as unknown)
      .then(
        () => 'taken',
        () => 'refused',
      );
    await ctx.step('after', () => effect(ctx, 'after'));
    return outcome;
  },

  async nothing(ctx) {
    const value: unknown = await ctx.step('nothing', () => {});
    return { nothing: value === null || value === undefined };
  },

  async timeout(ctx) {
    const endless = () => setTimeout(30_000, 'late', { ref: false });
    const code = await ctx.step('endless', endless, { timeout: 40 }).catch((error: unknown) => (error as StepError).code);
    await ctx.step('after', () => effect(ctx, 'after'));
    return { code };
  },

  async transaction(ctx) {
    const paid = await ctx.transaction('pay', async (tx) => {
      const { rows, rowCount: count } = await tx.query('select $1::int as n', [1]);
      effect(ctx, 'pay');
      return { rows, count };
    });
    const after = await ctx.step('after', () => {
      effect(ctx, 'after');
      return 'after';
    });
    return [paid, after];
  },

  rolled_back: (ctx) =>
    ctx.transaction(
      'pay',
      async (tx) => {
        const tried = tries.get(ctx.runId) ?? 0;
        tries.set(ctx.runId, tried + 1);
        await tx.query('select 1');
        if (tried < 2) throw new Broken('it is broken');
        return 'in the end';
      },
      { retry: { maxAttempts: 8 } },
    ),

  /** Its first attempt does not listen, and ends while the second is at work. */
  async overdue(ctx) {
    const [secondBegan, firstEnded] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const attempt = async (n: number) => {
      if (n > 1) {
        secondBegan.resolve();
        await firstEnded.promise;
        await setTimeout(20);
        return 'second';
      }
      await secondBegan.promise;
      firstEnded.resolve();
      return 'first';
    };
    return ctx.step('overdue', ({ attempt: n }) => attempt(n), { timeout: 2000, retry: { maxAttempts: 2 } });
  },
};

async function failing(ctx: Context, name: string, error: Error, nonRetryable: readonly string[]): Promise<object> {
  try {
    await ctx.step(
      name,
      () => {
        throw error;
      },
      { retry: { maxAttempts: 5, nonRetryable } },
    );
  } catch (caught) {
    const { attempts, causeName: cause } = caught as StepError;
    return { attempts, cause };
  }
  throw new Error('it did not fail');
}

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
