/**
 * What an operator decides about Slack: tokens from the environment, rules from the section `slack` of `centaur.yaml`. Read whole or
 * not at all; what is wrong is named, and no value of a token ever is.
 */
import { z } from 'zod';
import { createSettingsReader, EFFORTS, type Environment, SettingsError } from '../chat/index.ts';

const id = (letters: string, what: string) => z.string().regex(new RegExp(`^[${letters}][A-Z0-9]{2,30}$`), `expected ${what}`);
const name = z.string().min(1).max(128);

const DEFAULTS = {
  harness: name.optional(),
  persona: name.optional(),
  model: name.optional(),
  effort: z.enum(EFFORTS).optional(),
  /** Of a thread that is under way: whether replies go on without a mention. */
  replies: z.enum(['all', 'mentions']).optional(),
  /** What becomes of a message while a turn runs: a turn of its own afterwards, or said to the one that runs. */
  while_running: z.enum(['queue', 'steer']).optional(),
};

const CHANNEL = z.strictObject(DEFAULTS);

export const SLACK_RULES = z.strictObject({
  /** By id. Left out: every channel that the bot was invited to. `'*'` stands for those that are not named. */
  channels: z.record(z.union([z.literal('*'), id('CG', 'a channel id such as C0123ABCD')]), CHANNEL.nullable()).optional(),
  ...DEFAULTS,
  /** People who may ask. Left out: everybody of the workspace. */
  people: z.array(id('UW', 'a user id such as U0123ABCD')).max(10_000).optional(),
  direct_messages: z.boolean().default(true),
  /** Whose people may ask in shared channels, besides those of the workspace. */
  organisations: z.array(id('TE', 'a workspace id such as T0123ABCD')).max(1000).default([]),
  /** Bots that may ask, by bot id or user id. Never this one. */
  bots: z.array(id('BUW', 'a bot id such as B0123ABCD')).max(1000).default([]),
  history: z
    .strictObject({ messages: z.int().min(0).max(200).default(50), characters: z.int().min(0).max(100_000).default(24_000) })
    .default({ messages: 50, characters: 24_000 }),
  files: z
    .strictObject({
      most: z.int().min(0).max(20).default(10),
      bytes: z
        .int()
        .min(0)
        .max(33_554_432)
        .default(20 * 1024 * 1024),
    })
    .default({ most: 10, bytes: 20 * 1024 * 1024 }),
  /** Where approvals are shown whose turn has no thread here, and what was decided past its gate. */
  approvals_channel: id('CG', 'a channel id such as C0123ABCD').optional(),
  /** Shows a turn: as Slack streams it, or as a message that is edited. */
  show: z.enum(['stream', 'edits']).default('stream'),
});

export type SlackRules = z.output<typeof SLACK_RULES>;
export type ChannelRules = z.output<typeof CHANNEL>;

export interface SlackSettings {
  readonly botToken: string;
  /** For events over HTTP. */
  readonly signingSecret: string | undefined;
  /** For Socket Mode: then nothing listens for events. */
  readonly appToken: string | undefined;
  /** Of the Web API, ending in a slash. */
  readonly slackApiUrl: string;
  /** The platform, and the bot's key there. */
  readonly apiUrl: string;
  readonly apiKey: string;
  /** Where events are listened for. */
  readonly host: string;
  readonly port: number;
  readonly rules: SlackRules;
}

/**
 * @param environment as the process has it
 * @param given the section `slack` of `centaur.yaml`, unchecked
 * @throws SettingsError with everything that is wrong
 */
export function readSlackSettings(environment: Environment, given: unknown): SlackSettings {
  const problems: string[] = [];
  const { get, port, address, section } = createSettingsReader(environment, problems);
  const token = (key: string, prefix: string): string | undefined => {
    const value = get(key);
    if (value !== undefined && !value.startsWith(prefix)) problems.push(`${key}: expected a token that begins with ${prefix}`);
    return value;
  };
  const botToken = token('SLACK_BOT_TOKEN', 'xoxb-');
  const appToken = token('SLACK_APP_TOKEN', 'xapp-');
  const signingSecret = get('SLACK_SIGNING_SECRET');
  const apiKey = get('SLACKBOT_API_KEY');
  if (botToken === undefined) problems.push('SLACK_BOT_TOKEN: is missing: the bot token of the app, which begins with xoxb-');
  if (signingSecret === undefined && appToken === undefined)
    problems.push(
      'SLACK_SIGNING_SECRET: is missing: events over HTTP are checked with it. Without a public address set SLACK_APP_TOKEN instead',
    );
  if (apiKey === undefined) problems.push('SLACKBOT_API_KEY: is missing: "centaur slack key" makes one');
  const listen = { host: get('SLACK_HOST') ?? '127.0.0.1', port: port('SLACK_PORT', 8083) };
  const slackApiUrl = `${address('SLACK_API_URL', 'https://slack.com/api')}/`;
  const apiUrl = address('CENTAUR_API_URL', 'http://127.0.0.1:8080');
  const rules = section('slack', SLACK_RULES, given);
  if (problems.length > 0 || botToken === undefined || apiKey === undefined || rules === undefined) throw new SettingsError(problems);
  return {
    botToken,
    appToken,
    signingSecret,
    slackApiUrl,
    apiUrl,
    apiKey,
    ...listen,
    rules,
  };
}

/** Of a direct message, whose channels are named so by Slack. */
export const isDirect = (channel: string): boolean => channel.startsWith('D');

/** What holds in a channel; undefined: nobody is answered there. A direct message has no channel of its own in the rules. */
export function rulesOf(rules: SlackRules, channel: string): ChannelRules | undefined {
  const { harness, persona, model, effort, replies, while_running } = rules;
  const general = { harness, persona, model, effort, replies, while_running };
  if (isDirect(channel)) return rules.direct_messages ? general : undefined;
  if (rules.channels === undefined) return general;
  const named = Object.hasOwn(rules.channels, channel) ? rules.channels[channel] : rules.channels['*'];
  if (named === undefined) return undefined;
  const own = Object.fromEntries(Object.entries(named ?? {}).filter(([, value]) => value !== undefined));
  return { ...general, ...own };
}
