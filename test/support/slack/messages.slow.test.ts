import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startSlack } from './index.ts';
import { METHODS } from './methods.ts';
import { client, refused } from './sdk.ts';

test('the SDK finds out who it is and what it may', async () => {
  await using slack = await startSlack();
  const who = await client(slack).auth.test();
  assert.deepEqual([who.user_id, who.bot_id, who.team_id], [slack.app.userId, slack.app.botId, slack.team.id]);
  assert.ok(who.response_metadata?.scopes?.includes('chat:write'));
  assert.equal((await refused(client(slack, 'xoxb-unknown').auth.test())).error, 'invalid_auth');
  slack.grant(['users:read']);
  const missing = await client(slack)
    .chat.postMessage({ channel: slack.channel('general'), text: 'hi' })
    .catch((error: { data: unknown }) => error.data);
  assert.partialDeepStrictEqual(missing, { error: 'missing_scope', needed: 'chat:write', provided: 'users:read' });
  slack.uninstall();
  assert.equal((await refused(client(slack).auth.test())).error, 'token_revoked');
});

test('messages are posted, changed, read back with their metadata, and deleted', async () => {
  await using slack = await startSlack();
  const web = client(slack);
  const channel = slack.channel('general');
  const asked = slack.person('ada').mention('general', 'what is up?');
  const metadata = { event_type: 'answer', event_payload: { delivery: '7' } };
  const posted = await web.chat.postMessage({ channel, thread_ts: asked.ts, text: 'first', metadata });
  assert.equal(posted.message?.bot_id, slack.app.botId);
  const ts = posted.ts as string;
  await web.chat.update({ channel, ts, text: 'second' });

  const plain = await web.conversations.replies({ channel, ts: asked.ts });
  assert.deepEqual(
    plain.messages?.map((message) => [message.text, (message as { metadata?: unknown }).metadata]),
    [
      [`<@${slack.app.userId}> what is up?`, undefined],
      ['second', undefined],
    ],
  );
  const whole = await web.conversations.replies({ channel, ts: asked.ts, include_all_metadata: true });
  assert.deepEqual((whole.messages?.[1] as { metadata?: unknown } | undefined)?.metadata, metadata);
  const [, seen] = slack.see.thread(channel, asked.ts);
  assert.deepEqual([seen?.text, seen?.edits, seen?.isMarkedEdited, seen?.by], ['second', 1, true, slack.app.userId]);

  assert.equal((await refused(web.chat.update({ channel, ts: asked.ts, text: 'not mine' }))).error, 'cant_update_message');
  await web.chat.delete({ channel, ts });
  assert.equal(slack.see.thread(channel, asked.ts).length, 1);
  assert.equal((await refused(web.chat.update({ channel, ts, text: 'gone' }))).error, 'message_not_found');
  assert.equal((await refused(web.chat.postMessage({ channel, thread_ts: '1.000001', text: 'nowhere' }))).error, 'cannot_reply_to_message');
});

test('threads are read page by page', async () => {
  await using slack = await startSlack();
  const ada = slack.person('ada');
  const root = ada.post('general', 'root');
  for (let i = 1; i <= 7; i += 1) ada.post('general', `reply ${i}`, { threadTs: root.ts });
  const texts: (string | undefined)[] = [];
  let pages = 0;
  for await (const page of client(slack).paginate('conversations.replies', { channel: root.channel, ts: root.ts, limit: 3 })) {
    const { messages = [] } = page as { messages?: { text?: string }[] };
    assert.equal(messages[0]?.text, 'root');
    texts.push(...messages.slice(1).map(({ text }) => text));
    pages += 1;
  }
  assert.equal(pages, 3);
  assert.deepEqual(
    texts,
    [1, 2, 3, 4, 5, 6, 7].map((i) => `reply ${i}`),
  );
  const history = await client(slack).conversations.history({ channel: root.channel });
  assert.deepEqual(
    history.messages?.map(({ text, reply_count: replies }) => [text, replies]),
    [['root', 7]],
  );
});

const LONG = 'x'.repeat(3001);
const SECTION = { type: 'section', text: { type: 'mrkdwn', text: 'ok' } };
const actions = (fields: object) => [
  { type: 'actions', elements: [{ type: 'button', text: { type: 'plain_text', text: 'Go' }, action_id: 'go', ...fields }] },
];
const cells = (rows: number, columns: number, text = 'c') =>
  Array.from({ length: rows }, () => Array.from({ length: columns }, () => ({ type: 'raw_text', text })));

