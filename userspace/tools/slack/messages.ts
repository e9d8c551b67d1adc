import { method } from '@centaur/sdk';
import * as z from 'zod';
import { compact } from '../_shared/results.ts';
import { call, channel, nextCursor, type Paged, paging, read, ts } from './api.ts';

interface RawMessage {
  readonly ts: string;
  readonly thread_ts?: string;
  readonly user?: string;
  readonly bot_id?: string;
  readonly username?: string;
  readonly subtype?: string;
  readonly text?: string;
  readonly blocks?: readonly unknown[];
  readonly reply_count?: number;
  readonly latest_reply?: string;
  readonly reactions?: readonly { readonly name: string; readonly count: number; readonly users?: readonly string[] }[];
  readonly files?: readonly { readonly id: string; readonly name?: string; readonly mimetype?: string; readonly size?: number }[];
  readonly edited?: { readonly ts: string };
}

interface Found extends RawMessage {
  readonly channel: { readonly id: string; readonly name?: string };
  readonly permalink?: string;
}

const content = {
  text: z.string().max(40_000).optional().describe("In Slack's mrkdwn. With blocks: what notifications show"),
  markdown: z.string().max(12_000).optional().describe('In common Markdown, instead of text and blocks'),
  blocks: z
    .array(z.looseObject({ type: z.string() }))
    .max(50)
    .optional()
    .describe('Block Kit'),
};

interface Content {
  readonly text?: string | undefined;
  readonly markdown?: string | undefined;
  readonly blocks?: readonly unknown[] | undefined;
}

const hasContent = ({ text, markdown, blocks }: Content): boolean =>
  markdown === undefined ? Boolean(text) || (blocks?.length ?? 0) > 0 : text === undefined && blocks === undefined && markdown !== '';
const NEEDS_CONTENT = 'give text, blocks, or both; or markdown alone';

