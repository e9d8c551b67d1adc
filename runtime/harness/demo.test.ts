import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDemoCodec } from './demo.ts';
import { HELLO, feed, shown } from './samples/feed.ts';

const SESSION = { type: 'session', native_id: 'session-1', model: 'scripted', cwd: '/workspace' };

function start() {
  const codec = createDemoCodec();
  codec.open({ cwd: '/workspace' });
  feed(codec, SESSION);
  codec.turn(HELLO);
  return codec;
}

test('it is ready when it has told its session', () => {
  const codec = createDemoCodec();
  codec.open({ cwd: '/workspace' });
  assert.equal(codec.ready, false);
  assert.deepEqual(feed(codec, SESSION).events, ['session session-1 scripted cwd=/workspace']);
  assert.equal(codec.ready, true);
});

test('a session that is not the one that was restored, or no id at all, is not taken', () => {
  for (const native_id of ['another', '../../etc', '*', '']) {
    const codec = createDemoCodec();
    codec.open({ cwd: '/workspace', resume: 'session-1' });
    assert.match(feed(codec, { ...SESSION, native_id }).events.join(), /^notice/);
    assert.equal(codec.ready, false);
  }
});

test('calls become commands', () => {
  const codec = createDemoCodec();
  codec.open({ cwd: '/workspace' });
  feed(codec, SESSION);
  const { content } = HELLO;
  assert.deepEqual(shown(codec.turn({ content, model: 'other', effort: 'high' })).send, [
    { type: 'user', content, model: 'other', effort: 'high' },
  ]);
  assert.deepEqual(shown(codec.steer(content)).send, [{ type: 'steer', content }]);
  assert.deepEqual(shown(codec.interrupt()).send, [{ type: 'interrupt' }]);
  feed(codec, { type: 'turn.completed', status: 'interrupted', result_text: '' });
  assert.deepEqual([codec.steer(content).send, codec.interrupt().send], [[], []]);
});

test('an approval is answered once, and only if it was asked for', () => {
  const codec = start();
  const asks = { type: 'approval.request', id: 'approval-1', tool_use_id: 't', tool: 'bash', input: { command: 'ls' } };
  assert.deepEqual(feed(codec, asks).events, ['approval.request approval-1 tool_use_id=t bash {command:ls}', 'status waiting_approval']);
  assert.deepEqual(codec.answer('approval-2', { allow: true }).send, []);
  const answered = shown(codec.answer('approval-1', { allow: false, message: 'no' }));
  assert.deepEqual(answered, {
    send: [{ type: 'approval', id: 'approval-1', allow: false, message: 'no' }],
    events: ['approval.resolved approval-1 allowed=false'],
  });
  assert.deepEqual(codec.answer('approval-1', { allow: true }), { events: [], send: [] });
  // the program tells it, too
  assert.deepEqual(feed(codec, { type: 'approval.resolved', id: 'approval-1', allowed: false }).events, []);
});

const ILL = [
  { type: 'text.delta', text: 'whose?' },
  { type: 'text.delta', message_id: 'm', text: 7 },
  { type: 'message', message_id: 'm', content: 'no blocks' },
  { type: 'message.start' },
  { type: 'message.discarded' },
  { type: 'tool_use', id: 't' },
  { type: 'tool_output.delta', id: 't', text: null },
  { type: 'tool_result', id: 't', content: [] },
  { type: 'tool_result', id: 't', content: {}, is_error: false },
  { type: 'approval.request', id: 'a' },
  { type: 'approval.resolved', id: 'a', allowed: 'yes' },
  { type: 'usage', usage: { input: '1', output: 2 } },
  { type: 'status', status: 'dancing' },
  { type: 'error', class: 'constructor', message: 'm', fatal: true },
  { type: 'error', class: 'auth', message: 'm', fatal: 'yes' },
  { type: 'notice', text: '' },
  // that a process crashed is for whoever saw it end
  { type: 'turn.completed', status: 'crashed', result_text: '' },
  { type: 'turn.completed', status: 'completed' },
  { type: 'something else' },
];

for (const line of ILL) {
  test(`not of its protocol: ${JSON.stringify(line)}`, () => {
    const codec = start();
    const { events } = feed(codec, line);
    assert.deepEqual(
      events.map((event) => event.split(' ', 1)[0]),
      ['notice'],
    );
    assert.equal(codec.busy, true);
  });
}

test('an error between two turns is told by the next, which does not fail by it', () => {
  const codec = start();
  const error = { type: 'error', class: 'network', message: 'gone', fatal: true };
  feed(codec, { type: 'turn.completed', status: 'completed', result_text: '' }, error);
  assert.deepEqual(shown(codec.turn(HELLO)).events, ['turn.started', 'error network gone fatal=false']);
  const failed = { type: 'turn.completed', status: 'failed', result_text: '', error: 'gone' };
  assert.deepEqual(feed(codec, error, failed).events, ['error network gone fatal=true', 'turn.completed failed "" error=gone']);
});

test('whatever it leaves open is closed with the turn', () => {
  const codec = start();
  const { events } = feed(
    codec,
    { type: 'message.start', message_id: 'm' },
    { type: 'text.delta', message_id: 'm', text: 'part' },
    { type: 'tool_use', id: 't', name: 'bash', input: {} },
    { type: 'turn.completed', status: 'interrupted', result_text: '' },
  );
  assert.deepEqual(events.slice(-3), [
    'message m "part" stop_reason=interrupted commentary',
    'tool_result t "interrupted" is_error=true',
    'turn.completed interrupted ""',
  ]);
});

test('a failure is told once, with the class that it came with', () => {
  const { events } = feed(
    start(),
    { type: 'error', class: 'rate_limit', message: 'slow down', http: 429, fatal: true },
    { type: 'turn.completed', status: 'failed', result_text: '', error: 'slow down' },
  );
  assert.deepEqual(events, ['error rate_limit "slow down" http=429 fatal=true', 'turn.completed failed "" error="slow down"']);
});
