/**
 * Every weekday at 8 in Berlin: a digest of what an agent finds worth knowing, posted to Slack.
 *
 * Shows: a schedule, an agent in a workflow, and `ctx.postToSlack`. It needs a secret SLACK_BOT_TOKEN, granted to `workflow:morning_digest`.
 */
import { defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';

export default defineWorkflow({
  name: 'morning_digest',
  input: z.object({
    channel: z.string(),
    task: z.string().default('In five short lines: what happened since yesterday that this team should know?'),
  }),
  steps: ['collect', 'post'],
  schedule: {
    type: 'cron',
    cron: '0 8 * * MON-FRI',
    timezone: 'Europe/Berlin',
    input: { channel: 'C0123ABCD' },
    // Put your own channel above, then set it to true
    enabled: false,
  },
  handler: async ({ channel, task }, ctx) => {
    const { result_text: text } = await ctx.agentTurn(task, { name: 'collect' });
    const posted = await ctx.postToSlack(channel, text === '' ? 'Nothing today.' : text, { name: 'post' });
    return { posted: posted.ts };
  },
});
