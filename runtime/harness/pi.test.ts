import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPiCodec } from './pi.ts';
import { HELLO, feed, shown } from './samples/feed.ts';

const state = (id: string, about: object = {}) => ({
  id,
  type: 'response',
  command: 'get_state',
  success: true,
  data: { sessionId: 's', model: { id: 'm', provider: 'gateway' }, isStreaming: false, isCompacting: false, ...about },
});
const response = (id: string, command: string, about: object = {}) => ({ id, type: 'response', command, success: true, ...about });
const said = (text: string, stopReason = 'stop') => ({
  type: 'message_end',
  message: { role: 'assistant', content: [{ type: 'text', text }], stopReason },
});

function start() {
  const codec = createPiCodec();
  codec.open({ cwd: '/workspace' });
  feed(codec, state('2'));
  return codec;
}

function startTurn() {
  const codec = start();
  codec.turn(HELLO);
  return codec;
}

test('the handshake switches pi’s own retries off, and asks which session it is', () => {
  const codec = createPiCodec();
  assert.deepEqual(shown(codec.open({ cwd: '/workspace' })).send, [
    { id: '1', type: 'set_auto_retry', enabled: false },
    { id: '2', type: 'get_state' },
  ]);
  assert.equal(codec.ready, false);
  assert.deepEqual(feed(codec, response('1', 'set_auto_retry'), state('2')).events, ['session s m']);
  assert.equal(codec.ready, true);
});

test('another model is set first, and the prompt waits until it is', () => {
  const codec = start();
  assert.deepEqual(shown(codec.turn({ ...HELLO, model: 'gateway/m2', effort: 'max' })).send, [
    { id: '3', type: 'set_thinking_level', level: 'xhigh' },
    { id: '4', type: 'set_model', provider: 'gateway', modelId: 'm2' },
  ]);
  assert.deepEqual(feed(codec, response('4', 'set_model', { data: { id: 'm2' } })).send, [{ id: '5', type: 'prompt', message: 'hello' }]);
});

test('the model that is in use is not set again', () => {
  assert.deepEqual(shown(start().turn({ ...HELLO, model: 'm' })).send, [{ id: '3', type: 'prompt', message: 'hello' }]);
});

test('a refused model and a refused prompt fail the turn', () => {
  const codec = start();
  codec.turn({ ...HELLO, model: 'none' });
  assert.deepEqual(feed(codec, response('3', 'set_model', { success: false, error: 'Model not found' })).events, [
    'error invalid_request "pi refused the model: Model not found" fatal=true',
    'turn.completed failed "" error="pi refused the model: Model not found"',
  ]);
  codec.turn(HELLO);
  assert.equal(
    feed(codec, response('4', 'prompt', { success: false, error: 'no key' })).events.at(-1),
    'turn.completed failed "" error="pi refused the prompt: no key"',
  );
});

test('a turn that is interrupted before its prompt was given ends at once', () => {
  const codec = start();
  codec.turn({ ...HELLO, model: 'm2' });
  assert.deepEqual(shown(codec.interrupt()), { events: ['turn.completed interrupted ""'], send: [] });
  assert.deepEqual(feed(codec, response('3', 'set_model')).send, []);
});

test('images go along; what pi does not take is said', () => {
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } } as const;
  const linked = { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } } as const;
  const { events, send } = shown(start().turn({ content: [...HELLO.content, image, linked] }));
  assert.deepEqual(send, [{ id: '3', type: 'prompt', message: 'hello', images: [{ type: 'image', data: 'AAAA', mimeType: 'image/png' }] }]);
  assert.equal(events[1]?.startsWith('notice'), true);
});

test('pi that is still busy is asked again', () => {
  const codec = startTurn();
  assert.deepEqual(feed(codec, said('answer'), { type: 'agent_end' }).send, [{ id: '4', type: 'get_state' }]);
  assert.deepEqual(feed(codec, state('4', { isStreaming: true })).send, [{ id: '5', type: 'get_state' }]);
  assert.deepEqual(feed(codec, state('5')).events.at(-1), 'turn.completed completed answer');
});

test('a steering line that comes when pi has just ended begins a run of the same turn', () => {
  const codec = startTurn();
  feed(codec, { type: 'agent_start' }, said('first'), { type: 'agent_end' });
  assert.deepEqual(shown(codec.steer(HELLO.content)).send, [{ id: '5', type: 'prompt', message: 'hello', streamingBehavior: 'steer' }]);
  feed(codec, state('4'), response('5', 'prompt'));
  assert.equal(codec.busy, true);
  const { send } = feed(codec, { type: 'agent_start' }, said('second'), { type: 'agent_end' });
  assert.deepEqual(send, [{ id: '6', type: 'get_state' }]);
  assert.equal(feed(codec, state('6')).events.at(-1), 'turn.completed completed second');
});

