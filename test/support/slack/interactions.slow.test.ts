import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModalView } from '@slack/web-api';
import { startTestApp } from './app.ts';
import { type Slack, startSlack } from './index.ts';
import { client, refused } from './sdk.ts';

const time = { now: 1_800_000_000_000 };
const STOPPED = { now: () => time.now };

const BUTTONS = [
  {
    type: 'actions',
    block_id: 'decision',
    elements: [
      { type: 'button', text: { type: 'plain_text', text: 'Approve' }, action_id: 'approve', value: '42', style: 'primary' },
      {
        type: 'static_select',
        action_id: 'scope',
        options: ['once', 'always'].map((value) => ({ text: { type: 'plain_text', text: value }, value })),
      },
    ],
  },
] as never;
const MODAL: ModalView = {
  type: 'modal',
  callback_id: 'deny',
  private_metadata: '{"approval":42}',
  notify_on_close: true,
  title: { type: 'plain_text', text: 'Deny' },
  submit: { type: 'plain_text', text: 'Deny' },
  blocks: [
    {
      type: 'input',
      block_id: 'why',
      label: { type: 'plain_text', text: 'Why?' },
      element: { type: 'plain_text_input', action_id: 'text', multiline: true, max_length: 100 },
    },
    {
      type: 'input',
      block_id: 'tell',
      optional: true,
      label: { type: 'plain_text', text: 'Tell whom?' },
      element: { type: 'users_select', action_id: 'user' },
    },
  ],
};

async function withButtons(slack: Slack) {
  const asked = slack.person('ada').mention('general', 'deploy');
  const channel = slack.channel('general');
  const posted = await client(slack).chat.postMessage({ channel, thread_ts: asked.ts, text: 'May I?', blocks: BUTTONS });
  return { channel, ts: posted.ts as string, threadTs: asked.ts };
}

test('a click is the payload that Slack sends', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const { channel, ts, threadTs } = await withButtons(slack);
  await slack.delivery.settled();
  const ada = slack.person('ada');
  const clicked = await ada.click('general', ts, 'approve');
  assert.equal(clicked.acknowledged, true);
  const { body, headers, isSigned } = app.received.at(-1) ?? assert.fail('nothing was sent');
  assert.equal(headers['content-type'], 'application/x-www-form-urlencoded');
  assert.equal(isSigned, true);
  assert.partialDeepStrictEqual(body, {
    type: 'block_actions',
    user: { id: ada.id, username: 'ada', team_id: slack.team.id },
    api_app_id: slack.app.appId,
    container: { type: 'message', message_ts: ts, channel_id: channel, is_ephemeral: false, thread_ts: threadTs },
    channel: { id: channel, name: 'general' },
    message: { ts, thread_ts: threadTs, bot_id: slack.app.botId },
    state: { values: { decision: { scope: { type: 'static_select', selected_option: null } } } },
    actions: [{ type: 'button', action_id: 'approve', block_id: 'decision', value: '42', style: 'primary' }],
    trigger_id: clicked.triggerId,
    response_url: clicked.responseUrl,
  });
  assert.match(body.actions[0].action_ts, /^\d+\.\d{6}$/);

  await ada.click('general', ts, 'scope', 'always');
  assert.equal(app.received.at(-1)?.body.actions[0].selected_option.value, 'always');
  await assert.rejects(ada.click('general', ts, 'scope', 'never'), /no option never/);
  await assert.rejects(ada.click('general', ts, 'gone'), /Nobody can click gone/);

  app.answer = () => ({ status: 500 });
  assert.equal((await ada.click('general', ts, 'approve')).acknowledged, false);
});

test('a trigger opens one modal, within three seconds', async () => {
  await using slack = await startSlack({ clock: STOPPED });
  await using app = await startTestApp(slack);
  const { ts } = await withButtons(slack);
  const ada = slack.person('ada');
  const web = client(slack);
  const { triggerId } = await ada.click('general', ts, 'approve');
  assert.ok(app.received.some(({ body }) => body.type === 'block_actions'));
  time.now += 3000;
  const opened = await web.views.open({ trigger_id: triggerId, view: MODAL });
  assert.equal(slack.see.modals(ada.id)[0]?.id, opened.view?.id);
  assert.equal((await refused(web.views.open({ trigger_id: triggerId, view: MODAL }))).error, 'exchanged_trigger_id');
  const late = await ada.click('general', ts, 'approve');
  time.now += 3001;
  assert.equal((await refused(web.views.open({ trigger_id: late.triggerId, view: MODAL }))).error, 'expired_trigger_id');
  assert.equal((await refused(web.views.open({ trigger_id: 'made up', view: MODAL }))).error, 'invalid_trigger_id');
});

