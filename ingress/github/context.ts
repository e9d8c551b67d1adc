/** What every part of the bot works with. One of each in a process. */
import type { Client } from '@centaur/sdk';
import type { Log } from '../chat/index.ts';
import type { GitHubCalls } from './calls.ts';
import type { GitHubSettings } from './settings.ts';

export type { Log };

export interface GitHubContext {
  readonly settings: GitHubSettings;
  /** The platform's API, with the bot's own key. */
  readonly api: Client;
  readonly github: GitHubCalls;
  readonly self: Self;
  /** Names this process. */
  readonly consumerId: string;
  readonly log: Log;
  readonly now: () => number;
}

/** The bot, as GitHub knows it. */
export interface Self {
  /** Of its comments: `octo-centaur`, or `octo-centaur[bot]` for an app. */
  readonly login: string;
  /** What people write after the @. */
  readonly name: string;
}

export const PLATFORM = 'github';

/** Where something is said: an issue or pull request, or one of its threads of review comments. */
export interface Place {
  /** `acme/site`, in small letters. */
  readonly repo: string;
  readonly number: number;
  /** The first comment of a thread of review comments. */
  readonly root: number | null;
  /** Of an app, for which its tokens are. */
  readonly installation: number | null;
}

/** The thread of the platform for a place. */
export const threadKeyOf = ({ repo, number, root }: Place): string => `github:${repo}:${number}${root === null ? '' : `:${root}`}`;

/** Who wrote, as the platform names people of a chat. GitHub knows no large letters in logins. */
export const userIdOf = (host: string, login: string): string => `github:${host}:${login.toLowerCase()}`;

/** What people write: each has an id of its own, and another address to react at. */
export type Kind = 'comment' | 'review-comment' | 'review' | 'body';

/** `delivery` of a turn that was asked for here: where it is shown, and for whom. */
export interface GitHubDelivery {
  readonly platform: typeof PLATFORM;
  readonly repo: string;
  readonly number: number;
  readonly root: number | null;
  readonly installation: number | null;
  /** Who asked. */
  readonly user: string;
  /** What asked. */
  readonly kind: Kind;
  readonly id: number;
}

/** Of a turn that anybody with the bot's platform in its request may have asked for: checked. */
export function readDelivery(value: unknown): GitHubDelivery | undefined {
  const { repo, number, root, installation, user, kind, id } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof repo !== 'string' || !REPOSITORY.test(repo) || !isId(number) || !isId(id) || typeof user !== 'string') return undefined;
  if (kind !== 'comment' && kind !== 'review-comment' && kind !== 'review' && kind !== 'body') return undefined;
  return {
    platform: PLATFORM,
    repo,
    number,
    root: isId(root) ? root : null,
    installation: isId(installation) ? installation : null,
    user,
    kind,
    id,
  };
}

export const REPOSITORY = /^[a-z0-9_-]{1,100}\/(?!\.{1,2}$)[a-z0-9._-]{1,100}$/;
export const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
