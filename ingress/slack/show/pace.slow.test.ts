/** A hundred threads at once, in a Slack that keeps its limits: on clocks that run faster than the day, Slack's and the bot's alike. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pause } from '../../chat/index.ts';
import { type Asked, startSlackPlace } from './testing.ts';

const SPEED = 10;
const THREADS = 100;
const CHANNELS = Array.from({ length: 10 }, (_, index) => `channel${index}`);

test('a hundred turns at once are shown without one call over Slack’s limits', async (t) => {
  const begun = Date.now();
  const now = (): number => begun + (Date.now() - begun) * SPEED;
  await using place = await startSlackPlace({ clock: { now }, channels: CHANNELS, rateLimits: 'enforced' });
  place.bot({ clock: { now, pause: (ms, signal) => pause(ms / SPEED, signal) } });
  const asked = await Promise.all(
    Array.from({ length: THREADS }, (_, index) =>
      place.ask(
        async (agent) => {
          for (let word = 0; word < 10; word++) {
            if (word % 5 === 0) await agent.work(`npm test ${word}`);
            await agent.say(`w${word} `, 'last');
            await sleep(300);
          }
          return `The answer of thread ${index}.`;
        },
        { channel: CHANNELS[index % CHANNELS.length] as string },
      ),
    ),
  );
  await place.delivered(...asked);
  const answers = (each: Asked, index: number): number => {
    const texts = place
      .said(each)
      .map(({ text, blocks, stream, edits }) => (stream === undefined || edits > 0 ? JSON.stringify(blocks) : text));
    return texts.join('\n').split(`The answer of thread ${index}.`).length - 1;
  };
  assert.deepEqual(
    asked.map(answers),
    asked.map(() => 1),
  );
  assert.deepEqual(place.slack.violations, []);
  assert.deepEqual(
    place.slack.calls.filter(({ status }) => status !== 200).map(({ method, status }) => [method, status]),
    [],
  );
  const counts = Object.groupBy(place.slack.calls, ({ method }) => method);
  t.diagnostic(JSON.stringify(Object.fromEntries(Object.entries(counts).map(([method, calls = []]) => [method, calls.length]))));
});
