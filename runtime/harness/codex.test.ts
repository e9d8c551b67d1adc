import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCodexCodec } from './codex.ts';
import { HELLO, feed, shown } from './samples/feed.ts';

function start() {
  const codec = createCodexCodec();
  codec.open({ cwd: '/workspace' });
  feed(codec, { id: 1, result: {} }, { id: 2, result: { thread: { id: 'T' } } });
  return codec;
}

function startTurn() {
  const codec = start();
  codec.turn(HELLO);
  feed(codec, { id: 3, result: { turn: { id: 'turn-1' } } });
  return codec;
}

const note = (method: string, params: object) => ({ method, params: { threadId: 'T', turnId: 'turn-1', ...params } });
const done = (item: object) => note('item/completed', { item });
const ends = (id: string, status = 'completed') => note('turn/completed', { turnId: undefined, turn: { id, status } });
const asks = (
  id: number | string,
  method = 'item/commandExecution/requestApproval',
  params: object = { command: 'rm -rf /', cwd: '/workspace' },
) => ({
  id,
  method,
  params: { threadId: 'T', turnId: 'turn-1', itemId: 'call-1', ...params },
});

test('the handshake, and when a turn may be given', () => {
  const codec = createCodexCodec();
  const first = shown(codec.open({ cwd: '/workspace', model: 'm', approvals: 'ask' }));
  assert.deepEqual(
    first.send.map((line) => (line as { method: string }).method),
    ['initialize'],
  );
  assert.equal(codec.ready, false);
  assert.deepEqual(feed(codec, { id: 1, result: {} }).send, [
    { method: 'initialized' },
    { id: 2, method: 'thread/start', params: { cwd: '/workspace', model: 'm', approvalPolicy: 'untrusted' } },
  ]);
  assert.equal(codec.ready, false);
  assert.deepEqual(feed(codec, { id: 2, result: { thread: { id: 'T' }, model: 'm' } }).events, ['session T m cwd=/workspace']);
  assert.equal(codec.ready, true);
});

test('a restored thread is resumed, without the turns that it has had', () => {
  const codec = createCodexCodec();
  codec.open({ cwd: '/workspace', resume: 'T' });
  assert.deepEqual(feed(codec, { id: 1, result: {} }).send[1], {
    id: 2,
    method: 'thread/resume',
    params: { threadId: 'T', excludeTurns: true, cwd: '/workspace' },
  });
});

test('a thread that cannot be opened is an error, and no turn may be given', () => {
  const codec = createCodexCodec();
  codec.open({ cwd: '/workspace', resume: 'T' });
  const { events } = feed(codec, { id: 1, result: {} }, { id: 2, error: { code: -32600, message: 'no rollout found' } });
  assert.deepEqual(events, ['error harness "Codex opened no thread: no rollout found" fatal=true']);
  assert.equal(codec.ready, false);
});

test('model, effort and images of a turn', () => {
  const codec = start();
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } } as const;
  const document = { type: 'document', source: { type: 'url', url: 'https://example.com/a.pdf' } } as const;
  const { send } = shown(codec.turn({ content: [...HELLO.content, image, document], model: 'm2', effort: 'max' }));
  assert.deepEqual((send[0] as { params: object }).params, {
    threadId: 'T',
    input: [
      { type: 'text', text: 'hello\n\n[Left out, because this agent does not take it: document]', text_elements: [] },
      { type: 'image', url: 'data:image/png;base64,AAAA' },
    ],
    model: 'm2',
    effort: 'xhigh',
  });
});

test('a refused turn fails', () => {
  const codec = start();
  codec.turn(HELLO);
  assert.deepEqual(feed(codec, { id: 3, error: { message: 'no such model' } }).events, [
    'error invalid_request "Codex refused the turn: no such model" fatal=true',
    'turn.completed failed "" error="Codex refused the turn: no such model"',
  ]);
  assert.equal(codec.ready, true);
});

test('an interrupt and a steering line that come before the turn has an id wait for it', () => {
  const codec = start();
  codec.turn(HELLO);
  assert.deepEqual(shown(codec.steer(HELLO.content), codec.interrupt()).send, []);
  const { send } = feed(codec, note('turn/started', { turn: { id: 'turn-1' } }), { id: 3, result: { turn: { id: 'turn-1' } } });
  assert.deepEqual(send, [
    {
      id: 4,
      method: 'turn/steer',
      params: { threadId: 'T', expectedTurnId: 'turn-1', input: [{ type: 'text', text: 'hello', text_elements: [] }] },
    },
    { id: 5, method: 'turn/interrupt', params: { threadId: 'T', turnId: 'turn-1' } },
  ]);
});

test('an approval goes back under the id that it came with', () => {
  const codec = startTurn();
  feed(codec, asks(0), asks('x'));
  assert.deepEqual(shown(codec.answer('0', { allow: true })).send, [{ id: 0, result: { decision: 'accept' } }]);
  assert.deepEqual(shown(codec.answer('x', { allow: false, message: 'no' })).send, [{ id: 'x', result: { decision: 'decline' } }]);
});

