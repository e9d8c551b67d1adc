/** The workspace: its people, channels and messages, on the clock of the test. Who may see or do what is decided elsewhere. */
import { createTables, type Stored, type Table, type Tables } from './tables.ts';

export type { Stored } from './tables.ts';

export type Json = Readonly<Record<string, unknown>>;

export interface Clock {
  /** In milliseconds since 1970. */
  now(): number;
}

export interface Channel {
  readonly channel_id: string;
  readonly team_id: string;
  readonly name: string;
  readonly is_private: boolean;
  readonly is_im?: boolean;
  readonly is_archived: boolean;
  /** Shared with another organisation (Slack Connect). */
  readonly is_ext_shared?: boolean;
  readonly members: readonly string[];
  readonly user?: string;
}

export interface User {
  readonly user_id: string;
  readonly team_id: string;
  readonly name: string;
  readonly real_name: string;
  readonly email: string;
  readonly is_bot: boolean;
}

export interface StoredFile {
  readonly file_id: string;
  readonly name: string;
  readonly mimetype: string;
  readonly size: number;
  readonly content_base64?: string;
}

export interface Message {
  readonly ts: string;
  readonly channel_id: string;
  readonly type: 'message';
  readonly subtype?: string | undefined;
  readonly user?: string | undefined;
  readonly team?: string | undefined;
  readonly bot_id?: string | undefined;
  readonly app_id?: string | undefined;
  readonly username?: string | undefined;
  readonly client_msg_id?: string | undefined;
  readonly text: string;
  readonly thread_ts?: string | undefined;
  readonly blocks?: readonly Json[] | undefined;
  readonly attachments?: readonly Json[] | undefined;
  readonly metadata?: Json | undefined;
  readonly files?: readonly StoredFile[] | undefined;
  readonly edited?: { readonly user: string; readonly ts: string } | undefined;
  readonly reply_count: number;
  readonly reply_users: readonly string[];
  readonly latest_reply?: string | undefined;
  readonly reactions: readonly { readonly name: string; readonly users: readonly string[]; readonly count: number }[];
  /** How often it was changed by chat.update or by its author. */
  readonly edits?: number | undefined;
  readonly stream?: Stream | undefined;
  /** Readers do not see it before (milliseconds): the fault "seen late". */
  readonly visible_at?: number | undefined;
}

export interface Task {
  readonly id: string;
  readonly title: string;
  readonly status: string;
  readonly details?: string | undefined;
  readonly output?: string | undefined;
  readonly sources?: readonly Json[] | undefined;
}

export interface Stream {
  readonly state: 'streaming' | 'stopped' | 'stopped by user';
  readonly mode?: 'markdown_text' | 'chunks' | undefined;
  readonly display: string;
  readonly startedAt: number;
  readonly appends: number;
  readonly plan?: string | undefined;
  readonly tasks: readonly Task[];
}

export interface Ephemeral {
  readonly ts: string;
  readonly channel: string;
  readonly user: string;
  readonly text: string;
  readonly blocks?: readonly Json[] | undefined;
  readonly thread_ts?: string | undefined;
}

export interface Token {
  readonly token: string;
  readonly token_type: 'bot' | 'app';
  readonly team_id: string;
  readonly user_id: string;
  readonly app_id: string;
  readonly bot_id?: string;
  readonly scopes: readonly string[];
}

export const TEAM = { id: 'T0HOME00001', name: 'Home', domain: 'home' } as const;
export const APP = { appId: 'A0CENTAUR01', botId: 'B0CENTAUR01', userId: 'U0CENTAUR01', name: 'centaur' } as const;

export interface World {
  readonly clock: Clock;
  readonly tables: Tables;
  readonly messages: Table<Message>;
  readonly channels: Table<Channel>;
  readonly users: Table<User>;
  readonly files: Table<StoredFile>;
  readonly tokens: Table<Token>;
  readonly ephemerals: Ephemeral[];
  /** A timestamp of Slack, later than all before. */
  nextTs(): string;
  /** How long what is written now stays unseen. */
  unseenMs: number;
}