test('a steering line waits until the run has started, because pi would lose it', () => {
  const codec = startTurn();
  assert.deepEqual(shown(codec.steer(HELLO.content)).send, []);
  const steering = { type: 'prompt', message: 'hello', streamingBehavior: 'steer' };
  assert.deepEqual(feed(codec, response('3', 'prompt'), { type: 'agent_start' }).send, [{ id: '4', ...steering }]);
  assert.deepEqual(shown(codec.steer(HELLO.content)).send, [{ id: '5', ...steering }]);
});

test('a steering line that is refused when pi has ended does not keep the turn open', () => {
  const codec = startTurn();
  feed(codec, { type: 'agent_start' }, said('first'), { type: 'agent_end' });
  codec.steer(HELLO.content);
  assert.deepEqual(feed(codec, response('5', 'prompt', { success: false, error: 'no' })).send, [{ id: '6', type: 'get_state' }]);
  assert.equal(feed(codec, state('6')).events.at(-1), 'turn.completed completed first');
});

test('a late answer about a turn before says nothing about the next', () => {
  const codec = start();
  codec.turn({ ...HELLO, model: 'none' });
  codec.interrupt();
  codec.turn(HELLO);
  assert.deepEqual(feed(codec, response('3', 'set_model', { success: false, error: 'Model not found' })).events, []);
  assert.equal(codec.busy, true);
});

test('a conversation that is compacted after the turn ends it when pi is done', () => {
  const codec = startTurn();
  feed(codec, said('answer'), { type: 'agent_end' });
  assert.deepEqual(feed(codec, { type: 'compaction_start', reason: 'threshold' }).events, ['status compacting']);
  assert.deepEqual(feed(codec, state('4', { isCompacting: true })), { events: [], send: [] });
  assert.deepEqual(feed(codec, { type: 'compaction_end', reason: 'threshold', willRetry: false }).send, [{ id: '5', type: 'get_state' }]);
  assert.equal(feed(codec, state('5')).events.at(-1), 'turn.completed completed answer');
});

test('a conversation that is too long is compacted and tried again in the same turn', () => {
  const codec = startTurn();
  const failed = { role: 'assistant', content: [], stopReason: 'error', errorMessage: '400 {"error":{"message":"prompt is too long"}}' };
  feed(codec, { type: 'message_end', message: failed }, { type: 'agent_end' });
  feed(codec, { type: 'compaction_start', reason: 'overflow' }, state('4', { isCompacting: true }));
  feed(codec, { type: 'compaction_end', reason: 'overflow', willRetry: true }, { type: 'agent_start' });
  assert.equal(codec.busy, true);
  feed(codec, said('answer'), { type: 'agent_end' });
  assert.equal(feed(codec, state('5')).events.at(-1), 'turn.completed completed answer');
});

test('an agent_end that was too long to be kept still ends the turn', () => {
  const codec = startTurn();
  const { send } = feed(codec, said('answer'), '{"type":"agent_end","messages":[{"role":"user","content":[{"type":"ima');
  assert.deepEqual(send, [{ id: '4', type: 'get_state' }]);
});

test('the partial answer of a request that failed for good is kept', () => {
  const codec = startTurn();
  feed(codec, { type: 'message_start', message: { role: 'assistant' } });
  feed(codec, { type: 'message_update', assistantMessageEvent: { type: 'text_delta', delta: 'half an ans' } });
  const failed = { role: 'assistant', content: [{ type: 'text', text: 'half an ans' }], stopReason: 'error', errorMessage: 'terminated' };
  feed(codec, { type: 'message_end', message: failed }, { type: 'agent_end' });
  assert.deepEqual(feed(codec, state('4')).events, [
    'message message-1 "half an ans" stop_reason=failed commentary',
    'error network terminated fatal=true',
    'turn.completed failed "" error=terminated',
  ]);
});

test('of a tool’s long output, of which pi keeps the tail, each piece is passed on once', () => {
  const codec = startTurn();
  const lines = Array.from({ length: 300 }, (_, index) => `line ${index}\n`);
  const update = (from: number, to: number) => ({
    type: 'tool_execution_update',
    toolCallId: 't',
    toolName: 'bash',
    args: {},
    partialResult: { content: [{ type: 'text', text: lines.slice(from, to).join('') }] },
  });
  const outputs = [update(0, 100), update(0, 150), update(60, 220), update(100, 300)].flatMap((line) =>
    codec.line(JSON.stringify(line)).events.flatMap((event) => (event.type === 'tool_output.delta' ? [event.text] : [])),
  );
  assert.equal(outputs.join(''), lines.join(''));
  const [lost] = codec.line(JSON.stringify(update(0, 3))).events;
  assert.deepEqual(lost, { type: 'tool_output.delta', id: 't', text: `\n[…]\n${lines.slice(0, 3).join('')}` });
});

test('an extension’s question is cancelled, so that pi does not wait for it', () => {
  const { events, send } = feed(startTurn(), { type: 'extension_ui_request', id: 'u', method: 'confirm', title: 'Sure?' });
  assert.deepEqual(send, [{ type: 'extension_ui_response', id: 'u', cancelled: true }]);
  assert.deepEqual(events, ['notice "A pi extension asked: Sure?"']);
});
