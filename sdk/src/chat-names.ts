/**
 * Names of people and channels in chats, as messages, turns, grants and policies have them. A file without imports: the firewall's process
 * loads it, too, and little else of the SDK.
 */
export const CHAT_PLATFORMS = ['slack', 'github', 'linear', 'discord', 'teams'] as const;
export type ChatPlatform = (typeof CHAT_PLATFORMS)[number];

/** Somebody in a chat, as the service names them. */
export interface Identity {
  readonly platform: ChatPlatform;
  /** Slack's id of the team; `github.com` for GitHub. */
  readonly team: string;
  /** Slack's id of the user; GitHub's login. */
  readonly externalUser: string;
}

/** No colon, which parts them, and no star, which stands for all. */
const PART = /^[!-)+-9;-~]{1,100}$/;

/** `slack:T1:U1`: as messages and turns name them, and as the principal of one whom no user is linked to. */
export function externalId({ platform, team, externalUser }: Identity): string {
  // logins of GitHub are the same in any letters
  return `${platform}:${team}:${platform === 'github' ? externalUser.toLowerCase() : externalUser}`;
}

/** Undefined when it names nobody in a chat. */
export function readExternalId(text: string): Identity | undefined {
  const [platform, team, externalUser, ...more] = text.split(':');
  if (!isPlatform(platform) || team === undefined || externalUser === undefined || more.length > 0) return undefined;
  if (!PART.test(team) || !PART.test(externalUser)) return undefined;
  return { platform, team, externalUser: platform === 'github' ? externalUser.toLowerCase() : externalUser };
}

function isPlatform(text: string | undefined): text is ChatPlatform {
  return CHAT_PLATFORMS.includes(text as ChatPlatform);
}

/**
 * The principal of the channel that a thread is in: `channel:slack:C1` of `slack:T1:C1:1700000000.000100` and of
 * `slack:C1:1700000000.000100`, `channel:github:acme/site` of `github:acme/site#7`. Undefined when its key says nothing of one.
 */
export function channelOfThread(threadKey: string): string | undefined {
  const slack = /^slack:(?:[TE][A-Z0-9]{1,30}:)?([CDG][A-Z0-9]{1,30})(?::[\d.]{1,30})?$/.exec(threadKey)?.[1];
  if (slack !== undefined) return `channel:slack:${slack}`;
  const github = /^github:([\w.-]{1,100}\/[\w.-]{1,100})(?:[:#/][\w:#/.-]{1,200})?$/.exec(threadKey)?.[1];
  return github === undefined ? undefined : `channel:github:${github.toLowerCase()}`;
}
