/** The same by Socket Mode: lines that Slack closes, several of them, and what comes while the platform is away. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createBotPlace, type TestBotPlace } from '../../../test/support/slack-bot.ts';
import { eventually } from '../../../test/support/wait.ts';
import { startSlackBot } from '../bot.ts';

let place: TestBotPlace;

before(async () => {
  place = await createBotPlace({ delivery: 'socket', retryMs: [0, 200, 200, 200, 200] });
});
after(() => place[Symbol.asyncDispose]());

async function answered(text: string): Promise<void> {
  const { channel, ts } = place.slack.person('ada').mention('general', text);
  const answers = () => place.slack.see.thread(channel, ts).filter((each) => each.text.includes('done'));
  await eventually(() => answers().length > 0, { what: 'an answer' });
  await place.slack.delivery.settled();
  // each was acknowledged in the end, and the answer is there once
  assert.ok(place.slack.delivery.all.every(({ state }) => state === 'acknowledged'));
  assert.equal(answers().length, 1);
}

test('what comes by a line that we have opened is answered; nothing is heard elsewhere', async () => {
  const bot = await place.start();
  await eventually(() => place.slack.socketMode.connections >= 2, { what: 'two lines' });
  await eventually(async () => (await fetch(`${bot.url}/healthz`)).status === 200, { what: 'health' });
  assert.equal((await fetch(`${bot.url}/api/webhooks/slack`, { method: 'POST', body: '{}' })).status, 404);
  await answered('hello');
});

test('lines that Slack closes are opened again, and nothing is lost meanwhile', async () => {
  for (const reason of ['refresh_requested', 'warning'] as const) {
    place.slack.socketMode.disconnect(reason, { afterMs: 10 });
    await answered(`after ${reason}`);
  }
  await eventually(() => place.slack.socketMode.connections >= 2, { what: 'two lines again' });
});

test('two bots share the lines, and each event is acted on once', async () => {
  await place.start();
  await eventually(() => place.slack.socketMode.connections >= 4, { what: 'four lines' });
  for (const text of ['one', 'two', 'three']) await answered(text);
});

test('what could not be stored is not acknowledged', async () => {
  const other = await createBotPlace({ delivery: 'socket', ackMs: 500, retryMs: [0] });
  await using _ = other;
  const lost = await startSlackBot({ ...other.settings, apiUrl: 'http://127.0.0.1:9' }, () => {});
  try {
    await lost.ready;
    await eventually(() => other.slack.socketMode.connections > 0, { what: 'a line' });
    other.slack.person('ada').mention('general', 'lost');
    await other.slack.delivery.settled();
    assert.ok(other.slack.delivery.all.length > 0);
    assert.ok(other.slack.delivery.all.every(({ state }) => state === 'given up'));
  } finally {
    await lost.close();
  }
});
