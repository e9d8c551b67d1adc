/** Approvals in Slack, end to end: the bot, the API with its approvals, and people who click. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { approvalValue, createClient } from '@centaur/sdk';
import { Hopeless } from '../../ingress/chat/index.ts';
import { actOnInteraction, openAtOnce } from '../../ingress/slack/approvals/index.ts';
import { createSlackCalls } from '../../ingress/slack/calls.ts';
import type { SlackContext } from '../../ingress/slack/context.ts';
import { type SlackBot, startSlackBot } from '../../ingress/slack/bot.ts';
import { readSlackSettings, type SlackSettings } from '../../ingress/slack/settings.ts';
import { beginErasure, getErasure, runErasures } from '../../kernel/care/index.ts';
import { castVote, overrideApproval, publishPolicy, sweepApprovals } from '../../kernel/policy/index.ts';
import { createTools, ToolError, type Tools } from '../../kernel/tools/index.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { addPerson, person as voter } from '../support/people.ts';
import { type Slack, startSlack } from '../support/slack/index.ts';
import type { SeenMessage } from '../support/slack/seen.ts';
import { BOT_SCOPES } from '../support/slack-bot.ts';
import { createTestThreads, type TestThreads } from '../support/threads.ts';
import { createScriptedRunner, type ScriptedRunner } from '../support/tools.ts';
import { eventually } from '../support/wait.ts';

const BANK = {
  name: 'bank',
  description: 'A bank.',
  methods: {
    pay: method('write', { amount: { type: 'integer' }, to: { type: 'string' }, note: { type: 'string' } }),
    close: method('destructive', { account: { type: 'string' } }),
  },
};
const POLICY = `version: 1
default: deny
gates:
  one: {exclude: [requester], editable: [amount, to]}
  two: {quorum: 2}
rules:
  - {id: much, tool: bank.pay, effect: approve, gate: two, when: args.amount > 1000}
  - {id: some, tool: bank.pay, effect: approve, gate: one}
  - {id: closing, tool: bank.close, effect: approve, gate: one}
`;
const PATIENT = { timeoutMs: 120_000 } as const;

let slack: Slack;
let threads: TestThreads;
let api: TestApi;
let tools: Tools;
let runner: ScriptedRunner;
let bot: SlackBot | undefined;
let settings: SlackSettings;
let environment: Readonly<Record<string, string>>;
let desk: string;
/** What the next turn calls. */
let wanted: { readonly method: 'pay' | 'close'; readonly args: Record<string, unknown> };

before(async () => {
  runner = createScriptedRunner();
  runner.serve(BANK);
  slack = await startSlack({
    people: ['ada', 'bob', 'cleo', 'eve'],
    channels: ['general', 'desk'],
    rateLimits: 'counted',
    // that a click is answered within three seconds is for a machine that does nothing else
    ackMs: 60_000,
  });
  threads = await createTestThreads();
  api = await startTestApi({
    on: threads.engine,
    threads: threads.threads,
    vault: 'alone',
    slack: { signingSecret: slack.signingSecret },
    toolsOn: async (installation, log) => (tools = await createTools({ store: installation.store, installation, runner, log })),
  });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  threads.onTurn(callWanted);
  // eve has no user here
  for (const name of ['ada', 'bob', 'cleo']) {
    await addPerson(api, name, 'approver');
    const link = { platform: 'slack', team: slack.team.id, external_user: slack.person(name).id, user: name };
    assert.equal((await api.call('POST', '/chats/links/admin', link)).status, 201);
  }
  desk = slack.channel('desk');
  environment = {
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
    SLACK_API_URL: slack.apiUrl,
    SLACK_PORT: '0',
    CENTAUR_API_URL: api.url,
    SLACKBOT_API_KEY: await api.keyWith(...BOT_SCOPES),
  };
  settings = readSlackSettings(environment, { approvals_channel: desk });
  await startBot();
});
after(async () => {
  await bot?.close();
  await api[Symbol.asyncDispose]();
  await threads[Symbol.asyncDispose]();
  await slack[Symbol.asyncDispose]();
});

async function startBot(): Promise<void> {
  bot = await startSlackBot(settings, () => {});
  slack.pointAt(`${bot.url}/api/webhooks/slack`);
  await bot.ready;
}

