/** The assistant's threads: status, title, prompts (docs.slack.dev: assistant.threads.*). */
import { channelOf, invalid, type Methods, needed, SlackError } from './api.ts';
import type { Events } from './events.ts';
import { count, list, object, text } from './shapes.ts';
import { APP, findMessage, type Json, type Message, type Stored, type World } from './world.ts';

/** docs: "a two minute timeout applies … if no message has been sent". */
const STATUS_MS = 120_000;
/** Not documented; what others found. */
const STATUS_MAX = 50;
const PROMPTS = list(object({ title: text(255), message: text(3000) }, { id: count }), 4);
const LOADING = list(text(255), 10, 0);

export interface AssistantThread {
  readonly status: string;
  readonly loadingMessages: readonly string[];
  readonly title: string | undefined;
  readonly prompts: readonly { readonly title: string; readonly message: string }[];
}

interface Kept extends AssistantThread {
  /** When the status was set, in milliseconds. */
  readonly at: number;
}

const EMPTY: Kept = { status: '', loadingMessages: [], title: undefined, prompts: [], at: 0 };

export interface Assistant {
  readonly methods: Methods;
  /** What a person sees of the thread. */
  see(channel: string, threadTs: string): AssistantThread;
}

export function createAssistant(world: World, events: Events): Assistant {
  const threads = new Map<string, Kept>();
  const keep = (channel: string, ts: string, changes: Partial<Kept>) =>
    void threads.set(`${channel}:${ts}`, { ...(threads.get(`${channel}:${ts}`) ?? EMPTY), ...changes });

  return {
    methods: {
      'assistant.threads.setStatus': ({ args, token }) => {
        const root = rootOf(args, token.user_id);
        const { status, loading_messages: loading = [] } = args;
        if (typeof status !== 'string' || status.length > STATUS_MAX) throw new SlackError('invalid_arguments');
        const problems = LOADING(loading, '/loading_messages');
        if (problems.length > 0) throw invalid('invalid_arguments', problems);
        keep(root.channel_id, root.ts, { status, loadingMessages: loading as string[], at: world.clock.now() });
        return {};
      },
      'assistant.threads.setTitle': ({ args, token }) => {
        const root = assistantRootOf(args, token.user_id);
        const title = needed(args, 'title');
        keep(root.channel_id, root.ts, { title });
        // the title is kept in the thread's first message, and that it changed is an event like any other
        events.changed(world.messages.update(root.id, { text: title }) as Message, root);
        return {};
      },
      'assistant.threads.setSuggestedPrompts': ({ args, token }) => {
        const root = assistantRootOf(args, token.user_id);
        const problems = PROMPTS(args.prompts, '/prompts');
        if (problems.length > 0) throw invalid('invalid_arguments', problems);
        keep(root.channel_id, root.ts, { prompts: args.prompts as AssistantThread['prompts'] });
        return {};
      },
    },
    see(channel, threadTs) {
      const { at, ...thread } = threads.get(`${channel}:${threadTs}`) ?? EMPTY;
      const answered = world.messages
        .findBy('thread_ts', threadTs)
        .some((row) => row.bot_id === APP.botId && row.channel_id === channel && Number(row.ts) * 1000 > at && row.ts !== threadTs);
      const isOver = answered || world.clock.now() >= at + STATUS_MS;
      return isOver ? { ...thread, status: '', loadingMessages: [] } : thread;
    },
  };

  function rootOf(args: Json, user: string): Message & Stored {
    const channel = channelOf(world, needed(args, 'channel_id', 'channel_not_found'), user);
    const root = findMessage(world, channel.channel_id, needed(args, 'thread_ts', 'invalid_thread_ts'));
    if (root === undefined) throw new SlackError('invalid_thread_ts');
    return root;
  }

  /** Titles and prompts belong to the container's threads only. */
  function assistantRootOf(args: Json, user: string): Message & Stored {
    const root = rootOf(args, user);
    if (root.subtype !== 'assistant_app_thread') throw new SlackError('invalid_thread_ts');
    return root;
  }
}