for (const { what, blocks, says } of [
  { what: '51 blocks', blocks: Array.from({ length: 51 }, () => SECTION), says: 'no more than 50 items allowed [json-pointer:/blocks]' },
  {
    what: '3001 characters in a section',
    blocks: [SECTION, { type: 'section', text: { type: 'mrkdwn', text: LONG } }],
    says: 'must be less than 3001 characters [json-pointer:/blocks/1/text/text]',
  },
  { what: 'a section without text', blocks: [{ type: 'section' }], says: 'missing required field: text [json-pointer:/blocks/0]' },
  { what: 'an unknown block', blocks: [{ type: 'marquee' }], says: 'unsupported type: marquee [json-pointer:/blocks/0/type]' },
  {
    what: 'an unknown field',
    blocks: [{ ...SECTION, colour: 'red' }],
    says: 'invalid additional property: colour [json-pointer:/blocks/0]',
  },
  {
    what: 'a long button',
    blocks: actions({ text: { type: 'plain_text', text: 'x'.repeat(76) } }),
    says: 'must be less than 76 characters [json-pointer:/blocks/0/elements/0/text/text]',
  },
  {
    what: 'a button of mrkdwn',
    blocks: actions({ text: { type: 'mrkdwn', text: '*x*' } }),
    says: 'unsupported type: mrkdwn [json-pointer:/blocks/0/elements/0/text/type]',
  },
  {
    what: 'a long value',
    blocks: actions({ value: 'x'.repeat(2001) }),
    says: 'must be less than 2001 characters [json-pointer:/blocks/0/elements/0/value]',
  },
  {
    what: 'a long action_id',
    blocks: actions({ action_id: 'x'.repeat(256) }),
    says: 'must be less than 256 characters [json-pointer:/blocks/0/elements/0/action_id]',
  },
  {
    what: 'a long block_id',
    blocks: [{ ...SECTION, block_id: 'x'.repeat(256) }],
    says: 'must be less than 256 characters [json-pointer:/blocks/0/block_id]',
  },
  {
    what: 'a block_id twice',
    blocks: [
      { ...SECTION, block_id: 'one' },
      { ...SECTION, block_id: 'one' },
    ],
    says: 'block_id already exists: one [json-pointer:/blocks/1/block_id]',
  },
  {
    what: '12,001 characters of markdown in two blocks',
    blocks: [
      { type: 'markdown', text: 'x'.repeat(6001) },
      { type: 'markdown', text: 'x'.repeat(6000) },
    ],
    says: 'must be less than 12001 characters [json-pointer:/blocks]',
  },
  {
    what: '101 rows',
    blocks: [{ type: 'table', rows: cells(101, 1) }],
    says: 'no more than 100 items allowed [json-pointer:/blocks/0/rows]',
  },
  {
    what: '21 columns',
    blocks: [{ type: 'table', rows: cells(1, 21) }],
    says: 'no more than 20 items allowed [json-pointer:/blocks/0/rows/0]',
  },
  {
    what: 'an empty cell',
    blocks: [{ type: 'table', rows: cells(1, 1, '') }],
    says: 'must be more than 0 characters [json-pointer:/blocks/0/rows/0/0/text]',
  },
  {
    what: '10,001 characters in cells',
    blocks: [{ type: 'table', rows: [...cells(10, 10, 'x'.repeat(100)), ...cells(1, 1)] }],
    says: 'table cells must be less than 10001 characters together [json-pointer:/blocks]',
  },
]) {
  test(`a message is refused: ${what}`, async () => {
    await using slack = await startSlack();
    const call = client(slack).chat.postMessage({ channel: slack.channel('general'), text: 'fallback', blocks: blocks as never });
    assert.deepEqual(await refused(call), { error: 'invalid_blocks', messages: [`[ERROR] ${says}`] });
    assert.deepEqual(slack.see.channel(slack.channel('general')), []);
  });
}

test('limits of text: what is cut off, what is refused, one table', async () => {
  await using slack = await startSlack({ rateLimits: 'counted' });
  const web = client(slack);
  const channel = slack.channel('general');
  const cut = await web.chat.postMessage({ channel, text: 'x'.repeat(40_001) });
  assert.equal((cut as { warning?: string }).warning, 'message_truncated');
  assert.equal(slack.see.message(channel, cut.ts as string)?.text.length, 40_000);
  assert.equal((await refused(web.chat.update({ channel, ts: cut.ts as string, text: 'x'.repeat(4001) }))).error, 'msg_too_long');
  assert.equal((await refused(web.chat.postMessage({ channel, markdown_text: 'x'.repeat(12_001) }))).error, 'msg_too_long');
  const both = { channel, markdown_text: '*x*', blocks: [SECTION] } as never;
  assert.equal((await refused(web.chat.postMessage(both))).error, 'markdown_text_conflict');
  assert.equal((await refused(web.chat.postMessage({ channel, text: '' }))).error, 'no_text');
  const tables = [
    { type: 'table', rows: cells(2, 2) },
    { type: 'table', rows: cells(2, 2) },
  ];
  const two = await refused(web.chat.postMessage({ channel, text: 'two', blocks: tables }));
  assert.deepEqual(two, { error: 'invalid_attachments', messages: ['[ERROR] only_one_table_allowed'] });
});

