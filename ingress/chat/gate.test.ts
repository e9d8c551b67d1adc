import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGate } from './gate.ts';

test('so many are in at a time, in their order, and one that fails lets the next one in', async () => {
  const gate = createGate(2);
  let within = 0;
  let most = 0;
  const begun: number[] = [];
  const one = (n: number) =>
    gate(async () => {
      begun.push(n);
      most = Math.max(most, (within += 1));
      await new Promise((resolve) => setImmediate(resolve));
      within -= 1;
      if (n % 2 === 1) throw new Error(`${n}`);
      return n;
    });
  const ended = await Promise.allSettled([0, 1, 2, 3, 4].map(one));
  assert.deepEqual(
    ended.map((each) => (each.status === 'fulfilled' ? each.value : (each.reason as Error).message)),
    [0, '1', 2, '3', 4],
  );
  assert.deepEqual([most, within, begun], [2, 0, [0, 1, 2, 3, 4]]);
});
