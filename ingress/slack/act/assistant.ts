/**
 * The assistant's container: a greeting, what one may ask, and which channel its person looks at. That is kept in the metadata of the
 * greeting, as Slack's own libraries do it.
 */
import { clipLine } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import type { Raw } from '../heard.ts';
import type { Place } from './message.ts';
import { namesOf } from './people.ts';
import { idOf, objectOf, objectsOf, textOf, tsOf } from '../shapes.ts';
import { quietly, tryCall } from './tell.ts';

const EVENT_TYPE = 'centaur_assistant';
const GREETING = 'Hello. What shall I do? Write it here, and go on in the same place.';
const PROMPTS = [
  { title: 'What can you do?', message: 'What can you do here, and with which tools?' },
  { title: 'How do I use you?', message: 'help' },
  { title: 'Who am I to you?', message: 'whoami' },
] as const;
const TITLE_LONGEST = 60;

export async function greet(context: SlackContext, place: Place, lookedAtNow: string | undefined): Promise<void> {
  const thread = { channel_id: place.channel, thread_ts: place.threadTs };
  await quietly(context, 'assistant.threads.setSuggestedPrompts', { ...thread, title: 'You may ask', prompts: PROMPTS });
  // the event may come twice, the greeting must not; what is looked at by then is newer than what the event says
  if ((await readGreeting(context, place)) !== undefined) return;
  await quietly(context, 'chat.postMessage', {
    channel: place.channel,
    thread_ts: place.threadTs,
    text: GREETING,
    metadata: metadataOf(lookedAtNow),
  });
}

export async function lookElsewhere(context: SlackContext, place: Place, lookedAtNow: string | undefined): Promise<void> {
  const greeting = await readGreeting(context, place);
  if (greeting === undefined || greeting.lookedAt === lookedAtNow) return;
  const { channel } = place;
  await quietly(context, 'chat.update', { channel, ts: greeting.ts, text: GREETING, metadata: metadataOf(lookedAtNow) });
}

export interface Container {
  /** Such as `#ops (C0123)`. */
  readonly lookedAt: string | undefined;
}

/** Undefined: it is a direct message like any other. */
export async function readContainer(context: SlackContext, place: Place): Promise<Container | undefined> {
  const messages = await readFirst(context, place);
  const greeting = findGreeting(context, messages);
  if (greeting === undefined && !messages.some((message) => message['subtype'] === 'assistant_app_thread')) return undefined;
  const channel = greeting?.lookedAt;
  if (channel === undefined) return { lookedAt: undefined };
  const name = (await namesOf(context, { people: [], channels: [channel] })).channels.get(channel);
  return { lookedAt: name === undefined ? channel : `#${name} (${channel})` };
}

/** What the list of conversations calls it. */
export async function nameThread(context: SlackContext, { channel, threadTs }: Place, words: string): Promise<void> {
  const title = clipLine(words, TITLE_LONGEST);
  if (title !== '') await quietly(context, 'assistant.threads.setTitle', { channel_id: channel, thread_ts: threadTs, title });
}

const metadataOf = (channel: string | undefined) => ({
  event_type: EVENT_TYPE,
  event_payload: channel === undefined ? {} : { channel_id: channel },
});

async function readGreeting(context: SlackContext, place: Place): Promise<Greeting | undefined> {
  return findGreeting(context, await readFirst(context, place));
}

interface Greeting {
  readonly ts: string;
  readonly lookedAt: string | undefined;
}

function findGreeting({ self }: SlackContext, messages: readonly Raw[]): Greeting | undefined {
  for (const message of messages) {
    const metadata = objectOf(message['metadata']);
    const ts = tsOf(message['ts']);
    if (textOf(metadata?.['event_type']) !== EVENT_TYPE || textOf(message['bot_id']) !== self.botId || ts === undefined) continue;
    return { ts, lookedAt: idOf(objectOf(metadata?.['event_payload'])?.['channel_id']) };
  }
  return undefined;
}

async function readFirst(context: SlackContext, { channel, threadTs }: Place): Promise<readonly Raw[]> {
  const answer = await tryCall(context, 'conversations.replies', { channel, ts: threadTs, limit: 4, include_all_metadata: true });
  return objectsOf(answer?.['messages']);
}
