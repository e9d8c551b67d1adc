import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';
import { effect } from './helpers/effects.ts';

export const WORKFLOW_NAME = 'waits';

const CASES: Cases = {
  async sleep(ctx) {
    await ctx.sleep('nap', '30s');
    await ctx.sleepUntil('until', new Date('2026-02-01T00:00:00Z'));
    return 'awake';
  },

  async event(ctx) {
    const first = await ctx.waitForEvent('approval', { eventType: 'approved', correlationId: 'order-1' });
    return [first, await ctx.waitForEvent('approval', { eventType: 'approved' })];
  },

  async timeout(ctx) {
    try {
      await ctx.waitForEvent('approval', { eventType: 'never', timeout: '1m' });
    } catch (error) {
      await ctx.step('fallback', () => effect(ctx, 'fallback'));
      return (error as Error).name;
    }
    return 'it came';
  },

  async race(ctx) {
    const event = ctx.waitForEvent('event', { eventType: 'never' }).then(() => 'the event');
    const nap = ctx.sleep('nap', '5s').then(() => 'the sleep');
    const winner = await Promise.race([event, nap]);
    await ctx.step('after', () => effect(ctx, 'after'));
    return winner;
  },

  async two_events(ctx) {
    const wait = (name: string) => ctx.waitForEvent(name, { eventType: name }).then(() => name);
    const winner = await Promise.race([wait('left'), wait('right')]);
    return ctx.step('after', () => winner);
  },

  forever: (ctx) => ctx.waitForEvent('forever', { eventType: 'never' }),

  /** Holds the whole thread, but not for good. */
  blocks() {
    const until = performance.now() + 6000;
    while (performance.now() < until);
  },

  async tidies(ctx) {
    try {
      await ctx.waitForEvent('forever', { eventType: 'never' });
    } catch (error) {
      const { name, code } = error as Error & { readonly code: string };
      effect(ctx, `tidied ${name} ${code}`);
      throw error;
    }
    return 'it came';
  },
};

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
