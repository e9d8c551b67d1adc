/**
 * Chats over the API: who in one is whom, votes that a chat service signs, and the approvals that are to be shown there. Beside the
 * client stand the texts that bot and platform read of each other, so that there is one definition of them.
 */
import type { ChatPlatform, Identity } from './chat-names.ts';
import { request, type Transport } from './transport.ts';
import type { Page } from './wire.ts';

// ---- approvals in Slack

/** `action_id` of the buttons under an approval. */
export const APPROVAL_ACTIONS = {
  approve: 'centaur_approval:approve',
  deny: 'centaur_approval:deny',
  abstain: 'centaur_approval:abstain',
} as const;
/** `callback_id` of the views in which an approval is given a reason, or edited. */
export const APPROVAL_CALLBACK = 'centaur_approval';
/** `block_id` of the reason in such a view. */
export const REASON_BLOCK = 'reason';
/** `action_id` of every input in such a view. */
export const VALUE_ACTION = 'value';
/** `block_id` of the new value of a path, by its place among the view's paths. */
export const editBlock = (index: number): string => `edit:${index}`;

/** What a button is for: the approval as it was shown. */
export interface ApprovalRef {
  readonly approvalId: string;
  /** Of what would happen: SHA-256 in hex. */
  readonly digest: string;
  readonly version: number;
}

/** A message in Slack. */
export interface SlackPlace {
  readonly channel: string;
  readonly ts: string;
}

/** What a view is for. */
export interface ApprovalViewRef extends ApprovalRef {
  /** The card from which it was opened. */
  readonly card: SlackPlace;
  readonly verdict: 'approve' | 'deny';
  /** Of the arguments whose values can be changed in it. */
  readonly paths: readonly string[];
}

/** `value` of a button. */
export function approvalValue({ approvalId, digest, version }: ApprovalRef): string {
  return JSON.stringify({ a: approvalId, d: digest, v: version });
}

export function readApprovalValue(text: string): ApprovalRef | undefined {
  const read = readObject(text);
  return read === undefined ? undefined : readRef(read);
}

/** `private_metadata` of a view. */
export function approvalViewMetadata({ approvalId, digest, version, verdict, paths, card }: ApprovalViewRef): string {
  return JSON.stringify({ a: approvalId, d: digest, v: version, verdict, paths, c: card.channel, m: card.ts });
}

export function readApprovalViewMetadata(text: string): ApprovalViewRef | undefined {
  const read = readObject(text);
  const ref = read && readRef(read);
  if (read === undefined || ref === undefined) return undefined;
  const { verdict, paths = [], c: channel, m: ts } = read;
  if (typeof channel !== 'string' || typeof ts !== 'string') return undefined;
  if (verdict !== 'approve' && verdict !== 'deny') return undefined;
  if (!Array.isArray(paths) || paths.length > 50) return undefined;
  if (!paths.every((path): path is string => typeof path === 'string' && path.length > 0 && path.length <= 200)) return undefined;
  return { ...ref, verdict, paths, card: { channel, ts } };
}

function readRef({ a, d, v }: Readonly<Record<string, unknown>>): ApprovalRef | undefined {
  if (typeof a !== 'string' || !/^[\da-f-]{36}$/.test(a) || typeof d !== 'string' || !/^[\da-f]{64}$/.test(d)) return undefined;
  if (typeof v !== 'number' || !Number.isSafeInteger(v) || v < 1) return undefined;
  return { approvalId: a, digest: d, version: v };
}

function readObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

// ---- on the wire

export interface LinkCode {
  /** To be typed to the bot, within ten minutes, once. */
  readonly code: string;
  readonly expires_at: string;
}

/** What became of a code that an account has brought. */
export interface Linked {
  /** Name of the user to whom it is linked. */
  readonly user: string | null;
  /** Whoever was given the code has to confirm the account, where they asked for the code. */
  readonly pending: boolean;
}

/** An account that has brought a code, and is nobody's before it is confirmed. */
export interface PendingLink {
  readonly platform: ChatPlatform;
  readonly team: string;
  readonly external_user: string;
  /** On the word of the bot. */
  readonly display_name: string | null;
  readonly expires_at: string;
}

export interface ChatLink {
  readonly platform: ChatPlatform;
  readonly team: string;
  readonly external_user: string;
  readonly display_name: string | null;
  /** Name of the user. */
  readonly user: string;
  /** `code`: they have shown that both are theirs; `admin`: an admin says so. */
  readonly how: 'code' | 'admin';
  readonly linked_by: string;
  readonly created_at: string;
}

