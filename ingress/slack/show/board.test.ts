/** Who waits for whom, by a clock that goes on while plans are made. */
import assert from 'node:assert/strict';
import { setImmediate as soon } from 'node:timers/promises';
import { test } from 'node:test';
import { startTurn } from '../../chat/index.ts';
import { EXECUTION } from '../../chat/testing.ts';
import type { SlackCalls } from '../calls.ts';
import { PLACE } from '../render/fake/testing.ts';
import { FRESH_PACE, noteAnswer, noteCall } from '../render/pace.ts';
import { nothingShown } from '../render/shown.ts';
import { createBoard } from './board.ts';

test('turns that take long to plan let the answer be heard that they wait for', async () => {
  let time = 0;
  let pace = noteCall(FRESH_PACE, 'chat.postMessage', PLACE.channel, time);
  let again = (): void => {};
  const reserved: string[] = [];
  const slack: Pick<SlackCalls, 'pace' | 'until' | 'reserve'> = {
    pace: () => pace,
    until: () => new Promise((resolve) => (again = resolve)),
    reserve(method, channel) {
      reserved.push(method);
      pace = noteCall(pace, method, channel, time);
      return { method, channel, at: time };
    },
  };
  const stop = new AbortController();
  const board = createBoard(slack as SlackCalls, () => time, stop.signal);
  const scene = () => {
    time += 700;
    // a process that only plans hears nothing
    assert.ok(time < 30_000, 'it is planned without end');
    const turn = startTurn({ executionId: EXECUTION, after: 0 });
    return { turn, shown: nothingShown('edits'), place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: time };
  };
  const steps = [0, 1].map(() => board.next(scene, stop.signal));
  await soon();
  await soon();
  assert.deepEqual(reserved, []);
  pace = noteAnswer(pace, 'chat.postMessage', PLACE.channel, 0, time);
  time += 1_000;
  again();
  const first = await Promise.race(steps);
  assert.deepEqual([first.do, reserved], ['call', ['chat.postMessage']]);
  const left = Promise.allSettled(steps);
  stop.abort();
  await left;
});
