import assert from 'node:assert/strict';
import { test } from 'node:test';
import { duration, printable, relative, table } from './output.ts';

test('a duration shows its two largest units', () => {
  const shown = [0, 12.4, 999, 1000, 1249, 9949, 9951, 59_600, 61_000, 3_600_000, 7_265_000, 90_061_000].map((ms) => duration(ms));
  assert.deepEqual(shown, [
    '0 ms',
    '12 ms',
    '999 ms',
    '1.0 s',
    '1.2 s',
    '9.9 s',
    '10 s',
    '1 min',
    '1 min 1 s',
    '1 h',
    '2 h 1 min',
    '1 d 1 h',
  ]);
});

test('a time shows its distance from now', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(relative('2026-01-01T00:01:00Z', now), 'in 1 min');
  assert.equal(relative('2025-12-31T22:00:00Z', now), '2 h ago');
  assert.equal(relative(null, now), '-');
});

test('a text from elsewhere cannot move the cursor', () => {
  assert.equal(printable('a\u001b[2Jb\tc\u0007\r\nd\u009b'), 'a\\x1b[2Jb c\\x07\\x0d\nd\\x9b');
});

test('a table lines up its columns and keeps a row on one line', () => {
  assert.equal(
    table(
      ['A', 'B'],
      [
        ['long cell', 'x'],
        ['y', 'two\n  lines'],
      ],
    ),
    'A          B\nlong cell  x\ny          two lines',
  );
});