export const messageMethods = {
  // Whether people of other companies read along is a property of the channel: get_channel tells it, and a policy may ask for an approval.
  post_message: method({
    description: 'Posts a message to a channel or a person, or with thread_ts a reply to a message.',
    risk: 'write',
    input: z
      .strictObject({
        channel,
        ...content,
        thread_ts: ts.optional().describe('ts of the message to reply to'),
        reply_broadcast: z.boolean().default(false).describe('Shows a reply in the channel, too'),
        unfurl_links: z.boolean().optional(),
      })
      .refine(hasContent, NEEDS_CONTENT),
    async run({ markdown, ...message }, ctx) {
      const posted = await call<{ readonly channel: string; readonly ts: string }>(ctx, 'chat.postMessage', {
        ...message,
        markdown_text: markdown,
        reply_broadcast: message.reply_broadcast || undefined,
      });
      return { channel: posted.channel, ts: posted.ts, ...(await permalink(ctx, posted)) };
    },
  }),

  update_message: method({
    description: 'Replaces a message that this app has posted.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ channel, ts, ...content }).refine(hasContent, NEEDS_CONTENT),
    async run({ markdown, ...message }, ctx) {
      const updated = await call<{ readonly channel: string; readonly ts: string }>(
        ctx,
        'chat.update',
        { ...message, markdown_text: markdown },
        { repeatable: true },
      );
      return { channel: updated.channel, ts: updated.ts };
    },
  }),

  delete_message: method({
    description: 'Deletes a message that this app has posted. It cannot be brought back.',
    risk: 'destructive',
    input: z.strictObject({ channel, ts }),
    async run(input, ctx) {
      const deleted = await call<{ readonly channel: string; readonly ts: string }>(ctx, 'chat.delete', input);
      return { channel: deleted.channel, ts: deleted.ts, deleted: true };
    },
  }),

  get_history: method({
    description: 'Messages of a channel, newest first, without the replies in threads: get_replies has them.',
    risk: 'read',
    input: z.strictObject({
      channel,
      oldest: ts.optional().describe('Only messages after this ts'),
      latest: ts.optional().describe('Only messages before this ts'),
      ...paging,
    }),
    async run(input, ctx) {
      const answer = await read<Paged & { readonly messages: readonly RawMessage[] }>(ctx, 'conversations.history', input);
      return { messages: answer.messages.map(toMessage), ...nextCursor(answer) };
    },
  }),

  get_replies: method({
    description: 'A message and the replies to it, oldest first.',
    risk: 'read',
    input: z.strictObject({ channel, ts: ts.describe('ts of the message that began the thread'), ...paging }),
    async run(input, ctx) {
      const answer = await read<Paged & { readonly messages: readonly RawMessage[] }>(ctx, 'conversations.replies', input);
      return { messages: answer.messages.map(toMessage), ...nextCursor(answer) };
    },
  }),

  get_permalink: method({
    description: 'The web address of a message.',
    risk: 'read',
    input: z.strictObject({ channel, ts }),
    async run({ channel, ts }, ctx) {
      const { permalink } = await read<{ readonly permalink: string }>(ctx, 'chat.getPermalink', { channel, message_ts: ts });
      return { permalink };
    },
  }),

  search_messages: method({
    description:
      'Searches messages as a person would: `deploy failed in:#ops from:@ana after:2026-01-01`. Needs SLACK_USER_TOKEN: apps cannot search.',
    risk: 'read',
    input: z.strictObject({
      query: z.string().min(1),
      sort: z.enum(['score', 'timestamp']).default('score'),
      page: z.int().positive().default(1).describe('next_page of the answer before'),
      count: z.int().min(1).max(100).default(20),
    }),
    async run(input, ctx) {
      const { messages } = await read<{
        readonly messages: { readonly total: number; readonly matches: readonly Found[]; readonly paging?: { readonly pages: number } };
      }>(ctx, 'search.messages', input, 'SLACK_USER_TOKEN');
      return {
        total: messages.total,
        messages: messages.matches.map((found) => ({
          channel: found.channel.id,
          ...compact({ channel_name: found.channel.name, permalink: found.permalink }),
          ...toMessage(found),
        })),
        ...(input.page < (messages.paging?.pages ?? 1) ? { next_page: input.page + 1 } : {}),
      };
    },
  }),

  add_reaction: method({
    description: 'Reacts to a message with an emoji.',
    risk: 'write',
    input: z.strictObject({ channel, ts, name: emoji() }),
    async run({ channel, ts, name }, ctx) {
      await call(ctx, 'reactions.add', { channel, timestamp: ts, name });
      return { channel, ts, name };
    },
  }),

  remove_reaction: method({
    description: 'Takes a reaction of this app back.',
    risk: 'write',
    input: z.strictObject({ channel, ts, name: emoji() }),
    async run({ channel, ts, name }, ctx) {
      await call(ctx, 'reactions.remove', { channel, timestamp: ts, name });
      return { channel, ts, name, removed: true };
    },
  }),

  get_reactions: method({
    description: 'The reactions to a message, and who reacted.',
    risk: 'read',
    input: z.strictObject({ channel, ts }),
    async run({ channel, ts }, ctx) {
      const { message } = await read<{ readonly message: RawMessage }>(ctx, 'reactions.get', { channel, timestamp: ts, full: true });
      return { reactions: message.reactions ?? [] };
    },
  }),
};

function emoji(): z.ZodString {
  return z
    .string()
    .regex(/^[^:\s]+$/)
    .describe('Name of the emoji without colons: `eyes`');
}

/** Only for convenience: the message is posted, whatever becomes of its address. */
async function permalink(
  ctx: Parameters<typeof read>[0],
  { channel, ts }: { readonly channel: string; readonly ts: string },
): Promise<{ readonly permalink?: string }> {
  try {
    const { permalink } = await read<{ readonly permalink: string }>(ctx, 'chat.getPermalink', { channel, message_ts: ts });
    return { permalink };
  } catch (error) {
    ctx.log('the message is posted, but Slack did not tell its address', { error: String(error) });
    return {};
  }
}

function toMessage(raw: RawMessage): Record<string, unknown> {
  return compact({
    ts: raw.ts,
    thread_ts: raw.thread_ts === raw.ts ? undefined : raw.thread_ts,
    user: raw.user,
    bot: raw.user === undefined ? (raw.username ?? raw.bot_id) : undefined,
    subtype: raw.subtype,
    text: raw.text,
    // where the text says nothing they are all that there is
    blocks: raw.text ? undefined : raw.blocks,
    replies: raw.reply_count === 0 ? undefined : raw.reply_count,
    latest_reply: raw.latest_reply,
    reactions: raw.reactions?.map(({ name, count }) => ({ name, count })),
    files: raw.files?.map(({ id, name, mimetype, size }) => ({ id, name, mimetype, size })),
    edited: raw.edited === undefined ? undefined : true,
  });
}
