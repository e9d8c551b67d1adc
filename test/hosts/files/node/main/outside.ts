import { requireApproved } from '@centaur/sdk';
import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';
import { greeting } from './helpers/deep/words.ts';

export const WORKFLOW_NAME = 'outside';

const CASES: Cases = {
  tool: (ctx) => ctx.callTool('clock', 'now', { zone: 'UTC' }),

  async tool_fails(ctx) {
    const outcome = await ctx.callTool('broken', 'call', {}).catch((error: unknown) => {
      const { code, message } = error as Error & { readonly code: string };
      return { code, message };
    });
    return ctx.step('after', () => outcome);
  },

  async approval(ctx) {
    const question = { summary: 'Refund 20 EUR?', gate: 'finance', tool: 'bank.refund', args: { amount: 20 }, expires: '2h' } as const;
    const { amount } = requireApproved(await ctx.approval('sign off', question));
    return ctx.step('refund', () => amount);
  },

  async refused(ctx) {
    const answer = await ctx.approval('sign off', { summary: 'All of it?', gate: 'never' });
    try {
      return requireApproved(answer);
    } catch (error) {
      const { code, message } = error as Error & { readonly code: string };
      return { code, message };
    }
  },

  async slack(ctx) {
    const posted = await ctx.postToSlack('ops', 'It begins.');
    const updated = await ctx.updateSlack({ ...posted, text: 'It ends.' });
    return [posted.channel, updated.channel];
  },

  async log(ctx) {
    ctx.log.info('begins', { n: 1 });
    await ctx.step('one', () => 1);
    ctx.log.warn('goes on', { n: 2 });
    await ctx.step('two', () => 2);
    ctx.log.info('ends');
    return 'logged';
  },

  async prints(ctx) {
    console.log('{"type":"workflow.result","result":"not this"}');
    process.stdout.write('half a line');
    await ctx.step('one', () => {
      console.log('in a step');
      return 1;
    });
    console.info(greeting('world'));
    return 'printed';
  },
};

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
