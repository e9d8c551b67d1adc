import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Slack, startSlack } from './index.ts';
import { client, refused } from './sdk.ts';

/** A thread in a channel, and what a stream into it needs. */
function asked(slack: Slack) {
  const ada = slack.person('ada');
  const { channel, ts } = ada.mention('general', 'tell me');
  return { channel, thread_ts: ts, recipient_team_id: slack.team.id, recipient_user_id: ada.id };
}

const STOPPED = { now: () => time.now };
const time = { now: 0 };

test("the SDK's own streamer writes a message that grows", async () => {
  await using slack = await startSlack();
  const at = asked(slack);
  const streamer = client(slack).chatStream({ ...at, buffer_size: 4 });
  await streamer.append({ markdown_text: '**one** ' });
  const [, growing] = slack.see.thread(at.channel, at.thread_ts);
  assert.deepEqual([growing?.text, growing?.stream?.state], ['**one** ', 'streaming']);
  await streamer.append({ markdown_text: 'two two' });
  const stopped = await streamer.stop({ blocks: [{ type: 'context', elements: [{ type: 'mrkdwn', text: 'by centaur' }] }] });
  assert.equal(stopped.message?.text, '**one** two two');
  const [, seen] = slack.see.thread(at.channel, at.thread_ts);
  assert.deepEqual([seen?.text, seen?.stream?.state, seen?.blocks.length], ['**one** two two', 'stopped', 1]);
});

test('tasks and a plan are kept by their id; text comes between', async () => {
  await using slack = await startSlack();
  const at = asked(slack);
  const web = client(slack);
  const { ts } = (await web.chat.startStream({ ...at, task_display_mode: 'plan', chunks: [{ type: 'plan_update', title: 'Plan' }] })) as {
    ts: string;
  };
  const append = (...chunks: object[]) => web.chat.appendStream({ channel: at.channel, ts, chunks: chunks as never });
  await append({ type: 'task_update', id: '1', title: 'Read', status: 'in_progress' }, { type: 'markdown_text', text: 'Hm. ' });
  await append({ type: 'task_update', id: '1', title: 'Read', status: 'complete', output: 'done' });
  await append({ type: 'plan_update', title: 'Plan, done' });
  const seen = slack.see.message(at.channel, ts);
  assert.deepEqual(seen?.stream, {
    state: 'streaming',
    display: 'plan',
    appends: 3,
    plan: 'Plan, done',
    tasks: [{ id: '1', title: 'Read', status: 'complete', output: 'done' }],
  });
  assert.equal(seen?.text, 'Hm. ');
});

test('a stream is refused what the real one refuses', async () => {
  await using slack = await startSlack({ rateLimits: 'counted' });
  const at = asked(slack);
  const web = client(slack);
  const start = async (args: object) => (await web.apiCall('chat.startStream', { ...at, ...args })) as unknown as { ts: string };
  const { recipient_team_id: team, recipient_user_id: user, thread_ts: thread, ...place } = at;
  const why = async (method: string, args: object) => (await refused(web.apiCall(method, { ...args }))).error;

  assert.equal(await why('chat.startStream', { ...place, recipient_team_id: team, recipient_user_id: user }), 'invalid_arguments');
  assert.equal(await why('chat.startStream', { ...place, thread_ts: thread, recipient_user_id: user }), 'missing_recipient_team_id');
  assert.equal(await why('chat.startStream', { ...place, thread_ts: thread, recipient_team_id: team }), 'missing_recipient_user_id');
  assert.equal(await why('chat.startStream', { thread_ts: thread }), 'channel_not_found');

  const text = { ...place, ts: (await start({ markdown_text: 'x' })).ts };
  assert.equal(await why('chat.appendStream', { ...text, chunks: [{ type: 'markdown_text', text: 'y' }] }), 'streaming_mode_mismatch');
  const both = { ...text, markdown_text: 'y', chunks: [{ type: 'markdown_text', text: 'y' }] };
  assert.equal(await why('chat.appendStream', both), 'cannot_provide_both_markdown_text_and_chunks');
  assert.equal(await why('chat.appendStream', text), 'markdown_text_or_chunks_required');
  assert.equal(await why('chat.appendStream', { ...text, markdown_text: 'x'.repeat(12_000) }), 'msg_too_long');
  assert.equal(await why('chat.update', { ...text, text: 'y' }), 'streaming_state_conflict');
  assert.equal(await why('chat.appendStream', { ...text, ts: thread, markdown_text: 'y' }), 'message_not_owned_by_app');
  assert.equal(await why('chat.appendStream', { ...text, ts: '1.000001', markdown_text: 'y' }), 'message_not_found');
  await web.chat.stopStream({ channel: text.channel, ts: text.ts });
  assert.equal(await why('chat.appendStream', { ...text, markdown_text: 'y' }), 'message_not_in_streaming_state');
  assert.equal(await why('chat.stopStream', text), 'message_not_in_streaming_state');

  const chunks = { ...place, ts: (await start({ chunks: [{ type: 'markdown_text', text: 'x' }] })).ts };
  const card = (id: string, fields: object = {}) => ({ type: 'task_update', id, title: 'T', status: 'complete', ...fields });
  assert.equal(await why('chat.appendStream', { ...chunks, chunks: [card('1', { status: 'done' })] }), 'invalid_chunks');
  assert.equal(await why('chat.appendStream', { ...chunks, chunks: [card('1', { output: 'x'.repeat(257) })] }), 'invalid_chunks');
  const cards = (count: number, fields: object = {}) => Array.from({ length: count }, (_, i) => card(String(i), fields));
  assert.equal(await why('chat.appendStream', { ...chunks, chunks: cards(51) }), 'msg_blocks_too_many');
  // text and cards together, in bytes
  assert.equal(await why('chat.appendStream', { ...chunks, chunks: cards(30, { output: 'é'.repeat(100) }) }), 'msg_too_long');
  assert.equal(slack.see.message(chunks.channel, chunks.ts)?.stream?.tasks.length, 0);

  slack.person('ada').stopStream(chunks.channel, chunks.ts);
  assert.equal(await why('chat.appendStream', { ...chunks, chunks: cards(1) }), 'stopped_by_user');
});

