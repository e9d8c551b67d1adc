import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClaudeCodec } from './claude.ts';
import { HELLO, feed, shown } from './samples/feed.ts';

function start() {
  const codec = createClaudeCodec();
  codec.open({ cwd: '/workspace', model: 'sonnet' });
  codec.turn(HELLO);
  return codec;
}

const asks = (request_id: string) => ({
  type: 'control_request',
  request_id,
  request: { subtype: 'can_use_tool', tool_name: 'Bash', tool_use_id: 'toolu_1', input: { command: 'rm -rf /' } },
});
const ends = { type: 'result', is_error: false, result: 'done' };

test('the model and the effort are set when they change, before the line that they are for', () => {
  const codec = createClaudeCodec();
  codec.open({ cwd: '/workspace', model: 'sonnet' });
  const requests = [{ model: 'sonnet' }, { model: 'opus', effort: 'high' }, { model: 'opus', effort: 'high' }, {}].map((about) => {
    const { send } = shown(codec.turn({ ...HELLO, ...about } as Parameters<typeof codec.turn>[0]));
    feed(codec, ends);
    return send.map((line) => (line as { request?: object; type: string }).request ?? (line as { type: string }).type);
  });
  assert.deepEqual(requests, [
    ['user'],
    [{ subtype: 'set_model', model: 'opus' }, { subtype: 'apply_flag_settings', settings: { effortLevel: 'high' } }, 'user'],
    ['user'],
    ['user'],
  ]);
});

test('a refused request is told', () => {
  const codec = start();
  codec.interrupt();
  const { events } = feed(codec, { type: 'control_response', response: { subtype: 'error', request_id: 'interrupt-1', error: 'no' } });
  assert.deepEqual(events, ['error invalid_request "claude refused interrupt: no" fatal=false']);
});

test('an approval is answered with the input that was approved', () => {
  const codec = start();
  const { events } = feed(codec, asks('r1'), asks('r2'));
  assert.deepEqual(events, [
    'approval.request r1 tool_use_id=toolu_1 Bash {command:rm -rf /}',
    'status waiting_approval',
    'approval.request r2 tool_use_id=toolu_1 Bash {command:rm -rf /}',
    'status waiting_approval',
  ]);
  const changed = shown(codec.answer('r1', { allow: true, input: { command: 'ls' } }));
  const response = { behavior: 'allow', updatedInput: { command: 'ls' } };
  assert.deepEqual(changed.send, [{ type: 'control_response', response: { subtype: 'success', request_id: 'r1', response } }]);
  assert.deepEqual(changed.events, ['approval.resolved r1 allowed=true']);
  const unchanged = shown(codec.answer('r2', { allow: true }));
  assert.deepEqual((unchanged.send[0] as typeof changed & { response: { response: object } }).response.response, {
    behavior: 'allow',
    updatedInput: { command: 'rm -rf /' },
  });
});

test('an answer to nothing, to something withdrawn, or a second one is not sent', () => {
  const codec = start();
  assert.deepEqual(shown(codec.answer('r0', { allow: true })), { events: [], send: [] });
  feed(codec, asks('r1'), asks('r2'));
  assert.deepEqual(feed(codec, { type: 'control_cancel_request', request_id: 'r1' }).events, ['approval.resolved r1 allowed=false']);
  assert.deepEqual(shown(codec.answer('r1', { allow: true })).send, []);
  codec.answer('r2', { allow: false, message: 'no' });
  assert.deepEqual(shown(codec.answer('r2', { allow: true })).send, []);
});

test('a turn that ends takes its open approvals with it', () => {
  const codec = start();
  feed(codec, asks('r1'));
  assert.deepEqual(feed(codec, ends).events, ['approval.resolved r1 allowed=false', 'turn.completed completed done']);
  codec.turn(HELLO);
  assert.deepEqual(shown(codec.answer('r1', { allow: true })).send, []);
});

