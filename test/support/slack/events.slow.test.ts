import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp, type Received } from './app.ts';
import { startSlack } from './index.ts';
import { client } from './sdk.ts';

const kinds = (received: readonly Received[]) =>
  received.map(({ body }) => [body.event.type, body.event.subtype].filter(Boolean).join('/'));

test('a mention is two events with one ts, signed, in the envelope that Slack has', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  assert.equal(await slack.verifyUrl(), undefined);
  const ada = slack.person('ada');
  const posted = ada.mention('general', 'hello');
  await slack.delivery.settled();

  const [, ...events] = app.received;
  assert.deepEqual(kinds(events).sort(), ['app_mention', 'message']);
  const mention = events.find(({ body }) => body.event.type === 'app_mention') as Received;
  assert.ok(app.received.every(({ isSigned }) => isSigned));
  assert.equal(mention.headers['x-slack-retry-num'], undefined);
  assert.partialDeepStrictEqual(mention.body, {
    type: 'event_callback',
    team_id: slack.team.id,
    api_app_id: slack.app.appId,
    authorizations: [{ team_id: slack.team.id, user_id: slack.app.userId, is_bot: true }],
    event: { user: ada.id, ts: posted.ts, event_ts: posted.ts, channel: posted.channel, text: `<@${slack.app.userId}> hello` },
  });
  assert.notEqual(events[0]?.body.event_id, events[1]?.body.event_id);
});

test('what people do, the app hears', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const ada = slack.person('ada');
  const heard = async (act: () => unknown) => {
    const before = app.received.length;
    act();
    await slack.delivery.settled();
    return app.received.slice(before);
  };
  const said = ada.post('general', 'one');
  await slack.delivery.settled();

  const [edit] = await heard(() => ada.edit('general', said.ts, 'two'));
  assert.partialDeepStrictEqual(edit?.body.event, {
    subtype: 'message_changed',
    hidden: true,
    channel_type: 'channel',
    message: { ts: said.ts, text: 'two', edited: { user: ada.id } },
    previous_message: { text: 'one' },
  });
  assert.deepEqual(kinds(await heard(() => ada.edit('general', said.ts, `<@${slack.app.userId}> two`))).sort(), [
    'app_mention',
    'message/message_changed',
  ]);
  const [unfurl] = await heard(() => slack.unfurl('general', said.ts));
  assert.equal(unfurl?.body.event.message.attachments.length, 1);
  const [reaction] = await heard(() => ada.react('general', said.ts, 'tada'));
  assert.partialDeepStrictEqual(reaction?.body.event, { reaction: 'tada', item: { ts: said.ts }, item_user: ada.id });
  assert.deepEqual(kinds(await heard(() => ada.unreact('general', said.ts, 'tada'))), ['reaction_removed']);
  assert.deepEqual(kinds(await heard(() => ada.delete('general', said.ts))), ['message/message_deleted']);

  // direct messages mention nobody
  const [direct, ...none] = await heard(() => ada.message(`<@${slack.app.userId}> hi`));
  assert.deepEqual([direct?.body.event.channel_type, none.length], ['im', 0]);
  const started = await heard(() => ada.openAssistant('general'));
  const { assistant_thread: thread } = started[0]?.body.event ?? {};
  assert.deepEqual([thread.user_id, thread.context.channel_id], [ada.id, slack.channel('general')]);
  const at = { channel: thread.channel_id, ts: thread.thread_ts, threadTs: thread.thread_ts };
  assert.deepEqual(kinds(await heard(() => ada.lookAt(at, 'general'))), ['assistant_thread_context_changed']);

  const bot = slack.addBot('ci');
  const [build] = await heard(() => bot.post('general', 'built'));
  assert.deepEqual([build?.body.event.bot_id, build?.body.event.user], [bot.botId, bot.userId]);
  const [hook] = await heard(() => bot.post('general', 'hook', { as: 'bot_message' }));
  assert.partialDeepStrictEqual(hook?.body.event, { subtype: 'bot_message', username: 'ci' });
  assert.equal(hook?.body.event.user, undefined);

  const shared = slack.addChannel('shared', { isShared: true });
  const eve = slack.addPerson('eve', { team: 'T0OTHER0001', channels: ['shared'] });
  const [foreign] = await heard(() => eve.post(shared, 'hi', { files: [{ name: 'a.txt', mimetype: 'text/plain', content: 'a' }] }));
  assert.partialDeepStrictEqual(foreign?.body, { is_ext_shared_channel: true, event: { user_team: 'T0OTHER0001' } });
  assert.equal(foreign?.body.event.files[0].file_access, 'check_file_info');

  // where the app is not, it hears nothing
  slack.addChannel('apart', { members: ['ada'] });
  assert.deepEqual(await heard(() => ada.mention('apart', 'hello')), []);
});

