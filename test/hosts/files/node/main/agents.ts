import { type Cases, type Choice, type Context, choose } from './helpers/context.ts';

export const WORKFLOW_NAME = 'agents';

const CASES: Cases = {
  turn: async (ctx) => (await ctx.agentTurn('What now?', { threadKey: 'crew', metadata: { of: 'a test' } })).result_text,

  async start(ctx) {
    const agent = await ctx.startAgent('writer', { text: 'Write.' });
    const meanwhile = await ctx.step('meanwhile', () => 'meanwhile');
    return [(await ctx.waitForAgent('writer.end', agent)).result_text, meanwhile];
  },

  run: async (ctx) => (await ctx.runAgent('summary', { text: 'Sum it up.' })).result_text,

  twice: async (ctx) => [(await ctx.agentTurn('One.')).result_text, (await ctx.agentTurn('Two.')).result_text],

  async many(ctx) {
    const agents = ['a', 'b', 'c'].map((name) => ({ name, text: `You are ${name}.` }));
    const { results, succeeded, failed } = await ctx.runAgents(agents, { maxConcurrency: 2 });
    return { texts: results.map(({ result_text: text }) => text), succeeded, failed };
  },
};

export const handler = (input: Choice, ctx: Context): unknown => choose(CASES, input, ctx);