for (const { what, change, says } of [
  {
    what: 'a long title',
    change: { title: { type: 'plain_text', text: 'x'.repeat(25) } },
    says: 'must be less than 25 characters [json-pointer:/view/title/text]',
  },
  {
    what: 'private metadata',
    change: { private_metadata: 'x'.repeat(3001) },
    says: 'must be less than 3001 characters [json-pointer:/view/private_metadata]',
  },
  { what: 'inputs without submit', change: { submit: undefined }, says: 'missing required field: submit [json-pointer:/view]' },
  {
    what: 'a table',
    change: { blocks: [{ type: 'table', rows: [] }] },
    says: 'unsupported type: table [json-pointer:/view/blocks/0/type]',
  },
]) {
  test(`a view is refused: ${what}`, async () => {
    await using slack = await startSlack();
    await using app = await startTestApp(slack);
    const { ts } = await withButtons(slack);
    const { triggerId } = await slack.person('ada').click('general', ts, 'approve');
    assert.ok(app.received.some(({ body }) => body.type === 'block_actions'));
    const answer = await refused(client(slack).views.open({ trigger_id: triggerId, view: { ...MODAL, ...change } as never }));
    assert.deepEqual(answer, { error: 'invalid_arguments', messages: [`[ERROR] ${says}`] });
  });
}

test('a modal is submitted, and does what the answer says', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const { ts } = await withButtons(slack);
  const ada = slack.person('ada');
  const web = client(slack);
  const open = async () => {
    const { triggerId } = await ada.click('general', ts, 'approve');
    return (await web.views.open({ trigger_id: triggerId, view: MODAL })).view?.id as string;
  };
  const answerWith = (answer: unknown) => {
    app.answer = ({ body }) => (body.type === 'view_submission' ? { body: answer } : {});
  };

  const view = await open();
  await assert.rejects(ada.submit(view, {}), /does not let why be empty/);
  await assert.rejects(ada.submit(view, { why: 'x'.repeat(101) }), /does not take 101 characters/);
  answerWith({ response_action: 'errors', errors: { why: 'Say more.' } });
  assert.deepEqual((await ada.submit(view, { why: 'no' })).errors, { why: 'Say more.' });
  assert.equal(slack.see.modals(ada.id).length, 1);
  assert.partialDeepStrictEqual(app.received.at(-1)?.body, {
    type: 'view_submission',
    view: {
      id: view,
      callback_id: 'deny',
      private_metadata: '{"approval":42}',
      state: { values: { why: { text: { type: 'plain_text_input', value: 'no' } }, tell: { user: { selected_user: null } } } },
    },
  });
  answerWith({ response_action: 'errors', errors: { nowhere: 'Hm.' } });
  assert.match((await ada.submit(view, { why: 'no' })).problem ?? '', /nowhere is no input block/);
  answerWith({ response_action: 'update', view: { ...MODAL, title: { type: 'plain_text', text: 'Sure?' } } });
  await ada.submit(view, { why: 'no' });
  assert.equal(slack.see.modals(ada.id)[0]?.title?.text, 'Sure?');
  answerWith('');
  await ada.submit(view, { why: 'no' });
  assert.deepEqual(slack.see.modals(ada.id), []);

  const second = await open();
  answerWith({ response_action: 'clear' });
  await ada.submit(second, { why: 'no' });
  assert.deepEqual(slack.see.modals(ada.id), []);

  const third = await open();
  await ada.close(third);
  assert.partialDeepStrictEqual(app.received.at(-1)?.body, { type: 'view_closed', view: { id: third }, is_cleared: false });
  assert.equal((await refused(web.views.update({ view_id: third, view: MODAL }))).error, 'not_found');
});