test('an event comes again until it is acknowledged in time, and says why', async () => {
  await using slack = await startSlack({ retryMs: [0, 50, 50] });
  await using app = await startTestApp(slack);
  let calls = 0;
  const askedAgain = Promise.withResolvers<void>();
  app.answer = async () => {
    calls += 1;
    if (calls === 1) await askedAgain.promise;
    else askedAgain.resolve();
    return calls === 2 ? { status: 500 } : {};
  };
  slack.person('ada').post('general', 'hello');
  await slack.delivery.settled();
  assert.deepEqual(
    app.received.map(({ headers }) => [headers['x-slack-retry-num'], headers['x-slack-retry-reason']]),
    [
      [undefined, undefined],
      ['1', 'http_timeout'],
      ['2', 'http_error'],
    ],
  );
  assert.equal(new Set(app.received.map(({ body }) => body.event_id)).size, 1);
  assert.deepEqual(
    slack.delivery.all.map(({ state, attempts }) => [state, attempts.length]),
    [['acknowledged', 3]],
  );

  // an app that is gone
  slack.pointAt('http://127.0.0.1:9/');
  slack.person('ada').post('general', 'nobody hears');
  await slack.delivery.settled();
  assert.deepEqual(
    slack.delivery.all.at(-1)?.attempts.map(({ reason }) => reason),
    Array.from({ length: 4 }, () => 'connection_failed'),
  );
});

test('an event that is never acknowledged is given up', async () => {
  await using slack = await startSlack({ retryMs: [0, 50, 50] });
  await using app = await startTestApp(slack);
  app.answer = () => ({ status: 503 });
  slack.person('ada').post('general', 'again');
  await slack.delivery.settled();
  const last = slack.delivery.all.at(-1);
  assert.deepEqual([last?.state, last?.attempts.length], ['given up', 4]);
});

test('on demand events come twice, in another order, and before the answer of what caused them', async () => {
  await using slack = await startSlack();
  await using app = await startTestApp(slack);
  const ada = slack.person('ada');
  slack.delivery.duplicateNext(1);
  ada.post('general', 'twice');
  ada.post('general', 'once');
  await slack.delivery.settled();
  assert.deepEqual(app.received.map(({ body }) => String(body.event.text)).toSorted(), ['once', 'twice', 'twice']);

  slack.delivery.hold();
  for (const text of ['a', 'b', 'c']) ada.post('general', text);
  await slack.delivery.settled();
  assert.equal(app.received.length, 3);
  await slack.delivery.release('last first');
  assert.deepEqual(
    app.received.slice(3).map(({ body }) => body.event.text),
    ['c', 'b', 'a'],
  );

  slack.eventsFirst('chat.postMessage');
  let isAnswered = false;
  app.answer = async () => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(isAnswered, false);
    return {};
  };
  await client(slack).chat.postMessage({ channel: slack.channel('general'), text: 'mine' });
  isAnswered = true;
  const own = app.received.at(-1)?.body.event;
  assert.deepEqual([own.text, own.bot_id], ['mine', slack.app.botId]);
});
