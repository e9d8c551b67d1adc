/**
 * Asks in a Slack channel, and goes on with what somebody replies in the thread, or reacts.
 *
 * Shows: `ctx.postToSlack`, which posts once however often its worker dies, and waiting for `slack.reply` and `slack.reaction`, which the Slack bot
 * tells of. It needs a secret SLACK_BOT_TOKEN, granted to `workflow:ask_in_slack`.
 */
import { WaitTimeoutError, defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';

interface Reply {
  readonly user: string;
  readonly text: string;
}

export default defineWorkflow({
  name: 'ask_in_slack',
  input: z.object({ channel: z.string(), question: z.string(), patience: z.string().default('8h') }),
  steps: ['ask', 'answer', 'thank', 'remind'],
  handler: async ({ channel, question, patience }, ctx) => {
    const asked = await ctx.postToSlack(channel, `${question}\nReply in this thread.`, { name: 'ask' });
    // the thread is named by where the question is
    const thread = { eventType: 'slack.reply', correlationId: `${asked.channel}:${asked.ts}` };
    try {
      const { user, text } = await ctx.waitForEvent<Reply>('answer', { ...thread, timeout: patience });
      await ctx.postToSlack(asked.channel, `Thank you, <@${user}>.`, { threadTs: asked.ts, name: 'thank' });
      return { answer: text, by: user };
    } catch (error) {
      if (!(error instanceof WaitTimeoutError)) throw error;
      await ctx.postToSlack(asked.channel, 'Nobody has answered: I go on without.', { threadTs: asked.ts, name: 'remind' });
      return { answer: null, by: null };
    }
  },
});
