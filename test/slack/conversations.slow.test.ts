/** Conversations in an emulated Slack with a whole installation: server, sandboxes, the demo agent, and the bot in its own process. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CentaurApiError, type Client, createClient, type ExecutionView } from '@centaur/sdk';
import { ensureBubblewrap } from '../support/bubblewrap.ts';
import { createPlace, type Place, type Running } from '../support/cli.ts';
import { type Slack, startSlack } from '../support/slack/index.ts';
import type { Posted } from '../support/slack/people.ts';
import { eventually } from '../support/wait.ts';

let slack: Slack;
let place: Place;
let up: Running & { readonly url: string };
let api: Client;

before(async () => {
  ensureBubblewrap();
  slack = await startSlack({ rateLimits: 'counted', retryMs: [200, 500, 1000, 2000, 5000] });
  const tokens = { SLACK_BOT_TOKEN: slack.botToken, SLACK_SIGNING_SECRET: slack.signingSecret, SLACK_API_URL: slack.apiUrl };
  place = createPlace({ ...tokens, SLACK_PORT: '0', CENTAUR_DEMO: '1' });
  up = await place.serve('up');
  const key = await place.run(['keys', 'create', 'test', '--scope', 'threads.read', '--scope', 'threads.write', '--json']);
  api = createClient({ url: up.url, apiKey: JSON.parse(key.stdout).key });
  slack.pointAt(`${up.url}/api/webhooks/slack`);
  await eventually(async () => (await slack.verifyUrl()) === undefined, { timeoutMs: 200_000, what: `the bot; ${up.output.stderr}` });
});
after(async () => {
  await place[Symbol.asyncDispose]();
  await slack[Symbol.asyncDispose]();
});

const ada = () => slack.person('ada');
const keyOf = ({ channel, threadTs }: Posted) => `slack:${channel}:${threadTs}`;
/** What the bot shows in the thread, as text. */
const shown = ({ channel, threadTs }: Posted) =>
  JSON.stringify(slack.see.thread(channel, threadTs).filter(({ by }) => by === slack.app.userId));
async function shows(posted: Posted, text: string): Promise<void> {
  await eventually(() => shown(posted).includes(text), { timeoutMs: 200_000 }).catch(() => {
    throw new Error(`waited too long for ${JSON.stringify(text)} in ${shown(posted)}; ${up.output.stderr}`);
  });
}

/** Newest first. */
async function turns(posted: Posted): Promise<readonly ExecutionView[]> {
  try {
    return (await api.threads.executions(keyOf(posted))).items;
  } catch (error) {
    if (error instanceof CentaurApiError && error.code === 'THREAD_NOT_FOUND') return [];
    throw error;
  }
}

/** Resolves with the turns when they stand so, the newest first. */
const stand = (posted: Posted, ...statuses: string[]) =>
  eventually(
    async () => {
      const now = await turns(posted);
      return now.map(({ status }) => status).join() === statuses.join() ? now : undefined;
    },
    { timeoutMs: 200_000, what: `${statuses.join()} in ${keyOf(posted)}` },
  );

test('a mention is answered in its thread, a reply goes on, and both come but once', async () => {
  slack.delivery.duplicateNext(2);
  const posted = ada().mention('general', 'say: forty-two');
  await shows(posted, 'forty-two');
  await stand(posted, 'completed');
  slack.delivery.hold();
  slack.delivery.duplicateNext(2);
  const reply = slack.person('grace').post('general', 'recall', { threadTs: posted.ts });
  slack.person('grace').mention('general', 'say: the third', { threadTs: posted.ts });
  await slack.delivery.release('last first');
  await shows(reply, 'the third');
  const all = await stand(posted, 'completed', 'completed', 'completed');
  // the agent is the same one, and knows what it was told
  assert.ok(
    all.some(({ result_text: text }) => text?.includes('say: forty-two') === true),
    JSON.stringify(all),
  );
});

test('direct messages and the assistant are answered where they are written', async () => {
  const direct = ada().message('say: in private');
  await shows(direct, 'in private');
  const thread = ada().openAssistant('general');
  await eventually(() => slack.see.assistant(thread.channel, thread.threadTs).prompts.length > 0, { timeoutMs: 200_000, what: 'prompts' });
  const asked = ada().message('say: at your service', { threadTs: thread.threadTs });
  await shows(asked, 'at your service');
  await stand(asked, 'completed');
});

test('the agent can read what people attach', async () => {
  const files = [{ name: 'note.txt', mimetype: 'text/plain', content: 'the word is xyzzy' }];
  const posted = ada().mention('general', 'see the note', { files });
  await shows(posted, 'The user sent a file (text/plain, 17 bytes): /workspace/uploads/2-note.txt');
  ada().post('general', 'run: cat uploads/2-note.txt', { threadTs: posted.ts });
  await shows(posted, 'the word is xyzzy');
});

test('what waits is edited and deleted in place, and stop ends what runs', async () => {
  const posted = ada().mention('general', 'run: sleep 300');
  const running = (await stand(posted, 'running'))[0];
  const edited = ada().post('general', 'say: apple', { threadTs: posted.ts });
  await stand(posted, 'queued', 'running');
  const deleted = ada().post('general', 'say: plum', { threadTs: posted.ts });
  await stand(posted, 'queued', 'queued', 'running');
  ada().edit('general', edited.ts, 'say: pear');
  await stand(posted, 'queued', 'queued', 'cancelled', 'running');
  ada().delete('general', deleted.ts);
  await stand(posted, 'queued', 'cancelled', 'cancelled', 'running');
  await api.threads.cancel(running?.execution_id ?? '');
  await shows(posted, 'pear');
  await stand(posted, 'completed', 'cancelled', 'cancelled', 'cancelled');
  assert.doesNotMatch(shown(posted), /apple|plum/);

  const other = ada().mention('general', 'run: sleep 300');
  await stand(other, 'running');
  ada().post('general', 'please stop', { threadTs: other.ts });
  await stand(other, 'cancelled');
});
