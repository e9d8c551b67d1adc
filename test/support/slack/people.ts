/** What people do in Slack. Each act is there at once, and the app hears of it. */
import { randomUUID } from 'node:crypto';
import type { Events } from './events.ts';
import { type NewFile, storeFile } from './files.ts';
import type { Entered, Interaction, Interactions } from './interactions.ts';
import { remove } from './messages.ts';
import {
  addMessage,
  APP,
  type Channel,
  directMessage,
  findMessage,
  type Json,
  type Message,
  TEAM,
  type User,
  type World,
} from './world.ts';

export interface Posted {
  readonly channel: string;
  readonly ts: string;
  /** Where answers go: its thread, or itself. */
  readonly threadTs: string;
}

export interface PostOptions {
  readonly threadTs?: string;
  readonly blocks?: readonly Json[];
  readonly files?: readonly NewFile[];
  /** A reply that is also sent to the channel. */
  readonly alsoToChannel?: 'also to channel';
}

export interface Person {
  readonly id: string;
  readonly name: string;
  /** @param channel its id or name */
  post(channel: string, text: string, options?: PostOptions): Posted;
  /** Posts a text that begins with the bot's name. */
  mention(channel: string, text: string, options?: PostOptions): Posted;
  /** Writes to the app directly. */
  message(text: string, options?: PostOptions): Posted;
  edit(channel: string, ts: string, text: string): void;
  delete(channel: string, ts: string): void;
  react(channel: string, ts: string, emoji: string): void;
  unreact(channel: string, ts: string, emoji: string): void;
  join(channel: string): void;
  /** @returns the channel of the direct messages with the app */
  openDirectMessages(): string;
  openHome(): void;
  /** Opens the assistant's container. @param from the channel they look at */
  openAssistant(from?: string): Posted;
  lookAt(thread: Posted, channel: string): void;
  click(channel: string, ts: string, actionId: string, entered?: Entered): Promise<Interaction>;
  /** Clicks what only they see. */
  clickEphemeral(channel: string, ts: string, actionId: string, entered?: Entered): Promise<Interaction>;
  clickInView(view: string, actionId: string, entered?: Entered): Promise<Interaction>;
  /** @param values block id to what is typed or chosen */
  submit(view: string, values?: Readonly<Record<string, Entered>>): Promise<Interaction>;
  close(view: string): Promise<void>;
  command(channel: string, command: string, text?: string): Promise<Interaction>;
  /** Stops a stream by Slack's own button. */
  stopStream(channel: string, ts: string): void;
}

export interface OtherBot {
  readonly botId: string;
  readonly userId: string;
  /** @param as `app`: bot_id and user, as apps of today; `bot_message`: the subtype of older ones and of incoming webhooks */
  post(channel: string, text: string, options?: { readonly threadTs?: string; readonly as?: 'app' | 'bot_message' }): Posted;
}