test('an approval of another input is a refusal, because Codex would run what it asked for', () => {
  const codec = startTurn();
  feed(codec, asks(0), asks(1));
  const changed = shown(codec.answer('0', { allow: true, input: { command: 'ls', cwd: '/workspace' } }));
  assert.deepEqual(changed.send, [{ id: 0, result: { decision: 'decline' } }]);
  assert.equal(changed.events.at(-1), 'approval.resolved 0 allowed=false');
  const same = shown(codec.answer('1', { allow: true, input: { command: 'rm -rf /', cwd: '/workspace' } }));
  assert.deepEqual(same.send, [{ id: 1, result: { decision: 'accept' } }]);
});

test('permissions are granted as asked, for the turn, or not at all', () => {
  const codec = startTurn();
  const params = { permissions: { network: true } };
  feed(codec, asks(0, 'item/permissions/requestApproval', params), asks(1, 'item/permissions/requestApproval', params));
  assert.deepEqual(shown(codec.answer('0', { allow: true })).send, [{ id: 0, result: { permissions: { network: true }, scope: 'turn' } }]);
  assert.deepEqual(shown(codec.answer('1', { allow: false, message: 'no' })).send, [{ id: 1, result: { permissions: {}, scope: 'turn' } }]);
});

test('what this host does not do is refused, so that Codex does not wait for it', () => {
  const { send } = feed(startTurn(), asks(7, 'item/tool/requestUserInput'));
  assert.deepEqual(send, [{ id: 7, error: { code: -32601, message: 'Not supported by this host: item/tool/requestUserInput' } }]);
});

test('an approval that Codex withdraws is resolved', () => {
  const codec = startTurn();
  feed(codec, asks(0));
  assert.deepEqual(feed(codec, note('serverRequest/resolved', { requestId: 0 })).events, ['approval.resolved 0 allowed=false']);
  assert.deepEqual(shown(codec.answer('0', { allow: true })).send, []);
});

for (const [item, ...expected] of [
  [
    { type: 'commandExecution', id: 'i', command: 'false', cwd: '/w', status: 'failed', aggregatedOutput: 'no\n', exitCode: 1 },
    'tool_use i shell {command:false,cwd:/w}',
    'tool_result i "no⏎" is_error=true exit_code=1',
  ],
  [
    { type: 'fileChange', id: 'i', changes: [{ path: 'a' }], status: 'declined' },
    'tool_use i edit {changes:[{path:a}]}',
    'tool_result i "declined" is_error=true',
  ],
  [
    {
      type: 'mcpToolCall',
      id: 'i',
      server: 's',
      tool: 't',
      arguments: { a: 1 },
      status: 'completed',
      result: { content: [{ type: 'text', text: 'r' }] },
    },
    'tool_use i mcp:s/t {a:1}',
    'tool_result i "r" is_error=false',
  ],
  [
    { type: 'mcpToolCall', id: 'i', server: 's', tool: 't', arguments: null, status: 'failed', error: { message: 'down' } },
    'tool_use i mcp:s/t null',
    'tool_result i "down" is_error=true',
  ],
  [
    {
      type: 'dynamicToolCall',
      id: 'i',
      tool: 'd',
      arguments: {},
      status: 'completed',
      success: false,
      contentItems: [{ type: 'inputText', text: 'x' }],
    },
    'tool_use i d {}',
    'tool_result i "x" is_error=true',
  ],
  [
    { type: 'webSearch', id: 'i', query: 'q', action: null },
    'tool_use i web_search {query:q,action:null}',
    'tool_result i "completed" is_error=false',
  ],
  [{ type: 'somethingNew', id: 'i' }],
] as const) {
  test(`an item of type ${item.type}${'error' in item ? ' that failed' : ''}`, () => {
    assert.deepEqual(feed(startTurn(), done(item)).events, expected);
  });
}

test('a message is commentary when the turn goes on after it, and the answer when it does not', () => {
  const { events } = feed(
    startTurn(),
    done({ type: 'agentMessage', id: 'm1', text: 'first', phase: null }),
    done({ type: 'agentMessage', id: 'm2', text: 'second', phase: null }),
    ends('turn-1'),
  );
  assert.deepEqual(events, [
    'message.start m1',
    'message m1 "first" commentary',
    'message.start m2',
    'message m2 "second" final',
    'turn.completed completed second',
  ]);
});

test('lines of the turn before are not the turn’s', () => {
  const codec = startTurn();
  feed(codec, ends('turn-1'));
  codec.turn(HELLO);
  const late = [
    done({ type: 'agentMessage', id: 'late', text: 'late' }),
    ends('turn-1'),
    note('error', { error: { message: 'x' }, willRetry: false }),
  ];
  feed(codec, { id: 4, result: { turn: { id: 'turn-2' } } });
  assert.deepEqual(feed(codec, ...late).events, []);
  assert.equal(codec.busy, true);
});

