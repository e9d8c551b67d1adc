/** What a person sees in Slack. */
import type { Assistant, AssistantThread } from './assistant.ts';
import { isStreaming } from './messages.ts';
import { transcribe } from './transcript.ts';
import type { View, Views } from './views.ts';
import { type Ephemeral, findMessage, isVisible, type Json, type Message, type Task, type World } from './world.ts';

export interface SeenMessage {
  readonly ts: string;
  readonly channel: string;
  readonly threadTs: string | undefined;
  /** The user's or the bot's id. */
  readonly by: string;
  readonly subtype: string | undefined;
  readonly text: string;
  readonly blocks: readonly Json[];
  /** Whom it calls: user ids, `channel`, `here`, `everyone` or `subteam^…`, in its text or its blocks. */
  readonly mentions: readonly string[];
  readonly files: readonly { readonly name: string; readonly mimetype: string; readonly content: Buffer }[];
  /** How often its content changed after it was there. */
  readonly edits: number;
  /** Whether it says "(edited)". */
  readonly isMarkedEdited: boolean;
  readonly reactions: Readonly<Record<string, readonly string[]>>;
  readonly metadata: Json | undefined;
  readonly stream:
    | {
        /** `died`: nobody stopped it, and Slack did. */
        readonly state: 'streaming' | 'stopped' | 'stopped by user' | 'died';
        readonly display: string;
        readonly appends: number;
        readonly plan: string | undefined;
        readonly tasks: readonly Task[];
      }
    | undefined;
}

export interface Seen {
  message(channel: string, ts: string): SeenMessage | undefined;
  /** The parent and its replies, oldest first. */
  thread(channel: string, ts: string): readonly SeenMessage[];
  /** The same as text. */
  transcript(channel: string, ts: string): string;
  /** All messages of a channel, threads among them, oldest first. */
  channel(channel: string): readonly SeenMessage[];
  /** Only visible to them. */
  ephemerals(user: string): readonly Ephemeral[];
  /** The one on top last. */
  modals(user: string): readonly View[];
  home(user: string): View | undefined;
  assistant(channel: string, threadTs: string): AssistantThread;
}

export function createSeen(world: World, views: Views, assistant: Assistant): Seen {
  const see = (message: Message): SeenMessage => {
    const { stream } = message;
    return {
      ts: message.ts,
      channel: message.channel_id,
      threadTs: message.thread_ts,
      by: message.user ?? message.bot_id ?? '',
      subtype: message.subtype,
      text: message.text,
      blocks: message.blocks ?? [],
      mentions: mentionsIn([message.text, message.blocks ?? [], message.stream?.tasks ?? []]),
      files: (message.files ?? []).map(({ name, mimetype, content_base64: content = '' }) => ({
        name,
        mimetype,
        content: Buffer.from(content, 'base64'),
      })),
      edits: message.edits ?? 0,
      isMarkedEdited: message.edited !== undefined,
      reactions: Object.fromEntries(message.reactions.map(({ name, users }) => [name, users])),
      metadata: message.metadata,
      stream:
        stream === undefined
          ? undefined
          : {
              state: stream.state === 'streaming' && !isStreaming(world, message) ? 'died' : stream.state,
              display: stream.display,
              appends: stream.appends,
              plan: stream.plan,
              tasks: stream.tasks,
            },
    };
  };
  const of = (channel: string, fits: (row: Message) => boolean) =>
    world.messages
      .findBy('channel_id', channel)
      .filter((row) => isVisible(world, row) && fits(row))
      .sort((one, other) => (one.ts < other.ts ? -1 : 1))
      .map(see);

  const thread = (channel: string, ts: string) => of(channel, (row) => row.ts === ts || row.thread_ts === ts);
  const nameOf = (id: string) => world.users.findOneBy('user_id', id)?.name ?? id;

  return {
    message(channel, ts) {
      const found = findMessage(world, channel, ts);
      return found === undefined || !isVisible(world, found) ? undefined : see(found);
    },
    thread,
    transcript: (channel, ts) => transcribe(thread(channel, ts), nameOf),
    channel: (channel) => of(channel, () => true),
    ephemerals: (user) => world.ephemerals.filter((one) => one.user === user),
    modals: (user) => views.modals(user),
    home: (user) => views.home(user),
    assistant: (channel, ts) => assistant.see(channel, ts),
  };
}

/** docs: Formatting message text, "Mentioning users", "Using special mentions". Plain text in blocks calls nobody. */
function mentionsIn(part: unknown): string[] {
  if (typeof part === 'string')
    return [...part.matchAll(/<(?:@([UW][A-Z0-9]+)|!(channel|here|everyone|subteam\^[A-Z0-9]+))[|>]/g)].map(
      (found) => found[1] ?? found[2] ?? '',
    );
  if (Array.isArray(part)) return [...new Set(part.flatMap(mentionsIn))];
  if (typeof part !== 'object' || part === null) return [];
  const { type, user_id: user, range } = part as { readonly type?: string; readonly user_id?: string; readonly range?: string };
  if (type === 'user') return [user ?? ''];
  if (type === 'broadcast') return [range ?? ''];
  if (type === 'plain_text' || type === 'raw_text' || type === 'text') return [];
  return [...new Set(Object.values(part).flatMap(mentionsIn))];
}
