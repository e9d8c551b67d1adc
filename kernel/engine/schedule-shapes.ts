/**
 * The shapes that a schedule may be written in. Both generations of the original's become ours, so that what follows
 * knows one: `{"cron": …}` and `{"interval_seconds": …}` without a type, `enabled` in words, `catchup_policy`, and
 * Quartz' weekdays where they are asked for.
 */
import { EngineError } from './errors.ts';

type Fields = Record<string, unknown>;

/** All missed ticks are made up for under `catchup_policy: all`, as far as anything is. */
export const CATCHUP_MOST = 1000;

/** A key that is null is one that is not given: that is how Python leaves one out. @throws EngineError INVALID_SCHEDULE */
export function inOurShape(spec: object, field: string): Fields {
  const given: Fields = Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null && value !== undefined));
  given.type ??= typeOf(given, field);
  if (given.type === 'interval') asInterval(given, field);
  if (given.enabled !== undefined) given.enabled = isOn(given.enabled, field);
  if (given.catchup_policy !== undefined) asCatchup(given, field);
  if (given.dialect !== undefined) asUnix(given, field);
  return given;
}

function typeOf(given: Fields, field: string): 'cron' | 'interval' {
  const isCron = 'cron' in given;
  const isInterval = 'interval_seconds' in given || 'seconds' in given;
  if (isCron && isInterval) throw invalid(field, 'has both a cron expression and an interval; make two schedules of it');
  if (!isCron && !isInterval) throw invalid(`${field}.type`, 'expected "cron" or "interval"');
  return isCron ? 'cron' : 'interval';
}

/** A zone beside an interval says nothing: its ticks are the same everywhere. */
function asInterval(given: Fields, field: string): void {
  delete given.timezone;
  if (given.interval_seconds === undefined) return;
  if (given.seconds !== undefined) throw invalid(`${field}.interval_seconds`, 'is the same as seconds; give one of them');
  given.seconds = given.interval_seconds;
  delete given.interval_seconds;
}

function isOn(enabled: unknown, field: string): boolean {
  if (typeof enabled === 'boolean') return enabled;
  const word = String(enabled).trim().toLowerCase();
  if (['0', 'false', 'no', 'off'].includes(word)) return false;
  if (['1', 'true', 'yes', 'on'].includes(word)) return true;
  throw invalid(`${field}.enabled`, 'expected true or false');
}

function asCatchup(given: Fields, field: string): void {
  const policy = given.catchup_policy;
  if (given.catchup !== undefined) throw invalid(`${field}.catchup_policy`, 'says the same as catchup; give one of them');
  if (policy !== 'skip' && policy !== 'all') throw invalid(`${field}.catchup_policy`, 'expected "skip" or "all"');
  given.catchup = policy === 'all' ? CATCHUP_MOST : 0;
  delete given.catchup_policy;
}

/** Quartz counts weekdays from Sunday = 1, writes `?` for "any", and may have a field of seconds in front. */
function asUnix(given: Fields, field: string): void {
  const { dialect, cron } = given;
  if (given.type !== 'cron' || (dialect !== 'quartz' && dialect !== 'unix')) {
    throw invalid(`${field}.dialect`, 'expected "unix" or "quartz", of a cron expression');
  }
  delete given.dialect;
  if (dialect === 'unix' || typeof cron !== 'string') return;
  const parts = cron.trim().split(/\s+/);
  if (parts.length === 6 && parts[0] === '0') parts.shift();
  // of any other number of fields the check of the expression tells
  if (parts.length === 5) parts[4] = quartzWeekdays(parts[4] as string, `${field}.cron`);
  given.cron = parts.map((part) => (part === '?' ? '*' : part)).join(' ');
}

const QUARTZ_DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

/** By name, which means the same in every dialect. A stepped range becomes a list: with Sunday at its other end it would be another. */
function quartzWeekdays(part: string, field: string): string {
  const day = (text: string): number => {
    const index = /^\d+$/.test(text) ? Number(text) - 1 : QUARTZ_DAYS.indexOf(text.toLowerCase());
    if (QUARTZ_DAYS[index] === undefined)
      throw invalid(field, `the day of week field "${part}" is not understood: in Quartz it has 1 (Sunday) to 7 (Saturday), or names`);
    return index;
  };
  return part
    .split(',')
    .map((item) => {
      const [range = '', step] = item.split('/');
      if (range === '*' || range === '?') return step === undefined ? '*' : everyDay(0, 6, Number(step));
      const [from = '', to] = range.split('-');
      if (step !== undefined) return everyDay(day(from), to === undefined ? 6 : day(to), Number(step));
      const first = QUARTZ_DAYS[day(from)] as string;
      return to === undefined ? first : `${first}-${QUARTZ_DAYS[day(to)] as string}`;
    })
    .join(',');

  function everyDay(from: number, to: number, step: number): string {
    if (!Number.isInteger(step) || step < 1)
      throw invalid(field, `the day of week field "${part}" has a step that is not a whole number above 0`);
    return QUARTZ_DAYS.filter((_, index) => index >= from && index <= to && (index - from) % step === 0).join(',');
  }
}

export function invalid(field: string, problem: string): EngineError {
  return new EngineError('INVALID_SCHEDULE', `${field}: ${problem}`);
}