export interface ChatPerson {
  /** `user:<name>`, or `slack:<team>:<user>` of one whom no user is linked to. */
  readonly principal: string;
  /** Null, too, when the user may do nothing any more. */
  readonly user: string | null;
  readonly role: 'viewer' | 'operator' | 'approver' | 'admin' | null;
}

/** An approval as people are shown it. What is sensitive in its arguments is blanked. */
export interface ShownApproval {
  readonly approval_id: string;
  /** `consumed`: approved, and used for its request; `cancelled`: nobody waits for it any more. */
  readonly state: 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled' | 'consumed';
  /** Changes with every vote, edit and decision. */
  readonly version: number;
  /** `egress`, `tool`, `permission`, or what else asks. */
  readonly kind: string;
  readonly risk: string | null;
  readonly gate: string;
  readonly rule: string;
  readonly principal: string;
  readonly summary: unknown;
  /** Of what would happen, edits included: SHA-256 in hex. Votes name it. */
  readonly digest: string;
  readonly quorum: number;
  /** Votes for it as it is now. */
  readonly approvals: number;
  /** Whose votes count by now: `role:finance`, `user:ann`. */
  readonly approvers: readonly string[];
  readonly exclude: readonly string[];
  /** Paths of arguments that an approver may change. */
  readonly editable: readonly string[];
  readonly edited_by: string | null;
  /** Decided by one administrator, past the gate. */
  readonly overridden: boolean;
  readonly asked: number;
  readonly thread_key: string | null;
  readonly lease_id: string | null;
  readonly run_id: string | null;
  readonly reason: string | null;
  readonly decided_by: string | null;
  readonly created_at: string;
  readonly expires_at: string;
  readonly escalate_at: string | null;
  readonly decided_at: string | null;
  readonly use_by: string | null;
  readonly consumed_at: string | null;
  readonly audit_id: string;
  readonly decided_audit_id: string | null;
  readonly votes: readonly {
    readonly voter: string;
    readonly verdict: 'approve' | 'deny' | 'abstain';
    /** False: cast before it was edited, or by somebody who then asked for it, too. */
    readonly counts: boolean;
    readonly digest: string;
    readonly reason: string | null;
    readonly channel: string;
    readonly at: string;
    readonly audit_id: string;
  }[];
  readonly args?: unknown;
  readonly edited_args?: unknown;
  /** Paths of arguments that somebody changed. */
  readonly changed: readonly string[];
  readonly policy_diff: string | null;
  /** Names of users who have a part in it. */
  readonly involved: {
    readonly requester: readonly string[];
    readonly run_owner: readonly string[];
    readonly trigger_actor: readonly string[];
    readonly policy_author: readonly string[];
  };
}

/** What became of a click. `message` is for whoever clicked. */
export type ApprovalOutcome =
  | { readonly outcome: 'voted'; readonly approval: ShownApproval }
  | { readonly outcome: 'refused'; readonly code: string; readonly message: string };

/** An approval whose present version is not shown on the platform yet. */
export interface ApprovalNotice {
  readonly approval: ShownApproval;
  readonly thread_key: string | null;
  /** Of the turn that raised it, as its request gave it; null where no turn has. */
  readonly delivery?: unknown;
  /** What was shown last, and where: as the bot noted it. */
  readonly shown: { readonly version: number; readonly ref?: unknown } | null;
  readonly lease_expires_at: string;
}

export interface NoticeChange {
  readonly approval_id: string;
  /** `shown`; `retry_wait`; `given_up` until there is a newer version. */
  readonly state: 'shown' | 'retry_wait' | 'given_up';
}

// ---- the client

