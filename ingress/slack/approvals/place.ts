/** Where an approval is shown, as it is kept at the platform; and what is found of it in Slack, when nobody knows whether it was posted. */
import type { ApprovalNotice, ShownApproval } from '@centaur/sdk';
import { placeOfKey, PLATFORM, type SlackContext } from '../context.ts';
import { ownMessages } from '../own-messages.ts';
import { isDirect } from '../settings.ts';

export const EVENT_TYPE = 'centaur_approval';

export interface Place {
  readonly channel: string;
  /** Undefined: in the channel itself. */
  readonly threadTs?: string;
}

export interface Posted {
  readonly channel: string;
  readonly ts: string;
}

/** What the platform keeps for us of an approval. */
export interface Ref {
  readonly cards: readonly Posted[];
  /** The message that says that its gate was passed by. */
  readonly override?: Posted;
}

/** Kept by us alone, and read as anything from outside. */
export function readRef(ref: unknown): Ref {
  const { cards, override } = (typeof ref === 'object' && ref !== null ? ref : {}) as {
    readonly cards?: unknown;
    readonly override?: unknown;
  };
  return {
    cards: (Array.isArray(cards) ? cards : []).filter(isPosted).map(({ channel, ts }) => ({ channel, ts })),
    ...(isPosted(override) ? { override: { channel: override.channel, ts: override.ts } } : {}),
  };
}

function isPosted(value: unknown): value is Posted {
  const { channel, ts } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Record<keyof Posted, unknown>>;
  return typeof channel === 'string' && typeof ts === 'string';
}

/**
 * The thread of the turn that asks, else the channel for approvals. What asks in a direct message is shown in both: there, nobody but who asked
 * could look at it.
 */
export function placesOf({ delivery, thread_key: key }: ApprovalNotice, approvalsChannel: string | undefined): Place[] {
  const thread = placeOfDelivery(delivery) ?? (key === null ? undefined : placeOfKey(key));
  const common = approvalsChannel === undefined ? [] : [{ channel: approvalsChannel }];
  if (thread === undefined) return common;
  return isDirect(thread.channel) ? [thread, ...common] : [thread];
}

function placeOfDelivery(delivery: unknown): Place | undefined {
  const {
    platform,
    channel,
    thread_ts: threadTs,
  } = (typeof delivery === 'object' && delivery !== null ? delivery : {}) as Readonly<Record<string, unknown>>;
  if (platform !== PLATFORM || typeof channel !== 'string' || typeof threadTs !== 'string') return undefined;
  return { channel, threadTs };
}

/** `override`: the message beside the card. */
export type Kind = 'card' | 'override';

export const metadataOf = ({ approval_id: id, version }: ShownApproval, kind: Kind) => ({
  event_type: EVENT_TYPE,
  event_payload: { approval_id: id, version, kind },
});

/** So far back it is looked for. */
const MOST_PAGES = 5;

/** Whether it is there already: posted by whoever died before they could say so. Only our own messages count. */
export async function findPosted(
  context: SlackContext,
  { channel, threadTs }: Place,
  approval: ShownApproval,
  kind: Kind,
  signal: AbortSignal,
): Promise<Posted | undefined> {
  // clocks differ: a minute more is read
  const oldest = `${Math.floor(Date.parse(approval.created_at) / 1000) - 60}.000000`;
  let pages = 0;
  for await (const page of ownMessages(context, { channel, threadTs, oldest }, signal)) {
    for (const { ts, metadata } of page) {
      if (metadata?.event_type !== EVENT_TYPE) continue;
      const payload = metadata.event_payload as Readonly<Record<string, unknown>> | undefined;
      if (payload?.['approval_id'] === approval.approval_id && payload['kind'] === kind) return { channel, ts };
    }
    if (++pages === MOST_PAGES) break;
  }
  return undefined;
}
