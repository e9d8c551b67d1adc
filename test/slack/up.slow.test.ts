/** `centaur up` with the tokens of a Slack app: the bot beside it, behind one address, and what `centaur slack` says of it. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createPlace, type Place, type Running } from '../support/cli.ts';
import { ensureBubblewrap } from '../support/bubblewrap.ts';
import { type Slack, startSlack } from '../support/slack/index.ts';
import { eventually } from '../support/wait.ts';

let slack: Slack;
let place: Place;
let up: Running & { readonly url: string };
let tokens: Record<string, string>;

before(async () => {
  ensureBubblewrap();
  slack = await startSlack({ rateLimits: 'counted', retryMs: Array.from({ length: 100 }, () => 1000) });
  tokens = {
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
    SLACK_API_URL: slack.apiUrl,
    SLACK_PORT: '0',
  };
  // the scripted model, and what the workflows of the examples post to
  place = createPlace({ ...tokens, CENTAUR_DEMO: '1', WORKFLOW_DIRS: fileURLToPath(new URL('../../examples/workflows', import.meta.url)) });
  writeFileSync(
    path.join(place.folder, 'centaur.yaml'),
    `egress: {allow_cidrs: [127.0.0.1], ports: [80, 443, ${new URL(slack.apiUrl).port}]}\n`,
  );
  up = await place.serve('up');
  slack.pointAt(`${up.url}/api/webhooks/slack`);
});
after(async () => {
  await place[Symbol.asyncDispose]();
  await slack[Symbol.asyncDispose]();
});

async function answered(text: string): Promise<void> {
  const { channel, ts } = slack.person('ada').mention('general', `say: ${text}`);
  const answer = () => JSON.stringify(slack.see.thread(channel, ts).slice(1)).includes(text);
  await eventually(answer, { timeoutMs: 240_000, what: `an answer; ${up.output.stderr}` });
}

/** Processes of this server that are the bot. */
function botPids(): number[] {
  const pid = up.child.pid as number;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  return children.filter((child) => commandOf(child).split('\0').includes('slack'));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    // it has ended since it was listed
    return '';
  }
}

test('what Slack sends to the one address is answered in the thread', async () => {
  await eventually(async () => (await slack.verifyUrl()) === undefined, { timeoutMs: 60_000, what: `the bot; ${up.output.stderr}` });
  await answered('hello there');
});

test('the bot knows no key but its own, and comes back when it is killed', async () => {
  const [bot] = botPids();
  assert.ok(bot !== undefined);
  const environment = readFileSync(`/proc/${bot}/environ`, 'utf8');
  assert.doesNotMatch(environment, /(^|\0)(DATABASE_URL|CENTAUR_MASTER_KEY|CENTAUR_API_KEY)=/);
  process.kill(bot, 'SIGKILL');
  await eventually(() => !botPids().includes(bot), { what: 'it to be gone' });
  // sent while nobody is there: the server does not acknowledge it
  await answered('back again');
});

test('the bot has a key of its own, which only its owner reads, and it is kept', async () => {
  const file = path.join(place.env['CENTAUR_HOME'] as string, 'slackbot.key');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const { items } = JSON.parse((await place.run(['keys', 'ls', '--json'])).stdout) as { items: { name: string; scopes: string[] }[] };
  const own = items.filter(({ name }) => name === 'slackbot');
  assert.equal(own.length, 1);
  assert.ok(!own[0]?.scopes.includes('admin') && !own[0]?.scopes.includes('approvals.decide'));
});

test('what is not signed is refused at the one address too, and what is no POST', async () => {
  const url = `${up.url}/api/webhooks/slack`;
  const body = JSON.stringify({ type: 'url_verification', challenge: 'guess' });
  const forged = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', 'x-slack-signature': 'v0=1' }, body });
  assert.equal(forged.status, 401);
  assert.doesNotMatch(await forged.text(), /guess/);
  assert.equal((await fetch(url)).status, 405);
  assert.equal((await fetch(url, { method: 'POST', body: 'x'.repeat(1024 * 1024 + 1) })).status, 413);
});

