/**
 * How fast GitHub may be written to. Its secondary limits are counted over all that one account writes: 80 times in a minute and 500
 * in an hour, and rather one after the other with a second between (docs.github.com, "Rate limits for the REST API" and "Best
 * practices"). Plain data, and the time is handed in.
 */

export interface Pace {
  /** When it was written, in the last hour. */
  readonly writes: readonly number[];
  /** When the last one was answered. */
  readonly endedAt: number;
  /** Until when GitHub wants to hear of nothing. */
  readonly pausedUntil: number;
}

export const FRESH_PACE: Pace = { writes: [], endedAt: 0, pausedUntil: 0 };

export const LIMITS = { spacingMs: 1_000, perMinute: 80, perHour: 500 } as const;
const MINUTE = 60_000;
const HOUR = 3_600_000;

/** From when on one more may be written. */
export function writeAt(pace: Pace, now: number): number {
  const last = Math.max(pace.writes.at(-1) ?? 0, pace.endedAt);
  return Math.max(
    now,
    pace.pausedUntil,
    last + LIMITS.spacingMs,
    freeAt(pace.writes, LIMITS.perMinute, MINUTE),
    freeAt(pace.writes, LIMITS.perHour, HOUR),
  );
}

function freeAt(writes: readonly number[], most: number, period: number): number {
  const first = writes.at(-most);
  // just after the period, so that nobody who counts otherwise finds one too many
  return first === undefined ? 0 : first + period + 1;
}

/** Whether there is room for what nobody misses: most of both limits is kept for answers. */
export function hasRoom(pace: Pace, now: number): boolean {
  const since = (period: number) => pace.writes.filter((at) => now - at < period).length;
  return pace.pausedUntil <= now && since(MINUTE) < LIMITS.perMinute * 0.5 && since(HOUR) < LIMITS.perHour * 0.6;
}

export function noteWrite(pace: Pace, now: number): Pace {
  return { ...pace, writes: [...pace.writes.filter((at) => now - at <= HOUR), now] };
}

/** However long one was under way, the next one is felt there no sooner. */
export function noteEnd(pace: Pace, now: number): Pace {
  return { ...pace, endedAt: now };
}

export function notePause(pace: Pace, until: number): Pace {
  return { ...pace, pausedUntil: Math.max(pace.pausedUntil, until) };
}

export interface Answer {
  readonly status: number;
  readonly header: (name: string) => string | null;
  /** GitHub's own words. */
  readonly message: string;
}

/** Until when to wait, if the answer is about a limit; undefined: it is about something else. */
export function limitOf(answer: Answer, tries: number, now: number): number | undefined {
  if (answer.status !== 403 && answer.status !== 429) return undefined;
  const retryAfter = Number(answer.header('retry-after') ?? Number.NaN);
  if (Number.isFinite(retryAfter)) return now + Math.max(1, retryAfter) * 1000;
  if (answer.header('x-ratelimit-remaining') === '0') {
    const reset = Number(answer.header('x-ratelimit-reset') ?? Number.NaN) * 1000;
    // its clock may be another one
    return Number.isFinite(reset) ? Math.max(reset, now) + 1000 : now + MINUTE;
  }
  // without any time: at least a minute, and longer each time
  if (answer.status === 429 || /rate limit|abuse detection/i.test(answer.message)) return now + MINUTE * 2 ** Math.min(tries, 5);
  return undefined;
}
