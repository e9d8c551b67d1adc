/**
 * Schedules as pure functions: when a schedule ticks, and how it reads in words.
 *
 * Cron has five Unix fields. Day of month and day of week are alternatives when both are given, as in Vixie cron.
 * Around a change of the clocks: a time that is skipped in spring ticks once, right after the gap; a time that comes
 * twice in autumn ticks once. A wildcard or stepped hour follows elapsed time, so it ticks in both of the two hours.
 */
import type { CronSchedule, IntervalSchedule, Schedule } from '@centaur/sdk';
import { Cron } from 'croner';
import { CATCHUP_MOST, inOurShape, invalid } from './schedule-shapes.ts';

const COMMON = [
  'type',
  'input',
  'allow_overlap',
  'queue',
  'catchup',
  'enabled',
  'schedule_id',
  'thread_key',
  'slack_channel',
  'no_delivery',
];
/** What else is understood, and becomes one of the others. */
const OTHER_SHAPES = ['catchup_policy', 'interval_seconds', 'dialect'];
const FIELDS = ['minute', 'hour', 'day of month', 'month', 'day of week'] as const;
const LIMITS = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 7],
] as const;
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const DAY_NAMES = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];

/**
 * A schedule in any of the shapes it may be written in, in ours.
 *
 * @throws EngineError INVALID_SCHEDULE naming the field
 */
export function parseSchedule(spec: unknown, field = 'schedule'): Schedule {
  if (spec === null || typeof spec !== 'object' || Array.isArray(spec))
    throw invalid(field, 'expected an object with "type": "cron" or "interval"');
  const given = inOurShape(spec, field);
  const type = given.type;
  if (type !== 'cron' && type !== 'interval') throw invalid(`${field}.type`, 'expected "cron" or "interval"');
  const known = [...COMMON, ...(type === 'cron' ? ['cron', 'timezone'] : ['seconds'])];
  for (const key of Object.keys(given)) if (!known.includes(key)) throw unknownKey(key, [...known, ...OTHER_SHAPES], field);
  for (const flag of ['allow_overlap', 'enabled', 'no_delivery']) {
    if (given[flag] !== undefined && typeof given[flag] !== 'boolean') throw invalid(`${field}.${flag}`, 'expected true or false');
  }
  for (const text of ['schedule_id', 'thread_key', 'slack_channel']) checkText(given[text], `${field}.${text}`);
  const catchup = given.catchup;
  if (catchup !== undefined && (!Number.isInteger(catchup) || (catchup as number) < 0 || (catchup as number) > CATCHUP_MOST)) {
    throw invalid(`${field}.catchup`, `expected a whole number from 0 to ${CATCHUP_MOST}`);
  }
  if (given.queue !== undefined && typeof given.queue !== 'string') throw invalid(`${field}.queue`, 'expected the name of a queue');
  if (type === 'cron') checkCron(given, field);
  else if (!Number.isInteger(given.seconds) || (given.seconds as number) < 1 || (given.seconds as number) > 31_536_000) {
    throw invalid(`${field}.seconds`, 'expected a whole number from 1 to 31,536,000');
  }
  checkInput(given, field);
  return given as unknown as Schedule;
}

function unknownKey(key: string, known: readonly string[], field: string): Error {
  const plain = (text: string) => text.replaceAll(/[_-]/g, '').toLowerCase();
  const near = known.find((each) => plain(each) === plain(key));
  return invalid(`${field}.${key}`, near === undefined ? `unknown; use ${known.join(', ')}` : `unknown; did you mean "${near}"?`);
}

function checkText(text: unknown, field: string): void {
  if (text === undefined) return;
  // oxlint-disable-next-line no-control-regex -- they are what is refused
  if (typeof text !== 'string' || text.trim() === '' || text.length > 200 || /[\u0000-\u001f]/.test(text))
    throw invalid(field, 'expected a text of 1 to 200 characters');
}

