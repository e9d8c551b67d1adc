import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkSchedule } from './schedule.ts';

test('cron schedules of five Unix fields are accepted', () => {
  for (const cron of ['* * * * *', '0 7 * * 1-5', '*/15 0,12 1-15/2 JAN-mar,dec sun', '5 4 29 2 7', '  0  0 1 1 0 ']) {
    assert.equal(
      checkSchedule({ type: 'cron', cron, timezone: 'Europe/Berlin', catchup: 0, allow_overlap: true }),
      undefined,
      cron,
    );
  }
});

test('interval schedules are accepted', () => {
  assert.equal(checkSchedule({ type: 'interval', seconds: 1, queue: 'slow', enabled: false }), undefined);
});

test('what is wrong with a schedule is said by field', () => {
  const table: [Record<string, unknown>, RegExp][] = [
    [{}, /^type must be "cron" or "interval"/],
    [{ type: 'daily' }, /^type must be "cron" or "interval"; it is "daily"/],
    [{ type: 'cron' }, /^cron must be a text of five fields/],
    [{ type: 'cron', cron: '0 7 * *' }, /has 4 fields; it needs five: minute, hour/],
    [{ type: 'cron', cron: '0 0 7 * * *' }, /has 6 fields/],
    [{ type: 'cron', cron: '60 * * * *' }, /minute "60" is not valid \(0-59\)/],
    [{ type: 'cron', cron: '0 24 * * *' }, /hour "24" is not valid/],
    [{ type: 'cron', cron: '0 0 0 * *' }, /day of month "0" is not valid \(1-31\)/],
    [{ type: 'cron', cron: '0 0 * foo *' }, /month "foo" is not valid/],
    [{ type: 'cron', cron: '0 0 * * 8' }, /day of week "8" is not valid/],
    [{ type: 'cron', cron: '*/0 * * * *' }, /minute ".*" is not valid/],
    [{ type: 'cron', cron: '9-5 * * * *' }, /minute ".*" is not valid/],
    [{ type: 'cron', cron: '* * * * *', timezone: 'Berlin' }, /^timezone "Berlin" is not known/],
    [{ type: 'interval' }, /^seconds must be a whole number from 1/],
    [{ type: 'interval', seconds: 0.5 }, /^seconds must be/],
    [{ type: 'interval', seconds: 5, catchup: -1 }, /^catchup must be/],
    [{ type: 'interval', seconds: 5, allow_overlap: 'no' }, /^allow_overlap must be true or false/],
    [{ type: 'interval', seconds: 5, queue: {} }, /^queue must be/],
  ];
  for (const [schedule, message] of table) assert.match(checkSchedule(schedule) ?? 'accepted', message, JSON.stringify(schedule));
});
