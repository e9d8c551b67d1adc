/** What workflows hear of Slack, once: also when the bot is killed between telling them and noting that it has. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { createClient } from '@centaur/sdk';
import { createBotPlace, type TestBotPlace } from '../../test/support/slack-bot.ts';
import { eventually } from '../../test/support/wait.ts';
import type { SlackContext } from './context.ts';
import type { Heard } from './heard.ts';
import { tellWorkflows } from './workflow-events.ts';

let place: TestBotPlace;
before(async () => {
  place = await createBotPlace();
});
after(() => place[Symbol.asyncDispose]());

const told = async (type: string) =>
  (
    await place.threads.store.query<{ correlation_id: string; payload: string }>(
      'select correlation_id, payload from workflow_events where event_type = $1 order by event_id',
      [type],
    )
  ).rows.map(({ correlation_id, payload }) => [correlation_id, JSON.parse(payload)]);

test('a reply is heard once where the bot is killed between telling it and noting that', async (t) => {
  const { slack, settings, api, threads } = place;
  let bot: ChildProcess | undefined;
  // between the bot and the API: what is told is stored, and the bot dies before it hears so
  const forward = async (request: IncomingMessage, response: ServerResponse) => {
    const left = new AbortController();
    response.on('close', () => left.abort());
    const answer = await fetch(api.url + (request.url ?? ''), {
      method: request.method ?? 'GET',
      signal: left.signal,
      headers: { 'content-type': 'application/json', 'x-api-key': settings.apiKey },
      ...(request.method === 'POST' ? { body: Buffer.concat(await Readable.from(request).toArray()) } : {}),
    });
    if (request.url?.endsWith('/workflows/events') === true) bot?.kill('SIGKILL');
    else response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  };
  const between = createServer((request, response) => void forward(request, response).catch(() => response.destroy()));
  const close = () => {
    between.closeAllConnections();
    between.close();
  };
  t.after(() => {
    bot?.kill('SIGKILL');
    close();
  });
  await once(between.listen(0, '127.0.0.1'), 'listening');
  bot = spawn(process.execPath, [new URL('../../test/slack/bot-process.ts', import.meta.url).pathname], {
    env: {
      ...process.env,
      SLACK_BOT_TOKEN: settings.botToken,
      SLACK_SIGNING_SECRET: slack.signingSecret,
      SLACK_API_URL: slack.apiUrl,
      SLACK_PORT: '0',
      CENTAUR_API_URL: `http://127.0.0.1:${(between.address() as AddressInfo).port}`,
      SLACKBOT_API_KEY: settings.apiKey,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(bot, 'exit');
  const [first] = (await once(bot.stdout as Readable, 'data')) as [Buffer];
  slack.pointAt(`${first.toString().trim()}/api/webhooks/slack`);
  const asked = slack.person('grace').post('general', 'who is there?');
  slack.person('ada').post('general', 'me', { threadTs: asked.ts });
  await exited;
  close();
  assert.equal((await told('slack.reply')).length, 1);
  const open = async () =>
    (await threads.store.query<{ lease_owner: string }>(`select lease_owner from agent_inbox where state <> 'done'`)).rows;
  const [left, ...more] = await open();
  assert.ok(left !== undefined && more.length === 0, 'it died before it had noted it');
  const isDone = async () => {
    // its lease would end by itself, in a minute; the API may find only now that its next claim is nobody's
    await threads.store.query('update agent_inbox set lease_expires_at = now() where lease_owner = $1', [left.lease_owner]);
    return (await open()).length === 0;
  };
  await isDone();
  await place.start();
  await eventually(isDone, { what: 'the next bot to act on it' });
  const replies = await told('slack.reply');
  assert.deepEqual(
    replies.map(([correlationId, { text }]) => [correlationId, text]),
    [[`${asked.channel}:${asked.ts}`, 'me']],
  );
});

test('each action of a click is told, and each once; what another release told in other words is not told again', async () => {
  const logs: string[] = [];
  const api = createClient({ url: place.api.url, apiKey: place.settings.apiKey });
  const context = { api, log: ({ message }) => logs.push(message) } as Pick<SlackContext, 'api' | 'log'> as SlackContext;
  const click = (value: string): Heard => ({
    kind: 'interaction',
    payload: { type: 'block_actions', actions: ['day', 'hour'].map((id) => ({ action_id: id, value })) },
    signed: null,
    at: 0,
  });
  for (const value of ['7', '7', 'seven']) await tellWorkflows(context, 'interaction-1', click(value));
  await tellWorkflows(context, 'interaction-2', click('8'));
  assert.deepEqual(
    (await told('slack.action')).map(([id, { value }]) => [id, value]),
    [
      ['day', '7'],
      ['hour', '7'],
      ['day', '8'],
      ['hour', '8'],
    ],
  );
  assert.equal(logs.length, 2);
});
