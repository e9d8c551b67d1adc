/**
 * A length of time: milliseconds as a number, a text such as `"90s"`, `"1h 30m"` or `"2d"`, or an object of parts.
 * Units of the text form: `ms`, `s`, `m`, `h`, `d`, `w`.
 */
export type Duration =
  | number
  | string
  | {
      readonly weeks?: number;
      readonly days?: number;
      readonly hours?: number;
      readonly minutes?: number;
      readonly seconds?: number;
      readonly milliseconds?: number;
    };

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const PART_MS = {
  milliseconds: UNIT_MS.ms,
  seconds: UNIT_MS.s,
  minutes: UNIT_MS.m,
  hours: UNIT_MS.h,
  days: UNIT_MS.d,
  weeks: UNIT_MS.w,
} as const;

/** Longest duration accepted: 10 years. A longer one is nearly always a unit mistake. */
const LONGEST_MS = 3650 * UNIT_MS.d;

/**
 * Converts a duration to whole milliseconds.
 *
 * @param field what the duration is for; the error names it
 * @throws TypeError when it is negative, not finite, not understood, or longer than ten years
 */
export function toMilliseconds(duration: Duration, field = 'duration'): number {
  const ms = Math.round(rawMilliseconds(duration, field));
  if (!Number.isFinite(ms) || ms < 0) {
    throw new TypeError(`${field}: expected a duration of zero or more, got ${describe(duration)}`);
  }
  if (ms > LONGEST_MS) {
    throw new TypeError(`${field}: ${describe(duration)} is longer than ten years; are the units right?`);
  }
  return ms;
}

function rawMilliseconds(duration: Duration, field: string): number {
  if (typeof duration === 'number') return duration;
  if (typeof duration === 'string') return parseText(duration, field);
  if (duration === null || typeof duration !== 'object' || Array.isArray(duration)) {
    throw new TypeError(`${field}: expected milliseconds, a text such as "90s", or {minutes: 5}; got ${describe(duration)}`);
  }
  let total = 0;
  for (const [part, amount] of Object.entries(duration)) {
    const unit = PART_MS[part as keyof typeof PART_MS];
    if (unit === undefined || typeof amount !== 'number') {
      throw new TypeError(`${field}: unknown part "${part}"; use ${Object.keys(PART_MS).join(', ')}`);
    }
    total += amount * unit;
  }
  return total;
}

function parseText(text: string, field: string): number {
  const compact = text.trim();
  let total = 0;
  let end = 0;
  // Sticky: each part must begin where the one before ended
  for (const match of compact.matchAll(/(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*/gy)) {
    total += Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
    end = match.index + match[0].length;
  }
  if (compact === '' || end !== compact.length) {
    throw new TypeError(`${field}: cannot read ${describe(text)}; write it like "500ms", "90s", "1h 30m" or "2d"`);
  }
  return total;
}

function describe(value: unknown): string {
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value);
}
