/** What of a turn is in Slack: plain data, to be kept after every call, and found again in the messages themselves. */
import { createHash } from 'node:crypto';
import type { Fence } from '../../chat/fence.ts';

export interface Shown {
  /** False: Slack refused an edit. Then nothing is shown until the turn is over, and `messages` are those of its answer. */
  readonly canEdit: boolean;
  /** By a stream, or by messages that are edited. A stream that failed or said the wrong thing is edited from then on. */
  readonly by: 'stream' | 'edits';
  /** In their order in the thread; of a stream those that are closed. */
  readonly messages: readonly ShownMessage[];
  readonly stream: OpenStream | null;
  /** Streams of which it is not known whether they are closed; an open one cannot be edited. */
  readonly toStop: readonly string[];
  /** How much is in closed streams. */
  readonly said: Said;
  readonly lastEventId: number;
  readonly lastCallAt: number;
  /** Words alone once Slack has refused blocks that it should have taken: then little is shown, and the answer attached. */
  readonly as: 'blocks' | 'words';
  readonly isAttached: boolean;
  readonly isFinal: boolean;
}

export interface Said {
  /** Of the transcript: its length, its digest, and the fence that is open at its end. */
  readonly length: number;
  readonly digest: string;
  readonly fence: Fence;
  /** Steps that were shown, counted from the first of the turn. */
  readonly steps: number;
  /** Digest of what the turn was doing when the last stream was closed: a new one begins when there is something new. */
  readonly doing: string;
}

export interface ShownMessage {
  /** Empty until Slack has answered. */
  readonly ts: string;
  /** Of what it shows; empty when that is not known. */
  readonly digest: string;
}

export interface OpenStream {
  /** Empty until Slack has answered. */
  readonly ts: string;
  readonly startedAt: number;
  readonly appendedAt: number;
  /** What of the transcript is said, with all streams before; and the digest of exactly that. */
  readonly length: number;
  readonly digest: string;
  readonly fence: Fence;
  /** Of the Markdown in this stream. */
  readonly textLength: number;
  readonly textBytes: number;
  /** Whether the next character begins a line, as fences must. */
  readonly isAtLineStart: boolean;
  readonly title: string;
  readonly cards: readonly ShownCard[];
}

export interface ShownCard {
  readonly id: string;
  readonly title: string;
  readonly status: TaskStatus;
  readonly details: string;
}

export type TaskStatus = 'pending' | 'in_progress' | 'complete' | 'error';

export function nothingShown(by: Shown['by']): Shown {
  return {
    by,
    messages: [],
    stream: null,
    toStop: [],
    said: { length: 0, digest: digestOf(''), fence: null, steps: 0, doing: '' },
    lastEventId: 0,
    lastCallAt: 0,
    canEdit: true,
    as: 'blocks',
    isAttached: false,
    isFinal: false,
  };
}

export function digestOf(content: unknown): string {
  return createHash('sha256')
    .update(typeof content === 'string' ? content : JSON.stringify(content))
    .digest('base64url')
    .slice(0, 16);
}

/** From a stream to edits of its messages: what they show now is unknown, so all of them are written again. */
export function toEdits(shown: Shown): Shown {
  const open = shown.stream === null || shown.stream.ts === '' ? [] : [shown.stream.ts];
  const messages = [...shown.messages.map((message) => ({ ...message, digest: '' })), ...open.map((ts) => ({ ts, digest: '' }))];
  return { ...shown, by: 'edits', messages, stream: null, toStop: [...shown.toStop, ...open] };
}

// ---- in the messages themselves

export const EVENT_TYPE = 'centaur_turn';

export interface Metadata {
  readonly event_type: typeof EVENT_TYPE;
  readonly event_payload: {
    readonly execution_id: string;
    readonly segment: number;
    readonly last_event_id: number;
    readonly final: boolean;
  };
}

export function metadataOf(executionId: string, segment: number, lastEventId: number, final: boolean): Metadata {
  return { event_type: EVENT_TYPE, event_payload: { execution_id: executionId, segment, last_event_id: lastEventId, final } };
}

/** Cards carry the execution in their ids: a stream has no metadata before it is closed. */
export const cardId = (executionId: string, segment: number, step: string): string => `${executionId}/${segment}/${step}`.slice(0, 256);

/** A message of the thread as `conversations.replies` tells it, with `include_all_metadata`. Only our own count: the caller looks. */
export interface ThreadMessage {
  readonly ts: string;
  readonly metadata?: { readonly event_type?: unknown; readonly event_payload?: unknown };
  readonly blocks?: unknown;
}

/**
 * What of an execution is in its thread, for whoever does not know: after a crash between a call and its note, or an answer
 * that was lost. All of it is written once more, which changes nothing where it was right.
 */
export function recoverShown(executionId: string, thread: readonly ThreadMessage[]): Shown {
  const found = thread
    .flatMap((message) => {
      const payload = payloadOf(message);
      if (payload?.execution_id === executionId)
        return [{ ts: message.ts, segment: Number(payload.segment), lastEventId: Number(payload.last_event_id), isOpen: false }];
      const segment = payload === undefined ? segmentOfCards(executionId, message.blocks) : undefined;
      return segment === undefined ? [] : [{ ts: message.ts, segment, lastEventId: 0, isOpen: true }];
    })
    .sort((a, b) => a.segment - b.segment || Number(a.ts) - Number(b.ts));
  return {
    ...nothingShown('edits'),
    messages: found.map(({ ts }) => ({ ts, digest: '' })),
    toStop: found.filter((message) => message.isOpen).map(({ ts }) => ts),
    lastEventId: found.reduce((last, message) => Math.max(last, message.lastEventId), 0),
  };
}

/** Whether it is of a turn that is over. */
export const isOfAnswer = (message: ThreadMessage): boolean => payloadOf(message)?.['final'] === true;

function payloadOf({ metadata }: ThreadMessage): Readonly<Record<string, unknown>> | undefined {
  if (metadata?.event_type !== EVENT_TYPE) return undefined;
  const payload = metadata.event_payload;
  return typeof payload === 'object' && payload !== null ? (payload as Record<string, unknown>) : undefined;
}

function segmentOfCards(executionId: string, blocks: unknown): number | undefined {
  const found = JSON.stringify(blocks ?? null).split(`"${executionId}/`)[1];
  const segment = found === undefined ? undefined : /^(\d+)\//.exec(found)?.[1];
  return segment === undefined ? undefined : Number(segment);
}
