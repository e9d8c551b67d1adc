import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Duration, toMilliseconds } from './duration.ts';

test('a duration is milliseconds, a text, or parts', () => {
  const table: [Duration, number][] = [
    [0, 0],
    [1500, 1500],
    ['500ms', 500],
    ['90s', 90_000],
    ['1.5h', 5_400_000],
    ['1h 30m', 5_400_000],
    ['1h30m', 5_400_000],
    [' 2d ', 172_800_000],
    ['2w', 1_209_600_000],
    ['10 m', 600_000],
    [{ minutes: 5 }, 300_000],
    [{ days: 1, hours: 2, milliseconds: 3 }, 93_600_003],
    [{}, 0],
  ];
  for (const [duration, ms] of table) assert.equal(toMilliseconds(duration), ms, JSON.stringify(duration));
});

test('fractions are rounded to whole milliseconds', () => {
  assert.equal(toMilliseconds(0.4), 0);
  assert.equal(toMilliseconds('1.2345s'), 1235);
});

test('what is not a duration is refused by an error that names the field', () => {
  const bad = ['', '5', '5 minutes', '-1s', '1h and more', 's', 'm5', -1, NaN, Infinity, null, [1], { minute: 1 }, { seconds: '1' }, true];
  for (const duration of bad) {
    assert.throws(
      () => toMilliseconds(duration as Duration, 'timeout'),
      { name: 'TypeError', message: /^timeout: / },
      JSON.stringify(duration),
    );
  }
});

test('a duration of more than ten years is taken for a mistake in its unit', () => {
  assert.throws(() => toMilliseconds(1_700_000_000_000), { message: /longer than ten years; are the units right/ });
});