export interface NoticeClaimOptions {
  readonly platform: ChatPlatform;
  /** Names the process that shows them. */
  readonly consumerId: string;
  /** 1 to 50, default 10. */
  readonly limit?: number;
  /** 5 to 600, default 60. */
  readonly leaseSeconds?: number;
  /** When there is none, wait so long for one, ms. 30,000 at most. Default 0. */
  readonly waitMs?: number;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

/** As Slack sent it; what comes by Socket Mode has no signature, and counts only where an admin has said so. */
export type SlackInteraction =
  | {
      /** The raw body of Slack's request. */
      readonly body: string;
      /** `X-Slack-Signature`. */
      readonly signature: string;
      /** `X-Slack-Request-Timestamp`. */
      readonly timestamp: string;
    }
  | { readonly payload: unknown; readonly socket: true };

export interface ChatsClient {
  /** Of the person whose session it is: for linking what is theirs on the platform. */
  linkCode(of: { readonly platform: ChatPlatform }): Promise<LinkCode>;
  /** Hands over a code that this account has brought: it is linked when whoever was given the code has confirmed it. */
  link(link: Identity & { readonly code: string; readonly displayName?: string }): Promise<Linked>;
  /** Accounts that have brought a code of the person whose session it is. */
  pendingLinks(): Promise<Page<PendingLink>>;
  /** Says that one of them is theirs. */
  confirmLink(identity: Identity): Promise<ChatLink>;
  /** Who that is. */
  identify(identity: Identity): Promise<ChatPerson>;
  /** A person's own; an admin's: all. */
  listLinks(): Promise<Page<ChatLink>>;
  unlink(identity: Identity): Promise<ChatLink>;
  /** Without a code, as an admin. */
  linkAsAdmin(link: Identity & { readonly user: string; readonly displayName?: string }): Promise<ChatLink>;
  /** A click under an approval: a vote of whoever Slack says has clicked. */
  slackInteraction(interaction: SlackInteraction): Promise<ApprovalOutcome>;
  /** Takes approvals that are to be shown. */
  claimApprovals(options: NoticeClaimOptions): Promise<readonly ApprovalNotice[]>;
  /** Reads one that somebody wants to look at whole. */
  approval(approvalId: string, options?: { readonly signal?: AbortSignal }): Promise<ShownApproval>;
  /** Says that this version is shown. */
  approvalShown(
    approvalId: string,
    shown: {
      readonly platform: ChatPlatform;
      readonly consumerId: string;
      readonly version: number;
      /** JSON, 8 KB at most: where it is shown; null: there is no place for it. */
      readonly ref: unknown;
      /** Messages with its buttons: a click elsewhere is no vote. */
      readonly places?: readonly SlackPlace[];
    },
  ): Promise<NoticeChange>;
  /** Says that it could not be shown. It is due again after a while. */
  approvalFailed(
    approvalId: string,
    failed: {
      readonly platform: ChatPlatform;
      readonly consumerId: string;
      readonly error: string;
      /** 1 to 3600. Default: longer after each attempt. */
      readonly retryAfterSeconds?: number;
    },
  ): Promise<NoticeChange>;
}

export function createChatsClient(api: Transport): ChatsClient {
  const post = <T>(path: string, body: unknown, signal?: AbortSignal) => request<T>(api, 'POST', `/chats${path}`, body, signal);
  const named = ({ platform, team, externalUser }: Identity) => ({ platform, team, external_user: externalUser });
  return {
    linkCode: ({ platform }) => post('/links/codes', { platform }),
    link: ({ code, displayName, ...identity }) => post('/links', { ...named(identity), code, display_name: displayName }),
    pendingLinks: () => request(api, 'GET', '/chats/links/pending'),
    confirmLink: (identity) => post('/links/confirm', named(identity)),
    identify: (identity) => post('/identities', named(identity)),
    listLinks: () => request(api, 'GET', '/chats/links'),
    unlink: ({ platform, team, externalUser }) =>
      request(api, 'DELETE', `/chats/links/${[platform, team, externalUser].map(encodeURIComponent).join('/')}`),
    linkAsAdmin: ({ user, displayName, ...identity }) => post('/links/admin', { ...named(identity), user, display_name: displayName }),
    slackInteraction: (interaction) => post('/slack/interactions', interaction),
    async claimApprovals({ platform, consumerId, limit, leaseSeconds, waitMs, signal }) {
      const body = { platform, consumer_id: consumerId, limit, lease_seconds: leaseSeconds, wait_ms: waitMs };
      return (await post<{ readonly notices: readonly ApprovalNotice[] }>('/approvals/claim', body, signal)).notices;
    },
    approval: (approvalId, { signal } = {}) => request(api, 'GET', `/chats/approvals/${encodeURIComponent(approvalId)}`, undefined, signal),
    approvalShown: (approvalId, { platform, consumerId, version, ref, places }) =>
      post(`/approvals/${encodeURIComponent(approvalId)}/shown`, { platform, consumer_id: consumerId, version, ref, places }),
    approvalFailed: (approvalId, { platform, consumerId, error, retryAfterSeconds }) =>
      post(`/approvals/${encodeURIComponent(approvalId)}/failed`, {
        platform,
        consumer_id: consumerId,
        error,
        retry_after_seconds: retryAfterSeconds,
      }),
  };
}
