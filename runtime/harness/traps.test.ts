/** The twelve traps of the research (harnesses.md, section 8): each of these was seen in a real CLI's output. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClaudeCodec } from './claude.ts';
import type { Codec } from './codec.ts';
import { coalesceDeltas } from './coalesce.ts';
import { createCodexCodec } from './codex.ts';
import type { HarnessEvent, HarnessEventType } from './events.ts';
import { createPiCodec } from './pi.ts';
import { brief, readSample, replay, transcript } from './samples/replay.ts';

const hello = { content: [{ type: 'text', text: 'hello' }] } as const;

test('1: Claude’s usage is the result’s, not that of the assistant lines, and the cost is the turn’s own', () => {
  assert.deepEqual(only(replay('claude-thinking-text-tool').events, 'usage'), [
    'usage {input:200,output:50,cache_read:0,cache_write:0,reasoning:0,cost_usd:0.00135}',
  ]);
  assert.deepEqual(
    replay('claude-interrupt').events.flatMap((event) => (event.type === 'usage' ? [event.usage.cost_usd] : [])),
    [0.000525, 0.000675],
  );
});

test('a question whose input nobody can look at is refused at once, and so is a second one under the same id', () => {
  const nested = JSON.parse(`${'['.repeat(200)}${']'.repeat(200)}`) as unknown;
  const claude = createClaudeCodec();
  claude.open({ cwd: '/workspace' });
  claude.turn(hello);
  const ask = (id: string, command: string, more: unknown) =>
    claude.line(
      JSON.stringify({
        type: 'control_request',
        request_id: id,
        request: { subtype: 'can_use_tool', tool_name: 'Bash', input: { command, more } },
      }),
    );
  const deep = ask('r1', 'git push', nested);
  assert.ok(deep.events.every(({ type }) => type !== 'approval.request'));
  assert.match(deep.send.join(), /"r1".*"deny"/);
  assert.equal(ask('r2', 'ls', 1).send.length, 0);
  assert.match(ask('r2', 'rm -rf /', 1).send.join(), /"deny"/);
  const allowed = claude.answer('r2', { allow: true }).send.join();
  assert.ok(allowed.includes('"ls"') && !allowed.includes('rm -rf'), allowed);

  const codex = createCodexCodec();
  codex.open({ cwd: '/workspace' });
  codex.line(JSON.stringify({ id: 1, result: {} }));
  codex.line(JSON.stringify({ id: 2, result: { thread: { id: 't' } } }));
  codex.turn(hello);
  const changes = [{ path: '/workspace/a.ts', kind: { type: 'update' }, diff: '+ a line' }];
  codex.line(
    JSON.stringify({
      method: 'item/started',
      params: { threadId: 't', item: { type: 'fileChange', id: 'f1', changes, status: 'inProgress' } },
    }),
  );
  const edit = codex.line(JSON.stringify({ id: 8, method: 'item/fileChange/requestApproval', params: { threadId: 't', itemId: 'f1' } }));
  assert.match(JSON.stringify(edit.events), /approval\.request.*\/workspace\/a\.ts/);
  const question = { id: 9, method: 'item/permissions/requestApproval', params: { permissions: nested } };
  const refused = codex.line(JSON.stringify(question));
  assert.deepEqual(
    refused.send.map((line) => JSON.parse(line) as unknown),
    [{ id: 9, result: { permissions: {}, scope: 'turn' } }],
  );
});

test('1: of a resumed session’s first turn, whose base is unknown, no cost is claimed', () => {
  const codec = createClaudeCodec();
  codec.open({ cwd: '/workspace', resume: '68d2fcd4-5cd8-4073-9253-e18743e61939' });
  const costs = [0.0034, 0.005].map((total_cost_usd) => {
    codec.turn(hello);
    const { events } = feed(codec, { type: 'result', is_error: false, total_cost_usd, usage: { input_tokens: 1, output_tokens: 1 } });
    return events.flatMap((event) => (event.type === 'usage' ? [event.usage.cost_usd] : []));
  });
  assert.deepEqual(costs, [[undefined], [0.0016]]);
});

test('2: Codex’ totals count the whole thread; a turn’s usage is what it added', () => {
  assert.deepEqual(only(replay('codex-appserver-interrupt-in-tool-and-steer').events, 'usage'), [
    'usage {input:90,output:25,cache_read:10,cache_write:0,reasoning:5}',
    'usage {input:90,output:25,cache_read:10,cache_write:0,reasoning:5}',
  ]);
});

test('2: Codex repeats its last report after an interrupt and after a resume, and it is not counted again', () => {
  const interrupted = replay('codex-appserver-tool-interrupt-429').events;
  assert.equal(only(interrupted, 'usage').length, 1);
  assert.deepEqual(only(replay('codex-appserver-resume').events, 'usage'), [
    'usage {input:90,output:25,cache_read:10,cache_write:0,reasoning:5}',
  ]);
});

test('3: cached tokens are no input, whichever way a CLI counts them', () => {
  const [usage] = replay('codex-appserver-approval-decline').events.filter(({ type }) => type === 'usage');
  // two calls, each reported as 100 tokens of input of which 10 were cached
  assert.ok(usage?.type === 'usage');
  assert.equal(usage.usage.input, 180);
  assert.equal(usage.usage.cache_read, 20);
});

test('4: a command that Codex interrupts without a word is closed', () => {
  const { events } = replay('codex-appserver-interrupt-in-tool-and-steer');
  assert.ok(transcript(events).includes('tool_result call_85 "interrupted" is_error=true'));
});

test('5: pi’s agent_end is not the end while it tries again', () => {
  const { events } = replay('pi-rpc-429-autoretry');
  assert.deepEqual(
    events.map(({ type }) => type),
    ['session', 'turn.started', 'status', 'status', 'status', 'error', 'turn.completed'],
  );
});

test('5: pi’s agent_end is the end when it says afterwards that it is idle, and only then', () => {
  const { codec } = startPi();
  assert.deepEqual(feed(codec, { type: 'message_end', message: { role: 'assistant', content: [], stopReason: 'stop' } }).events, []);
  const { events, send } = feed(codec, { type: 'agent_end' });
  assert.deepEqual(events, []);
  assert.deepEqual(send, ['{"id":"4","type":"get_state"}']);
  assert.ok(codec.busy);
  const settled = feed(codec, state('4'));
  assert.equal(settled.events.at(-1)?.type, 'turn.completed');
});

test('5: an aborted tool’s extra empty message leaves no trace', () => {
  assert.equal(transcript(replay('pi-rpc-abort').events).match(/message\.start/g)?.length, 2);
});

test('6: what Claude streamed of an answer that broke off is discarded', () => {
  const { events } = replay('claude-stream-cut-nonstreaming-fallback');
  assert.deepEqual(only(events, 'message.discarded').length, 2);
  assert.deepEqual(only(events, 'message'), ['message msg_fake_21 "partial answer then connection dies" stop_reason=end_turn final']);
});

test('7: Codex’ warning about a model that it does not know is a notice, once, and fails nothing', () => {
  const { events } = replay('codex-appserver-tool-interrupt-429');
  assert.equal(only(events, 'notice').length, 1);
  assert.equal(only(events, 'turn.completed')[0]?.startsWith('turn.completed completed'), true);
});

test('8: a sub-agent’s messages and tools carry the call that runs it, and never end the turn', () => {
  const codec = createClaudeCodec();
  codec.open({ cwd: '/workspace' });
  codec.turn(hello);
  const parent = { parent_tool_use_id: 'toolu_task' };
  const { events } = feed(
    codec,
    { type: 'assistant', message: { id: 'a', content: [{ type: 'tool_use', id: 'toolu_task', name: 'Task', input: {} }] } },
    { type: 'assistant', ...parent, message: { id: 'b', content: [{ type: 'tool_use', id: 'toolu_sub', name: 'Read', input: {} }] } },
    { type: 'user', ...parent, message: { content: [{ type: 'tool_result', tool_use_id: 'toolu_sub', content: 'read' }] } },
    {
      type: 'assistant',
      ...parent,
      message: { id: 'c', content: [{ type: 'text', text: 'sub-agent’s answer' }], stop_reason: 'end_turn' },
    },
  );
  assert.equal(codec.busy, true);
  assert.deepEqual(events.map(brief), [
    'message.start a',
    'tool_use toolu_task Task {}',
    '(toolu_task) message.start b',
    '(toolu_task) tool_use toolu_sub Read {}',
    '(toolu_task) message b tool_use toolu_sub commentary',
    '(toolu_task) tool_result toolu_sub "read" is_error=false',
    '(toolu_task) message.start c',
    '(toolu_task) message c "sub-agent’s answer" stop_reason=end_turn commentary',
  ]);
});

test('9: a process that ends in a turn ends it as crashed, with its last words', () => {
  for (const create of [createClaudeCodec, startCodex, startPiCodec]) {
    const codec = create();
    if (!codec.ready) codec.open({ cwd: '/workspace' });
    codec.turn(hello);
    const { events } = codec.exit({ code: 137, signal: null, stderr: 'out of memory\n' });
    assert.deepEqual(events.slice(-1), [
      {
        type: 'turn.completed',
        status: 'crashed',
        result_text: '',
        error: 'The agent process ended with code 137 in the middle of the turn.\nout of memory',
      },
    ]);
  }
});

test('9: a process that ends because it was interrupted ends its turn as interrupted', () => {
  const codec = createClaudeCodec();
  codec.open({ cwd: '/workspace' });
  codec.turn(hello);
  codec.interrupt();
  const { events } = codec.exit({ code: null, signal: 'SIGTERM', stderr: '' });
  assert.deepEqual(events, [{ type: 'turn.completed', status: 'interrupted', result_text: '' }]);
});

test('10: pi repeats the whole message in every line; what comes out grows with the text alone', () => {
  const { codec } = startPi();
  const pieces = Array.from({ length: 200 }, (_, index) => `piece ${index} `);
  let read = 0;
  const events: HarnessEvent[] = [...feed(codec, { type: 'message_start', message: { role: 'assistant', content: [] } }).events];
  for (const [index, delta] of pieces.entries()) {
    const partial = { role: 'assistant', content: [{ type: 'text', text: pieces.slice(0, index + 1).join('') }] };
    const line = { type: 'message_update', message: partial, assistantMessageEvent: { type: 'text_delta', delta, partial } };
    read += JSON.stringify(line).length;
    events.push(...feed(codec, line).events);
  }
  assert.ok(read > 400_000);
  const merged = coalesceDeltas(events);
  assert.deepEqual(
    merged.map(({ type }) => type),
    ['message.start', 'text.delta'],
  );
  assert.ok(JSON.stringify(merged).length < 3000);
});

test('10: pi repeats a tool’s whole output in every update; each piece is passed on once', () => {
  assert.deepEqual(only(replay('pi-rpc-tool-multiturn').events, 'tool_output.delta'), [
    'tool_output.delta toolu_fake_35 "hi-from-42⏎"',
    'tool_output.delta toolu_fake_35 "0⏎/workspace⏎"',
  ]);
});

test('11: text is passed on as it comes; only the whole message waits until it is known whether it is the answer', () => {
  const codec = createClaudeCodec();
  codec.open({ cwd: '/workspace' });
  codec.turn(hello);
  const stream = (event: object) => feed(codec, { type: 'stream_event', event }).events.map(({ type }) => type);
  assert.deepEqual(stream({ type: 'message_start', message: { id: 'a' } }), ['message.start']);
  assert.deepEqual(stream({ type: 'content_block_delta', delta: { type: 'text_delta', text: 'Let me see.' } }), ['text.delta']);
  feed(codec, { type: 'assistant', message: { id: 'a', content: [{ type: 'text', text: 'Let me see.' }] } });
  assert.deepEqual(stream({ type: 'message_stop' }), []);
  const { events } = feed(codec, { type: 'result', is_error: false, result: 'Let me see.' });
  assert.deepEqual(events.map(brief), ['message a "Let me see." final', 'turn.completed completed "Let me see."']);
});

test('12: a tool’s result is what the tool said, without what Claude adds for the model', () => {
  const results = replay('claude-thinking-text-tool').events.filter(({ type }) => type === 'tool_result');
  assert.deepEqual(results, [
    { type: 'tool_result', id: 'toolu_fake_5', content: [{ type: 'text', text: 'hi-from-42\n0\n/workspace' }], is_error: false },
  ]);
});

function feed(codec: Codec, ...lines: readonly object[]): { readonly events: HarnessEvent[]; readonly send: string[] } {
  const outputs = lines.map((line) => codec.line(JSON.stringify(line)));
  return { events: outputs.flatMap(({ events }) => events), send: outputs.flatMap(({ send }) => send) };
}

function only(events: readonly HarnessEvent[], type: HarnessEventType): string[] {
  return events.filter((event) => event.type === type).map(brief);
}

function state(id: string): object {
  return { id, type: 'response', command: 'get_state', success: true, data: { sessionId: 's', isStreaming: false, isCompacting: false } };
}

function startPiCodec(): Codec {
  const codec = createPiCodec();
  codec.open({ cwd: '/workspace' });
  feed(codec, state('2'));
  return codec;
}

function startPi(): { readonly codec: Codec } {
  const codec = startPiCodec();
  codec.turn(hello);
  return { codec };
}

function startCodex(): Codec {
  const codec = createCodexCodec();
  codec.open({ cwd: '/workspace' });
  for (const { stdout } of readSample('codex-appserver-resume').slice(0, 8)) if (stdout !== undefined) feed(codec, stdout);
  return codec;
}