test('what emulate answers works on the same workspace: people, reactions, files in and out', async () => {
  await using slack = await startSlack();
  const web = client(slack);
  const channel = slack.channel('general');
  const ada = slack.person('ada');
  assert.equal((await web.users.info({ user: ada.id })).user?.profile?.email, 'ada@home.example');
  const asked = ada.post('general', 'look', { files: [{ name: 'note.txt', mimetype: 'text/plain', content: 'hello' }] });
  const [message] = (await web.conversations.history({ channel })).messages ?? [];
  const url = message?.files?.[0]?.url_private as string;
  const file = await fetch(url, { headers: { authorization: `Bearer ${slack.botToken}` } });
  assert.equal(await file.text(), 'hello');
  assert.match(await (await fetch(url)).text(), /Sign in/);

  await web.reactions.add({ channel, timestamp: asked.ts, name: 'eyes' });
  assert.deepEqual(slack.see.message(channel, asked.ts)?.reactions, { eyes: [slack.app.userId] });
  await web.filesUploadV2({
    channel_id: channel,
    thread_ts: asked.ts,
    filename: 'out.csv',
    file: Buffer.from('a,b'),
    initial_comment: 'here',
  });
  const [, shared] = slack.see.thread(channel, asked.ts);
  assert.deepEqual([shared?.text, shared?.files[0]?.name, shared?.files[0]?.content.toString()], ['here', 'out.csv', 'a,b']);
  assert.equal(await refused(web.apiCall('emoji.list')).then(({ error }) => error), 'unknown_method');
});

test('an ephemeral message is seen by one person only', async () => {
  await using slack = await startSlack();
  const [ada, grace] = [slack.person('ada'), slack.person('grace')];
  await client(slack).chat.postEphemeral({ channel: slack.channel('general'), user: ada.id, text: 'psst' });
  assert.deepEqual(
    slack.see.ephemerals(ada.id).map(({ text }) => text),
    ['psst'],
  );
  assert.deepEqual(slack.see.ephemerals(grace.id), []);
  assert.deepEqual(slack.see.channel(slack.channel('general')), []);
});

test('whom a message calls: by its text, its blocks, and not when it is escaped', async () => {
  await using slack = await startSlack();
  const channel = slack.channel('general');
  const ada = slack.person('ada').id;
  const section = (type: string, text: string) => ({ type: 'section', text: { type, text } });
  const callsBy = async (text: string, ...blocks: object[]) => {
    const { ts } = await client(slack).chat.postMessage({ channel, text, ...(blocks.length > 0 ? { blocks: blocks as never } : {}) });
    return slack.see.message(channel, ts as string)?.mentions;
  };
  assert.deepEqual(await callsBy(`&lt;@${ada}&gt; and &lt;!channel&gt;`), []);
  assert.deepEqual(await callsBy(`<@${ada}>`, section('mrkdwn', '<!here> <!subteam^S01|us>')), [ada, 'here', 'subteam^S01']);
  assert.deepEqual(await callsBy('x', section('plain_text', '<!channel>')), []);
});

test('calls are kept without tokens', async () => {
  await using slack = await startSlack();
  await client(slack).chat.postMessage({ channel: slack.channel('general'), text: 'hi' });
  const body = new URLSearchParams({ token: slack.botToken, channel: slack.channel('general'), text: 'by form' });
  await fetch(`${slack.apiUrl}chat.postMessage`, { method: 'POST', body });
  assert.deepEqual(
    slack.calls.map(({ method, status, answer }) => [method, status, answer.ok]),
    [
      ['chat.postMessage', 200, true],
      ['chat.postMessage', 200, true],
    ],
  );
  assert.ok(!JSON.stringify(slack.calls).includes(slack.botToken));
});

test("every method that is served is there, ours or emulate's, and says what it lacks", async () => {
  await using slack = await startSlack();
  const web = client(slack);
  const channel = slack.channel('general');
  const ada = slack.person('ada').id;
  for (const method of Object.keys(METHODS)) {
    const answer = await web.apiCall(method, {}).catch((error: { data: { error: string } }) => error.data);
    assert.notEqual((answer as { error?: string }).error, 'unknown_method', method);
  }
  assert.equal((await web.conversations.info({ channel })).channel?.name, 'general');
  assert.deepEqual((await web.conversations.members({ channel })).members?.length, 3);
  assert.deepEqual(
    (await web.conversations.list({ types: 'public_channel' })).channels?.map(({ id }) => id),
    [channel],
  );
  const opened = await web.conversations.open({ users: ada });
  assert.equal(slack.person('ada').openDirectMessages(), opened.channel?.id);
  assert.equal((await web.users.lookupByEmail({ email: 'grace@home.example' })).user?.id, slack.person('grace').id);
  assert.equal((await web.bots.info({ bot: slack.app.botId })).bot?.user_id, slack.app.userId);
  assert.equal((await web.team.info()).team?.id, slack.team.id);
});
