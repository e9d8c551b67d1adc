import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeCron, missedTicks, nextTick, nextTicks, parseSchedule } from './cron.ts';

const cron = (text: string, timezone = 'UTC') => ({ type: 'cron' as const, cron: text, timezone });
const ticks = (text: string, zone: string, from: string, count: number) =>
  nextTicks(cron(text, zone), new Date(from), count).map((at) => at.toISOString().slice(0, 16));

test('a time that the clocks skip ticks once, right after the gap', () => {
  assert.deepEqual(ticks('30 2 * * *', 'America/New_York', '2026-03-07T12:00:00Z', 2), ['2026-03-08T07:00', '2026-03-09T06:30']);
  assert.deepEqual(ticks('15 2 * * *', 'Australia/Lord_Howe', '2026-10-02T16:00:00Z', 2), ['2026-10-03T15:30', '2026-10-04T15:15']);
});

test('a time that the clocks repeat ticks once, and a wildcard hour follows elapsed time', () => {
  assert.deepEqual(ticks('30 1 * * *', 'America/New_York', '2026-10-31T12:00:00Z', 2), ['2026-11-01T05:30', '2026-11-02T06:30']);
  assert.deepEqual(ticks('30 1 * * *', 'Europe/London', '2026-10-24T12:00:00Z', 2), ['2026-10-25T00:30', '2026-10-26T01:30']);
  assert.deepEqual(ticks('45 1 * * *', 'Australia/Lord_Howe', '2026-04-04T12:00:00Z', 2), ['2026-04-04T14:45', '2026-04-05T15:15']);
  assert.deepEqual(ticks('0 * * * *', 'America/New_York', '2026-11-01T04:30:00Z', 3), [
    '2026-11-01T05:00',
    '2026-11-01T06:00',
    '2026-11-01T07:00',
  ]);
});

test('weekdays are Unix weekdays, and day of month or day of week is enough', () => {
  assert.deepEqual(ticks('0 9 * * 1-5', 'UTC', '2026-11-20T10:00:00Z', 2), ['2026-11-23T09:00', '2026-11-24T09:00']);
  for (const sunday of ['0', '7', 'sun'])
    assert.deepEqual(ticks(`0 9 * * ${sunday}`, 'UTC', '2026-11-20T10:00:00Z', 1), ['2026-11-22T09:00']);
  assert.deepEqual(ticks('0 0 13 * 5', 'UTC', '2026-12-10T00:00:00Z', 3), ['2026-12-11T00:00', '2026-12-13T00:00', '2026-12-18T00:00']);
});

test('a date that never comes has no tick', () => {
  assert.equal(nextTick(cron('0 0 31 2 *'), new Date()), null);
});

test('missed ticks are the newest ones, found with bounded work', () => {
  const missed = missedTicks(cron('* * * * *'), new Date('2025-01-01'), new Date('2026-01-01'), 2);
  assert.deepEqual(
    missed.ticks.map((at) => at.toISOString()),
    ['2025-12-31T23:59:00.000Z', '2026-01-01T00:00:00.000Z'],
  );
  assert.ok(missed.skipped > 900);
});

test('intervals tick on multiples of their length, so that processes agree', () => {
  assert.equal(nextTick({ type: 'interval', seconds: 90 }, new Date(91_000))?.getTime(), 180_000);
});

test('a schedule reads in words, with its weekdays named', () => {
  assert.equal(describeCron(cron('0 9 * * 1-5', 'America/New_York')), 'at 09:00, Monday to Friday, America/New_York');
});