export function createWorld(clock: Clock): World {
  const tables = createTables();
  let lastMicros = 0;
  const world: World = {
    clock,
    tables,
    messages: tables.collection('slack.messages'),
    channels: tables.collection('slack.channels'),
    users: tables.collection('slack.users'),
    files: tables.collection('slack.files'),
    tokens: tables.collection('slack.tokens'),
    ephemerals: [],
    unseenMs: 0,
    nextTs() {
      lastMicros = Math.max(Math.floor(clock.now() * 1000), lastMicros + 1);
      return `${Math.floor(lastMicros / 1e6)}.${String(lastMicros % 1e6).padStart(6, '0')}`;
    },
  };
  tables.collection('slack.teams').insert({ team_id: TEAM.id, name: TEAM.name, domain: TEAM.domain });
  tables
    .collection('slack.bots')
    .insert({ bot_id: APP.botId, app_id: APP.appId, user_id: APP.userId, name: APP.name, deleted: false, icons: {} });
  // emulate writes the messages of file shares itself: they get what Slack gives a message of a bot, and a time of our clock
  tables.onInsert<Message>('slack.messages', (row) =>
    row.team === undefined
      ? { ...row, ts: world.nextTs(), team: TEAM.id, ...(row.user === APP.userId ? { bot_id: APP.botId, app_id: APP.appId } : {}) }
      : row,
  );
  return world;
}

/** An id as Slack's look: a letter, then capitals and digits. */
export function idOf(letter: string, name: string): string {
  const word = name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '');
  return `${letter}0${word.padEnd(9, '0')}`;
}

export function addUser(world: World, name: string, options: { readonly team?: string; readonly isBot?: boolean } = {}): User {
  const { team = TEAM.id, isBot = false } = options;
  const id = isBot && name === APP.name ? APP.userId : idOf('U', name);
  if (world.users.findOneBy('user_id', id) !== undefined) throw new Error(`The test's Slack has a ${name} already.`);
  const display = name.charAt(0).toUpperCase() + name.slice(1);
  const email = `${name}@${team === TEAM.id ? 'home' : 'elsewhere'}.example`;
  const profile = { display_name: name, real_name: display, email, image_48: '', status_text: '', status_emoji: '', team };
  const row = { user_id: id, team_id: team, name, real_name: display, email, is_bot: isBot, profile, is_admin: false, deleted: false };
  return world.users.insert(row);
}

export interface ChannelSeed {
  readonly name: string;
  readonly members: readonly string[];
  readonly isPrivate?: boolean;
  readonly isShared?: boolean;
}

export function addChannel(world: World, { name, members, isPrivate = false, isShared = false }: ChannelSeed): Channel & Stored {
  const row = {
    channel_id: idOf('C', name),
    team_id: TEAM.id,
    name,
    is_private: isPrivate,
    is_archived: false,
    is_ext_shared: isShared,
    members,
    is_channel: !isPrivate,
    topic: { value: '' },
    purpose: { value: '' },
    creator: members[0],
    num_members: members.length,
  };
  return world.channels.insert(row);
}

/** The direct messages between a person and the app. */
export function directMessage(world: World, user: string): Channel & Stored {
  const found = world.channels.all().find((channel) => channel.is_im === true && channel.members.includes(user));
  if (found !== undefined) return found;
  const members = [APP.userId, user].sort();
  const row = {
    channel_id: `D0${user.slice(2)}`,
    team_id: TEAM.id,
    name: world.users.findOneBy('user_id', user)?.name ?? user,
    is_private: true,
    is_im: true,
    is_archived: false,
    members,
    user,
    is_channel: false,
    topic: { value: '' },
    purpose: { value: '' },
    creator: user,
    num_members: 2,
    last_read: {},
  };
  return world.channels.insert(row);
}

