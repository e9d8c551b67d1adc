/** chat.postMessage, chat.postEphemeral, chat.update, chat.delete, and reading: conversations.replies and history. */
import { type Call, channelOf, invalid, isTrue, type Methods, needed, SlackError, textOf } from './api.ts';
import { checkMessageBlocks, tablesOf } from './blocks.ts';
import type { Events } from './events.ts';
import {
  addMessage,
  APP,
  type Channel,
  directMessage,
  findMessage,
  isVisible,
  type Json,
  type Message,
  wireMessage,
  type World,
} from './world.ts';

/** docs: "text … truncated if over 40,000 characters". */
const TEXT_MAX = 40_000;
/** docs: chat.update, msg_too_long: "the text field cannot exceed 4,000 characters". */
const UPDATE_TEXT_MAX = 4000;
/** docs: markdown_text, everywhere. */
export const MARKDOWN_MAX = 12_000;
/** docs: Message metadata: 16 kB. */
const METADATA_BYTES = 16_384;
const TRUNCATED = {
  warning: 'message_truncated',
  response_metadata: { warnings: ['message_truncated'], messages: ['[WARN] Your message was truncated but still posted'] },
};

export function messageMethods(world: World, events: Events): Methods {
  return {
    'chat.postMessage': ({ args, token }) => {
      const channel = channelToPost(world, args, token.user_id);
      const content = contentOf(args);
      const threadTs = threadOf(world, channel, args);
      const message = addMessage(world, {
        channel_id: channel.channel_id,
        ...author(),
        ...content.fields,
        thread_ts: threadTs,
        ...(isTrue(args.reply_broadcast) && threadTs !== undefined ? { subtype: 'thread_broadcast' } : {}),
      });
      events.posted(message, 'message only');
      return { channel: channel.channel_id, ts: message.ts, message: wireMessage(world, message), ...content.warning };
    },
    'chat.postEphemeral': ({ args, token }) => {
      const channel = channelOf(world, needed(args, 'channel', 'channel_not_found'), token.user_id);
      const user = needed(args, 'user', 'user_not_in_channel');
      if (!channel.members.includes(user)) throw new SlackError('user_not_in_channel');
      const { fields, warning } = contentOf(args);
      const ts = world.nextTs();
      const { text, blocks } = fields;
      const thread = textOf(args, 'thread_ts');
      world.ephemerals.push({ ts, channel: channel.channel_id, user, text, blocks, thread_ts: thread });
      return { message_ts: ts, ...warning };
    },
    'chat.update': ({ args, token }) => {
      const channel = channelOf(world, needed(args, 'channel', 'channel_not_found'), token.user_id);
      const before = findMessage(world, channel.channel_id, needed(args, 'ts', 'message_not_found'));
      if (before === undefined) throw new SlackError('message_not_found');
      if (before.bot_id !== APP.botId) throw new SlackError('cant_update_message');
      if (isStreaming(world, before)) throw new SlackError('streaming_state_conflict');
      const { fields } = contentOf(args, UPDATE_TEXT_MAX);
      const after = world.messages.update(before.id, {
        ...fields,
        // docs: with text and without blocks the old blocks go; without text they stay
        ...(args.blocks === undefined && args.text === undefined && args.markdown_text === undefined ? { blocks: before.blocks } : {}),
        ...(args.text === undefined && args.markdown_text === undefined ? { text: before.text } : {}),
        metadata: args.metadata === undefined ? before.metadata : metadataOf(args),
        edits: (before.edits ?? 0) + 1,
        // docs: an update of blocks does not show "(edited)"
        ...(args.blocks === undefined ? { edited: { user: APP.userId, ts: world.nextTs() } } : {}),
      }) as Message;
      events.changed(after, before);
      return { channel: channel.channel_id, ts: after.ts, text: after.text, message: wireMessage(world, after) };
    },
    'chat.delete': ({ args, token }) => {
      const channel = channelOf(world, needed(args, 'channel', 'channel_not_found'), token.user_id);
      const before = findMessage(world, channel.channel_id, needed(args, 'ts', 'message_not_found'));
      if (before === undefined) throw new SlackError('message_not_found');
      if (before.bot_id !== APP.botId) throw new SlackError('cant_delete_message');
      remove(world, events, before);
      return { channel: channel.channel_id, ts: before.ts };
    },
    'chat.getPermalink': ({ args, token }) => {
      const channel = channelOf(world, needed(args, 'channel', 'channel_not_found'), token.user_id);
      const ts = needed(args, 'message_ts', 'message_not_found');
      if (findMessage(world, channel.channel_id, ts) === undefined) throw new SlackError('message_not_found');
      const permalink = `https://home.slack.com/archives/${channel.channel_id}/p${ts.replace('.', '')}`;
      return { channel: channel.channel_id, permalink };
    },
    'conversations.replies': (call) => {
      const { channel, within } = readable(world, call);
      const ts = needed(call.args, 'ts');
      const root = findMessage(world, channel.channel_id, ts);
      if (root === undefined || !isVisible(world, root)) throw new SlackError('thread_not_found');
      // of a reply's own ts, Slack gives that message alone
      const replies = root.thread_ts !== undefined && root.thread_ts !== ts ? [] : within((row) => row.thread_ts === ts && row.ts !== ts);
      const { page, more, cursor } = paged(replies.sort(byTs), call.args);
      // the parent leads every page
      return { messages: wire(world, [root, ...page], call.args), has_more: more, response_metadata: { next_cursor: cursor } };
    },
    'conversations.history': (call) => {
      const { within } = readable(world, call);
      const tops = within((row) => row.thread_ts === undefined || row.thread_ts === row.ts || row.subtype === 'thread_broadcast');
      const { page, more, cursor } = paged(tops.sort(byTs).toReversed(), call.args);
      return { messages: wire(world, page, call.args), has_more: more, pin_count: 0, response_metadata: { next_cursor: cursor } };
    },
  };
}

