import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';
import { effect } from './helpers/effects.ts';
import { Broken } from './helpers/errors.ts';

export const WORKFLOW_NAME = 'parallel';

const CASES: Cases = {
  async all(ctx) {
    const all = await Promise.all([
      said(ctx, 'a'),
      said(ctx, 'b'),
      ctx.sleep('nap', '1m').then(() => 'slept'),
      ctx.agentTurn('Go.', { name: 'turn' }).then(({ result_text: text }) => text),
      ctx.callTool('clock', 'now', {}),
      ctx.waitForEvent('ready', { eventType: 'ready' }),
    ]);
    return [...all, await said(ctx, 'after')];
  },

  /** Each branch goes through the queue of microtasks another number of times before its next call. */
  yields: (ctx) => branches(ctx, () => Promise.resolve()),

  async one_fails(ctx) {
    const bad = ctx.step('bad', () => {
      throw new Broken('it is broken');
    });
    const good = said(ctx, 'good');
    const caught = await bad.catch((error: unknown) => (error as Error).message);
    const kept = await good;
    await said(ctx, 'after');
    return { caught, kept };
  },

  async left_alone(ctx) {
    void ctx.waitForEvent('ready', { eventType: 'ready' });
    await said(ctx, 'one');
    await said(ctx, 'two');
    return 'done';
  },

  nested: (ctx) =>
    Promise.all(
      [1, 2, 3].map(async (n) => {
        const loaded = await ctx.step(`load ${n}`, () => n * 5);
        return ctx.step(`double ${n}`, () => loaded * 2);
      }),
    ),
};

async function branches(ctx: Context, pause: () => Promise<void>): Promise<string[]> {
  const order: string[] = [];
  const branch = async (name: string, pauses: number) => {
    for (const round of [1, 2]) {
      await ctx.waitForEvent(`${name} wait ${round}`, { eventType: name });
      for (let n = 0; n < pauses * round; n++) await pause();
      order.push(`${name}${round}`);
      await ctx.step(`${name} step ${round}`, () => order.length);
    }
  };
  await Promise.all([branch('x', 9), branch('y', 0), branch('z', 3)]);
  return order;
}

const said = (ctx: Context, name: string): Promise<string> =>
  ctx.step(name, () => {
    effect(ctx, name);
    return name;
  });

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
