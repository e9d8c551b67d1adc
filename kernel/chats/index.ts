/**
 * Chats: who in one is whom, votes that are cast in one, and the approvals that are to be shown there.
 *
 * It promises that an account is linked by whoever holds both it and the user, or by an admin, that a link of somebody who may do nothing
 * any more counts for nothing, that a click is a vote only when the chat service itself has signed that this person made it, and once, and
 * that a bot hears of every version of an approval until it has shown it. It knows no service's API, and sends nothing to any.
 *
 * Read `links.ts` for who is whom, `interactions.ts` for votes, `notices.ts` for what is to be shown.
 */
import type { ChatLink, ChatPerson, ChatPlatform, Identity, LinkCode, Linked, PendingLink } from '@centaur/sdk';
import type { VotingParts } from '../policy/index.ts';
import { type Interaction, type Outcome, pruneInteractions, type SlackSettings, voteBySlack } from './interactions.ts';
import {
  bringCode,
  confirmLink,
  identify,
  linkByAdmin,
  type LinkParts,
  listLinks,
  listPending,
  makeCode,
  pruneCodes,
  unlink,
} from './links.ts';
import { claimNotices, type Notice, type NoticeClaim, noticeFailed, noticeShown } from './notices.ts';

export { ChatError } from './errors.ts';
export type { SlackSettings } from './interactions.ts';

export interface Chats {
  /** @throws ChatError TOO_MANY_CODES */
  makeCode(user: { readonly userId: string; readonly name: string }, platform: ChatPlatform): Promise<LinkCode>;
  /** @throws ChatError LINK_CODE_INVALID, LINK_TAKEN; UserError TOO_MANY_TRIES */
  bringCode(actor: string, identity: Identity, by: { readonly code: string; readonly displayName?: string | undefined }): Promise<Linked>;
  listPending(userId: string): Promise<readonly PendingLink[]>;
  /** @throws ChatError LINK_NOT_PENDING, LINK_TAKEN */
  confirmLink(user: { readonly userId: string; readonly name: string }, identity: Identity): Promise<ChatLink>;
  /** @throws ChatError LINK_TAKEN; UserError USER_NOT_FOUND */
  linkAsAdmin(
    actor: string,
    identity: Identity,
    link: { readonly user: string; readonly displayName?: string | undefined },
  ): Promise<ChatLink>;
  /** @param owner whose it has to be; undefined: anybody's. @throws ChatError LINK_NOT_FOUND */
  unlink(actor: string, identity: Identity, owner: string | undefined): Promise<ChatLink>;
  /** @param owner whose; undefined: everybody's */
  listLinks(owner: string | undefined): Promise<readonly ChatLink[]>;
  identify(identity: Identity): Promise<ChatPerson>;
  /** @throws ChatError SIGNATURE_INVALID, SIGNATURE_REQUIRED, CHAT_NOT_CONFIGURED, NOT_AN_APPROVAL */
  voteBySlack(checks: Checks, interaction: Interaction): Promise<Outcome>;
  /** Oldest first; waits for one when there is none. */
  claimNotices(request: NoticeClaim, signal?: AbortSignal): Promise<readonly Notice[]>;
  /** @throws ChatError NOTICE_NOT_CLAIMED */
  noticeShown(approvalId: string, shown: Parameters<typeof noticeShown>[2]): Promise<void>;
  /** @throws ChatError NOTICE_NOT_CLAIMED */
  noticeFailed(approvalId: string, failed: Parameters<typeof noticeFailed>[2]): ReturnType<typeof noticeFailed>;
  /** Forgets what is over. */
  prune(): Promise<void>;
}

/** What a vote is held against, besides the approval. */
type Checks = Pick<VotingParts, 'checkArguments' | 'checkSchema'>;

export interface ChatsOptions extends LinkParts {
  readonly slack?: SlackSettings | undefined;
}

export function createChats(options: ChatsOptions): Chats {
  const { store, audit, slack = {} } = options;
  return {
    makeCode: (user, platform) => makeCode(options, user, platform),
    bringCode: (actor, identity, by) => bringCode(options, actor, identity, by),
    listPending: (userId) => listPending(options, userId),
    confirmLink: (user, identity) => confirmLink(options, user, identity),
    linkAsAdmin: (actor, identity, link) => linkByAdmin(options, actor, identity, link),
    unlink: (actor, identity, owner) => unlink(options, actor, identity, owner),
    listLinks: (owner) => listLinks(store, owner),
    identify: (identity) => identify(store, identity),
    voteBySlack: (checks, interaction) => voteBySlack({ store, audit, ...checks }, slack, interaction),
    claimNotices: (request, signal) => claimNotices(store, request, signal),
    noticeShown: (approvalId, shown) => noticeShown(store, approvalId, shown),
    noticeFailed: (approvalId, failed) => noticeFailed(store, approvalId, failed),
    async prune() {
      await pruneCodes(options);
      await pruneInteractions(options);
    },
  };
}
