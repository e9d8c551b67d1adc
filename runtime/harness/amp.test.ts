/** After Amp's documentation of --stream-json (ampcode.com/news/streaming-json): no session could be recorded here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAmpCodec } from './amp.ts';
import { HELLO, feed, shown } from './samples/feed.ts';

const session_id = 'T-2775dc92-90ed-4f85-8b73-8f9766029e83';
const init = { type: 'system', subtype: 'init', cwd: '/workspace', session_id, tools: ['Bash'], mcp_servers: [] };
const echo = { type: 'user', message: { role: 'user', content: HELLO.content }, parent_tool_use_id: null, session_id };
const usage = {
  input_tokens: 12783,
  cache_creation_input_tokens: 367,
  cache_read_input_tokens: 12416,
  output_tokens: 8,
  max_tokens: 224000,
};
const says = (content: object[], stop_reason: string, parent_tool_use_id: string | null = null) => ({
  type: 'assistant',
  message: { type: 'message', role: 'assistant', content, stop_reason, usage },
  parent_tool_use_id,
  session_id,
});
const text = (words: string) => ({ type: 'text', text: words });
const tool = { type: 'tool_use', id: 'toolu_1', name: 'Bash', input: { cmd: 'ls' } };
const result = {
  type: 'user',
  message: { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'a.txt', is_error: false }] },
  parent_tool_use_id: null,
};
const end = { type: 'result', subtype: 'success', is_error: false, num_turns: 1, result: '2 + 2 equals 4.', session_id };

function start() {
  const codec = createAmpCodec();
  codec.open({ cwd: '/workspace' });
  codec.turn(HELLO);
  return codec;
}

test('a turn ends with the agent’s terminal stop reason', () => {
  const { events } = feed(start(), init, echo, says([text('2 + 2 equals 4.')], 'end_turn'));
  assert.deepEqual(events, [
    `session ${session_id} cwd=/workspace`,
    'message.start message-1',
    'message message-1 "2 + 2 equals 4." stop_reason=end_turn final',
    'usage {input:12783,output:8,cache_read:12416,cache_write:367}',
    'turn.completed completed "2 + 2 equals 4."',
  ]);
});

test('a message that asks for a tool, and one of a sub-agent, do not end it', () => {
  const codec = start();
  const { events } = feed(
    codec,
    says([{ type: 'thinking', thinking: 'hm' }, tool], 'tool_use'),
    says([text('from below')], 'end_turn', 'toolu_1'),
    result,
  );
  assert.deepEqual(events, [
    'message.start message-1',
    'tool_use toolu_1 Bash {cmd:ls}',
    'message message-1 thinking "hm" + tool_use toolu_1 stop_reason=tool_use commentary',
    '(toolu_1) message.start message-2',
    '(toolu_1) message message-2 "from below" stop_reason=end_turn commentary',
    'tool_result toolu_1 "a.txt" is_error=false',
  ]);
  assert.equal(codec.busy, true);
});

test('the result of the turn before does not end the next one', () => {
  const codec = start();
  feed(codec, says([text('4')], 'end_turn'));
  codec.turn(HELLO);
  assert.deepEqual(feed(codec, end).events, []);
  assert.equal(codec.busy, true);
  assert.equal(feed(codec, says([text('5')], 'end_turn')).events.at(-1), 'turn.completed completed 5');
});

test('a result ends a turn that said nothing; one with an error fails it', () => {
  assert.equal(feed(start(), end).events.at(-1), 'turn.completed completed "2 + 2 equals 4."');
  assert.deepEqual(feed(start(), { ...end, is_error: true, error: 'out of credits' }).events, [
    'error harness "out of credits" fatal=true',
    'turn.completed failed "" error="out of credits"',
  ]);
});

test('it is interrupted by a signal: nothing is written, and its end is an interrupt', () => {
  const codec = start();
  assert.deepEqual(shown(codec.interrupt()), { events: [], send: [] });
  assert.deepEqual(shown(codec.exit({ code: null, signal: 'SIGINT', stderr: '' })).events, ['turn.completed interrupted ""']);
});
