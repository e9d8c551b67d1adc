/** What was said in Slack too late for a turn, as a turn of its own. */
import type { AskFor } from '../../chat/index.ts';
import type { TurnNote } from '../act/thread.ts';
import { placeOfKey, PLATFORM, type SlackContext, type SlackDelivery } from '../context.ts';

export const askForUnheard =
  ({ settings }: SlackContext, { channel, thread_ts }: SlackDelivery): AskFor =>
  ({ said, userId }) => {
    const { channel: of, threadTs: ts } = placeOfKey(said) ?? {};
    const [, team, user] = /^slack:([A-Z0-9]+):([A-Z0-9]+)$/.exec(userId) ?? [];
    if (of !== channel || ts === undefined || team === undefined || user === undefined) return undefined;
    const by = settings.rules.bots.includes(user) ? 'bot' : 'person';
    const note: TurnNote = { ts, by, user, edited: null, files: [], effort: null, chosen: false };
    const delivery: SlackDelivery = { platform: PLATFORM, channel, thread_ts, team, user, message_ts: ts };
    return { executeId: `${said}:unheard`, userId, delivery: { ...delivery }, metadata: { slack: note } };
  };
