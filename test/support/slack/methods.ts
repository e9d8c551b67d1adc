/** The methods of the Web API that are served: their rate limit and scopes (docs.slack.dev: each method's page). Others are unknown. */

/** Calls a minute for each method and workspace; `posts` are one a second for each channel besides. */
export type Tier = 'tier 1' | 'tier 2' | 'tier 3' | 'tier 4' | 'posts' | 'status' | 'unlimited';

export interface MethodFacts {
  readonly tier: Tier;
  /** Any of them is enough. */
  readonly scopes: readonly string[];
  /** It puts a message into a channel. */
  readonly posts?: 'a message';
}

export const METHODS: Readonly<Record<string, MethodFacts>> = {
  // "special rate limits": hundreds a minute
  'auth.test': { tier: 'unlimited', scopes: [] },
  'apps.connections.open': { tier: 'tier 3', scopes: ['connections:write'] },
  'chat.postMessage': { tier: 'posts', scopes: ['chat:write'], posts: 'a message' },
  'chat.postEphemeral': { tier: 'tier 4', scopes: ['chat:write'] },
  'chat.update': { tier: 'tier 3', scopes: ['chat:write'] },
  'chat.delete': { tier: 'tier 3', scopes: ['chat:write'] },
  'chat.getPermalink': { tier: 'unlimited', scopes: [] },
  'chat.startStream': { tier: 'tier 2', scopes: ['chat:write'], posts: 'a message' },
  'chat.appendStream': { tier: 'tier 4', scopes: ['chat:write'] },
  'chat.stopStream': { tier: 'tier 2', scopes: ['chat:write'] },
  'assistant.threads.setStatus': { tier: 'status', scopes: ['chat:write', 'assistant:write'] },
  'assistant.threads.setTitle': { tier: 'tier 3', scopes: ['assistant:write'] },
  'assistant.threads.setSuggestedPrompts': { tier: 'tier 3', scopes: ['assistant:write'] },
  'conversations.list': { tier: 'tier 2', scopes: [] },
  'conversations.info': { tier: 'tier 3', scopes: [] },
  'conversations.members': { tier: 'tier 4', scopes: [] },
  'conversations.open': { tier: 'tier 3', scopes: [] },
  'conversations.join': { tier: 'tier 3', scopes: [] },
  'conversations.history': { tier: 'tier 3', scopes: [] },
  'conversations.replies': { tier: 'tier 3', scopes: [] },
  'users.info': { tier: 'tier 4', scopes: ['users:read'] },
  'users.list': { tier: 'tier 2', scopes: ['users:read'] },
  'users.lookupByEmail': { tier: 'tier 3', scopes: ['users:read.email'] },
  'users.profile.get': { tier: 'tier 4', scopes: ['users.profile:read'] },
  'team.info': { tier: 'tier 3', scopes: ['team:read'] },
  'bots.info': { tier: 'tier 3', scopes: ['users:read'] },
  'reactions.add': { tier: 'tier 3', scopes: ['reactions:write'] },
  'reactions.remove': { tier: 'tier 2', scopes: ['reactions:write'] },
  'reactions.get': { tier: 'tier 3', scopes: ['reactions:read'] },
  'files.info': { tier: 'tier 4', scopes: ['files:read'] },
  'files.getUploadURLExternal': { tier: 'tier 4', scopes: ['files:write'] },
  'files.completeUploadExternal': { tier: 'tier 4', scopes: ['files:write'], posts: 'a message' },
  'files.delete': { tier: 'tier 3', scopes: ['files:write'] },
  'views.open': { tier: 'tier 4', scopes: [] },
  'views.push': { tier: 'tier 4', scopes: [] },
  'views.update': { tier: 'tier 4', scopes: [] },
  'views.publish': { tier: 'tier 4', scopes: [] },
};

export const SCOPES = [
  'app_mentions:read',
  'assistant:write',
  'channels:history',
  'channels:join',
  'channels:read',
  'chat:write',
  'commands',
  'files:read',
  'files:write',
  'groups:history',
  'groups:read',
  'im:history',
  'im:read',
  'im:write',
  'mpim:history',
  'mpim:read',
  'reactions:read',
  'reactions:write',
  'team:read',
  'users:read',
  'users:read.email',
];
