/** Slack's Web API, as the methods of this tool use it. */
import { secret, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { apiBase, createRest } from '../_shared/rest.ts';

export const API = apiBase('SLACK_API_URL', 'https://slack.com/api');

const send = createRest({
  name: 'Slack',
  base: API,
  headers: () => ({}),
  // Slack's own failures come with 200; what is left is 429 and what went wrong on the way
  explain: (_status, data) => (hasError(data) ? { message: data.error } : undefined),
});

interface Failed {
  readonly ok: false;
  readonly error: string;
  readonly needed?: string;
  readonly response_metadata?: { readonly messages?: readonly string[] };
}

/** What every list answers. */
export interface Paged {
  readonly response_metadata?: { readonly next_cursor?: string };
}

export interface CallOptions {
  /** Default SLACK_BOT_TOKEN. */
  readonly token?: string;
  /** Sent twice it does no more than once. */
  readonly repeatable?: boolean;
}

/**
 * Calls one method. Arguments go as a form, which every method of Slack takes; what has a structure goes as JSON in a field.
 *
 * @throws ToolFailure with Slack's own error in capitals as code: `CHANNEL_NOT_FOUND`
 */
export async function call<T>(
  ctx: ToolContext,
  method: string,
  args: Readonly<Record<string, unknown>> = {},
  { token = 'SLACK_BOT_TOKEN', repeatable = false }: CallOptions = {},
): Promise<T> {
  const { data } = await send<T | Failed>(ctx, {
    method: 'POST',
    path: `/${method}`,
    form: toForm(args),
    headers: { authorization: `Bearer ${secret(token)}` },
    repeatable,
  });
  if (typeof data !== 'object' || data === null) throw new ToolFailure('UNEXPECTED', 'Slack: the answer is no JSON.');
  if (hasError(data)) throw failureOf(data, token);
  return data;
}

/** For methods that change nothing. */
export async function read<T>(ctx: ToolContext, method: string, args?: Readonly<Record<string, unknown>>, token?: string): Promise<T> {
  return call<T>(ctx, method, args, { repeatable: true, ...(token === undefined ? {} : { token }) });
}

export function nextCursor({ response_metadata: more }: Paged): { readonly next_cursor?: string } {
  return more?.next_cursor ? { next_cursor: more.next_cursor } : {};
}

export const channel = z
  .string()
  .regex(/^[A-Z][A-Z0-9]+$/)
  .describe('Id of the channel, `C…`; list_channels tells it. For a direct message the id of the user, `U…`');
export const user = z
  .string()
  .regex(/^[A-Z][A-Z0-9]+$/)
  .describe('Id of the user, `U…` or `W…`');
export const ts = z
  .string()
  .regex(/^\d+\.\d+$/)
  .describe('ts of the message');
export const paging = {
  cursor: z.string().min(1).optional().describe('next_cursor of the answer before'),
  limit: z.int().min(1).max(200).default(50),
};

function toForm(args: Readonly<Record<string, unknown>>): URLSearchParams {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(args)) {
    if (value === undefined) continue;
    form.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  return form;
}

function hasError(data: unknown): data is Failed {
  return typeof data === 'object' && data !== null && (data as { ok?: unknown }).ok === false && typeof (data as Failed).error === 'string';
}

/** Slack says in one word what is wrong; this is what can be done about it. */
const ADVICE: Readonly<Record<string, string>> = {
  channel_not_found: 'there is no such channel, or the app is not in it; list_channels shows those it sees',
  not_in_channel: 'somebody has to invite the app to the channel first: /invite',
  is_archived: 'the channel is archived',
  message_not_found: 'there is no message with this ts in this channel',
  thread_not_found: 'there is no message with this ts in this channel',
  cant_update_message: 'apps change only their own messages',
  cant_delete_message: 'apps delete only their own messages',
  users_not_found: 'nobody in the workspace has this address',
  user_not_found: 'there is no such user; list_users shows them',
  already_reacted: 'the app has reacted so already',
  no_reaction: 'the app has not reacted so',
  invalid_name: 'Slack has no emoji of this name',
  msg_too_long: 'the text is too long: at most 40,000 characters',
  no_text: 'a message needs text or blocks',
  invalid_blocks: 'the blocks are not as Block Kit wants them',
  expired_trigger_id: 'trigger ids are good for three seconds',
  file_not_found: 'there is no such file, or it was deleted',
};

const ACCESS = new Set([
  'invalid_auth',
  'not_authed',
  'account_inactive',
  'token_revoked',
  'token_expired',
  'no_permission',
  'not_allowed_token_type',
]);
const LATER = new Set(['ratelimited', 'rate_limited', 'service_unavailable', 'team_added_to_org']);

function failureOf({ error, needed, response_metadata: more }: Failed, token: string): ToolFailure {
  if (error === 'missing_scope')
    return new ToolFailure(
      'MISSING_SCOPE',
      `Slack: ${token} lacks the scope ${needed ?? ''}: add it to the app and install the app again.`,
    );
  if (ACCESS.has(error)) return new ToolFailure('UNAUTHORIZED', `Slack: ${error}. ${token} is wrong, has ended, or is of the wrong kind.`);
  const details = more?.messages?.length ? ` (${more.messages.join('; ')})` : '';
  const advice = ADVICE[error];
  const code = error === 'ratelimited' || error === 'rate_limited' ? 'RATE_LIMITED' : error.toUpperCase();
  return new ToolFailure(code, `Slack: ${error}${details}${advice === undefined ? '' : `: ${advice}`}.`, { retryable: LATER.has(error) });
}
