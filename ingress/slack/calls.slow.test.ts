/** Messages to one channel, by calls of an emulated Slack that is slow to answer. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Slack, startSlack } from '../../test/support/slack/index.ts';
import { createSlackCalls, type SlackCalls } from './calls.ts';

let slack: Slack;
let calls: SlackCalls;
before(async () => {
  slack = await startSlack({ rateLimits: 'counted', channels: ['slow', 'left'] });
  calls = createSlackCalls({ token: slack.botToken, apiUrl: slack.apiUrl, now: Date.now });
});
after(() => slack[Symbol.asyncDispose]());

const channelId = (name: string): string => slack.person('ada').mention(name, 'here').channel;

/** Answers with when it was answered. */
async function post(channel: string, text: string): Promise<number> {
  await calls.call('chat.postMessage', { channel, text });
  return performance.now();
}

/** Far less than the longest that an answer is waited for. */
async function soon<T>(what: Promise<T>): Promise<T> {
  const late = sleep(30_000, undefined, { ref: false }).then(() => assert.fail('it waits for nothing'));
  return Promise.race([what, late]);
}

test('a message follows the one before a second after its answer, however late that comes', async () => {
  const channel = channelId('slow');
  slack.faults.plan('chat.postMessage', { kind: 'slow', ms: 1_700 });
  const [first, second] = await soon(Promise.all([post(channel, 'one'), post(channel, 'two')]));
  assert.ok(second - first >= 990, `${second - first} ms`);
});

test('a message that was planned and is not posted holds nobody up', async () => {
  const channel = channelId('left');
  const reserved = calls.reserve('chat.postMessage', channel);
  const waiting = post(channel, 'after all');
  calls.forgo(reserved);
  await soon(waiting);
});