/** What is written by the app. */
export function author(): Pick<Message, 'user' | 'bot_id' | 'app_id'> {
  return { user: APP.userId, bot_id: APP.botId, app_id: APP.appId };
}

/** Where to post: a channel by id, or a person by id, which is the direct messages with them. */
export function channelToPost(world: World, args: Json, user: string): Channel {
  const id = needed(args, 'channel', 'channel_not_found');
  if (id.startsWith('U') && world.users.findOneBy('user_id', id) !== undefined) return directMessage(world, id);
  const channel = channelOf(world, id, user);
  if (channel.is_archived) throw new SlackError('is_archived');
  return channel;
}

/** A reply goes to a parent that is there: to anything else real Slack's answer is not known to us, so it is refused. */
export function threadOf(world: World, channel: Channel, args: Json): string | undefined {
  const ts = textOf(args, 'thread_ts');
  if (ts === undefined) return undefined;
  const parent = findMessage(world, channel.channel_id, ts);
  if (parent === undefined || (parent.thread_ts !== undefined && parent.thread_ts !== ts)) throw new SlackError('cannot_reply_to_message');
  return ts;
}

/** Its text and blocks, when they keep the limits. @param most characters of text that are taken whole; default: more is cut off */
export function contentOf(
  args: Json,
  most?: number,
): { readonly fields: Pick<Message, 'text' | 'blocks' | 'attachments' | 'metadata'>; readonly warning: Json } {
  const markdown = textOf(args, 'markdown_text');
  const given = textOf(args, 'text') ?? '';
  if (markdown !== undefined && (given !== '' || args.blocks !== undefined)) throw new SlackError('markdown_text_conflict');
  if ((markdown?.length ?? 0) > MARKDOWN_MAX) throw new SlackError('msg_too_long');
  if (most !== undefined && given.length > most) throw new SlackError('msg_too_long');
  const blocks = blocksOf(args.blocks);
  const attachments = attachmentsOf(args.attachments);
  if (given === '' && markdown === undefined && (blocks?.length ?? 0) === 0 && (attachments?.length ?? 0) === 0)
    throw new SlackError('no_text');
  const text = (markdown ?? given).slice(0, TEXT_MAX);
  return {
    fields: { text, blocks, attachments, metadata: metadataOf(args) },
    warning: given.length > TEXT_MAX ? TRUNCATED : {},
  };
}

export function blocksOf(value: unknown): readonly Json[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new SlackError('invalid_blocks_format');
  const problems = checkMessageBlocks(value);
  if (problems.length > 0) throw invalid('invalid_blocks', problems);
  // docs: table block: "only one table per message", and the error that says so
  if (tablesOf(value as readonly Json[]).length > 1) throw invalid('invalid_attachments', ['only_one_table_allowed']);
  // Slack gives every block an id
  return (value as readonly Json[]).map((block, place) => ({ ...block, block_id: block.block_id ?? `b${place}` }));
}

