/** What a message in Slack means, and doing it through the API. */
import { Hopeless } from '../../chat/index.ts';
import { PLATFORM, type SlackContext, threadKeyOf, userIdOf } from '../context.ts';
import type { Heard } from '../heard.ts';

/** @throws Hopeless when it can never succeed */
export async function actOnMessage({ api, self }: SlackContext, { event }: Extract<Heard, { kind: 'event' }>): Promise<void> {
  const { type, subtype, channel, ts, user, text } = event;
  if (type !== 'app_mention' && (type !== 'message' || subtype !== undefined)) return;
  if (typeof channel !== 'string' || typeof ts !== 'string' || typeof user !== 'string' || typeof text !== 'string')
    throw new Hopeless('a message without a place or a person');
  const threadTs = typeof event['thread_ts'] === 'string' ? event['thread_ts'] : ts;
  if (type === 'message' && !channel.startsWith('D') && !text.includes(`<@${self.userId}>`)) return;
  const delivery = { platform: PLATFORM, channel, thread_ts: threadTs, team: self.teamId, user, message_ts: ts };
  await api.threads.send(threadKeyOf(channel, threadTs), text.replaceAll(`<@${self.userId}>`, '').trim(), {
    executeId: `slack:${channel}:${ts}`,
    userId: userIdOf(self.teamId, user),
    delivery,
  });
}

export async function actOnTurnButton(_context: SlackContext, _heard: Extract<Heard, { kind: 'interaction' }>): Promise<void> {}

export async function stopTurn(
  { api }: SlackContext,
  { channel, threadTs }: { readonly channel: string; readonly threadTs: string; readonly user: string },
): Promise<'stopped' | 'nothing' | 'refused'> {
  const { items } = await api.threads.executions(threadKeyOf(channel, threadTs));
  const open = items.filter(({ status }) => !['completed', 'cancelled', 'failed_permanent'].includes(status));
  for (const { execution_id: id } of open) await api.threads.cancel(id);
  return open.length === 0 ? 'nothing' : 'stopped';
}

export async function statusOf({ api }: SlackContext, threadKey: string): Promise<string> {
  const { state, active_execution_id: active } = await api.threads.get(threadKey);
  return active === null ? `Nothing runs here (${state}).` : `A turn runs here: \`${active}\`.`;
}

export function helpText({ self }: SlackContext): string {
  return `Mention @${self.name} with what you want done; reply in the thread to go on.`;
}