test('what this host does not do is refused, so that Claude does not wait for it', () => {
  const codec = start();
  const { send } = feed(codec, { type: 'control_request', request_id: 'r1', request: { subtype: 'hook_callback' } });
  assert.deepEqual(send, [
    { type: 'control_response', response: { subtype: 'error', request_id: 'r1', error: 'Not supported by this host: hook_callback' } },
  ]);
});

test('outside of a turn nobody can approve, so a tool is refused', () => {
  const codec = start();
  feed(codec, ends);
  const { events, send } = feed(codec, asks('r1'));
  assert.deepEqual(events, []);
  assert.equal((send[0] as { response: { subtype: string } }).response.subtype, 'error');
});

test('what is said between turns is told when the next one begins', () => {
  const codec = start();
  feed(codec, ends);
  const between = feed(
    codec,
    'a log line',
    { type: 'system', subtype: 'status', status: 'requesting' },
    { type: 'assistant', message: {} },
  );
  assert.deepEqual(between.events, []);
  assert.deepEqual(shown(codec.turn(HELLO)).events, [
    'turn.started',
    'notice "claude wrote a line that is not of its protocol: a log line"',
  ]);
});

test('a second turn is not taken while one runs', () => {
  const codec = start();
  assert.deepEqual([codec.ready, codec.busy], [false, true]);
  assert.throws(() => codec.turn(HELLO), /A turn is running/);
});

test('the end of a round that a task in the background began does not end the turn', () => {
  const codec = start();
  assert.deepEqual(feed(codec, { ...ends, origin: { kind: 'task-notification' } }).events, []);
  assert.equal(codec.busy, true);
  assert.deepEqual(feed(codec, { ...ends, origin: { kind: 'human' } }).events, ['turn.completed completed done']);
});

test('a failed request that is followed by a line that was waiting does not fail the turn', () => {
  const codec = start();
  codec.steer(HELLO.content);
  const repeated = { type: 'user', isReplay: true, message: { role: 'user', content: HELLO.content } };
  const failed = { type: 'assistant', error: 'rate_limit', api_error_status: 429, message: { content: [{ type: 'text', text: '429' }] } };
  const { events } = feed(codec, repeated, failed, { type: 'result', is_error: true }, repeated, ends);
  assert.deepEqual(events, ['error rate_limit 429 http=429 fatal=false', 'turn.completed completed done']);
});

for (const [error, http, expected] of [
  ['authentication_failed', 401, 'auth'],
  ['unknown', 403, 'policy'],
  ['rate_limit', 429, 'rate_limit'],
  ['server_error', 529, 'overloaded'],
  ['invalid_request', 400, 'invalid_request'],
  ['billing_error', null, 'auth'],
] as const) {
  test(`a request that fails with ${http ?? error} is of class ${expected}`, () => {
    const content = [{ type: 'text', text: 'API Error' }];
    const { events } = feed(
      start(),
      { type: 'assistant', error, api_error_status: http, message: { model: '<synthetic>', content } },
      { type: 'result', subtype: 'success', is_error: true },
    );
    const status = http === null ? '' : ` http=${http}`;
    assert.deepEqual(events, [`error ${expected} "API Error"${status} fatal=true`, 'turn.completed failed "" error="API Error"']);
  });
}

test('blocks that are not ours become text', () => {
  const result = { type: 'tool_result', tool_use_id: 't', content: [{ type: 'tool_reference', name: 'x' }] };
  const { events } = feed(
    start(),
    { type: 'assistant', message: { id: 'a', content: [{ type: 'tool_use', id: 't', name: 'T' }] } },
    { type: 'user', message: { content: [result] } },
  );
  assert.equal(events.at(-1), 'tool_result t "{"type":"tool_reference","name":"x"}" is_error=false');
});

test('a tool’s input that is too deep to be written again is left out', () => {
  const deep = `${'{"a":'.repeat(1000)}1${'}'.repeat(1000)}`;
  const line = `{"type":"assistant","message":{"id":"a","content":[{"type":"tool_use","id":"t","name":"T","input":${deep}}]}}`;
  const { events } = feed(start(), line);
  assert.equal(events[1], 'tool_use t T {left_out:nested more than 100 levels deep}');
});
