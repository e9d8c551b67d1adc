/**
 * Slack's rate limits, kept and counted (docs.slack.dev: Rate limits). A tier is that many calls in any 60 seconds for each
 * method; a short burst of it is what the whole minute allows at once. Messages: one a second for each channel, with a burst
 * of a few, and some hundreds a minute for the workspace.
 */
import { METHODS, type Tier } from './methods.ts';
import type { Clock, Json } from './world.ts';

const MINUTE_MS = 60_000;
const A_MINUTE: Readonly<Record<Tier, number>> = {
  'tier 1': 1,
  'tier 2': 20,
  'tier 3': 50,
  'tier 4': 100,
  posts: 300,
  // assistant.threads.setStatus: "600 requests per minute" is its special limit
  status: 600,
  unlimited: Number.POSITIVE_INFINITY,
};
/** How many messages a channel takes at once before one a second holds. */
const CHANNEL_BURST = 3;

export interface Violation {
  readonly method: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly kind: 'over the limit' | 'during Retry-After';
  /** Which limit: a method, or a method's channel. */
  readonly limit: string;
}

export interface RateLimits {
  readonly violations: readonly Violation[];
  /** Counts the call. @returns seconds to wait when it is not let through */
  take(method: string, args: Json): number | undefined;
  /** Refuses a method for some seconds, as Slack does under load. */
  block(method: string, seconds: number): void;
}

/** `counted`: calls over the limit are in the violations, and let through. */
export type Enforcement = 'enforced' | 'counted';

interface Limit {
  readonly key: string;
  readonly calls: number;
  readonly withinMs: number;
}

export function createRateLimits(clock: Clock, enforcement: () => Enforcement): RateLimits {
  const passed = new Map<string, number[]>();
  const blockedUntil = new Map<string, number>();
  const violations: Violation[] = [];

  return {
    violations,
    block: (method, seconds) => void blockedUntil.set(method, clock.now() + seconds * 1000),
    take(method, args) {
      const now = clock.now();
      const limits = limitsOf(method, args);
      for (const { key } of limits) {
        const until = blockedUntil.get(key) ?? 0;
        if (until <= now) continue;
        violations.push({ method, at: now, kind: 'during Retry-After', limit: key });
        return secondsUntil(until, now);
      }
      for (const limit of limits) {
        const free = freeAt(limit, passed.get(limit.key) ?? [], now);
        if (free <= now) continue;
        violations.push({ method, at: now, kind: 'over the limit', limit: limit.key });
        if (enforcement() === 'counted') continue;
        const seconds = secondsUntil(free, now);
        blockedUntil.set(limit.key, now + seconds * 1000);
        return seconds;
      }
      for (const { key, withinMs } of limits) passed.set(key, [...(passed.get(key) ?? []).filter((at) => at > now - withinMs), now]);
      return undefined;
    },
  };
}

/** The apps' own channel limit comes first: its wait is the shorter. */
function limitsOf(method: string, args: Json): readonly Limit[] {
  const { tier, posts } = METHODS[method] ?? { tier: 'unlimited' as const };
  const channel = posts === undefined ? undefined : (args.channel ?? args.channel_id);
  return [
    ...(typeof channel === 'string' ? [{ key: `posts to ${channel}`, calls: CHANNEL_BURST, withinMs: CHANNEL_BURST * 1000 }] : []),
    ...(tier === 'unlimited' ? [] : [{ key: method, calls: A_MINUTE[tier], withinMs: MINUTE_MS }]),
  ];
}

/** When the limit has room again. */
function freeAt({ calls, withinMs }: Limit, times: readonly number[], now: number): number {
  const within = times.filter((at) => at > now - withinMs);
  return within.length < calls ? now : (within[within.length - calls] as number) + withinMs;
}

function secondsUntil(then: number, now: number): number {
  return Math.max(1, Math.ceil((then - now) / 1000));
}
