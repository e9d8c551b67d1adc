/** The shape of a schedule, checked when its file is loaded, where the author sees it. When it fires is the engine's. */

type Fields = Readonly<Record<string, unknown>>;

const CRON_FIELDS = [
  { name: 'minute', from: 0, to: 59, names: [] },
  { name: 'hour', from: 0, to: 23, names: [] },
  { name: 'day of month', from: 1, to: 31, names: [] },
  { name: 'month', from: 1, to: 12, names: ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'] },
  { name: 'day of week', from: 0, to: 7, names: ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'] },
] as const;

/** @returns what is wrong, to be read after the schedule's name; undefined when nothing is */
export function checkSchedule(schedule: Fields): string | undefined {
  const { type, catchup, queue } = schedule;
  if (catchup !== undefined && !(Number.isInteger(catchup) && (catchup as number) >= 0)) {
    return `catchup must be a whole number from 0; it is ${JSON.stringify(catchup)}`;
  }
  if (queue !== undefined && typeof queue !== 'string') return `queue must be a queue's name; it is ${JSON.stringify(queue)}`;
  for (const field of ['allow_overlap', 'enabled']) {
    const value = schedule[field];
    if (value !== undefined && typeof value !== 'boolean')
      return `${field} must be true or false; it is ${JSON.stringify(value)}`;
  }
  switch (type) {
    case 'cron':
      return checkCron(schedule);
    case 'interval': {
      const { seconds } = schedule;
      const valid = typeof seconds === 'number' && Number.isInteger(seconds) && seconds >= 1;
      return valid ? undefined : `seconds must be a whole number from 1; it is ${JSON.stringify(seconds)}`;
    }
    default:
      return `type must be "cron" or "interval"; it is ${JSON.stringify(type)}`;
  }
}

function checkCron({ cron, timezone }: Fields): string | undefined {
  if (timezone !== undefined && !isTimeZone(timezone)) {
    return `timezone ${JSON.stringify(timezone)} is not known; use an IANA name such as "Europe/Berlin"`;
  }
  if (typeof cron !== 'string') return `cron must be a text of five fields; it is ${JSON.stringify(cron)}`;
  const parts = cron.trim().split(/\s+/);
  if (parts.length !== CRON_FIELDS.length) {
    return `cron ${JSON.stringify(cron)} has ${parts.length} fields; it needs five: ${CRON_FIELDS.map((each) => each.name).join(', ')}`;
  }
  for (const [index, field] of CRON_FIELDS.entries()) {
    const part = parts[index] ?? '';
    if (!part.split(',').every((range) => isRange(range, field))) {
      return `cron ${JSON.stringify(cron)}: ${field.name} ${JSON.stringify(part)} is not valid (${field.from}-${field.to})`;
    }
  }
  return undefined;
}

/** One item of a field's list: a star, a value, or a range of two, each with an optional step after a slash. */
function isRange(text: string, field: (typeof CRON_FIELDS)[number]): boolean {
  const match = /^(?:\*|(\w+)(?:-(\w+))?)(?:\/(\d+))?$/.exec(text);
  if (!match) return false;
  const [, first, last, step] = match;
  if (step !== undefined && Number(step) < 1) return false;
  if (first === undefined) return true;
  const from = valueOf(first, field);
  const to = last === undefined ? from : valueOf(last, field);
  return from !== undefined && to !== undefined && from <= to;
}

function valueOf(text: string, field: (typeof CRON_FIELDS)[number]): number | undefined {
  const named = (field.names as readonly string[]).indexOf(text.toUpperCase());
  if (named >= 0) return named + field.from;
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  return value >= field.from && value <= field.to ? value : undefined;
}

function isTimeZone(zone: unknown): boolean {
  try {
    return typeof zone === 'string' && Boolean(new Intl.DateTimeFormat('en', { timeZone: zone }));
  } catch {
    return false;
  }
}