export function createPerson(world: World, events: Events, interactions: Interactions, user: User): Person {
  const { user_id: id, name, team_id: team } = user;
  const seen = (channel: string) => memberOf(world, channel, id);
  const own = (channel: string, ts: string) => {
    const message = findMessage(world, seen(channel).channel_id, ts);
    if (message === undefined || message.user !== id) throw new Error(`${name} did not write ${ts}.`);
    return message;
  };

  const person: Person = {
    id,
    name,
    post(where, text, { threadTs, blocks, files, alsoToChannel } = {}) {
      const channel = seen(where);
      const stored = files?.map((file) => storeFile(world, id, channel, file));
      const message = addMessage(world, {
        channel_id: channel.channel_id,
        user: id,
        team,
        text,
        client_msg_id: randomUUID(),
        thread_ts: threadTs,
        blocks: blocks ?? (text === '' ? undefined : asWritten(text)),
        files: stored,
        ...(stored === undefined ? {} : { subtype: 'file_share' }),
        ...(alsoToChannel === undefined ? {} : { subtype: 'thread_broadcast' }),
      });
      events.posted(message, 'mentions too');
      return { channel: channel.channel_id, ts: message.ts, threadTs: threadTs ?? message.ts };
    },
    mention: (channel, text, options) => person.post(channel, `<@${APP.userId}> ${text}`, options),
    message: (text, options) => person.post(person.openDirectMessages(), text, options),
    edit(channel, ts, text) {
      const before = own(channel, ts);
      const edited = { user: id, ts: world.nextTs() };
      const changes = { text, blocks: asWritten(text), edited, edits: (before.edits ?? 0) + 1 };
      events.changed(world.messages.update(before.id, changes) as Message, before);
    },
    delete: (channel, ts) => remove(world, events, own(channel, ts)),
    react(where, ts, emoji) {
      const { channel, message } = reactedTo(where, ts);
      const others = message.reactions.filter((one) => one.name !== emoji);
      const users = [...(message.reactions.find((one) => one.name === emoji)?.users ?? []), id];
      if (new Set(users).size < users.length) throw new Error(`${name} has reacted so already.`);
      world.messages.update(message.id, { reactions: [...others, { name: emoji, users, count: users.length }] });
      events.emit(reaction('reaction_added', channel, message, emoji), channel);
    },
    unreact(where, ts, emoji) {
      const { channel, message } = reactedTo(where, ts);
      const reactions = message.reactions
        .map((one) => (one.name === emoji ? { ...one, users: one.users.filter((each) => each !== id), count: one.count - 1 } : one))
        .filter((one) => one.users.length > 0);
      world.messages.update(message.id, { reactions });
      events.emit(reaction('reaction_removed', channel, message, emoji), channel);
    },
    join(where) {
      const channel = channelNamed(world, where);
      if (channel.members.includes(id)) return;
      const after = world.channels.update(channel.id, { members: [...channel.members, id] }) as Channel;
      const event_ts = world.nextTs();
      events.emit({ type: 'member_joined_channel', user: id, channel: after.channel_id, channel_type: 'C', team, event_ts }, after);
    },
    openDirectMessages: () => directMessage(world, id).channel_id,
    openHome: () =>
      events.emit({ type: 'app_home_opened', user: id, channel: person.openDirectMessages(), tab: 'home', event_ts: world.nextTs() }),
    openAssistant(from) {
      const channel = directMessage(world, id);
      const bot = { user: APP.userId, bot_id: APP.botId, app_id: APP.appId };
      const root = addMessage(world, {
        channel_id: channel.channel_id,
        ...bot,
        subtype: 'assistant_app_thread',
        text: 'New Assistant Thread',
      });
      const thread = { channel: channel.channel_id, ts: root.ts, threadTs: root.ts };
      events.emit(container('assistant_thread_started', thread, from), channel);
      return thread;
    },
    lookAt: (thread, channel) => events.emit(container('assistant_thread_context_changed', thread, channel)),
    click: (channel, ts, actionId, entered) =>
      interactions.act(user, { kind: 'message', channel: seen(channel).channel_id, ts }, actionId, entered),
    clickEphemeral: (channel, ts, actionId, entered) =>
      interactions.act(user, { kind: 'ephemeral', channel: seen(channel).channel_id, ts }, actionId, entered),
    clickInView: (view, actionId, entered) => interactions.act(user, { kind: 'view', view }, actionId, entered),
    submit: (view, values = {}) => interactions.submit(user, view, values),
    close: (view) => interactions.close(user, view),
    command: (channel, command, text = '') => interactions.command(user, seen(channel), command, text),
    stopStream(channel, ts) {
      const message = findMessage(world, seen(channel).channel_id, ts);
      if (message?.stream === undefined) throw new Error(`${ts} is no stream.`);
      world.messages.update(message.id, { stream: { ...message.stream, state: 'stopped by user' } });
    },
  };
  return person;

  function reactedTo(where: string, ts: string) {
    const channel = seen(where);
    const message = findMessage(world, channel.channel_id, ts);
    if (message === undefined) throw new Error(`There is no ${ts}.`);
    return { channel, message };
  }

  function reaction(type: string, channel: Channel, message: Message, emoji: string): Json {
    const item = { type: 'message', channel: channel.channel_id, ts: message.ts };
    return { type, user: id, reaction: emoji, item, item_user: message.user, event_ts: world.nextTs() };
  }

  function container(type: string, thread: Posted, from: string | undefined): Json {
    const context = from === undefined ? {} : { channel_id: channelNamed(world, from).channel_id, team_id: TEAM.id, enterprise_id: null };
    return {
      type,
      assistant_thread: { user_id: id, context, channel_id: thread.channel, thread_ts: thread.threadTs },
      event_ts: world.nextTs(),
    };
  }
}

export function createOtherBot(world: World, events: Events, user: User, botId: string): OtherBot {
  return {
    botId,
    userId: user.user_id,
    post(where, text, { threadTs, as = 'app' } = {}) {
      const channel = memberOf(world, where, user.user_id);
      const by = as === 'app' ? { user: user.user_id, app_id: `A${botId.slice(1)}` } : { subtype: 'bot_message', username: user.name };
      const message = addMessage(world, { channel_id: channel.channel_id, bot_id: botId, ...by, text, thread_ts: threadTs });
      events.posted(message, 'mentions too');
      return { channel: channel.channel_id, ts: message.ts, threadTs: threadTs ?? message.ts };
    },
  };
}

/** By id or name. */
export function channelNamed(world: World, name: string): Channel & { readonly id: number } {
  const found = world.channels.findOneBy('channel_id', name) ?? world.channels.findOneBy('name', name);
  if (found === undefined) throw new Error(`The test's Slack has no channel ${name}.`);
  return found;
}

function memberOf(world: World, name: string, user: string): Channel {
  const channel = channelNamed(world, name);
  if (!channel.members.includes(user)) throw new Error(`${user} is not in ${channel.name}.`);
  return channel;
}

/** A text as Slack's own client sends it: beside the text, the same as rich text. */
function asWritten(text: string): readonly Json[] {
  const elements = text
    .split(/(<@U[A-Z0-9]+>)/)
    .filter((part) => part !== '')
    .map((part) => {
      const [, user] = /^<@(U[A-Z0-9]+)>$/.exec(part) ?? [];
      return user === undefined ? { type: 'text', text: part } : { type: 'user', user_id: user };
    });
  return [{ type: 'rich_text', block_id: 'w0', elements: [{ type: 'rich_text_section', elements }] }];
}
