/** Every command that a guide shows is run, in its order, against the server of the README. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { eventually } from '../test/support/wait.ts';
import { freePort, GUIDES, type ShownServer, startShownServer } from './testing.ts';

let server: ShownServer;
/** What the guides call Slack: the bot beside the server is in it. In a process of its own, since this one waits for the commands. */
let slack: ChildProcess;

before(async () => {
  slack = fork(new URL('../test/support/slack/serve.ts', import.meta.url), { env: { ...process.env, NODE_NO_WARNINGS: '1' } });
  const [{ apiUrl, botToken, signingSecret }] = (await once(slack, 'message')) as [Record<'apiUrl' | 'botToken' | 'signingSecret', string>];
  const bot = `http://127.0.0.1:${await freePort()}`;
  const tokens = {
    SLACK_BOT_TOKEN: botToken,
    SLACK_SIGNING_SECRET: signingSecret,
    SLACK_API_URL: apiUrl.replace(/\/$/, ''),
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
  slack.disconnect();
});

for (const guide of GUIDES) test(`every command of ${guide} works`, () => server.runCommands(guide));
