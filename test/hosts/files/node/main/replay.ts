import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';

export const WORKFLOW_NAME = 'replay';

const CASES: Cases = {
  async drawn(ctx) {
    const random = [ctx.random()];
    const ids = [ctx.uuid()];
    const times = [ctx.now().getTime()];
    await ctx.step('one', () => 1);
    times.push(ctx.now().getTime());
    await ctx.sleep('nap', '1h');
    times.push(ctx.now().getTime());
    random.push(ctx.random());
    await ctx.step('two', () => 2);
    ids.push(ctx.uuid());
    return { random, ids, times };
  },

  async patched(ctx) {
    await ctx.step('begin', () => 0);
    const patched = ctx.patched('p1');
    const value = await ctx.step(patched ? 'new' : 'old', () => (patched ? 'new' : 'old'));
    await ctx.step('end', () => 0);
    return [value, patched];
  },

  /** The code before the patch. */
  async unpatched(ctx) {
    await ctx.step('begin', () => 0);
    const value = await ctx.step('old', () => 'old');
    await ctx.step('end', () => 0);
    return [value, false];
  },
};

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
