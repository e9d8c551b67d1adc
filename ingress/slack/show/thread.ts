/** What is in the thread itself, when nobody knows whether a call was done. */
import type { Raw } from '../heard.ts';
import type { SlackContext, SlackDelivery } from '../context.ts';
import { type OwnMessage, ownMessages } from '../own-messages.ts';
import { isOfAnswer, recoverShown, type Shown } from '../render/shown.ts';

/** So long after a call, what it did is seen. */
const SEEN_AFTER_MS = 3_000;

/** Our own messages since the one that asked. @throws as `slack.call` */
async function ownReplies(
  context: SlackContext,
  { channel, thread_ts: threadTs, message_ts: oldest }: SlackDelivery,
  signal: AbortSignal,
): Promise<OwnMessage[]> {
  const replies: OwnMessage[] = [];
  for await (const page of ownMessages(context, { channel, threadTs, oldest }, signal)) replies.push(...page);
  return replies;
}

/**
 * What of the turn is there: what is known and still is, and what is found.
 *
 * @param began when the call began of which nobody knows
 */
export async function recover(
  context: SlackContext,
  delivery: SlackDelivery,
  of: { readonly executionId: string; readonly known: Shown; readonly began: number },
  signal: AbortSignal,
): Promise<Shown> {
  const known = of.known.messages.filter((message) => message.ts !== '').map((message) => message.ts);
  for (;;) {
    const replies = await ownReplies(context, delivery, signal);
    // what may not be edited is left as it is
    const found = recoverShown(of.executionId, of.known.canEdit ? replies : replies.filter(isOfAnswer));
    const news = found.messages.filter((message) => !known.includes(message.ts));
    const isSettled = context.now() >= of.began + SEEN_AFTER_MS;
    if (news.length === 0 && !isSettled) {
      await context.slack.until(of.began + SEEN_AFTER_MS, signal);
      signal.throwIfAborted();
      continue;
    }
    const still = known.filter((ts) => replies.some((reply) => reply.ts === ts));
    const toStop = [...of.known.toStop.filter((ts) => still.includes(ts)), ...found.toStop];
    const { as, isAttached, canEdit } = of.known;
    return {
      ...found,
      as,
      isAttached,
      canEdit,
      messages: [...still.map((ts) => ({ ts, digest: '' })), ...news],
      toStop: [...new Set(toStop)],
    };
  }
}

/** Whether all of these files are there. @param began when they were being put there */
export async function hasFiles(
  context: SlackContext,
  delivery: SlackDelivery,
  { ids, began }: { readonly ids: readonly string[]; readonly began: number },
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    const replies = await ownReplies(context, delivery, signal);
    const there = new Set(
      replies.flatMap((reply) => (Array.isArray(reply.files) ? (reply.files as readonly Raw[]) : [])).map((file) => file['id']),
    );
    if (ids.every((id) => there.has(id))) return true;
    if (context.now() >= began + SEEN_AFTER_MS) return false;
    await context.slack.until(began + SEEN_AFTER_MS, signal);
    signal.throwIfAborted();
  }
}

/** Whether the message that asked has been deleted. */
export async function isAskGone(
  { slack }: SlackContext,
  { channel, thread_ts: ts, message_ts: asked }: SlackDelivery,
  signal: AbortSignal,
): Promise<boolean> {
  const args = { channel, ts, oldest: asked, latest: asked, inclusive: true, limit: 1 };
  const { messages = [] } = await slack.call<{ messages?: readonly { ts?: string; subtype?: string }[] }>('conversations.replies', args, {
    signal,
  });
  // of a parent with replies a stone is left
  return !messages.some((message) => message.ts === asked && message.subtype !== 'tombstone');
}
