/**
 * chat.startStream, appendStream and stopStream (docs.slack.dev: their pages). A stream is a message that grows: of text
 * (`markdown_text`) or of chunks (text, tasks, a plan), never of both.
 */
import { channelOf, invalid, type Methods, needed, SlackError, textOf } from './api.ts';
import type { Events } from './events.ts';
import { author, blocksOf, channelToPost, isStreaming, MARKDOWN_MAX, threadOf } from './messages.ts';
import { list, object, oneOf, text, typed } from './shapes.ts';
import { addMessage, findMessage, type Json, type Message, type Stored, type Stream, type Task, wireMessage, type World } from './world.ts';

/** "msg_blocks_too_many: blocks are limited to 50 per message": each task is a card, and a card a block. */
const CARDS_MAX = 50;
/** Text and cards together, in bytes of UTF-8, details and output counted twice: what others measured to be refused above. */
const WEIGHT_MAX = 10_500;

const source = object({ url: text(3000) }, { text: text(255) });
/** docs: fields of tasks and plans: 256 characters. */
const short = text(256);
const CHUNKS = list(
  typed({
    markdown_text: object({ text: text(MARKDOWN_MAX) }),
    task_update: object(
      { id: short, title: short },
      {
        status: oneOf('pending', 'in_progress', 'complete', 'error'),
        details: short,
        output: short,
        sources: list(typed({ url: source }), 50, 0),
      },
    ),
    plan_update: object({ title: short }),
  }),
  100,
  // Slack's SDK ends a stream with an empty list
  0,
);

type Chunk =
  | { readonly type: 'markdown_text'; readonly text: string }
  | ({ readonly type: 'task_update' } & Omit<Task, 'status'> & { readonly status?: string })
  | { readonly type: 'plan_update'; readonly title: string };

export function streamMethods(world: World, events: Events): Methods {
  return {
    'chat.startStream': ({ args, token }) => {
      const channel = channelToPost(world, args, token.user_id);
      needed(args, 'thread_ts');
      const threadTs = threadOf(world, channel, args);
      const recipient = textOf(args, 'recipient_user_id');
      if (channel.is_im !== true) {
        if (textOf(args, 'recipient_team_id') === undefined) throw new SlackError('missing_recipient_team_id');
        if (recipient === undefined) throw new SlackError('missing_recipient_user_id');
      }
      if (recipient !== undefined && world.users.findOneBy('user_id', recipient) === undefined) throw new SlackError('user_not_found');
      const display = textOf(args, 'task_display_mode') ?? 'timeline';
      if (!['timeline', 'plan', 'dense'].includes(display)) throw new SlackError('invalid_arguments');
      const empty: Stream = { state: 'streaming', display, startedAt: world.clock.now(), appends: 0, tasks: [] };
      const { text: written, stream } = grown({ text: '', stream: empty }, args);
      const at = { channel_id: channel.channel_id, ...author(), thread_ts: threadTs };
      const message = addMessage(world, { ...at, text: written, stream: { ...stream, appends: 0 } });
      events.posted(message, 'message only');
      return { channel: channel.channel_id, ts: message.ts };
    },
    'chat.appendStream': ({ args, token }) => {
      const before = streaming(args, token.user_id);
      if (args.markdown_text === undefined && (args.chunks === undefined || isEmpty(args.chunks)))
        throw new SlackError('markdown_text_or_chunks_required');
      world.messages.update(before.id, grown(before, args));
      return { channel: before.channel_id, ts: before.ts };
    },
    'chat.stopStream': ({ args, token }) => {
      const before = streaming(args, token.user_id);
      const after = grown(before, args);
      const blocks = blocksOf(args.blocks);
      const message = world.messages.update(before.id, {
        text: after.text,
        stream: { ...after.stream, state: 'stopped' },
        ...(blocks === undefined ? {} : { blocks }),
        ...(args.metadata === undefined ? {} : { metadata: args.metadata as Json }),
      }) as Message;
      events.changed(message, before);
      return { channel: before.channel_id, ts: before.ts, message: wireMessage(world, message) };
    },
  };

  function streaming(args: Json, user: string): Message & Stored & { readonly stream: Stream } {
    const channel = channelOf(world, needed(args, 'channel', 'channel_not_found'), user);
    const message = findMessage(world, channel.channel_id, needed(args, 'ts', 'message_not_found'));
    if (message === undefined) throw new SlackError('message_not_found');
    if (message.bot_id !== author().bot_id) throw new SlackError('message_not_owned_by_app');
    if (message.stream?.state === 'stopped by user') throw new SlackError('stopped_by_user');
    if (message.stream === undefined || !isStreaming(world, message)) throw new SlackError('message_not_in_streaming_state');
    return { ...message, stream: message.stream };
  }
}

/** The message with what the call adds. */
function grown(
  { text: before, stream }: { readonly text: string; readonly stream: Stream },
  args: Json,
): { readonly text: string; readonly stream: Stream } {
  const { markdown_text: markdown, chunks } = args;
  if (markdown !== undefined && chunks !== undefined) throw new SlackError('cannot_provide_both_markdown_text_and_chunks');
  if (markdown === undefined && (chunks === undefined || isEmpty(chunks))) return { text: before, stream };
  const mode = markdown === undefined ? 'chunks' : 'markdown_text';
  if (stream.mode !== undefined && stream.mode !== mode) throw new SlackError('streaming_mode_mismatch');
  const added = markdown === undefined ? readChunks(chunks) : [{ type: 'markdown_text' as const, text: readMarkdown(markdown) }];

  let whole = before;
  let { plan } = stream;
  const tasks = new Map(stream.tasks.map((task) => [task.id, task]));
  for (const chunk of added) {
    if (chunk.type === 'markdown_text') whole += chunk.text;
    else if (chunk.type === 'plan_update') plan = chunk.title;
    else {
      const { type: _type, ...fields } = chunk;
      const old = tasks.get(fields.id);
      tasks.set(fields.id, { ...old, ...fields, status: fields.status ?? old?.status ?? 'pending' });
    }
  }
  const after: Stream = {
    ...stream,
    mode,
    appends: stream.appends + 1,
    tasks: [...tasks.values()],
    ...(plan === undefined ? {} : { plan }),
  };
  if (whole.length > MARKDOWN_MAX) throw new SlackError('msg_too_long');
  if (after.tasks.length > CARDS_MAX) throw new SlackError('msg_blocks_too_many');
  if (whole !== '' && after.tasks.length > 0 && weight(whole, after) > WEIGHT_MAX) throw new SlackError('msg_too_long');
  return { text: whole, stream: after };
}

function isEmpty(chunks: unknown): boolean {
  return Array.isArray(chunks) && chunks.length === 0;
}

function readMarkdown(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw new SlackError('no_text');
  return value;
}

function readChunks(value: unknown): readonly Chunk[] {
  const problems = CHUNKS(value, '/chunks');
  if (problems.length > 0) throw invalid('invalid_chunks', problems);
  return value as readonly Chunk[];
}

function weight(whole: string, { tasks, plan = '' }: Stream): number {
  const bytes = (part: string | undefined) => Buffer.byteLength(part ?? '');
  return tasks.reduce(
    (sum, { title, details, output }) => sum + bytes(title) + 2 * (bytes(details) + bytes(output)),
    bytes(whole) + bytes(plan),
  );
}
