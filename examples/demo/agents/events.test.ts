import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rangesOf, ticksOf, wordsOf } from './events.ts';
import type { Reader, Seen } from './reader.ts';

const delta = (turn: string, text: string): Seen => ({ id: 0, kind: 'text.delta', data: { execution_id: turn, text } });

test('ranges show what is in order, a gap, a double and a step back', () => {
  assert.equal(rangesOf([1, 2, 3]), '1–3');
  assert.equal(rangesOf([1, 2, 4]), '1–2, 4');
  assert.equal(rangesOf([1, 2, 2, 3]), '1–2, 2–3');
  assert.equal(rangesOf([5, 6, 3]), '5–6, 3');
  assert.equal(rangesOf([]), '');
});

test('words belong to a turn, and a number that comes in two parts is one', () => {
  const events = [delta('a', 'tick 1 '), delta('b', 'tick 9 tick 1'), delta('b', '0 '), delta('a', 'tick 2 ')];
  const reader = { events } as unknown as Reader;
  assert.deepEqual(ticksOf(wordsOf(reader, 0)), [1, 2]);
  assert.deepEqual(ticksOf(wordsOf(reader, 1)), [9, 10]);
  assert.deepEqual(ticksOf(wordsOf(reader, 2)), []);
});
