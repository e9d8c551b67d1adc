/**
 * What Slack should be asked next, so that a turn is shown as it goes: from the turn as it stands, what was last shown, the
 * time, and how fast Slack may be called. It is decided from the present alone, so of many events between two calls only
 * their sum is shown: calls are bounded by time, not by events. Nothing is called here. A caller keeps `afterwards` with the
 * answer after each call, and may die between any two.
 */
import { isOver, type Turn } from '../../chat/index.ts';
import { planEdits } from './edits.ts';
import { planStream } from './native.ts';
import { type Method, type Pace, readyAt } from './pace.ts';
import { type Shown, toEdits } from './shown.ts';
import type { Facts } from './words.ts';

/** Where a turn is shown. */
export interface Place {
  readonly channel: string;
  readonly threadTs: string;
  /** Who asked. Slack wants it for streams outside of direct messages. */
  readonly recipient?: { readonly userId: string; readonly teamId: string };
  /** Ids of people whom the agent may mention. */
  readonly mentions?: readonly string[];
}

export interface Scene {
  readonly turn: Turn;
  readonly shown: Shown;
  readonly place: Place;
  readonly facts: Facts;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export type Next =
  /** `files.upload` stands for the calls by which Slack's SDK uploads a file. */
  | { readonly do: 'call'; readonly method: Method; readonly args: Readonly<Record<string, unknown>>; readonly afterwards: Shown }
  /** Nothing before that time, unless the turn goes on. */
  | { readonly do: 'wait'; readonly until: number }
  /** Nothing until the turn goes on. */
  | { readonly do: 'nothing' }
  /** A call was made of which nobody knows the answer: read the thread, and go on with `recoverShown`. */
  | { readonly do: 'recover' }
  /** The turn is over, and all of it is shown. */
  | { readonly do: 'done' };

/** A stream that would have to wait longer than this to begin is none: the first sign has to be quick. */
const LONGEST_START_MS = 2_000;

export function planNext(scene: Scene, pace: Pace): Next {
  const { shown, place, now } = scene;
  if (shown.stream?.ts === '' || shown.messages.some((message) => message.ts === '')) return { do: 'recover' };
  // what may not be edited yet need not be drawn
  const editable = shown.by === 'edits' && shown.messages.length > 0 ? readyAt(pace, 'chat.update', place.channel, now) : now;
  if (editable > now) return { do: 'wait', until: editable };
  const next = shown.by === 'stream' ? planStream(scene) : planEdits(scene);
  if (next.do !== 'call') return next;
  const ready = readyAt(pace, next.method, place.channel, now);
  if (ready <= now) return next;
  const isFirstSign = next.method === 'chat.startStream' && shown.messages.length === 0;
  if (!isFirstSign || ready <= now + LONGEST_START_MS) return { do: 'wait', until: ready };
  return planNext({ ...scene, shown: toEdits(shown) }, pace);
}

/**
 * The next call for a workspace, and whose it is: answers that are finished first, then whoever has waited longest.
 *
 * @returns `rests`: those that were looked at and have nothing to call for now; `failures`: those of which nobody can say what is next
 */
export function planWorkspace<Key>(
  turns: readonly (Scene & { readonly key: Key })[],
  pace: Pace,
): {
  readonly key: Key | null;
  readonly next: Next;
  readonly rests: readonly { readonly key: Key; readonly next: Next }[];
  readonly failures: readonly { readonly key: Key; readonly error: unknown }[];
} {
  const inTurn = turns.toSorted((a, b) => Number(isOver(b.turn)) - Number(isOver(a.turn)) || a.shown.lastCallAt - b.shown.lastCallAt);
  let until = Infinity;
  const rests: { key: Key; next: Next }[] = [];
  const failures: { key: Key; error: unknown }[] = [];
  for (const scene of inTurn) {
    let next: Next;
    try {
      next = planNext(scene, pace);
    } catch (error) {
      // what one agent said must not keep the others' answers back
      failures.push({ key: scene.key, error });
      continue;
    }
    if (next.do === 'call' || next.do === 'recover') return { key: scene.key, next, rests, failures };
    rests.push({ key: scene.key, next });
    if (next.do === 'wait') until = Math.min(until, next.until);
  }
  return { key: null, next: until === Infinity ? { do: 'nothing' } : { do: 'wait', until }, rests, failures };
}

/** What is shown once Slack has answered the call. */
export function answered(afterwards: Shown, answer: { readonly ts?: string }): Shown {
  const { ts = '' } = answer;
  return {
    ...afterwards,
    stream: afterwards.stream?.ts === '' ? { ...afterwards.stream, ts } : afterwards.stream,
    messages: afterwards.messages.map((message) => (message.ts === '' ? { ...message, ts } : message)),
  };
}

export type Refused =
  /** Go on with this; for `ratelimited` after `noteRetryAfter`. */
  | { readonly do: 'again'; readonly shown: Shown }
  /** Nothing can be shown there: the channel is gone, or we are not in it. */
  | { readonly do: 'stop' }
  /** Why is for people to see to, or passes by itself: a token, a scope, a limit. Another time it may be taken. */
  | { readonly do: 'later' };

/** What to do when Slack refused the call, by the code that it answered. `shown` is what was shown before. */
export function refused(shown: Shown, call: Extract<Next, { do: 'call' }>, code: string): Refused {
  if (code === 'ratelimited' || code === 'internal_error' || code === 'fatal_error' || code === 'service_unavailable')
    return { do: 'again', shown };
  if (call.method === 'chat.stopStream' && shown.toStop.includes(String(call.args['ts']))) {
    // whether it was open was not known: now it is closed
    return { do: 'again', shown: { ...shown, toStop: shown.toStop.slice(1) } };
  }
  if (code === 'streaming_state_conflict') return { do: 'again', shown: { ...shown, toStop: [...shown.toStop, String(call.args['ts'])] } };
  if (GONE.has(code)) return { do: 'stop' };
  if (shown.by === 'stream')
    return { do: 'again', shown: code === 'message_not_in_streaming_state' ? { ...toEdits(shown), toStop: [] } : toEdits(shown) };
  if (call.method === 'files.upload') return { do: 'again', shown: { ...shown, isAttached: true } };
  if (NOT_TAKEN.has(code) && shown.as === 'blocks') return { do: 'again', shown: { ...shown, as: 'words' } };
  // the answer is said once, at the end
  if (call.method === 'chat.update' && NO_EDITS.has(code)) return { do: 'again', shown: { ...shown, messages: [], canEdit: false } };
  // someone deleted it: what it said is said anew, below
  const isLost = call.method === 'chat.update' ? code === 'message_not_found' : call.method === 'chat.delete' && NOT_DELETED.has(code);
  return isLost
    ? { do: 'again', shown: { ...shown, messages: shown.messages.filter((message) => message.ts !== call.args['ts']) } }
    : { do: 'later' };
}

/** About the place, and nothing else: only these make an answer undeliverable. */
const GONE = new Set([
  'channel_not_found',
  'not_in_channel',
  'is_archived',
  'restricted_action',
  'restricted_action_read_only_channel',
  'restricted_action_thread_locked',
  'thread_not_found',
]);
export const isGone = (code: string): boolean => GONE.has(code);

const NOT_TAKEN = new Set(['msg_too_long', 'msg_blocks_too_long', 'invalid_blocks', 'invalid_blocks_format', 'invalid_attachments']);
/** The workspace forbids edits, or allows them for a while. */
const NO_EDITS = new Set(['cant_update_message', 'edit_window_closed']);
const NOT_DELETED = new Set(['message_not_found', 'cant_delete_message']);