export function findMessage(world: World, channel: string, ts: string): (Message & Stored) | undefined {
  return world.messages.findBy('ts', ts).find((message) => message.channel_id === channel);
}

/** Stores it and counts it in its thread. */
export function addMessage(
  world: World,
  fields: Partial<Message> & { readonly channel_id: string; readonly text: string },
): Message & Stored {
  const row = world.messages.insert({
    ts: world.nextTs(),
    type: 'message',
    team: TEAM.id,
    reply_count: 0,
    reply_users: [],
    reactions: [],
    ...(world.unseenMs > 0 ? { visible_at: world.clock.now() + world.unseenMs } : {}),
    ...fields,
  });
  const { thread_ts: threadTs } = row;
  const parent = threadTs === undefined || threadTs === row.ts ? undefined : findMessage(world, row.channel_id, threadTs);
  if (parent !== undefined) {
    const author = row.user ?? row.bot_id ?? '';
    world.messages.update(parent.id, {
      thread_ts: parent.ts,
      reply_count: parent.reply_count + 1,
      reply_users: [...new Set([...parent.reply_users, author])],
      latest_reply: row.ts,
    });
  }
  return row;
}

export function isVisible(world: World, message: Message): boolean {
  return message.visible_at === undefined || message.visible_at <= world.clock.now();
}

/** A message as it goes over the wire, in events and answers. */
export function wireMessage(
  world: World,
  message: Message,
  { metadata = 'left out' }: { readonly metadata?: 'left out' | 'included' } = {},
): Json {
  const parent =
    message.thread_ts === undefined || message.thread_ts === message.ts
      ? undefined
      : findMessage(world, message.channel_id, message.thread_ts);
  const { user, bot_id: botId } = message;
  return clean({
    type: 'message',
    subtype: message.subtype,
    user,
    bot_id: botId,
    app_id: message.app_id,
    bot_profile: botId === APP.botId ? { id: APP.botId, app_id: APP.appId, name: APP.name, deleted: false, team_id: TEAM.id } : undefined,
    username: message.username,
    client_msg_id: message.client_msg_id,
    text: message.text,
    ts: message.ts,
    team: message.team,
    thread_ts: message.thread_ts,
    parent_user_id: parent?.user,
    blocks: blocksOnWire(message),
    attachments: message.attachments,
    files: message.files?.map(wireFile),
    upload: message.files === undefined ? undefined : true,
    edited: message.edited,
    reactions: message.reactions.length === 0 ? undefined : message.reactions,
    metadata: metadata === 'included' ? message.metadata : undefined,
    streaming_state: message.stream === undefined ? undefined : message.stream.state === 'streaming' ? 'in_progress' : 'completed',
    ...(message.reply_count === 0
      ? {}
      : {
          reply_count: message.reply_count,
          reply_users: message.reply_users,
          reply_users_count: message.reply_users.length,
          latest_reply: message.latest_reply,
          subscribed: true,
        }),
  });
}

/** docs: plan block, task card block: what a stream has shown of tasks. An edit takes it away. */
function blocksOnWire({ stream, blocks, edits = 0 }: Message): readonly Json[] | undefined {
  if (stream === undefined || stream.tasks.length === 0 || edits > 0) return blocks;
  const tasks = stream.tasks.map(({ id, title, status }) => ({ type: 'task_card', task_id: id, title, status }));
  const cards = stream.display === 'plan' ? [{ type: 'plan', title: stream.plan ?? '', tasks }] : tasks;
  return [...cards, ...(blocks ?? [])];
}

/** Without what only the emulation knows. */
function wireFile(file: StoredFile): Json {
  const { content_base64: _content, file_id: id, ...rest } = file as StoredFile & { readonly id?: number };
  return { ...rest, id, file_access: 'visible' };
}

/** Without undefined fields, as JSON leaves them out. */
export function clean(fields: Json): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
