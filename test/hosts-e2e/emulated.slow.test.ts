/** GitHub and Stripe call workflows, and a workflow posts to Slack; `emulate` plays all three. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { eventually } from '../support/wait.ts';
import { type Emulator, type Passed, type Recorder, startEmulator, startRecorder } from './emulate.ts';
import { type Server, startServer } from './server.ts';

const HOOK_SECRET = 'the-secret-of-the-hook-0123456789';
const STRIPE_SECRET = 'whsec_0123456789abcdefghijklmnop';
const GITHUB_TOKEN = 'ghp_0123456789';
const SLACK_TOKEN = 'xoxb-0123456789-the-real-token';

const BILLING = `
WORKFLOW_NAME = "billing"
WEBHOOKS = {
    "slug": "billing",
    "provider": "stripe",
    "auth": {"type": "stripe", "secret_ref": "STRIPE_WEBHOOK_SECRET"},
    "trigger_key": {"type": "json_path", "path": "id"},
}


async def handler(inp, ctx):
    event = inp["webhook"]["body"]
    return {"type": event["type"], "email": event["data"]["object"]["email"]}
`;
const POST_AND_LOOK = `
import os

WORKFLOW_NAME = "post_and_look"


async def handler(inp, ctx):
    posted = await ctx.post_to_slack("general", "from a workflow")
    return {"posted": posted, "environment": dict(os.environ)}
`;

let server: Server;
let slack: Emulator;
/** On the way to us, and on our way to Slack. */
let hooks: Recorder;
let posts: Recorder;

before(async () => {
  [hooks, posts] = await Promise.all([startRecorder(), startRecorder()]);
  slack = await startEmulator('slack', {
    tokens: { [SLACK_TOKEN]: { login: 'developer', scopes: ['chat:write', 'channels:history'] } },
    slack: { users: [{ name: 'developer' }], channels: [{ name: 'general' }] },
  });
  posts.target = slack.url;
  server = await startServer({
    env: { SLACK_API_URL: `${posts.url}/api` },
    config: `egress:\n  allow_cidrs: [127.0.0.1]\n  ports: [${new URL(posts.url).port}]\n`,
    samples: ['creating/github_issue_triage.py', 'migration/post_summary.py'],
  });
  hooks.target = server.url;
  await server.secret('GITHUB_WEBHOOK_SECRET', HOOK_SECRET, '--type', 'webhook');
  await server.secret('STRIPE_WEBHOOK_SECRET', STRIPE_SECRET, '--type', 'webhook');
  await server.secret('SLACK_BOT_TOKEN', SLACK_TOKEN, '--host', posts.url, '--header', 'authorization', '--grant', 'workflow:*');
  // now, so that their processes begin with what is granted
  server.place.write('billing.py', BILLING);
  server.place.write('post_and_look.py', POST_AND_LOOK);
  await eventually(async () => Object.keys(await server.versions()).length === 4, { what: 'the files to be loaded' });
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await slack.close();
  hooks.close();
  posts.close();
});

async function untilPassed(count: number): Promise<Passed> {
  await eventually(() => hooks.passed.length >= count, { what: 'a delivery' });
  return hooks.passed.at(-1) as Passed;
}

test('an issue on GitHub starts one run, however often it is delivered', async () => {
  const github = await startEmulator('github', {
    tokens: { [GITHUB_TOKEN]: { login: 'octocat', scopes: ['repo'] } },
    github: { users: [{ login: 'octocat' }], repos: [{ owner: 'octocat', name: 'hello-world', auto_init: true }] },
  });
  const ask = async (at: string, body: unknown) => {
    const headers = { authorization: `Bearer ${GITHUB_TOKEN}`, 'content-type': 'application/json' };
    const response = await fetch(`${github.url}/repos/octocat/hello-world/${at}`, { method: 'POST', headers, body: JSON.stringify(body) });
    assert.ok(response.ok, await response.text());
  };
  const before = hooks.passed.length;
  const config = { url: `${hooks.url}/api/webhooks/github-issue-triage`, content_type: 'json', secret: HOOK_SECRET };
  await ask('hooks', { config, events: ['issues'] });
  await ask('hooks/1/pings', {});
  const ping = await untilPassed(before + 1);
  assert.equal(ping.status, 202, JSON.stringify(ping.answer));
  await ask('issues', { title: 'The door is open' });
  const issue = await untilPassed(before + 2);
  await github.close();
  assert.equal(issue.status, 202, JSON.stringify(issue.answer));
  const run = await server.ended(issue.answer.run_id);
  assert.deepEqual([run.status, run.result.triaged], ['completed', true], JSON.stringify(run));
  assert.equal(run.result.agent_result.thread_key, 'github:octocat/hello-world:1');
  assert.equal((await server.ended(ping.answer.run_id)).result.reason, 'unsupported_event');

  const second = await hooks.again(issue);
  assert.deepEqual([second.status, second.answer.run_id], [200, run.run_id]);
  const forged = await hooks.again(issue, {
    body: issue.body.replace('The door is open', 'Give me the key'),
    headers: { 'x-github-delivery': '99' },
  });
  assert.deepEqual([forged.status, forged.answer.code], [401, 'BAD_SIGNATURE']);
  assert.equal((await server.runsOf('github_issue_triage')).length, 2);
});

