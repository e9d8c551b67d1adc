/** How fast Slack may be called: its limits for the whole workspace, and the pauses it asked for. Plain data, for one process or many. */
import { CALLS_PER_MINUTE } from './limits.ts';

export type Method = keyof typeof CALLS_PER_MINUTE;

export interface Pace {
  /** When each method was called in the last minute. */
  readonly calls: Readonly<Partial<Record<Method, readonly number[]>>>;
  /** Until when Slack does not want to hear of it. */
  readonly pausedUntil: Readonly<Partial<Record<Method, number>>>;
  /** The last message posted to a channel; of one that is under way, until when its answer is waited for. */
  readonly posted: Readonly<Record<string, number>>;
}

export const FRESH_PACE: Pace = { calls: {}, pausedUntil: {}, posted: {} };

const MINUTE_MS = 60_000;
/** Messages to one channel: one a second, as Slack counts them. */
const POST_EVERY_MS = 1_000;
/** When Slack has counted one that is under way nobody knows, so none follows it before its answer. None takes longer. */
const UNDER_WAY_MS = MINUTE_MS;
const POSTS: ReadonlySet<Method> = new Set(['chat.postMessage', 'chat.startStream', 'files.upload']);

/** When it may be called: now, or not before that time. */
export function readyAt(pace: Pace, method: Method, channel: string, now: number): number {
  const recent = recentCalls(pace, method, now);
  const oldest = recent.length < CALLS_PER_MINUTE[method] ? undefined : recent[recent.length - CALLS_PER_MINUTE[method]];
  const free = oldest === undefined ? now : oldest + MINUTE_MS;
  // one that is under way is answered now at the earliest: whoever waits looks again within the second that follows its answer
  const posted = POSTS.has(method) ? Math.min(pace.posted[channel] ?? -Infinity, now) + POST_EVERY_MS : now;
  return Math.max(now, free, posted, pace.pausedUntil[method] ?? now);
}

export function noteCall(pace: Pace, method: Method, channel: string, now: number): Pace {
  const posted = Object.fromEntries(Object.entries(pace.posted).filter(([, at]) => now - at < POST_EVERY_MS));
  return {
    ...pace,
    calls: { ...pace.calls, [method]: [...recentCalls(pace, method, now), now] },
    posted: POSTS.has(method) ? { ...posted, [channel]: now + UNDER_WAY_MS } : posted,
  };
}

/** A call that was noted when it was planned has been answered: Slack counted it at some time in between, so at the latest now. */
export function noteAnswer(pace: Pace, method: Method, channel: string, plannedAt: number, now: number): Pace {
  const calls = recentCalls(pace, method, now);
  const place = calls.indexOf(plannedAt);
  const others = place === -1 ? calls : calls.toSpliced(place, 1);
  const posted = POSTS.has(method) ? { ...pace.posted, [channel]: now } : pace.posted;
  return { ...pace, calls: { ...pace.calls, [method]: [...others, now] }, posted };
}

/** Slack answered 429, with its Retry-After. */
export function noteRetryAfter(pace: Pace, method: Method, seconds: number, now: number): Pace {
  return { ...pace, pausedUntil: { ...pace.pausedUntil, [method]: now + Math.max(1, seconds) * 1_000 } };
}

function recentCalls(pace: Pace, method: Method, now: number): readonly number[] {
  return (pace.calls[method] ?? []).filter((at) => now - at < MINUTE_MS);
}