test('the end of an interrupted command comes when the next turn has been given, and is not the next turn’s', () => {
  const codec = startTurn();
  const command = { type: 'commandExecution', id: 'call-1', command: 'tail -f log', status: 'inProgress' };
  feed(codec, note('item/started', { item: command }));
  codec.interrupt();
  feed(codec, ends('turn-1', 'interrupted'));
  codec.turn(HELLO);
  assert.deepEqual(feed(codec, done({ ...command, status: 'failed', exitCode: -1 })).events, []);
});

test('an interrupt ends the commands that Codex would leave running in the background', () => {
  const codec = startTurn();
  codec.interrupt();
  assert.deepEqual(feed(codec, ends('turn-1', 'interrupted')).send, [
    { id: 'clean', method: 'thread/backgroundTerminals/clean', params: { threadId: 'T' } },
  ]);
  assert.deepEqual(feed(codec, { id: 'clean', result: {} }).events, []);
  codec.turn(HELLO);
  const { events } = feed(codec, { id: 'clean', error: { code: -32601, message: 'no' } });
  assert.deepEqual(events, ['notice "Codex did not end the commands that an i…d left running."']);
});

test('a turn that completes leaves its background commands alone', () => {
  assert.deepEqual(feed(startTurn(), ends('turn-1')).send, []);
});

test('what was streamed before a steering line does not count, because Codex breaks it off and asks again', () => {
  const codec = startTurn();
  const item = { type: 'agentMessage', id: 'm1', text: '' };
  feed(codec, note('item/started', { item }), note('item/agentMessage/delta', { itemId: 'm1', delta: 'The first ' }));
  codec.steer(HELLO.content);
  const { events } = feed(codec, note('item/started', { item: { type: 'userMessage', id: 'u2', content: [] } }));
  assert.deepEqual(events, ['message.discarded m1 "the model was asked again, with what was added"']);
  const { events: rest } = feed(codec, done({ ...item, id: 'm2', text: 'The answer' }), ends('turn-1'));
  assert.equal(rest.at(-1), 'turn.completed completed "The answer"');
});

test('a message that was begun before the answer and never finished is not the answer', () => {
  const codec = startTurn();
  feed(codec, note('item/agentMessage/delta', { itemId: 'm1', delta: 'Never finished' }));
  const { events } = feed(codec, done({ type: 'agentMessage', id: 'm2', text: 'The answer' }), ends('turn-1'));
  assert.deepEqual(events.slice(-3), [
    'message m1 "Never finished" commentary',
    'message m2 "The answer" final',
    'turn.completed completed "The answer"',
  ]);
});

test('a sub-agent’s thread belongs to the call that runs it, and its turn is not ours', () => {
  const codec = startTurn();
  const child = (method: string, params: object) => ({ method, params: { threadId: 'child', turnId: 'turn-9', ...params } });
  const { events } = feed(
    codec,
    note('item/started', {
      item: { type: 'collabAgentToolCall', id: 'c', tool: 'spawnAgent', status: 'inProgress', receiverThreadIds: ['child'], prompt: 'p' },
    }),
    child('item/completed', { item: { type: 'agentMessage', id: 'm', text: 'from below' } }),
    child('turn/completed', { turn: { id: 'turn-9', status: 'completed' } }),
    { method: 'item/completed', params: { threadId: 'stranger', item: { type: 'agentMessage', id: 'n', text: 'whose?' } } },
  );
  assert.deepEqual(events, ['tool_use c agent:spawnAgent {prompt:p}', '(c) message.start m', '(c) message m "from below" commentary']);
  assert.equal(codec.busy, true);
});

test('what was streamed before a request is tried again does not count', () => {
  const { events } = feed(
    startTurn(),
    note('item/started', { item: { type: 'agentMessage', id: 'm', text: '' } }),
    note('item/agentMessage/delta', { itemId: 'm', delta: 'par' }),
    note('error', {
      willRetry: true,
      error: { message: 'Reconnecting... 2/5', codexErrorInfo: { responseStreamDisconnected: { httpStatusCode: null } } },
    }),
  );
  assert.deepEqual(events, [
    'message.start m',
    'text.delta m par',
    'message.discarded m "the request failed and is tried again"',
    'status retrying attempt=2',
  ]);
});

for (const [info, expected] of [
  ['unauthorized', 'auth'],
  [{ responseTooManyFailedAttempts: { httpStatusCode: 403 } }, 'policy'],
  [{ httpConnectionFailed: { httpStatusCode: null } }, 'network'],
  ['contextWindowExceeded', 'invalid_request'],
  ['serverOverloaded', 'overloaded'],
  ['neverHeardOf', 'harness'],
] as const) {
  test(`a turn that fails with ${JSON.stringify(info)} is of class ${expected}`, () => {
    const turn = { id: 'turn-1', status: 'failed', error: { message: 'why', codexErrorInfo: info } };
    const { events } = feed(startTurn(), note('turn/completed', { turn }));
    assert.equal(events[0]?.startsWith(`error ${expected} why`), true, events[0]);
    assert.equal(events[1], 'turn.completed failed "" error=why');
  });
}
