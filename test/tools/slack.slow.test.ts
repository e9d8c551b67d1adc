/** The tool `slack` against the emulator; search, which the emulator has not, is answered as Slack documents it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ToolDefinition, ToolFile } from '@centaur/sdk';
import { type Emulator, startEmulator } from '../hosts-e2e/emulate.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, type Seen, startFront } from './front.ts';

const BOT = 'xoxb-0123456789-a-bot-token';
const PERSON = 'xoxp-0123456789-a-user-token';
const SCOPES = [
  'chat:write',
  'channels:read',
  'channels:history',
  'groups:read',
  'im:read',
  'mpim:read',
  'users:read',
  'users:read.email',
  'reactions:read',
  'reactions:write',
  'files:read',
  'files:write',
];

let emulator: Emulator;
let front: Front;
let slack: ToolDefinition;
let channel: string;

before(async () => {
  emulator = await startEmulator('slack', {
    tokens: { [BOT]: { login: 'ana', scopes: SCOPES } },
    slack: {
      users: [{ name: 'ana', real_name: 'Ana Lima', email: 'ana@example.com' }, { name: 'bo' }],
      channels: [{ name: 'ops', topic: 'What runs' }, { name: 'plans' }, { name: 'board', is_private: true }],
    },
  });
  front = await startFront({
    'POST /api/search\\.messages': (seen) => {
      if (seen.headers.authorization !== `Bearer ${PERSON}`) return { body: { ok: false, error: 'not_allowed_token_type' } };
      const form = formOf(seen);
      if (form.get('query') !== 'deploy in:#ops') return { body: { ok: false, error: 'no_query' } };
      const page = Number(form.get('page'));
      return {
        body: {
          ok: true,
          query: 'deploy in:#ops',
          messages: {
            total: 2,
            matches: [
              {
                iid: 'x',
                ts: `150${page}.000100`,
                user: 'U1',
                text: 'deploy',
                channel: { id: 'C1', name: 'ops' },
                permalink: 'https://acme.slack.com/p',
              },
            ],
            paging: { count: 1, total: 2, page, pages: 2 },
          },
        },
      };
    },
  });
  front.target = emulator.url;
  process.env['SLACK_API_URL'] = `${front.url}/api`;
  process.env['SLACK_BOT_TOKEN'] = BOT;
  process.env['SLACK_USER_TOKEN'] = PERSON;
  slack = (await import('../../userspace/tools/slack/tool.ts')).default;
  const { channels } = await callMethod(slack, 'list_channels');
  channel = channels.find(({ name }: { name: string }) => name === 'ops').id;
});

after(async () => {
  front.close();
  await emulator.close();
});

function formOf(seen: Seen): URLSearchParams {
  return new URLSearchParams(seen.body.toString());
}

test('channels, page after page', async () => {
  const names: string[] = [];
  let cursor: string | undefined;
  do {
    const answer: { channels: { name: string }[]; next_cursor?: string } = await callMethod(slack, 'list_channels', {
      limit: 1,
      ...(cursor === undefined ? {} : { cursor }),
    });
    names.push(...answer.channels.map(({ name }) => name));
    cursor = answer.next_cursor;
  } while (cursor !== undefined && names.length < 20);
  for (const name of ['ops', 'plans']) assert.ok(names.includes(name), names.join(' '));
  assert.equal(new Set(names).size, names.length);
  const ops = await callMethod(slack, 'get_channel', { channel });
  assert.deepEqual([ops.name, ops.topic], ['ops', 'What runs']);
  const { members } = await callMethod(slack, 'list_channel_members', { channel });
  assert.ok(members.length >= 2);
});

test('a channel that others see says so', async () => {
  front.next({ body: { ok: true, channel: { id: 'C9', name: 'with-acme', is_ext_shared: true, num_members: 3 } } });
  assert.deepEqual(await callMethod(slack, 'get_channel', { channel: 'C9' }), {
    id: 'C9',
    name: 'with-acme',
    shared_outside: true,
    members: 3,
  });
});

test('people', async () => {
  const ana = await callMethod(slack, 'find_user_by_email', { email: 'ana@example.com' });
  assert.equal(ana.real_name, 'Ana Lima');
  assert.equal((await callMethod(slack, 'get_user', { user: ana.id })).email, 'ana@example.com');
  const { users } = await callMethod(slack, 'list_users');
  assert.ok(users.some(({ id }: { id: string }) => id === ana.id));
  assert.equal((await failureOf(callMethod(slack, 'find_user_by_email', { email: 'nobody@example.com' }))).code, 'USERS_NOT_FOUND');
});

test('a message, a reply, a reaction, and away with it', async () => {
  const posted = await callMethod(slack, 'post_message', { channel, text: 'Deploy is done.' });
  assert.match(posted.permalink, /^https?:/);
  const reply = await callMethod(slack, 'post_message', { channel, text: 'Thanks!', thread_ts: posted.ts });
  const { messages } = await callMethod(slack, 'get_replies', { channel, ts: posted.ts });
  assert.deepEqual(
    messages.map(({ text }: { text: string }) => text),
    ['Deploy is done.', 'Thanks!'],
  );

  await callMethod(slack, 'add_reaction', { channel, ts: posted.ts, name: 'eyes' });
  assert.deepEqual(
    (await callMethod(slack, 'get_reactions', { channel, ts: posted.ts })).reactions.map(
      ({ name, count }: { name: string; count: number }) => [name, count],
    ),
    [['eyes', 1]],
  );
  assert.equal((await failureOf(callMethod(slack, 'add_reaction', { channel, ts: posted.ts, name: 'eyes' }))).code, 'ALREADY_REACTED');
  await callMethod(slack, 'remove_reaction', { channel, ts: posted.ts, name: 'eyes' });

  await callMethod(slack, 'update_message', { channel, ts: posted.ts, text: 'Deploy is undone.' });
  const history = await callMethod(slack, 'get_history', { channel, limit: 5 });
  const first = history.messages.find(({ ts }: { ts: string }) => ts === posted.ts);
  assert.equal(first.text, 'Deploy is undone.');
  assert.equal((await callMethod(slack, 'get_permalink', { channel, ts: posted.ts })).permalink, posted.permalink);
  assert.equal((await callMethod(slack, 'delete_message', { channel, ts: reply.ts })).deleted, true);
  assert.equal((await failureOf(callMethod(slack, 'delete_message', { channel, ts: reply.ts }))).code, 'MESSAGE_NOT_FOUND');
});

test('a message has text, blocks or Markdown', async () => {
  const blocks = [{ type: 'section', text: { type: 'mrkdwn', text: '*Hi*' } }];
  await callMethod(slack, 'post_message', { channel, text: 'Hi', blocks });
  const sent = front.seen.findLast(({ line }) => line.endsWith('chat.postMessage'))!;
  assert.deepEqual(JSON.parse(formOf(sent).get('blocks')!), blocks);
  front.next({ body: { ok: true, channel, ts: '1.1' } });
  await callMethod(slack, 'post_message', { channel, markdown: '# Hi' });
  const marked = formOf(front.seen.findLast(({ line }) => line.endsWith('chat.postMessage'))!);
  assert.deepEqual([marked.get('markdown_text'), marked.get('text'), marked.get('reply_broadcast')], ['# Hi', null, null]);
  for (const wrong of [{}, { markdown: 'a', text: 'b' }, { text: '' }])
    assert.equal(
      (await failureOf(callMethod(slack, 'post_message', { channel, ...wrong }))).code,
      'INVALID_ARGUMENTS',
      JSON.stringify(wrong),
    );
});

test('a message that is posted is posted, though its address is not told', async () => {
  front.next({ body: { ok: true, channel, ts: '1.1' } });
  front.next({ body: { ok: false, error: 'fatal_error' } });
  assert.deepEqual(await callMethod(slack, 'post_message', { channel, text: 'x' }), { channel, ts: '1.1' });
});

test('a file goes up and comes down', async () => {
  const up = await callMethod(slack, 'upload_file', { channel, name: 'a.csv', content: 'a,b\n1,2\n', comment: 'The figures' });
  assert.equal(up.size, 8);
  const about = await callMethod(slack, 'get_file', { file: up.id });
  assert.deepEqual([about.name, about.size], ['a.csv', 8]);
  const uploads = front.seen.filter(({ line }) => line.startsWith('POST /upload/'));
  assert.ok(
    uploads.every(({ headers }) => headers.authorization === undefined),
    'the key does not go to where files go',
  );

  front.next({
    body: {
      ok: true,
      file: { id: up.id, name: 'a.csv', mimetype: 'text/csv', size: 8, url_private_download: `${front.url}/files-pri/x/a.csv` },
    },
  });
  front.next({ headers: { 'content-type': 'text/csv' }, body: 'a,b\n1,2\n' });
  const attached: ToolFile[] = [];
  assert.equal((await callMethod(slack, 'download_file', { file: up.id }, { attached })).mime_type, 'text/csv');
  assert.equal(Buffer.from(attached[0]!.data).toString(), 'a,b\n1,2\n');
  assert.equal(front.last.headers.authorization, `Bearer ${BOT}`);

  const seen = front.seen.length;
  front.next({ body: { ok: true, file: { id: up.id, url_private_download: 'https://drive.example.com/a' } } });
  assert.equal((await failureOf(callMethod(slack, 'download_file', { file: up.id }))).code, 'NOT_FOUND');
  front.next({ body: { ok: true, file: { id: up.id, size: 1e9, url_private_download: `${front.url}/f` } } });
  assert.equal((await failureOf(callMethod(slack, 'download_file', { file: up.id }))).code, 'TOO_LARGE');
  assert.equal(front.seen.length, seen + 2, 'neither is fetched');
  front.next({ body: { ok: true, file: { id: up.id, size: 8, url_private_download: `${front.url}/f` } } });
  front.next({ headers: { 'content-type': 'text/html' }, body: '<html>Sign in</html>' });
  assert.equal((await failureOf(callMethod(slack, 'download_file', { file: up.id }))).code, 'FORBIDDEN');

  assert.deepEqual(await callMethod(slack, 'delete_file', { file: up.id }), { file: up.id, deleted: true });
  assert.equal((await failureOf(callMethod(slack, 'get_file', { file: up.id }))).code, 'FILE_NOT_FOUND');
});

test('views', async () => {
  const blocks = [{ type: 'section', text: { type: 'plain_text', text: 'Hello' } }];
  const { id } = await callMethod(slack, 'find_user_by_email', { email: 'ana@example.com' });
  const home = await callMethod(slack, 'publish_home', { user_id: id, view: { type: 'home', blocks } });
  assert.match(home.view_id, /^V/);
  const modal = { type: 'modal', title: { type: 'plain_text', text: 'Ask' }, blocks };
  front.next({ body: { ok: true, view: { id: 'V1', hash: '1.a' } } });
  assert.deepEqual(await callMethod(slack, 'open_view', { trigger_id: '1.2.abc', view: modal }), { view_id: 'V1', hash: '1.a' });
  assert.deepEqual(JSON.parse(formOf(front.last).get('view')!), modal);
  front.next({ body: { ok: true, view: { id: 'V1', hash: '1.b' } } });
  assert.equal((await callMethod(slack, 'update_view', { view_id: 'V1', hash: '1.a', view: modal })).hash, '1.b');
  front.next({ body: { ok: false, error: 'expired_trigger_id' } });
  assert.match((await failureOf(callMethod(slack, 'open_view', { trigger_id: '1.2.abc', view: modal }))).message, /three seconds/);
});

test("search takes a person's key, and its pages end", async () => {
  const one = await callMethod(slack, 'search_messages', { query: 'deploy in:#ops' });
  assert.deepEqual([one.total, one.messages[0].channel, one.next_page], [2, 'C1', 2]);
  assert.equal((await callMethod(slack, 'search_messages', { query: 'deploy in:#ops', page: 2 })).next_page, undefined);
  delete process.env['SLACK_USER_TOKEN'];
  await assert.rejects(callMethod(slack, 'search_messages', { query: 'x' }), /there is no SLACK_USER_TOKEN/);
});

test('what goes wrong says what to do', async () => {
  assert.equal((await failureOf(callMethod(slack, 'post_message', { channel: 'C000000', text: 'x' }))).code, 'CHANNEL_NOT_FOUND');
  assert.equal((await failureOf(callMethod(slack, 'post_message', { channel: '#ops', text: 'x' }))).code, 'INVALID_ARGUMENTS');

  front.next({ body: { ok: false, error: 'invalid_auth' } });
  const stranger = await failureOf(callMethod(slack, 'get_channel', { channel }));
  assert.deepEqual([stranger.code, stranger.retryable], ['UNAUTHORIZED', false]);
  assert.match(stranger.message, /SLACK_BOT_TOKEN/);

  front.next({ body: { ok: false, error: 'missing_scope', needed: 'users:read', provided: 'chat:write' } });
  assert.match((await failureOf(callMethod(slack, 'list_users'))).message, /lacks the scope users:read/);

  front.next({ status: 429, headers: { 'retry-after': '30' }, body: { ok: false, error: 'ratelimited' } });
  const limited = await failureOf(callMethod(slack, 'post_message', { channel, text: 'x' }));
  assert.deepEqual([limited.code, limited.retryable], ['RATE_LIMITED', true]);
  assert.match(limited.message, /after 30 s/);

  front.next({
    body: { ok: false, error: 'invalid_blocks', response_metadata: { messages: ['[ERROR] must be valid [json-pointer:/blocks/0]'] } },
  });
  assert.match((await failureOf(callMethod(slack, 'post_message', { channel, text: 'x' }))).message, /json-pointer/);

  // whether it was posted nobody knows; a list may be asked for again
  front.next({ status: 500, body: 'oops' });
  const lost = await failureOf(callMethod(slack, 'post_message', { channel, text: 'x' }));
  assert.deepEqual([lost.code, lost.retryable], ['UNAVAILABLE', false]);
  front.next({ status: 500, body: 'oops' });
  assert.equal((await failureOf(callMethod(slack, 'list_users'))).retryable, true);
});