/** The turn of an agent that makes one call, and says what came of it. */
async function callWanted(...[owner, { turns }]: Parameters<Parameters<TestThreads['onTurn']>[0]>): Promise<void> {
  await turns.begin(owner);
  const { method, args } = wanted;
  const caller = { principal: `thread:${owner.threadKey}`, threadKey: owner.threadKey };
  const resultText = await tools.call(caller, { tool: 'bank', method, args }).then(
    ({ result }) => `paid ${JSON.stringify(result)}`,
    (error: unknown) => `refused ${error instanceof ToolError ? `${error.code}: ${error.message}` : String(error)}`,
  );
  await turns.finish(owner, { status: 'completed', reason: 'completed', resultText });
}

// ---- what people do and see

interface Asked {
  readonly channel: string;
  readonly threadTs: string;
  readonly id: string;
  readonly executionId: string;
  card(): SeenMessage;
  /** When the card says so. */
  says(pattern: RegExp): Promise<string>;
  /** What the agent says in the end. */
  end(): Promise<string>;
}

/** Ada asks in a thread of hers; resolves when the card is there. */
async function ask(
  args: Record<string, unknown>,
  { method = 'pay', where = 'general' }: { method?: 'pay' | 'close'; where?: string } = {},
): Promise<Asked> {
  wanted = { method, args };
  const ada = slack.person('ada');
  const { channel, ts } = where === 'direct' ? ada.message('pay, please') : ada.mention(where, 'pay, please');
  const [posted] = await eventually(() => present(cardsIn(channel, ts)), { ...PATIENT, what: 'the card' });
  const id = idOf(posted);
  const card = () => cardsIn(channel, ts)[0] as SeenMessage;
  const { body } = await api.call('GET', `/agent/threads/${encodeURIComponent(`slack:${channel}:${ts}`)}/executions`);
  const executionId = body.items[0].execution_id as string;
  return {
    channel,
    threadTs: ts,
    id,
    executionId,
    card,
    says: (pattern) => eventually(() => pattern.exec(textOf(card()))?.[0], { ...PATIENT, what: `${pattern} in ${textOf(card())}` }),
    end: async () => (await threads.ended(executionId)).result_text ?? '',
  };
}

const cardsIn = (channel: string, ts: string): SeenMessage[] => slack.see.thread(channel, ts).filter(isCard);
const isCard = ({ metadata }: SeenMessage): boolean => metadata?.['event_type'] === 'centaur_approval';
const payloadOf = ({ metadata }: SeenMessage) => metadata?.['event_payload'] as { approval_id: string; version: number; kind: string };
const idOf = (message: SeenMessage | undefined): string => payloadOf(message as SeenMessage).approval_id;
const present = <T>(all: readonly T[]): readonly T[] | undefined => (all.length === 0 ? undefined : all);

/** All texts of its blocks. */
function textOf({ blocks }: SeenMessage): string {
  const texts: string[] = [];
  JSON.stringify(blocks, (key, value: unknown) => {
    if (key === 'text' && typeof value === 'string') texts.push(value);
    return value;
  });
  return texts.join('\n');
}

const isPostOfCard = (args: Readonly<Record<string, unknown>>): boolean => JSON.stringify(args).includes('centaur_approval');

const buttons = ({ blocks }: SeenMessage): string[] =>
  [...JSON.stringify(blocks).matchAll(/"action_id":"centaur_approval:(\w+)"/g)].map(([, name]) => name as string);

async function click(name: string, { channel, card }: Asked, action: string): Promise<void> {
  const { acknowledged, problem } = await slack.person(name).click(channel, card().ts, `centaur_approval:${action}`);
  assert.deepEqual([acknowledged, problem], [true, undefined]);
}

/** The window that they have open. */
const modal = (name: string) => eventually(() => slack.see.modals(slack.person(name).id).at(-1), { ...PATIENT, what: 'a window' });

async function submit(name: string, values: Record<string, string>) {
  const view = await modal(name);
  return slack.person(name).submit(view.id, values);
}

/** What only they were told, since the last time. */
const toldBefore = new Map<string, number>();
async function told(name: string): Promise<string> {
  const { id } = slack.person(name);
  const before = toldBefore.get(id) ?? 0;
  const { text } = await eventually(() => slack.see.ephemerals(id)[before], { ...PATIENT, what: `a word to ${name}` });
  toldBefore.set(id, before + 1);
  return text;
}

