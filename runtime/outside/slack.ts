/** Slack's Web API, as far as workflows post. Pure. */
import { NonRetryableError, type SlackPost } from '@centaur/sdk';

interface Message {
  readonly channel: string;
  readonly text: string;
  readonly ts?: string;
  readonly threadTs?: string;
  readonly replyBroadcast?: boolean;
  readonly blocks?: readonly unknown[];
  readonly unfurlLinks?: boolean;
  readonly unfurlMedia?: boolean;
}

/** @param key the same for every repeat of a post: Slack shows one message of it. Undefined for a change of a message. */
export function slackBody(message: Message, key: string | undefined): Record<string, unknown> {
  const { channel, text, ts, threadTs, replyBroadcast, blocks, unfurlLinks = false, unfurlMedia = false } = message;
  return {
    channel,
    text,
    ...(blocks === undefined ? {} : { blocks }),
    ...(ts === undefined ? { unfurl_links: unfurlLinks, unfurl_media: unfurlMedia } : { ts }),
    ...(threadTs === undefined ? {} : { thread_ts: threadTs }),
    ...(replyBroadcast === undefined ? {} : { reply_broadcast: replyBroadcast }),
    ...(key === undefined ? {} : { client_msg_id: key }),
  };
}

/** What trying again can help. */
const PASSING = new Set(['ratelimited', 'rate_limited', 'internal_error', 'fatal_error', 'service_unavailable', 'request_timeout']);

/** @throws Error with code SLACK_… ; NonRetryableError when trying again cannot help */
export function readAnswer(method: string, { status, body }: { readonly status: number; readonly body: unknown }): SlackPost {
  const answer = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  if (status === 200 && answer['ok'] === true && typeof answer['channel'] === 'string' && typeof answer['ts'] === 'string')
    return { channel: answer['channel'], ts: answer['ts'] };
  const error =
    typeof answer['error'] === 'string' ? answer['error'] : typeof answer['code'] === 'string' ? answer['code'] : `status_${status}`;
  const code = `SLACK_${error.toUpperCase()}`;
  const said = typeof answer['message'] === 'string' ? `: ${answer['message']}` : '';
  const message = `Slack refused ${method} with "${error}"${said}`;
  if (status === 429 || status >= 500 || PASSING.has(error)) throw Object.assign(new Error(message), { code });
  throw new NonRetryableError(message, { code });
}