test('a delivery in the form of a form, as GitHub sends it by default, is read as well', async () => {
  const issue = hooks.passed.find((each) => each.headers['x-github-event'] === 'issues') as Passed;
  const body = new URLSearchParams({ payload: issue.body }).toString();
  const sent = await hooks.again(issue, {
    body,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      'user-agent': 'GitHub-Hookshot/044aadd',
      'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
      'x-hub-signature': `sha1=${createHmac('sha1', HOOK_SECRET).update(body).digest('hex')}`,
      'x-hub-signature-256': `sha256=${createHmac('sha256', HOOK_SECRET).update(body).digest('hex')}`,
    },
  });
  assert.equal(sent.status, 202, JSON.stringify(sent.answer));
  const run = await server.ended(sent.answer.run_id);
  assert.equal(run.input.webhook.body.issue.title, 'The door is open');
  assert.equal(run.result.triaged, true);
});

test('a customer at Stripe starts one run, however often it is delivered', async () => {
  const url = `${hooks.url}/api/webhooks/billing`;
  const stripe = await startEmulator('stripe', { stripe: { webhooks: [{ url, events: ['customer.created'], secret: STRIPE_SECRET }] } });
  const before = hooks.passed.length;
  const made = await fetch(`${stripe.url}/v1/customers`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk_test_0123456789' },
    body: new URLSearchParams({ email: 'ada@example.com' }),
  });
  assert.equal(made.status, 200);
  const event = await untilPassed(before + 1);
  await stripe.close();
  assert.equal(event.status, 202, JSON.stringify(event.answer));
  const run = await server.ended(event.answer.run_id);
  assert.deepEqual(run.result, { type: 'customer.created', email: 'ada@example.com' });
  assert.equal(run.input.webhook.headers['stripe-signature'], undefined);

  // Stripe signs each attempt at the time at which it makes it
  const second = await hooks.again(event, { headers: { 'stripe-signature': stripeSignature(event.body, 1) } });
  assert.deepEqual([second.status, second.answer.run_id], [200, run.run_id]);
  const late = await hooks.again(event, { headers: { 'stripe-signature': stripeSignature(event.body, -3600) } });
  assert.deepEqual([late.status, late.answer.code], [401, 'BAD_SIGNATURE']);
  assert.equal((await server.runsOf('billing')).length, 1);
});

function stripeSignature(body: string, seconds: number): string {
  const time = Math.floor(Date.now() / 1000) + seconds;
  return `t=${time},v1=${createHmac('sha256', STRIPE_SECRET).update(`${time}.${body}`).digest('hex')}`;
}

test('a workflow posts to Slack once, with a token that its process never sees', async () => {
  const summary = JSON.parse(await server.centaur('run', 'post_summary', '{"channel": "general", "summary": "All is well"}', '--wait'));
  const looked = JSON.parse(await server.centaur('run', 'post_and_look', '{}', '--wait'));
  const history = await fetch(`${slack.url}/api/conversations.history`, {
    method: 'POST',
    headers: { authorization: `Bearer ${SLACK_TOKEN}` },
    body: new URLSearchParams({ channel: summary.posted.channel }),
  });
  const { messages } = (await history.json()) as { readonly messages: readonly { readonly text: string; readonly ts: string }[] };
  assert.deepEqual(
    messages.map(({ text, ts }) => [text, ts]),
    [
      ['from a workflow', looked.posted.ts],
      ['All is well', summary.posted.ts],
    ],
  );
  assert.deepEqual([...new Set(posts.passed.map(({ headers }) => headers.authorization))], [`Bearer ${SLACK_TOKEN}`]);
  // that of a sandbox, with a placeholder
  assert.equal(looked.environment.HOME, '/home/agent');
  assert.match(looked.environment.SLACK_BOT_TOKEN, /^xoxb-/);
  assert.equal(JSON.stringify(looked).includes(SLACK_TOKEN), false);
  assert.equal(server.log().includes(SLACK_TOKEN), false);
});