function method(risk: string, properties: object) {
  return { description: 'Does it.', risk, input: { type: 'object', properties } };
}

// ----

// first: what Slack still owes to the dead is over by the end
test('a card is one where the bot is killed between its post and its note', async () => {
  await bot?.close();
  bot = undefined;
  slack.faults.plan('chat.postMessage', { kind: 'slow', ms: 30_000 }, { when: isPostOfCard });
  const child = spawn(process.execPath, [new URL('bot-process.ts', import.meta.url).pathname], {
    env: { ...process.env, ...environment, SLACK_RULES: JSON.stringify({ approvals_channel: desk }) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [first] = (await once(child.stdout, 'data')) as [Buffer];
  slack.pointAt(`${first.toString().trim()}/api/webhooks/slack`);
  const asked = await ask({ amount: 2_004 });
  child.kill('SIGKILL');
  await once(child, 'exit');
  const { rows } = await api.t.store.query<{ shown_version: number }>('select shown_version from chat_notices where approval_id = $1', [
    asked.id,
  ]);
  assert.deepEqual(rows, [{ shown_version: 0 }], 'it died before it could say that it is shown');
  // its lease would end by itself, in a minute
  await api.t.store.query('update chat_notices set lease_expires_at = now() where approval_id = $1', [asked.id]);
  await startBot();
  await click('bob', asked, 'approve');
  await asked.says(/1 of 2 votes/);
  await click('cleo', asked, 'approve');
  assert.match(await asked.end(), /^paid/);
  await asked.says(/Approved, and used, by cleo/);
  assert.equal(cardsIn(asked.channel, asked.threadTs).length, 1);
});

describe('whoever may decide', () => {
  test('approves by a button, and the turn goes on', async () => {
    const asked = await ask({ amount: 20, to: 'Zoë', note: '<!channel> \u202e' });
    assert.match(
      textOf(asked.card()),
      /Approval needed\nbank\.pay\n[^]*Asked by Ada \(ada\)[^]*"note": "<!channel> \\u202e"[^]*0 of 1 votes of role:approver/,
    );
    assert.deepEqual([buttons(asked.card()), asked.card().mentions], [['approve', 'open_edit', 'open_deny'], []]);
    await click('bob', asked, 'approve');
    assert.equal(await asked.end(), 'paid {"args":{"amount":20,"to":"Zoë","note":"<!channel> \u202e"}}');
    await asked.says(/Approved, and used, by bob/);
    assert.deepEqual(buttons(asked.card()), []);
    assert.equal(cardsIn(asked.channel, asked.threadTs).length, 1);
  });

  test('denies in a window, with a reason that the agent hears', async () => {
    const asked = await ask({ amount: 21 });
    await click('bob', asked, 'open_deny');
    const blank = await submit('bob', { reason: '  ' });
    assert.deepEqual(Object.keys(blank.errors ?? {}), ['reason'], JSON.stringify(blank));
    await submit('bob', { reason: 'not this month' });
    assert.match(await asked.end(), /^refused APPROVAL_DENIED: .*not this month/);
    await asked.says(/Denied by bob: not this month/);
    assert.deepEqual([buttons(asked.card()), slack.see.modals(slack.person('bob').id)], [[], []]);
  });

  test('changes what is asked for, and that is done', async () => {
    const asked = await ask({ amount: 30, to: 'Ann' });
    await click('cleo', asked, 'open_edit');
    const odd = await submit('cleo', { 'edit:0': '2O' });
    assert.deepEqual(Object.keys(odd.errors ?? {}), ['edit:0']);
    await submit('cleo', { 'edit:0': '20', reason: 'as agreed' });
    assert.equal(await asked.end(), 'paid {"args":{"amount":20,"to":"Ann"}}');
    await asked.says(/Edited by cleo\n- amount: 30\n\+ amount: 20/);
  });

  test('gives a reason where one is needed, and sees all that is long', async () => {
    const asked = await ask({ account: `x${'y'.repeat(9_000)}z` }, { method: 'close' });
    assert.match(textOf(asked.card()), /characters more: Approve… shows the full text/);
    await click('bob', asked, 'open_approve');
    const { blocks } = await modal('bob');
    assert.match(JSON.stringify(blocks).replaceAll(/"[^"]*"(?:text|elements|type)[^y]*/g, ''), /yz/);
    await submit('bob', { reason: 'it is empty' });
    assert.match(await asked.end(), /^paid/);
    await asked.says(/bob approved by slack: it is empty/);
  });

  test('is one of two, and the card counts', async () => {
    const asked = await ask({ amount: 2_000 });
    const shown = asked.card();
    await click('bob', asked, 'approve');
    await asked.says(/1 of 2 votes/);
    await asked.says(/✓ bob approved by slack/);
    await click('bob', asked, 'approve');
    await asked.says(/1 of 2 votes/);
    const counted = () => api.t.store.query('select 1 from chat_interactions where approval_id = $1', [asked.id]);
    await eventually(async () => ((await counted()).rowCount === 2 ? true : undefined), { ...PATIENT, what: 'the second click' });
    // what somebody else says meanwhile is no reason to click again
    await click('cleo', { ...asked, card: () => shown }, 'approve');
    assert.match(await asked.end(), /^paid/);
    await asked.says(/Approved, and used, by cleo/);
  });

  test('may do so elsewhere, and the card tells', async () => {
    const asked = await ask({ amount: 22 });
    await castVote(api.installation, voter('bob'), asked.id, { verdict: 'deny', reason: 'by the CLI', channel: 'cli' });
    await asked.says(/Denied by bob: by the CLI/);
    assert.deepEqual(buttons(asked.card()), []);
  });
});

describe('whoever may not decide', () => {
  test('is told so, alone, and nothing is decided', async () => {
    const asked = await ask({ amount: 23 });
    await click('eve', asked, 'approve');
    assert.match(await told('eve'), /not linked to a user here: run "centaur users link slack"/);
    await click('ada', asked, 'approve');
    assert.match(await told('ada'), /Ada may not decide on this: the gate excludes the requester/);
    await click('eve', asked, 'open_deny');
    await submit('eve', { reason: 'because' });
    assert.match(await told('eve'), /not linked/);
    const { body } = await api.call('GET', `/approvals/${asked.id}`);
    assert.deepEqual([body.state, body.votes], ['pending', []]);
    await click('bob', asked, 'approve');
    assert.match(await asked.end(), /^paid/);
  });

  test('cannot forge a click, nor say what another has clicked', async () => {
    const asked = await ask({ amount: 24 });
    const { endpoints, delivery } = slack;
    await click('eve', asked, 'approve');
    await told('eve');
    const { body } = await eventually(() => delivery.all.findLast((each) => JSON.stringify(each).includes(asked.id)));
    const payload = { ...(body as Record<string, unknown>), user: { id: slack.person('bob').id, team_id: slack.team.id } };
    const forged = `payload=${encodeURIComponent(JSON.stringify(payload))}`;
    const send = (headers: Record<string, string>) =>
      fetch(endpoints.interactivity, {
        method: 'POST',
        body: forged,
        headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
      });
    assert.equal((await send(slack.sign(`${forged} `))).status, 401);
    assert.equal((await send(slack.sign(forged, Math.floor(Date.now() / 1000) - 3600))).status, 401);
    const byBot = { key: environment['SLACKBOT_API_KEY'] as string };
    const { 'x-slack-signature': signature, 'x-slack-request-timestamp': timestamp } = slack.sign(`${forged} `);
    const relayed = await api.call('POST', '/chats/slack/interactions', { body: forged, signature, timestamp }, byBot);
    assert.deepEqual([relayed.status, relayed.body.code], [401, 'SIGNATURE_INVALID']);
    const vote = { verdict: 'approve', digest: (await api.call('GET', `/approvals/${asked.id}`)).body.digest };
    assert.equal((await api.call('POST', `/approvals/${asked.id}/votes`, vote, byBot)).status, 403);
    assert.deepEqual((await api.call('GET', `/approvals/${asked.id}`)).body.votes, []);
    await click('bob', asked, 'approve');
    assert.match(await asked.end(), /^paid/);
  });
});

describe('a click that cannot count', () => {
  const context = (): SlackContext => {
    const { teamId, userId, botId } = { teamId: slack.team.id, userId: slack.app.userId, botId: slack.app.botId };
    return {
      settings,
      api: createClient({ url: api.url, apiKey: settings.apiKey }),
      slack: createSlackCalls({ token: slack.botToken, apiUrl: slack.apiUrl, now: Date.now }),
      self: { teamId, userId, botId, appId: undefined, name: 'centaur' },
      consumerId: 'test',
      log: () => {},
      now: Date.now,
    };
  };

  test('is told of, and not tried again', async () => {
    const asked = await ask({ amount: 28 });
    await click('eve', asked, 'approve');
    await told('eve');
    const { body } = await eventually(() => slack.delivery.all.findLast((each) => JSON.stringify(each).includes(asked.id)));
    const payload = { ...(body as Record<string, unknown>), user: { id: slack.person('bob').id, team_id: slack.team.id } };
    const form = `payload=${encodeURIComponent(JSON.stringify(payload))}`;
    const { 'x-slack-signature': signature = '', 'x-slack-request-timestamp': timestamp = '' } = slack.sign(
      form,
      Math.floor(Date.now() / 1000) - 400,
    );
    // it waited in the inbox for too long
    const late = { kind: 'interaction', payload, signed: { body: form, signature, timestamp }, at: Date.now() } as const;
    await assert.rejects(actOnInteraction(context(), late), Hopeless);
    assert.match(await told('bob'), /took too long to arrive, so it does not count\. Please click once more/);
    // Socket Mode, which nobody has trusted
    await assert.rejects(actOnInteraction(context(), { ...late, signed: null }), Hopeless);
    assert.match(await told('bob'), /Votes do not count here: this bot is connected by Socket Mode/);
    assert.deepEqual((await api.call('GET', `/approvals/${asked.id}`)).body.votes, []);
    await click('bob', asked, 'approve');
    assert.match(await asked.end(), /^paid/);
    // what opens a window is no vote, and an old card opens what there is to say
    await asked.says(/Approved, and used/);
    const action = {
      action_id: 'centaur_approval:open_approve',
      value: approvalValue({ approvalId: asked.id, digest: 'a'.repeat(64), version: 1 }),
    };
    const opening = {
      ...payload,
      actions: [action],
      trigger_id: (await slack.person('bob').command('general', '/centaur', 'help')).triggerId,
    };
    assert.equal(await openAtOnce(context(), opening), undefined);
    assert.match(JSON.stringify((await modal('bob')).blocks), /This was approved by bob/);
  });
});

describe('a card', () => {
  const inDesk = (id: string) => slack.see.channel(desk).filter((message) => isCard(message) && idOf(message) === id);

  test('says when nobody has decided', async () => {
    const asked = await ask({ amount: 25 });
    await api.t.store.query('update approvals set expires_at = now() where approval_id = $1', [asked.id]);
    await sweepApprovals(api.installation);
    await asked.says(/Expired, nobody decided/);
    assert.deepEqual(buttons(asked.card()), []);
    assert.match(await asked.end(), /^refused/);
  });

  test('is in the channel for approvals where no thread of Slack asks, and beside direct messages', async () => {
    const refused = await tools
      .call({ principal: 'key:ck_1' }, { tool: 'bank', method: 'pay', args: { amount: 26 }, waitMs: 0 })
      .catch((error: unknown) => error);
    const id = String((refused as ToolError).details?.['approval_id']);
    await eventually(() => present(inDesk(id)), PATIENT);
    await castVote(api.installation, voter('bob'), id, { verdict: 'deny', reason: 'no', channel: 'cli' });
    await eventually(() => inDesk(id).every((message) => /Denied by bob: no/.test(textOf(message))), PATIENT);
    assert.equal(inDesk(id).length, 1);

    const direct = await ask({ amount: 27 }, { where: 'direct' });
    const [there] = await eventually(() => present(inDesk(direct.id)), PATIENT);
    await slack.person('bob').click(desk, there?.ts as string, 'centaur_approval:approve');
    assert.match(await direct.end(), /^paid/);
    await direct.says(/Approved, and used, by bob/);
    await eventually(() => inDesk(direct.id).every((message) => /Approved, and used, by bob/.test(textOf(message))), PATIENT);
    assert.equal(inDesk(direct.id).length, 1);
  });

  test('goes to the channel for approvals when its thread takes nothing any more', async () => {
    const refusal = { kind: 'error', error: 'restricted_action_thread_locked', effect: 'none' } as const;
    slack.faults.plan('chat.postMessage', refusal, { when: (args) => isPostOfCard(args) && args['thread_ts'] !== undefined });
    wanted = { method: 'pay', args: { amount: 29, to: 'locked' } };
    const { channel, ts } = slack.person('ada').mention('general', 'pay, please');
    const there = await eventually(
      () => slack.see.channel(desk).find((message) => isCard(message) && textOf(message).includes('locked')),
      PATIENT,
    );
    assert.deepEqual([cardsIn(channel, ts), inDesk(idOf(there)).length], [[], 1]);
    await slack.person('bob').click(desk, there.ts, 'centaur_approval:approve');
    await eventually(() => inDesk(idOf(there)).every((message) => /Approved, and used, by bob/.test(textOf(message))), PATIENT);
  });

  test('is not needed for a gate that is passed by: that is said aloud, once', async () => {
    const asked = await ask({ amount: 2_001 });
    const root = voter('root', 'admin', { provenAt: api.t.store.now() });
    await overrideApproval(api.installation, root, asked.id, { reason: 'the site is down', channel: 'cli' });
    assert.match(await asked.end(), /^paid/);
    await asked.says(/Approved past its gate[^]*and used/);
    const said = await eventually(() => present(inDesk(asked.id)), PATIENT);
    assert.match(textOf(said[0] as SeenMessage), /root has approved bank\.pay past its gate two\nthe site is down/);
    assert.deepEqual([said.length, said[0]?.mentions], [1, []]);
  });

  test('that somebody deletes is posted anew while it waits', async () => {
    const asked = await ask({ amount: 2_002 });
    const { ts } = asked.card();
    await fetch(`${slack.apiUrl}chat.delete`, {
      method: 'POST',
      headers: { authorization: `Bearer ${slack.botToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ channel: asked.channel, ts }),
    });
    assert.deepEqual(cardsIn(asked.channel, asked.threadTs), []);
    await castVote(api.installation, voter('bob'), asked.id, { verdict: 'approve', channel: 'cli' });
    await eventually(() => present(cardsIn(asked.channel, asked.threadTs)), PATIENT);
    await click('cleo', asked, 'approve');
    assert.match(await asked.end(), /^paid/);
    await asked.says(/Approved/);
    assert.equal(cardsIn(asked.channel, asked.threadTs).length, 1);
  });

  test('is one where nobody knows whether it was posted, or there was a pause', async () => {
    slack.faults.plan('chat.postMessage', { kind: 'answer lost' }, { when: isPostOfCard });
    const lost = await ask({ amount: 2_003 });
    slack.faults.plan('chat.update', { kind: 'ratelimited', retryAfter: 1 });
    await click('bob', lost, 'approve');
    await lost.says(/1 of 2 votes/);
    await click('cleo', lost, 'approve');
    assert.match(await lost.end(), /^paid/);
    await lost.says(/Approved, and used, by cleo/);
    assert.deepEqual([cardsIn(lost.channel, lost.threadTs).length, slack.faults.left], [1, 0]);
  });

  test('says that its approval was erased, and where it is is noted no more', async () => {
    const note = 'a private matter';
    const care = { store: api.t.store, audit: api.installation.audit };
    const decided = async () => {
      const asked = await ask({ amount: 30, note });
      await castVote(api.installation, voter('bob'), asked.id, { verdict: 'deny', reason: note, channel: 'cli' });
      await asked.says(/Denied by bob: a private matter/);
      assert.match(await asked.end(), /^refused/);
      const isNoted = async () => (await noticeOf(asked.id)).shown_version === payloadOf(asked.card()).version;
      await eventually(isNoted, PATIENT);
      return asked;
    };
    const noticeOf = async (id: string) => {
      const { rows } = await api.t.store.query<{ shown_version: number; ref: string | null }>(
        'select shown_version, ref from chat_notices where approval_id = $1',
        [id],
      );
      assert.ok(rows[0]);
      return rows[0];
    };
    const known = await decided();
    // as when a card was posted by whoever never came to say where
    const unknown = await decided();
    await api.t.store.query('update chat_notices set ref = null where approval_id = $1', [unknown.id]);
    for (const asked of [known, unknown]) {
      const { erasure_id: erasure } = await beginErasure(care, 'user:admin', `thread:slack:${asked.channel}:${asked.threadTs}`);
      const isDone = async () => {
        await runErasures(care);
        return (await getErasure(care.store, erasure)).state === 'done';
      };
      await eventually(isDone, PATIENT);
      await asked.says(/"erased": true/);
      assert.ok(!textOf(asked.card()).includes(note));
      await eventually(async () => (await noticeOf(asked.id)).ref === null, PATIENT);
    }
  });
});
