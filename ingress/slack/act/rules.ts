/**
 * What a message means to us. Decided by the message, the operator's rules and what the platform knows of its thread, and by nothing
 * else: whoever acts on a message for the second time decides the same.
 */
import { type Control, type Flags, readControl, readFlags } from '../../chat/index.ts';
import type { Self } from '../context.ts';
import { type ChannelRules, rulesOf, type SlackRules } from '../settings.ts';
import type { Author, Message } from './message.ts';
import { stripMention, whoIsNamed } from './words.ts';

export type Decision =
  | { readonly act: 'ignore'; readonly why: Ignored }
  /** They spoke to us, and may not. */
  | { readonly act: 'refuse'; readonly why: 'organisation' | 'person' }
  /** For the agent to know, without a turn: nobody spoke to it. */
  | { readonly act: 'note'; readonly text: string }
  | { readonly act: 'control'; readonly control: Control }
  | Asked;

/** `steer`: to be said to the turn that runs; `ask`: to be answered in a turn of its own. */
export interface Asked {
  readonly act: 'ask' | 'steer';
  /** Slack's markup, without mentions of us and without flags. */
  readonly text: string;
  readonly flags: Flags;
  /** What is wrong with the flags, in sentences. */
  readonly problems: readonly string[];
  /** What is wished while a turn runs, whether one does or not. */
  readonly whileRunning: 'queue' | 'steer';
  readonly defaults: ChannelRules;
  readonly by: 'person' | 'bot';
}

export type Ignored = 'ours' | 'no message' | 'a bot' | 'bots among themselves' | 'this channel' | 'not to us' | 'nothing said';

/** What the platform knows of the thread that the message is in. */
export interface KnownThread {
  readonly isKnown: boolean;
  /** A turn of it runs. */
  readonly isRunning: boolean;
  /** How many of its last turns were asked for by bots, with no person's among them. */
  readonly turnsByBots: number;
}

export interface Deciding {
  readonly rules: SlackRules;
  readonly self: Self;
}

/** In one thread, without a person. */
export const MOST_TURNS_BY_BOTS = 5;

/** What people write has one of them, or none. */
const WRITTEN: ReadonlySet<string | undefined> = new Set([undefined, 'file_share', 'thread_broadcast', 'me_message', 'bot_message']);

export function decide(message: Message, thread: KnownThread, { rules, self }: Deciding): Decision {
  const screened = screen(message, { rules, self });
  if (screened !== undefined) return ignore(screened);
  const defaults = rulesOf(rules, message.channel);
  if (defaults === undefined) return ignore('this channel');
  const by = isBot(message) ? 'bot' : 'person';
  const to = spokenTo(message, thread, defaults, self);
  if (to === 'nobody here') return ignore('not to us');
  if (by === 'bot') {
    // whatever an app says under our answers would be a conversation of machines
    if (to !== 'us by name') return ignore('not to us');
    if (thread.turnsByBots >= MOST_TURNS_BY_BOTS) return ignore('bots among themselves');
  }
  const refused = by === 'bot' ? undefined : whyNot(message.author, { rules, self });
  if (refused !== undefined) return to === 'others' ? ignore('not to us') : { act: 'refuse', why: refused };

  const said = stripMention(message.text, self.userId);
  if (to === 'others') return said === '' ? ignore('nothing said') : { act: 'note', text: said };
  const control = by === 'person' && message.files.length === 0 ? readControl(said) : undefined;
  if (control !== undefined) return { act: 'control', control };
  const { text, flags, problems } = readFlags(said);
  if (text === '' && message.files.length === 0 && message.attached === '') {
    // a mention alone under what others have said means that; at the top of a channel it asks who we are
    if (!message.isReply && problems.length === 0) return { act: 'control', control: { kind: 'help' } };
    if (to !== 'us by name' && problems.length === 0) return ignore('nothing said');
  }
  const whileRunning = flags.whileRunning ?? defaults.while_running ?? 'queue';
  return { act: thread.isRunning && whileRunning === 'steer' ? 'steer' : 'ask', text, flags, problems, whileRunning, defaults, by };
}

/** What needs no look at the thread: whoever has to ask for that asks this first. */
export function screen(message: Message, { rules, self }: Deciding): Ignored | undefined {
  const { user, botId, appId } = message.author;
  if (user === self.userId || botId === self.botId || (appId !== undefined && appId === self.appId)) return 'ours';
  if (!WRITTEN.has(message.subtype)) return 'no message';
  if (user === undefined && botId === undefined) return 'no message';
  if (isBot(message) && ![user, botId].some((id) => id !== undefined && rules.bots.includes(id))) return 'a bot';
  if (rulesOf(rules, message.channel) === undefined) return 'this channel';
  return undefined;
}

type To = 'us by name' | 'us' | 'others' | 'nobody here';

function spokenTo(message: Message, { isKnown }: KnownThread, { replies = 'all' }: ChannelRules, self: Self): To {
  // Apps name whom they mean in blocks and attachments. Of a person's message an attachment is what somebody else said.
  const named = whoIsNamed([message.text, message.inBlocks, isBot(message) ? message.attached : ''].join('\n'), self.userId);
  if (named.us) return 'us by name';
  if (message.isDirect) return 'us';
  if (!message.isReply || !isKnown) return 'nobody here';
  return replies === 'mentions' || named.others ? 'others' : 'us';
}

/** Slack's own bot has no bot id. */
function isBot({ author, subtype }: Message): boolean {
  return author.botId !== undefined || subtype === 'bot_message' || author.user === 'USLACKBOT';
}

function whyNot({ user, teams }: Who, { rules, self }: Deciding): 'organisation' | 'person' | undefined {
  if (!teams.every((team) => team === self.teamId || rules.organisations.includes(team))) return 'organisation';
  if (rules.people !== undefined && (user === undefined || !rules.people.includes(user))) return 'person';
  return undefined;
}

/** Whether whoever pressed a button may ask in this channel, and so may end and repeat what was asked. */
export function mayAsk(who: Who, channel: string, deciding: Deciding): boolean {
  return rulesOf(deciding.rules, channel) !== undefined && whyNot(who, deciding) === undefined;
}

type Who = Pick<Author, 'user' | 'teams'>;

function ignore(why: Ignored): Decision {
  return { act: 'ignore', why };
}
