import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLimits } from './limits.ts';

const RATE = { limit: 3, periodSeconds: 60 };

test('a bucket holds as many as its limit, and fills again over the period', () => {
  let now = 0;
  const limits = createLimits(() => now);
  assert.deepEqual([limits.take('a', RATE), limits.take('a', RATE), limits.take('a', RATE)], [0, 0, 0]);
  assert.equal(limits.take('a', RATE), 20);
  assert.equal(limits.take('b', RATE), 0, 'each slug has its own');
  now = 15_000;
  assert.equal(Math.round(limits.take('a', RATE)), 5, 'asking in vain costs nothing');
  now = 20_001;
  assert.equal(limits.take('a', RATE), 0);
  now = 3_600_000;
  const taken = Array.from({ length: 5 }, () => limits.take('a', RATE) === 0);
  assert.deepEqual(taken, [true, true, true, false, false], 'a long rest gives no more than the limit');
});

test('another limit begins anew, and a slug that is gone is forgotten', () => {
  const limits = createLimits(() => 0);
  for (let i = 0; i < 3; i++) limits.take('a', RATE);
  assert.ok(limits.take('a', RATE) > 0);
  assert.equal(limits.take('a', { limit: 4, periodSeconds: 60 }), 0);
  limits.keep(new Set(['b']));
  for (let i = 0; i < 4; i++) assert.equal(limits.take('a', { limit: 4, periodSeconds: 60 }), 0);
});
