/**
 * `npm run bench:slack [-- --quick]`: how long Slack waits for the acknowledgement of an event at 200 a second, through the real bot, the API and a
 * Postgres that flushes to disk; straight to the bot, and by the platform's one address. And how long a person waits for the first sign after a mention.
 */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureBubblewrap } from '../../test/support/bubblewrap.ts';
import { freePort } from '../../test/support/ports.ts';
import { startSlack } from '../../test/support/slack/index.ts';
import { eventually } from '../../test/support/wait.ts';
import { quantile } from '../measure.ts';
import { firstSigns } from './first-sign.ts';
import type { Sent } from './sender.ts';

const { values: flags } = parseArgs({ options: { quick: { type: 'boolean', default: false } } });
const PER_SECOND = 200;
const seconds = flags.quick ? 4 : 20;
const COMMAND = fileURLToPath(new URL('../../cli/bin/centaur.js', import.meta.url));
/** What is asked for. */
const P99_MS = 100;
const SIGN_P50_MS = 150;
const mentions = flags.quick ? 6 : 30;

await using cleanup = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanup.disposeAsync().finally(() => process.exit(130)));
ensureBubblewrap();
const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-slack-'));
chmodSync(folder, 0o711);
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const slack = cleanup.use(await startSlack({ rateLimits: 'counted' }));
const botPort = String(await freePort());
const up = spawn(process.execPath, [COMMAND, 'up'], {
  cwd: folder,
  stdio: ['ignore', 'pipe', 'pipe'],
  env: {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    NODE_NO_WARNINGS: '1',
    CENTAUR_HOME: path.join(folder, 'home'),
    CENTAUR_DEMO: '1',
    PORT: '0',
    FIREWALL_PORT: '0',
    SLACK_PORT: botPort,
    SLACK_API_URL: slack.apiUrl,
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
    CENTAUR_LOG_LEVEL: 'warn',
  },
});
let output = '';
for (const stream of [up.stdout, up.stderr]) stream.on('data', (part: Buffer) => (output += part.toString()));
cleanup.defer(async () => {
  if (up.exitCode !== null || up.signalCode !== null) return;
  const ended = once(up, 'exit');
  up.kill('SIGTERM');
  await ended;
});
await eventually(() => output.includes(' is up ') || up.exitCode !== null, { timeoutMs: 300_000, what: 'centaur up' });
const api = /API +(http\S+)/.exec(output)?.[1];
if (api === undefined) throw new Error(output);
const bot = `http://127.0.0.1:${botPort}`;
await eventually(async () => (await fetch(`${bot}/healthz`).catch(() => undefined))?.ok, { timeoutMs: 300_000, what: 'the bot' });

const sender = fork(new URL('sender.ts', import.meta.url), { env: { ...process.env, NODE_NO_WARNINGS: '1' } });
cleanup.defer(() => sender.disconnect());

async function acknowledge(url: string, forSeconds: number): Promise<Sent> {
  const { id: team } = slack.team;
  sender.send({
    url: `${url}/api/webhooks/slack`,
    secret: slack.signingSecret,
    team,
    channel: slack.channel('general'),
    user: slack.person('ada').id,
    perSecond: PER_SECOND,
    seconds: forSeconds,
  });
  const [sent] = (await once(sender, 'message')) as [Sent];
  return sent;
}

const ms = (value: number): string => value.toFixed(1);
const rows: string[] = [];
let isOver = false;
/** Until the bot has acted on all that came. */
async function drained(): Promise<void> {
  const key = readFileSync(path.join(folder, 'home', 'admin.key'), 'utf8').trim();
  await eventually(
    async () => {
      for (const state of ['pending', 'claimed']) {
        const answer = await fetch(`${api}/api/agent/inbox?platform=slack&state=${state}&limit=1`, { headers: { 'x-api-key': key } });
        if (((await answer.json()) as { items: unknown[] }).items.length > 0) return false;
      }
      return true;
    },
    { timeoutMs: 900_000, what: 'the inbox to be empty' },
  );
}

// what is compiled and planned at the first requests is not what is measured
for (const url of [bot, api]) await acknowledge(url, 2);
await drained();
for (const [what, url] of [
  ['to the bot', bot],
  ['by the platform’s address', api],
] as const) {
  const { delays, refused } = await acknowledge(url, seconds);
  const p99 = quantile(delays, 0.99);
  const began = performance.now();
  await drained();
  const behind = (performance.now() - began) / 1000;
  isOver ||= p99 > P99_MS || refused > 0;
  rows.push(
    `| ${what} | ${delays.length} | ${refused} | ${ms(quantile(delays, 0.5))} | ${ms(p99)} | ${ms(Math.max(...delays))} | ${behind.toFixed(1)} |`,
  );
}
// Slack has heard of nothing so far: from here on it tells the bot itself
slack.pointAt(`${bot}/api/webhooks/slack`);
await firstSigns(slack, 2);
const signs = await firstSigns(slack, mentions);
const isLate = quantile(signs.delays, 0.5) > SIGN_P50_MS;
console.log(`${PER_SECOND} events a second for ${seconds} s, ${os.cpus().length} cores for everything (Postgres, platform, bot, Slack), Node ${process.version}

| event to acknowledgement | events | not acknowledged | p50, ms | p99, ms | longest, ms | all acted on after, s |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`);
console.log(`| mention to first visible sign | mentions | p50, ms | p99, ms | longest, ms |
|---|---|---|---|---|
| as the person sees it | ${mentions} | ${ms(quantile(signs.delays, 0.5))} | ${ms(quantile(signs.delays, 0.99))} | ${ms(Math.max(...signs.delays))} |
| without Slack’s own time | ${mentions} | ${ms(quantile(signs.own, 0.5))} | ${ms(quantile(signs.own, 0.99))} | ${ms(Math.max(...signs.own))} |
`);
if (isLate) console.log(`asked for: the first sign after at most ${SIGN_P50_MS} ms, p50`);
if (isOver) console.log(`asked for: every event acknowledged, p99 at most ${P99_MS} ms`);
process.exitCode = (isOver || isLate) && !flags.quick ? 1 : 0;
