/** Every command that a guide shows is run, in its order, against the server of the README. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type Slack, startSlack } from '../test/support/slack/index.ts';
import { eventually } from '../test/support/wait.ts';
import { freePort, GUIDES, type ShownServer, startShownServer } from './testing.ts';

let server: ShownServer;
/** What the guides call Slack: the bot beside the server is in it. */
let slack: Slack;

before(async () => {
  slack = await startSlack();
  const bot = `http://127.0.0.1:${await freePort()}`;
  const tokens = {
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
    SLACK_API_URL: slack.apiUrl.replace(/\/$/, ''),
    SLACK_PORT: new URL(bot).port,
  };
  server = await startShownServer(tokens);
  const lines = Object.entries(tokens).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(path.join(server.env['HOME'] as string, 'slack.env'), lines.join(''), { mode: 0o600 });
  const isUp = async () => (await fetch(`${bot}/healthz`).catch(() => undefined))?.ok;
  await eventually(isUp, { timeoutMs: 60_000, what: 'the Slack bot' });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await slack[Symbol.asyncDispose]();
});

for (const guide of GUIDES) test(`every command of ${guide} works`, () => server.runCommands(guide));