test('workflows post once, and go on with a reply, in the thread of what they posted', async () => {
  const { origin } = new URL(slack.apiUrl);
  const secret = [
    'secrets',
    'set',
    'SLACK_BOT_TOKEN',
    '--value-stdin',
    '--host',
    origin,
    '--header',
    'authorization',
    '--grant',
    'workflow:*',
  ];
  const set = await place.run(secret, { stdin: slack.botToken });
  assert.equal(set.code, 0, set.stderr);
  const channel = slack.channel('general');
  const start = async (name: string, input: object) => {
    const { code, stdout, stderr } = await place.run(['run', name, JSON.stringify(input), '--json']);
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { run_id: string }).run_id;
  };
  const ended = (id: string) =>
    eventually(
      async () => {
        const run = JSON.parse((await place.run(['runs', 'show', id, '--json'])).stdout) as { status: string; result: unknown };
        return ['completed', 'failed', 'cancelled', 'stuck'].includes(run.status) ? run : undefined;
      },
      { timeoutMs: 60_000, what: 'the run to end' },
    );
  const posted = (text: string) => () => slack.see.channel(channel).find((message) => message.text.includes(text));

  const asking = await start('ask_in_slack', { channel, question: 'Which day?' });
  const question = await eventually(posted('Which day?'), { timeoutMs: 60_000, what: `the question; ${up.output.stderr}` });
  slack.person('grace').post(channel, 'Tuesday', { threadTs: question.ts });
  assert.deepEqual((await ended(asking)).result, { answer: 'Tuesday', by: slack.person('grace').id });
  assert.deepEqual(
    slack.see.thread(channel, question.ts).map(({ text }) => text.split('\n')[0]),
    ['Which day?', 'Tuesday', `Thank you, <@${slack.person('grace').id}>.`],
  );

  const digest = await start('morning_digest', { channel, task: 'say: all is well' });
  await eventually(posted('all is well'), { timeoutMs: 60_000, what: 'the digest' });
  await ended(digest);
});

interface SetUp {
  readonly manifest?: {
    readonly settings: { readonly socket_mode_enabled: boolean; readonly event_subscriptions: { readonly request_url?: string } };
  };
  readonly checks: readonly { readonly what: string; readonly state: string; readonly says: string }[];
}

async function setUp(env: Record<string, string>, ...flags: string[]): Promise<SetUp & { code: number | null; of(what: string): string }> {
  const { code, stdout, stderr } = await place.run(['slack', 'setup', '--json', ...flags], { env });
  assert.ok(stdout.startsWith('{'), stderr);
  const told = JSON.parse(stdout) as SetUp;
  return { ...told, code, of: (what) => told.checks.find((each) => each.what === what)?.state ?? 'none' };
}

test('setup says what is right, and of what is wrong, what it is', async () => {
  const right = await setUp({}, '--url', up.url);
  assert.deepEqual(right.manifest?.settings.event_subscriptions.request_url, `${up.url}/api/webhooks/slack`);
  for (const what of ['settings', 'token', 'address', 'API key']) assert.equal(right.of(what), 'ok', JSON.stringify(right.checks));
  // the scopes of this workspace are some more than are needed
  assert.equal(right.of('scopes'), 'note');
  assert.equal(right.code, 0);

  const cases: readonly (readonly [env: Record<string, string>, what: string, says: RegExp])[] = [
    [{ SLACK_BOT_TOKEN: 'xoxb-wrong' }, 'token', /invalid_auth/],
    [{ SLACK_BOT_TOKEN: 'nonsense' }, 'settings', /SLACK_BOT_TOKEN/],
    [{ SLACK_SIGNING_SECRET: 'another-signing-secret' }, 'address', /401/],
    [{ SLACKBOT_API_KEY: 'ck_00000000_unknown-key-of-nobody' }, 'API key', /does not know/],
    [{ SLACK_APP_TOKEN: 'xapp-wrong' }, 'socket', /invalid_auth/],
    [{ SLACK_API_URL: 'http://127.0.0.1:9/api' }, 'token', /does not answer/],
  ];
  for (const [env, what, says] of cases) {
    const told = await setUp(env, '--url', up.url, '--no-manifest');
    assert.equal(told.code, 1, what);
    assert.equal(told.manifest, undefined);
    assert.match(told.checks.find((each) => each.what === what && each.state === 'wrong')?.says ?? JSON.stringify(told.checks), says);
    assert.ok(!JSON.stringify(told).includes(slack.botToken) && !JSON.stringify(told).includes(slack.signingSecret));
  }

  slack.grant(['chat:write']);
  const few = await setUp({}, '--url', up.url);
  assert.equal(few.of('scopes'), 'wrong');
  assert.equal(few.code, 1);

  const socket = await setUp({ SLACK_APP_TOKEN: slack.appToken }, '--socket');
  assert.equal(socket.manifest?.settings.socket_mode_enabled, true);
  assert.equal(socket.of('socket'), 'ok');
});

test('before there is anything, setup prints the manifest and what to do next', async () => {
  const none = { SLACK_BOT_TOKEN: '', SLACK_SIGNING_SECRET: '' };
  const { code, stdout, stderr } = await place.run(['slack', 'setup', '--url', 'https://centaur.example.com'], { env: none });
  assert.equal(code, 0);
  assert.equal(JSON.parse(stdout).settings.interactivity.request_url, 'https://centaur.example.com/api/webhooks/slack');
  assert.match(stderr, /api\.slack\.com\/apps/);
  const unset = await place.run(['slack'], { env: none });
  assert.equal(unset.code, 2);
  assert.match(unset.stderr, /SLACK_BOT_TOKEN: is missing/);
});