function attachmentsOf(value: unknown): readonly Json[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new SlackError('invalid_attachments');
  if (value.length > 100) throw new SlackError('too_many_attachments');
  for (const attachment of value as readonly Json[]) blocksOf(attachment.blocks);
  return value as readonly Json[];
}

function metadataOf({ metadata }: Json): Json | undefined {
  if (metadata === undefined || metadata === null) return undefined;
  if (typeof metadata !== 'object' || Array.isArray(metadata)) throw new SlackError('invalid_metadata_format');
  const { event_type: type, event_payload: payload } = metadata as Json;
  if (Object.keys(metadata).length === 0) return undefined;
  if (typeof type !== 'string' || typeof payload !== 'object' || payload === null) throw new SlackError('invalid_metadata_format');
  if (JSON.stringify(metadata).length > METADATA_BYTES) throw new SlackError('metadata_too_large');
  return metadata as Json;
}

/** A parent with replies leaves a stone; others go. */
export function remove(world: World, events: Events, before: Message & { readonly id: number }): void {
  if (before.reply_count > 0) {
    const stone = { subtype: 'tombstone', text: 'This message was deleted.', user: 'USLACKBOT', bot_id: undefined, app_id: undefined };
    const after = world.messages.update(before.id, { ...stone, blocks: undefined, files: undefined, metadata: undefined }) as Message;
    events.changed(after, before);
    return;
  }
  world.messages.delete(before.id);
  const parent = before.thread_ts === undefined ? undefined : findMessage(world, before.channel_id, before.thread_ts);
  if (parent !== undefined) world.messages.update(parent.id, { reply_count: Math.max(0, parent.reply_count - 1) });
  events.deleted(before);
}

/** A stream dies some five minutes after its start (measured by others, not documented). */
const STREAM_MS = 300_000;

export function isStreaming(world: World, { stream }: Message): boolean {
  return stream?.state === 'streaming' && world.clock.now() < stream.startedAt + STREAM_MS;
}

const byTs = (one: Message, other: Message) => (one.ts < other.ts ? -1 : 1);

function wire(world: World, rows: readonly Message[], args: Json): Json[] {
  const metadata = isTrue(args.include_all_metadata) ? 'included' : 'left out';
  return rows.map((row) => wireMessage(world, row, { metadata }));
}

/** The channel a call reads, and what of it lies between oldest and latest. */
function readable(world: World, { args, token }: Call) {
  const id = needed(args, 'channel', 'channel_not_found');
  const channel = world.channels.findOneBy('channel_id', id);
  if (channel === undefined) throw new SlackError('channel_not_found');
  const scope = channel.is_im === true ? 'im:history' : channel.is_private ? 'groups:history' : 'channels:history';
  if (!token.scopes.includes(scope)) throw new SlackError('missing_scope', { needed: scope, provided: token.scopes.join(',') });
  channelOf(world, id, token.user_id);
  const oldest = textOf(args, 'oldest') ?? '0';
  const latest = textOf(args, 'latest');
  const inclusive = isTrue(args.inclusive);
  const inRange = ({ ts }: Message) =>
    (ts > oldest || (inclusive && ts === oldest)) && (latest === undefined || ts < latest || (inclusive && ts === latest));
  const within = (fits: (row: Message) => boolean) =>
    world.messages.findBy('channel_id', id).filter((row) => isVisible(world, row) && inRange(row) && fits(row));
  return { channel, within };
}

/** docs: cursor pagination; `limit` up to 1000, by default 100 (replies: 1000). */
function paged(
  rows: readonly Message[],
  args: Json,
): { readonly page: readonly Message[]; readonly more: boolean; readonly cursor: string } {
  const limit = args.limit === undefined ? (args.ts === undefined ? 100 : 1000) : Number(args.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) throw new SlackError('invalid_limit');
  const cursor = textOf(args, 'cursor');
  const after = cursor === undefined ? undefined : Buffer.from(cursor, 'base64').toString();
  const from = after === undefined ? 0 : rows.findIndex((row) => `next_ts:${row.ts}` === after);
  if (from < 0) throw new SlackError('invalid_cursor');
  const page = rows.slice(from, from + limit);
  const next = rows[from + limit];
  return { page, more: next !== undefined, cursor: next === undefined ? '' : Buffer.from(`next_ts:${next.ts}`).toString('base64') };
}
