import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryPolicies } from '@slack/web-api';
import { type Slack, startSlack } from './index.ts';
import { client, refused } from './sdk.ts';

const time = { now: 1_800_000_000_000 };
const STOPPED = { now: () => time.now };

/** Calls by hand: the status, the seconds to wait, and what was answered. */
async function call(slack: Slack, method: string, args: object): Promise<{ status: number; wait: string | null; ok: boolean }> {
  const response = await fetch(slack.apiUrl + method, {
    method: 'POST',
    headers: { authorization: `Bearer ${slack.botToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(args),
  });
  return { status: response.status, wait: response.headers.get('retry-after'), ok: ((await response.json()) as { ok: boolean }).ok };
}

for (const { method, most, args } of [
  { method: 'users.list', most: 20, args: () => ({}) },
  { method: 'conversations.history', most: 50, args: (slack: Slack) => ({ channel: slack.channel('general') }) },
  { method: 'users.info', most: 100, args: (slack: Slack) => ({ user: slack.person('ada').id }) },
]) {
  test(`${method} is let through ${most} times in any minute`, async () => {
    await using slack = await startSlack({ clock: STOPPED });
    for (let i = 0; i < most; i += 1) {
      if (i === 1) time.now += 10_000;
      assert.deepEqual(await call(slack, method, args(slack)), { status: 200, wait: null, ok: true });
    }
    assert.deepEqual(await call(slack, method, args(slack)), { status: 429, wait: '50', ok: false });
    assert.deepEqual(
      slack.violations.map(({ kind, limit }) => [kind, limit]),
      [['over the limit', method]],
    );
    // too early
    time.now += 49_999;
    assert.equal((await call(slack, method, args(slack))).wait, '1');
    assert.equal(slack.violations.at(-1)?.kind, 'during Retry-After');
    time.now += 1;
    assert.equal((await call(slack, method, args(slack))).status, 200);
    // the others of the first minute are counted still
    assert.equal((await call(slack, method, args(slack))).status, 429);
  });
}

test('a channel takes one message a second, after a short burst; others are not held up', async () => {
  await using slack = await startSlack({ clock: STOPPED, channels: ['general', 'random'] });
  const post = (channel: string) => call(slack, 'chat.postMessage', { channel: slack.channel(channel), text: 'x' });
  for (let i = 0; i < 3; i += 1) assert.equal((await post('general')).status, 200);
  assert.deepEqual(await post('general'), { status: 429, wait: '3', ok: false });
  assert.equal((await post('random')).status, 200);
  time.now += 3000;
  for (let second = 0; second < 20; second += 1) {
    assert.equal((await post('general')).status, 200);
    time.now += 1000;
  }
  assert.equal(slack.violations.length, 1);
  assert.equal(slack.see.channel(slack.channel('general')).length, 23);
});

test('counted, calls over the limit pass and are told', async () => {
  await using slack = await startSlack({ clock: STOPPED, rateLimits: 'counted' });
  for (let i = 0; i < 5; i += 1)
    assert.equal((await call(slack, 'chat.postMessage', { channel: slack.channel('general'), text: 'x' })).ok, true);
  assert.equal(slack.violations.length, 2);
});

test("Slack's own client waits as long as it is told, and then posts once", async () => {
  await using slack = await startSlack();
  slack.faults.plan('chat.postMessage', { kind: 'ratelimited', retryAfter: 1 });
  const patient = client(slack, slack.botToken, { rejectRateLimitedCalls: false, retryConfig: retryPolicies.rapidRetryPolicy });
  await patient.chat.postMessage({ channel: slack.channel('general'), text: 'x' });
  assert.deepEqual(
    slack.calls.map(({ status }) => status),
    [429, 200],
  );
  assert.ok((slack.calls[1]?.at ?? 0) - (slack.calls[0]?.at ?? 0) >= 1000);
  assert.deepEqual(slack.violations, []);
  // an impatient one is found out
  slack.faults.plan('chat.postMessage', { kind: 'ratelimited', retryAfter: 30 });
  await call(slack, 'chat.postMessage', { channel: slack.channel('general'), text: 'y' });
  assert.equal((await call(slack, 'chat.postMessage', { channel: slack.channel('general'), text: 'y' })).status, 429);
  assert.deepEqual(
    slack.violations.map(({ kind }) => kind),
    ['during Retry-After'],
  );
});

test('what goes wrong on demand: with its effect, or without', async () => {
  await using slack = await startSlack({ rateLimits: 'counted' });
  const web = client(slack);
  const channel = slack.channel('general');
  const post = (text: string) => web.chat.postMessage({ channel, text });
  const texts = () => slack.see.channel(channel).map(({ text }) => text);

  slack.faults.plan('chat.postMessage', { kind: 'answer lost' });
  await assert.rejects(post('lost'), { code: 'slack_webapi_request_error' });
  assert.deepEqual(texts(), ['lost']);
  assert.partialDeepStrictEqual(slack.calls.at(-1), { method: 'chat.postMessage', status: undefined, answer: { ok: true } });

  slack.faults.plan('chat.postMessage', { kind: 'call lost' });
  await assert.rejects(post('never'), { code: 'slack_webapi_request_error' });
  slack.faults.plan('chat.postMessage', { kind: 'status', status: 500 }, { when: ({ text }) => text === 'broken' });
  await post('fits not');
  await assert.rejects(post('broken'), { code: 'slack_webapi_http_error' });
  slack.faults.plan('chat.postMessage', { kind: 'error', error: 'fatal_error', effect: 'done' });
  assert.equal((await refused(post('fatal, and there'))).error, 'fatal_error');
  slack.faults.plan('chat.postMessage', { kind: 'error', error: 'internal_error', effect: 'none' });
  assert.equal((await refused(post('not there'))).error, 'internal_error');
  assert.deepEqual(texts(), ['lost', 'fits not', 'fatal, and there']);

  slack.faults.plan('chat.postMessage', { kind: 'slow', ms: 300 });
  const started = performance.now();
  const slow = post('slow');
  while (!texts().includes('slow')) await new Promise((resolve) => setTimeout(resolve, 5));
  await slow;
  assert.ok(performance.now() - started >= 299);
  assert.equal(slack.faults.left, 0);
});

test('a message is seen late: whoever looks it up to find out whether it was posted, does not see it yet', async () => {
  await using slack = await startSlack({ clock: STOPPED });
  const web = client(slack);
  const asked = slack.person('ada').post('general', 'hello');
  slack.faults.plan('chat.postMessage', { kind: 'seen late', ms: 2000 });
  await web.chat.postMessage({ channel: asked.channel, thread_ts: asked.ts, text: 'late' });
  const replies = async () => (await web.conversations.replies({ channel: asked.channel, ts: asked.ts })).messages?.length;
  assert.equal(await replies(), 1);
  time.now += 2000;
  assert.equal(await replies(), 2);
});