/** Where answers go is said in the input, which has room for it only as an object. */
function checkInput({ input, thread_key, slack_channel, no_delivery }: Record<string, unknown>, field: string): void {
  const isObject = typeof input === 'object' && !Array.isArray(input);
  if (input === undefined || isObject || (thread_key === undefined && slack_channel === undefined && no_delivery !== true)) return;
  throw invalid(`${field}.input`, 'expected an object, since thread_key, slack_channel and no_delivery are added to it');
}

function checkCron(given: Record<string, unknown>, field: string): void {
  if (typeof given.cron !== 'string') throw invalid(`${field}.cron`, 'expected five fields such as "0 9 * * 1-5"');
  const parts = given.cron.trim().split(/\s+/);
  if (parts.length === 6)
    throw invalid(`${field}.cron`, 'has six fields; seconds are not supported: use five, or {"type": "interval", "seconds": …}');
  if (parts.length !== 5) throw invalid(`${field}.cron`, `expected five fields (${FIELDS.join(', ')}), got ${parts.length}`);
  parts.forEach((part, i) => checkPart(part, i, `${field}.cron`));
  if (given.timezone !== undefined) {
    try {
      new Intl.DateTimeFormat('en', { timeZone: given.timezone as string });
    } catch {
      throw invalid(`${field}.timezone`, `${JSON.stringify(given.timezone)} is not an IANA time zone such as "Europe/London"`);
    }
  }
}

function checkPart(part: string, index: number, field: string): void {
  const [low, high] = LIMITS[index] as readonly [number, number];
  const bad = () =>
    invalid(field, `the ${FIELDS[index]} field "${part}" is not understood: use ${low} to ${high}, *, lists, ranges and steps`);
  for (const item of part.split(',')) {
    const match = /^(\*|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:\/(\d+))?$/i.exec(item);
    if (match === null) throw bad();
    if (match[4] !== undefined && Number(match[4]) === 0) throw bad();
    if (match[1] === '*') continue;
    const from = value(match[2] as string, index);
    const to = match[3] === undefined ? from : value(match[3], index);
    if (Number.isNaN(from) || Number.isNaN(to) || from < low || to > high || from > to) throw bad();
  }
}

function value(text: string, index: number): number {
  if (/^\d+$/.test(text)) return Number(text);
  const names = index === 3 ? MONTHS : index === 4 ? DAYS : [];
  const at = names.indexOf(text.toLowerCase());
  return at < 0 ? Number.NaN : index === 3 ? at + 1 : at;
}

/** The first tick after a moment; null when there is none, such as for 31 February. */
export function nextTick(schedule: Schedule, after: Date): Date | null {
  if (schedule.type === 'interval') return intervalTick(schedule, after);
  const next = calculator(schedule).nextRun(after);
  if (next === null) return null;
  const fixedHour = /^\d/.test(schedule.cron.trim().split(/\s+/)[1] ?? '');
  // a fixed local time that the clocks repeat: its second coming is not another tick
  if (fixedHour && repeatsLocalTime(next, schedule.timezone ?? 'UTC')) return nextTick(schedule, next);
  return next;
}

function intervalTick(schedule: IntervalSchedule, after: Date): Date {
  const ms = schedule.seconds * 1000;
  return new Date((Math.floor(after.getTime() / ms) + 1) * ms);
}

const calculators = new Map<string, Cron>();

function calculator(schedule: CronSchedule): Cron {
  const id = `${schedule.timezone ?? 'UTC'} ${schedule.cron}`;
  let cron = calculators.get(id);
  if (cron === undefined) {
    cron = new Cron(withStepRanges(schedule.cron), { mode: '5-part', timezone: schedule.timezone ?? 'UTC', paused: true });
    if (calculators.size > 1000) calculators.clear();
    calculators.set(id, cron);
  }
  return cron;
}

/** `5/15` is Vixie's short form of `5-59/15`, which the calculator wants in full. */
function withStepRanges(cron: string): string {
  return cron
    .trim()
    .split(/\s+/)
    .map((part, i) =>
      part
        .split(',')
        .map((item) =>
          item.replace(
            /^([a-z0-9]+)\/(\d+)$/i,
            (_, from: string, step: string) => `${from}-${(LIMITS[i] as readonly [number, number])[1]}/${step}`,
          ),
        )
        .join(','),
    )
    .join(' ');
}