test('the shapes of both generations of the original are understood, and become one', () => {
  const weekdays = { type: 'cron', cron: '0 9 * * 1-5' };
  const shapes: [object, object][] = [
    [
      { cron: '0 9 * * 1-5', timezone: 'UTC' },
      { ...weekdays, timezone: 'UTC' },
    ],
    [
      { interval_seconds: 300, timezone: 'UTC' },
      { type: 'interval', seconds: 300 },
    ],
    [
      { type: 'interval', seconds: 300, thread_key: null },
      { type: 'interval', seconds: 300 },
    ],
    [
      { ...weekdays, catchup_policy: 'skip' },
      { ...weekdays, catchup: 0 },
    ],
    [
      { ...weekdays, catchup_policy: 'all' },
      { ...weekdays, catchup: 1000 },
    ],
    [
      { ...weekdays, schedule_id: 'mornings', thread_key: 't', slack_channel: 'C1', no_delivery: true },
      { ...weekdays, schedule_id: 'mornings', thread_key: 't', slack_channel: 'C1', no_delivery: true },
    ],
  ];
  for (const [shape, ours] of shapes) {
    assert.deepEqual(parseSchedule(shape), ours);
    assert.deepEqual(parseSchedule(ours), ours);
  }
  for (const off of ['0', 'false', 'No', 'off', false]) assert.equal(parseSchedule({ ...weekdays, enabled: off }).enabled, false);
  for (const on of ['1', 'true', 'yes', true]) assert.equal(parseSchedule({ ...weekdays, enabled: on }).enabled, true);
});

test('weekdays count from Sunday = 1 only where Quartz is asked for', () => {
  const quartz = (text: string) => {
    const schedule = parseSchedule({ cron: text, dialect: 'quartz' });
    return schedule.type === 'cron' ? schedule.cron : '';
  };
  assert.equal(quartz('0 9 ? * 2-6'), '0 9 * * mon-fri');
  assert.equal(quartz('0 0 9 ? * 1'), '0 9 * * sun');
  assert.equal(quartz('0 9 * * 2/2'), '0 9 * * mon,wed,fri');
  assert.equal(quartz('0 9 * * 2-5/2'), '0 9 * * mon,wed');
  assert.equal(quartz('0 9 * * 7,MON'), '0 9 * * sat,mon');
  assert.throws(() => quartz('0 9 * * 0'), /1 \(Sunday\) to 7/);
  assert.throws(() => quartz('30 0 9 * * 1'), /six fields/);
  assert.equal(describeCron(parseSchedule({ cron: '0 9 * * 1-5', dialect: 'unix' })), 'at 09:00, Monday to Friday, UTC');
});

test('a bad schedule is refused with its field', () => {
  const refused: [unknown, RegExp][] = [
    [cron('0 9 * *'), /five fields/],
    [cron('0 0 9 * * 1'), /six fields/],
    [cron('61 * * * *'), /minute field "61"/],
    [cron('0 9 * * 8'), /day of week field "8"/],
    [cron('0 9 * * *', 'Mars/Base'), /Mars\/Base/],
    [{ type: 'interval', seconds: 0 }, /seconds/],
    [{ type: 'cron', cron: '* * * * *', catch_up: 1 }, /catch_up: unknown/],
    ['daily', /expected an object/],
    [{ cron: '* * * * *', catch_up: 'all' }, /schedule\.catch_up: unknown; did you mean "catchup"/],
    [{ cron: '* * * * *', every: 5 }, /schedule\.every: unknown; use type, .*catchup_policy/],
    [{ cron: '* * * * *', catchup_policy: 'some' }, /catchup_policy: expected "skip" or "all"/],
    [{ cron: '* * * * *', catchup_policy: 'all', catchup: 3 }, /catchup_policy: says the same as catchup/],
    [{ cron: '* * * * *', interval_seconds: 5 }, /both a cron expression and an interval/],
    [{ cron: '* * * * *', dialect: 'systemd' }, /dialect: expected "unix" or "quartz"/],
    [{ cron: '* * * * *', enabled: 'perhaps' }, /enabled: expected true or false/],
    [{ cron: '* * * * *', schedule_id: ' ' }, /schedule_id: expected a text/],
    [{ cron: '* * * * *', thread_key: 't', input: ['a'] }, /input: expected an object/],
    [{ timezone: 'UTC' }, /schedule\.type/],
  ];
  for (const [spec, message] of refused) assert.throws(() => parseSchedule(spec), message);
});
