/** What the bot itself has said in a thread or a channel: read from Slack when nobody knows whether a call was done. */
import type { SlackContext } from './context.ts';

export interface OwnMessage {
  readonly ts: string;
  readonly metadata?: { readonly event_type?: unknown; readonly event_payload?: unknown };
  readonly blocks?: unknown;
  readonly files?: unknown;
}

interface Answer {
  readonly messages?: readonly (OwnMessage & { readonly user?: unknown; readonly bot_id?: unknown })[];
  readonly response_metadata?: { readonly next_cursor?: string };
}

export interface Where {
  readonly channel: string;
  /** Undefined: in the channel itself. */
  readonly threadTs?: string | undefined;
  /** The first one that counts. */
  readonly oldest: string;
}

const PAGE = 200;

/** Page by page, with the metadata. Others may write ours, so only ours are told. @throws as `slack.call` */
export async function* ownMessages(
  { slack, self }: SlackContext,
  { channel, threadTs, oldest }: Where,
  signal: AbortSignal,
): AsyncGenerator<readonly OwnMessage[]> {
  const method = threadTs === undefined ? 'conversations.history' : 'conversations.replies';
  const thread = threadTs === undefined ? {} : { ts: threadTs };
  for (let cursor: string | undefined; ;) {
    const more = cursor === undefined ? {} : { cursor };
    const args = { channel, ...thread, oldest, limit: PAGE, include_all_metadata: true, ...more };
    const { messages = [], response_metadata: next } = await slack.call<Answer>(method, args, { signal });
    yield messages.filter((message) => message.bot_id === self.botId || message.user === self.userId);
    cursor = next?.next_cursor;
    if (cursor === undefined || cursor === '') return;
  }
}