function repeatsLocalTime(at: Date, timezone: string): boolean {
  const local = localTime(at, timezone);
  // zones set their clocks back by 30 minutes to 3 hours
  return [30, 60, 90, 120, 180].some((minutes) => localTime(new Date(at.getTime() - minutes * 60_000), timezone) === local);
}

const formats = new Map<string, Intl.DateTimeFormat>();

function localTime(at: Date, timezone: string): string {
  let format = formats.get(timezone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-GB', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium' });
    formats.set(timezone, format);
  }
  return format.format(at);
}

export function nextTicks(schedule: Schedule, from: Date, count: number): Date[] {
  const ticks: Date[] = [];
  for (let at = nextTick(schedule, from); at !== null && ticks.length < count; at = nextTick(schedule, at)) ticks.push(at);
  return ticks;
}

/** How many ticks of an outage are counted one by one; older ones are only known to be at least as many. */
const MISSED_MAX = 2000;

/**
 * The newest `limit` ticks in (after, until], and how many older ones were passed over. The work is bounded: after a
 * very long outage only a recent stretch is looked at, and `skipped` is a lower bound.
 */
export function missedTicks(
  schedule: Schedule,
  after: Date,
  until: Date,
  limit: number,
): { readonly ticks: Date[]; readonly skipped: number } {
  const ticks: Date[] = [];
  let count = 0;
  let from = after;
  const first = nextTick(schedule, after);
  const second = first === null ? null : nextTick(schedule, first);
  if (first !== null && second !== null) {
    const gap = second.getTime() - first.getTime();
    if ((until.getTime() - first.getTime()) / gap > MISSED_MAX) {
      from = new Date(until.getTime() - gap * (MISSED_MAX / 2));
      count = 1;
    }
  }
  for (let at = nextTick(schedule, from); at !== null && at <= until && count < 100 * MISSED_MAX; at = nextTick(schedule, at)) {
    count += 1;
    ticks.push(at);
    if (ticks.length > limit) ticks.shift();
  }
  return { ticks, skipped: count - ticks.length };
}

/** The schedule in words, with weekdays named: a number there means different days in different dialects. */
export function describeCron(schedule: Schedule): string {
  if (schedule.type === 'interval') return `every ${schedule.seconds} seconds`;
  const [minute = '*', hour = '*', day = '*', month = '*', weekday = '*'] = schedule.cron.trim().split(/\s+/);
  const at =
    /^\d+$/.test(minute) && /^\d+$/.test(hour)
      ? `at ${hour.padStart(2, '0')}:${minute.padStart(2, '0')}`
      : `${words(minute, 'minute')}, ${words(hour, 'hour')}`;
  const days = [day === '*' ? '' : `on day ${day} of the month`, weekday === '*' ? '' : weekdays(weekday)].filter(Boolean).join(' or ');
  const months = month === '*' ? '' : `in ${month.replace(/\b([1-9]|1[0-2])\b/g, (n) => capital(MONTHS[Number(n) - 1] ?? n))}`;
  return [at, days, months, schedule.timezone ?? 'UTC'].filter(Boolean).join(', ');
}

function words(part: string, unit: string): string {
  if (part === '*') return `every ${unit}`;
  const step = /^\*\/(\d+)$/.exec(part);
  return step === null ? `${unit} ${part}` : `every ${step[1]} ${unit}s`;
}

function weekdays(part: string): string {
  const name = (text: string) => DAY_NAMES[value(text, 4)] ?? text;
  return part
    .split(',')
    .map((item) =>
      item
        .replace(/^([a-z0-9]+)-([a-z0-9]+)/i, (_, from: string, to: string) => `${name(from)} to ${name(to)}`)
        .replace(/^[a-z0-9]+$/i, name),
    )
    .join(', ');
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
