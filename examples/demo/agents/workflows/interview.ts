/**
 * The workflow of the third act: it puts one question after the other to an agent, in one thread, and stops at the first
 * that gets no answer. A turn is a step like any other: what it came to is stored once.
 */
import { defineWorkflow } from '@centaur/sdk';

export interface Interview {
  readonly thread: string;
  readonly harness: string;
  readonly questions: readonly { readonly name: string; readonly text: string }[];
}

export default defineWorkflow({
  name: 'interview',
  handler: async ({ thread, harness, questions }: Interview, ctx) => {
    const answers: Record<string, string> = {};
    for (const { name, text } of questions) {
      const turn = await ctx.runAgent(name, { threadKey: thread, harness, text, timeout: '2m' });
      if (turn.status !== 'completed') throw new Error(`${name}: ${turn.terminal_reason}: ${turn.error_text}`);
      answers[name] = turn.result_text;
    }
    return answers;
  },
});
