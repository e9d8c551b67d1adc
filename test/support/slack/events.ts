/** Events of the Events API: which of them the app gets, and the envelope they come in (docs.slack.dev: Events API). */
import { type Delivery, newEventId } from './delivery.ts';
import { APP, type Channel, clean, type Json, type Message, type StoredFile, TEAM, wireMessage, type World } from './world.ts';

export const SUBSCRIPTIONS = [
  'app_home_opened',
  'app_mention',
  'app_uninstalled',
  'assistant_thread_context_changed',
  'assistant_thread_started',
  'channel_created',
  'member_joined_channel',
  'message.channels',
  'message.groups',
  'message.im',
  'reaction_added',
  'reaction_removed',
  'tokens_revoked',
];

export interface Events {
  /** Tells the app, when it has subscribed and is in the channel. */
  emit(event: Json, channel?: Channel): void;
  /** Of a message that is new. @param mentionsToo also as app_mention, when it has one */
  posted(message: Message, mentionsToo: 'mentions too' | 'message only'): void;
  changed(after: Message, before: Message): void;
  deleted(before: Message): void;
}

export function createEvents(world: World, delivery: Delivery, subscriptions: readonly string[]): Events {
  const emit: Events['emit'] = (event, channel) => {
    if (!subscriptions.includes(subscriptionOf(event, channel))) return;
    if (channel !== undefined && !channel.members.includes(APP.userId)) return;
    delivery.event(envelope(event, channel));
  };
  const channelOf = (message: Message) => world.channels.findOneBy('channel_id', message.channel_id) as Channel;

  return {
    emit,
    posted(message, mentionsToo) {
      const channel = channelOf(message);
      const files = channel.is_ext_shared === true && message.files !== undefined ? { files: message.files.map(toAskFor) } : {};
      const event = { ...wireMessage(world, message), channel: channel.channel_id, event_ts: message.ts, ...foreign(message), ...files };
      emit({ ...event, channel_type: typeOf(channel) }, channel);
      // in direct messages there is no app_mention (docs: app_mention event)
      if (mentionsToo === 'mentions too' && mentionsApp(message.text) && channel.is_im !== true)
        emit({ ...event, type: 'app_mention' }, channel);
    },
    changed(after, before) {
      const channel = channelOf(after);
      const now = world.nextTs();
      const about = { channel: channel.channel_id, ts: now, event_ts: now, channel_type: typeOf(channel), hidden: true };
      const messages = { message: wireMessage(world, after), previous_message: wireMessage(world, before) };
      emit({ type: 'message', subtype: 'message_changed', ...about, ...messages }, channel);
      // somebody who edits a mention in, mentions
      if (after.user !== APP.userId && mentionsApp(after.text) && !mentionsApp(before.text) && channel.is_im !== true)
        emit({ ...wireMessage(world, after), type: 'app_mention', channel: channel.channel_id, event_ts: now }, channel);
    },
    deleted(before) {
      const channel = channelOf(before);
      const now = world.nextTs();
      const about = { channel: channel.channel_id, ts: now, event_ts: now, channel_type: typeOf(channel), hidden: true };
      const gone = { deleted_ts: before.ts, previous_message: wireMessage(world, before) };
      emit({ type: 'message', subtype: 'message_deleted', ...about, ...gone }, channel);
    },
  };

  function envelope(event: Json, channel: Channel | undefined): Json {
    return {
      token: 'deprecated',
      team_id: TEAM.id,
      context_team_id: TEAM.id,
      context_enterprise_id: null,
      api_app_id: APP.appId,
      event: clean(event),
      type: 'event_callback',
      event_id: newEventId(),
      event_time: Math.floor(world.clock.now() / 1000),
      authorizations: [{ enterprise_id: null, team_id: TEAM.id, user_id: APP.userId, is_bot: true, is_enterprise_install: false }],
      is_ext_shared_channel: channel?.is_ext_shared === true,
      event_context: `4-${newEventId()}`,
    };
  }
}

export function mentionsApp(text: string): boolean {
  return text.includes(`<@${APP.userId}>`);
}

/** Of somebody of another organisation (docs: Slack Connect). */
function foreign(message: Message): Json {
  return message.team === undefined || message.team === TEAM.id ? {} : { user_team: message.team, source_team: message.team };
}

/** docs: Slack Connect, "file_access: check_file_info": what the file is, files.info says. */
function toAskFor({ file_id: id }: StoredFile): Json {
  return { id, file_access: 'check_file_info' };
}

function typeOf(channel: Channel): 'im' | 'group' | 'channel' {
  if (channel.is_im === true) return 'im';
  return channel.is_private ? 'group' : 'channel';
}

function subscriptionOf(event: Json, channel: Channel | undefined): string {
  if (event.type !== 'message' || channel === undefined) return String(event.type);
  return { im: 'message.im', group: 'message.groups', channel: 'message.channels' }[typeOf(channel)];
}
