/** What every part of the bot works with. One of each in a process. */
import type { Client } from '@centaur/sdk';
import type { Log } from '../chat/index.ts';
import type { SlackCalls } from './calls.ts';
import type { SlackSettings } from './settings.ts';

export type { Log };

export interface SlackContext {
  readonly settings: SlackSettings;
  /** The platform's API, with the bot's own key. */
  readonly api: Client;
  readonly slack: SlackCalls;
  readonly self: Self;
  /** Names this process. */
  readonly consumerId: string;
  readonly log: Log;
  readonly now: () => number;
}

/** The bot, as Slack knows it: `auth.test`. */
export interface Self {
  readonly teamId: string;
  readonly userId: string;
  readonly botId: string;
  readonly appId: string | undefined;
  /** Such as `centaur`: what people write after the @. */
  readonly name: string;
}

export const PLATFORM = 'slack';

/** The thread of the platform for a thread of Slack; and back. */
export const threadKeyOf = (channel: string, threadTs: string): string => `slack:${channel}:${threadTs}`;

export function placeOfKey(threadKey: string): { readonly channel: string; readonly threadTs: string } | undefined {
  const parts = /^slack:([A-Z0-9]+):(\d+\.\d+)$/.exec(threadKey);
  return parts === null ? undefined : { channel: parts[1] as string, threadTs: parts[2] as string };
}

/** Who wrote, as the platform names people of a chat. */
export const userIdOf = (teamId: string, userId: string): string => `slack:${teamId}:${userId}`;

/** `delivery` of a turn that was asked for here: where it is shown, and for whom. */
export interface SlackDelivery {
  readonly platform: typeof PLATFORM;
  readonly channel: string;
  readonly thread_ts: string;
  readonly team: string;
  /** Who asked. */
  readonly user: string;
  /** Of the message that asked. */
  readonly message_ts: string;
}