test('a response_url takes five answers within thirty minutes', async () => {
  await using slack = await startSlack({ clock: STOPPED });
  await using app = await startTestApp(slack);
  const { channel, ts } = await withButtons(slack);
  const ada = slack.person('ada');
  const answer = async (url: string | undefined, body: object) => {
    const response = await fetch(url ?? '', { method: 'POST', body: JSON.stringify(body) });
    return [response.status, await response.text()] as const;
  };
  const { responseUrl } = await ada.click('general', ts, 'approve');
  assert.ok(app.received.some(({ body }) => body.type === 'block_actions'));
  await answer(responseUrl, { text: 'Only for you.' });
  await answer(responseUrl, { text: 'For all.', response_type: 'in_channel' });
  await answer(responseUrl, { text: 'Approved.', replace_original: true });
  assert.deepEqual(
    slack.see.ephemerals(ada.id).map(({ text }) => text),
    ['Only for you.'],
  );
  assert.equal(slack.see.message(channel, ts)?.text, 'Approved.');
  assert.equal((await answer(responseUrl, { blocks: [{ type: 'marquee' }] }))[0], 400);
  assert.equal((await answer(responseUrl, { text: 'Four.' }))[0], 200);
  assert.equal((await answer(responseUrl, { delete_original: true }))[0], 200);
  assert.equal(slack.see.message(channel, ts), undefined);
  assert.deepEqual(await answer(responseUrl, { text: 'Six.' }), [404, '{"ok":false,"error":"used_url"}']);

  const again = await withButtons(slack);
  const { responseUrl: old } = await ada.click('general', again.ts, 'approve');
  time.now += 30 * 60_000 + 1;
  assert.deepEqual(await answer(old, { text: 'Late.' }), [404, '{"ok":false,"error":"expired_url"}']);
});

test('an ephemeral message is clicked, and replaced by its response_url only', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const ada = slack.person('ada');
  const sent = await client(slack).chat.postEphemeral({ channel: slack.channel('general'), user: ada.id, text: 'May I?', blocks: BUTTONS });
  const ts = sent.message_ts as string;
  const { responseUrl } = await ada.clickEphemeral('general', ts, 'approve');
  const { body } = app.received.at(-1) ?? assert.fail('nothing was sent');
  assert.deepEqual([body.container.is_ephemeral, body.message], [true, undefined]);
  assert.equal((await refused(client(slack).chat.update({ channel: slack.channel('general'), ts, text: 'x' }))).error, 'message_not_found');
  await fetch(responseUrl ?? '', { method: 'POST', body: JSON.stringify({ text: 'Thanks.', replace_original: true }) });
  assert.deepEqual(
    slack.see.ephemerals(ada.id).map(({ text }) => text),
    ['Thanks.'],
  );
});

test('a command is a form, and its answer is for the one who gave it', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const ada = slack.person('ada');
  app.answer = () => ({ body: { text: 'Three workflows.' } });
  const given = await ada.command('general', '/centaur', 'list --all');
  assert.partialDeepStrictEqual(app.received[0]?.body, {
    command: '/centaur',
    text: 'list --all',
    user_id: ada.id,
    channel_id: slack.channel('general'),
    channel_name: 'general',
    response_url: given.responseUrl,
    trigger_id: given.triggerId,
  });
  assert.deepEqual(
    slack.see.ephemerals(ada.id).map(({ text }) => text),
    ['Three workflows.'],
  );
  app.answer = () => ({ body: { response_type: 'in_channel', text: 'Started.' } });
  await ada.command('general', '/centaur', 'run digest');
  assert.deepEqual(
    slack.see.channel(slack.channel('general')).map(({ text }) => text),
    ['Started.'],
  );
  await assert.rejects(ada.command('general', '/unknown'), /not a valid command/);
});

test('the App Home is published for one person', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const ada = slack.person('ada');
  ada.openHome();
  await slack.delivery.settled();
  assert.equal(app.received[0]?.body.event.type, 'app_home_opened');
  await client(slack).views.publish({ user_id: ada.id, view: { type: 'home', blocks: [{ type: 'divider' }] } });
  assert.equal(slack.see.home(ada.id)?.blocks.length, 1);
  assert.equal(slack.see.home(slack.person('grace').id), undefined);
});
