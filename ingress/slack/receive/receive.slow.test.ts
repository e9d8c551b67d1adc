/** Events from an emulated Slack into the inbox of a real API, and what comes back as an acknowledgement. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createBotPlace, type TestBotPlace } from '../../../test/support/slack-bot.ts';
import { eventually } from '../../../test/support/wait.ts';
import { startSlackBot, type SlackBot } from '../bot.ts';
import { sign } from './signature.ts';

let place: TestBotPlace;
let bot: SlackBot;

before(async () => {
  place = await createBotPlace();
  bot = await place.start();
});
after(() => place[Symbol.asyncDispose]());

interface Kept {
  readonly event_id: string;
  readonly conversation: string;
  readonly state: string;
}

async function inbox(): Promise<readonly Kept[]> {
  const { rows } = await place.threads.store.query<Kept>(
    "select event_id, conversation, state from agent_inbox where platform = 'slack' order by position",
  );
  return rows;
}

async function send(body: string, headers: Readonly<Record<string, string>>, path = '/api/webhooks/slack') {
  const response = await fetch(bot.url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

const { stringify } = JSON;
const mention = (eventId: string, ts: string) =>
  stringify({
    type: 'event_callback',
    team_id: place.slack.team.id,
    event_id: eventId,
    event: { type: 'app_mention', channel: 'C01', user: 'U01', ts, text: `<@${place.slack.app.userId}> hi` },
  });

test('Slack verifies the address, and what people say there is answered in its thread', async () => {
  assert.equal(await place.slack.verifyUrl(), undefined);
  const { channel, ts } = place.slack.person('ada').mention('general', 'hello');
  await eventually(() => place.slack.see.thread(channel, ts).some(({ text }) => text.includes('done')), { what: 'an answer' });
  await place.slack.delivery.settled();
  assert.deepEqual([...new Set(place.slack.delivery.all.map(({ state }) => state))], ['acknowledged']);
  // however often each of its two events came
  const kept = await inbox();
  const conversation = `slack:${channel}:${ts}`;
  assert.deepEqual(
    kept.map((each) => each.conversation),
    [conversation, conversation],
  );
  assert.equal(new Set(kept.map(({ event_id }) => event_id)).size, 2);
});

test('nothing is kept, and nothing parsed, of what Slack has not signed', async () => {
  const before = (await inbox()).length;
  const body = mention('EvForged', '1700000000.000900');
  const now = Date.now();
  const secret = place.slack.signingSecret;
  const cases: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
    ['no signature', {}, body],
    ['another secret', sign('other', body, now), body],
    ['another body', sign(secret, body, now), `${body} `],
    ['ten minutes old', sign(secret, body, now - 600_000), body],
    ['a challenge', {}, stringify({ type: 'url_verification', challenge: 'guess' })],
    ['no JSON', sign('other', '{', now), '{'],
  ];
  for (const [what, headers, text] of cases) {
    const { status, text: answer } = await send(text, headers);
    assert.equal(status, 401, what);
    assert.doesNotMatch(answer, /guess/, what);
  }
  assert.equal((await inbox()).length, before);
});

test('what is signed and of no use is refused or forgotten', async () => {
  const before = (await inbox()).length;
  const signed = (body: string) => sign(place.slack.signingSecret, body, Date.now());
  const status = async (body: string, headers: Readonly<Record<string, string>> = {}, path?: string) =>
    (await send(body, { ...signed(body), ...headers }, path)).status;
  assert.equal(await status('{'), 400);
  assert.equal(await status('[1]'), 400);
  assert.equal(await status('a=b', { 'content-type': 'application/x-www-form-urlencoded' }), 400);
  assert.equal(await status('payload=%7B', { 'content-type': 'application/x-www-form-urlencoded' }), 400);
  assert.equal(await status('ssl_check=1', { 'content-type': 'application/x-www-form-urlencoded' }), 200);
  assert.equal(await status('{}', { 'content-type': 'text/plain' }), 400);
  assert.equal(await status('{}'), 200);
  assert.equal(await status('{}', {}, '/api/webhooks/other'), 404);
  assert.equal((await fetch(`${bot.url}/api/webhooks/slack`)).status, 405);
  const large = stringify({ x: 'x'.repeat(1024 * 1024) });
  assert.equal(await status(large), 413);
  // signed, and more than the platform keeps: sending it again would change nothing
  const wide = mention('EvWide', '1700000000.000901').replace(' hi', ` ${'x'.repeat(600 * 1024)}`);
  const refused = await send(wide, signed(wide));
  assert.equal(refused.status, 422);
  assert.equal(refused.headers.get('x-slack-no-retry'), '1');
  assert.equal((await inbox()).length, before);
});

test('an event that comes twice, by a retry or at the same time, is kept once, by whichever address it comes', async () => {
  const body = mention('EvTwice', '1700000000.000902');
  const headers = sign(place.slack.signingSecret, body, Date.now());
  const answers = await Promise.all([
    send(body, headers),
    send(body, { ...headers, 'x-slack-retry-num': '1', 'x-slack-retry-reason': 'http_timeout' }, '/api/slack/events'),
    send(body, headers, '/api/slack/actions'),
  ]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal((await inbox()).filter(({ event_id: id }) => id === 'EvTwice').length, 1);
});

test('a mention comes as two events, in either order, and is one turn', async () => {
  const { slack } = place;
  slack.delivery.hold();
  slack.delivery.duplicateNext(2);
  const { channel, ts } = slack.person('grace').mention('general', 'once');
  await slack.delivery.release('last first');
  const key = `slack:${channel}:${ts}`;
  await eventually(async () => (await inbox()).filter((each) => each.conversation === key && each.state === 'done').length === 2, {
    what: 'both to be acted on',
  });
  const { items } = (await place.api.call('GET', `/api/agent/threads/${encodeURIComponent(key)}/executions`)).body;
  assert.equal(items.length, 1);
});

test('what could not be stored is not acknowledged, and comes again until it is', async () => {
  const { settings, slack } = place;
  // another bot, whose platform is away
  const lost = await startSlackBot({ ...settings, apiUrl: 'http://127.0.0.1:9' }, () => {});
  try {
    await lost.ready;
    const body = mention('EvAway', '1700000000.000903');
    const response = await fetch(`${lost.url}/api/webhooks/slack`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...sign(slack.signingSecret, body, Date.now()) },
      body,
    });
    assert.equal(response.status, 503);
    assert.equal((await fetch(`${lost.url}/healthz`)).status, 503);
  } finally {
    await lost.close();
  }
  await eventually(async () => (await fetch(`${bot.url}/healthz`)).status === 200, { what: 'health' });
});

test('while nobody knows who we are, Slack is asked to come again', async () => {
  const { settings, slack } = place;
  const lost = await startSlackBot({ ...settings, slackApiUrl: 'http://127.0.0.1:9/api/' }, () => {});
  try {
    const body = mention('EvEarly', '1700000000.000904');
    const headers = { 'content-type': 'application/json', ...sign(slack.signingSecret, body, Date.now()) };
    const response = await fetch(`${lost.url}/api/webhooks/slack`, { method: 'POST', headers, body });
    assert.equal(response.status, 503);
    const { problem } = (await (await fetch(`${lost.url}/healthz`)).json()) as { problem: string };
    assert.match(problem, /who we are/);
  } finally {
    await lost.close();
  }
});

test('a token that Slack does not take is said once, and nothing is tried again', async () => {
  const refused = await startSlackBot({ ...place.settings, botToken: 'xoxb-wrong' }, () => {});
  await assert.rejects(refused.ready, /SLACK_BOT_TOKEN: invalid_auth/);
  await refused.close();
});

test('no text and no token is in any log line', () => {
  const logged = JSON.stringify(place.logs);
  for (const secret of [place.settings.botToken, place.settings.signingSecret ?? '', place.settings.apiKey, 'hello'])
    assert.ok(!logged.includes(secret));
});