test('a stream dies 300 seconds after its start, however busy it is', async () => {
  time.now = 1_800_000_000_000;
  await using slack = await startSlack({ clock: STOPPED });
  const at = asked(slack);
  const web = client(slack);
  const { ts } = (await web.chat.startStream({ ...at, markdown_text: 'x' })) as { ts: string };
  const append = () => web.chat.appendStream({ channel: at.channel, ts, markdown_text: '.' });
  for (let second = 60; second < 300; second += 60) {
    time.now += 60_000;
    await append();
  }
  time.now += 59_999;
  await append();
  time.now += 1;
  assert.equal((await refused(append())).error, 'message_not_in_streaming_state');
  assert.equal(slack.see.message(at.channel, ts)?.stream?.state, 'died');
  // it can be changed then, as the SDK's maintainers advise
  await web.chat.update({ channel: at.channel, ts, text: 'whole' });
  assert.equal(slack.see.message(at.channel, ts)?.text, 'whole');
});

test('a thread is read as text', async () => {
  await using slack = await startSlack();
  const at = asked(slack);
  const web = client(slack);
  const chunks = [
    { type: 'plan_update', title: 'Look it up' },
    { type: 'task_update', id: '1', title: 'Read', status: 'complete', details: 'a.md' },
    { type: 'markdown_text', text: 'Here it is.' },
  ];
  const { ts } = (await web.apiCall('chat.startStream', { ...at, chunks })) as unknown as { ts: string };
  const blocks = [
    { type: 'section', text: { type: 'mrkdwn', text: '*Good?*' } },
    { type: 'actions', elements: [{ type: 'button', text: { type: 'plain_text', text: 'Yes' }, action_id: 'yes' }] },
  ];
  await web.apiCall('chat.stopStream', { channel: at.channel, ts, blocks });
  slack.person('ada').react('general', ts, 'tada');
  assert.equal(
    slack.see.transcript(at.channel, at.thread_ts),
    `ada: @centaur tell me
  centaur: Here it is.
      # Look it up
      [complete] Read · a.md
      | *Good?*
      | [Yes]
      :tada: ada`,
  );
});

test("the assistant's status goes after two minutes or with an answer; titles and prompts belong to its threads", async () => {
  time.now = 1_800_000_000_000;
  await using slack = await startSlack({ clock: STOPPED });
  const web = client(slack);
  const thread = slack.person('ada').openAssistant('general');
  const at = { channel_id: thread.channel, thread_ts: thread.threadTs };
  const status = () => slack.see.assistant(thread.channel, thread.threadTs).status;
  await web.assistant.threads.setStatus({ ...at, status: 'is thinking…', loading_messages: ['One', 'Two'] });
  assert.equal(status(), 'is thinking…');
  time.now += 120_000;
  assert.equal(status(), '');
  await web.assistant.threads.setStatus({ ...at, status: 'is reading…' });
  time.now += 1000;
  await web.chat.postMessage({ channel: thread.channel, thread_ts: thread.threadTs, text: 'Read.' });
  assert.equal(status(), '');

  await web.assistant.threads.setTitle({ ...at, title: 'About books' });
  await web.assistant.threads.setSuggestedPrompts({ ...at, prompts: [{ title: 'Go on', message: 'Please go on.' }] });
  const seen = slack.see.assistant(thread.channel, thread.threadTs);
  assert.deepEqual([seen.title, seen.prompts[0]?.message], ['About books', 'Please go on.']);

  const elsewhere = slack.person('ada').post('general', 'hello');
  const other = { channel_id: elsewhere.channel, thread_ts: elsewhere.ts };
  assert.equal((await refused(web.assistant.threads.setTitle({ ...other, title: 'T' }))).error, 'invalid_thread_ts');
  assert.equal((await refused(web.assistant.threads.setStatus({ ...at, status: 'x'.repeat(51) }))).error, 'invalid_arguments');
  const prompts = Array.from({ length: 5 }, () => ({ title: 'T', message: 'M' })) as never;
  assert.equal((await refused(web.assistant.threads.setSuggestedPrompts({ ...at, prompts }))).error, 'invalid_arguments');
});
