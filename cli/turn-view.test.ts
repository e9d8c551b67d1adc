import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import type { ThreadEvent, ThreadEventData } from '@centaur/sdk';
import { createJsonView, createTurnView, type TurnView } from './turn-view.ts';

/** A stream that hands on what a terminal would read. */
function stream(read: (text: string) => void): NodeJS.WriteStream {
  // as bytes, so that half of a character is none
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      read(chunk.toString());
      done();
    },
  }) as NodeJS.WriteStream;
}

/** What is written, in order: stdout in plain, stderr in brackets. */
function show(act: (view: TurnView) => void): string {
  let text = '';
  const view = createTurnView({ out: stream((chunk) => (text += chunk)), err: stream((chunk) => (text += `[${chunk}]`)) });
  act(view);
  view.end();
  return text;
}

const events = (...all: ThreadEventData[]) =>
  show((view) => all.forEach((data, i) => view.event({ id: i + 1, event: data.type, data } satisfies ThreadEvent)));
const say = (text: string, message_id = 'm'): ThreadEventData => ({ type: 'text.delta', message_id, text });
const message = (text: string, message_id = 'm'): ThreadEventData => ({
  type: 'message',
  message_id,
  content: [{ type: 'text', text }],
  phase: 'final',
});

test('a message that was streamed is not said again, and one that was not is', () => {
  assert.equal(events(say('one '), say('two'), message('one two'), message('three', 'n')), 'one two\nthree\n');
});

test('a line of what the agent does never runs into what it says', () => {
  const tool: ThreadEventData = { type: 'tool_use', id: 't', name: 'Read\u001b[31m', input: { path: 'a\nb' } };
  assert.equal(events(say('let me see'), tool, say('here')), 'let me see\n[→ Read\\x1b[31m {"path":"a\\nb"}\n]here\n');
});

test('nothing that the agent sends moves the cursor, wherever it stands', () => {
  const evil = '\u001b[2J\u009b2J\u0007\r';
  const text = events(
    { type: 'message.stored', message_id: 'm', role: evil, parts: [{ type: evil, name: evil }], user_id: null },
    { type: 'execution.steered', message_id: 'm', content: [{ type: 'text', text: evil }], user_id: null },
    say(evil),
    { type: 'tool_result', id: 't', content: [{ type: 'text', text: evil }], is_error: true },
    { type: 'approval.request', id: 'a', tool: evil, input: {} },
    { type: 'approval.pending', execution_id: 'e', id: 'a', approval_id: evil, gate: 'g', expires_at: '' },
    { type: 'error', class: evil, message: evil, fatal: true },
    { type: 'notice', text: evil },
    { type: 'status', status: evil, reason: evil },
    { type: 'message.discarded', message_id: 'm', reason: evil },
    { type: 'execution.state', execution_id: 'e', thread_key: 'k', status: 'failed_permanent', terminal_reason: evil, error_text: evil },
  );
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  assert.equal(text.match(/\\x1b\[2J/g)?.length, 16);
});

test('as JSON too nothing moves the cursor, and it reads as it was sent', () => {
  let text = '';
  const event: ThreadEvent = { id: 1, event: 'text.delta', data: say('\u001b[2J\u009b2J\u007fü') };
  createJsonView(stream((chunk) => (text += chunk))).event(event);
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  assert.deepEqual(JSON.parse(text), event);
});

test('a turn that waits for a sandbox says so, and a large result says where all of it is', () => {
  const text = events(
    { type: 'status', status: 'queued', reason: 'all sandboxes are taken' },
    { type: 'status', status: 'requesting' },
    { type: 'tool_result', id: 't', content: [{ type: 'text', text: 'begin' }], is_error: false, attachment_id: 'a1' },
  );
  assert.equal(text, '[queued: all sandboxes are taken\n][← begin … all of it is in a1\n]');
});

test('half of a character waits for the other half', () => {
  assert.equal(events(say('a\ud83d'), say('\ude00b')), 'a😀b\n');
});

test('of a sub-agent only what it does is told, indented', () => {
  const parent_id = 't0';
  const text = events(
    { ...say('inner'), parent_id } as ThreadEventData,
    { type: 'tool_use', id: 't', name: 'Grep', input: {}, parent_id },
    { type: 'message', message_id: 'x', content: [{ type: 'text', text: 'inner' }], phase: 'final', parent_id },
  );
  assert.equal(text, '[  → Grep {}\n]');
});

test('what was said of a message that is tried again is said not to count', () => {
  const text = events(say('half an'), { type: 'message.discarded', message_id: 'm', reason: 'overloaded' }, message('whole'));
  assert.match(text, /^half an\n\[what was said last does not count.*overloaded\n\]whole\n$/);
});

test('an event of a kind that is newer than the command is passed over', () => {
  assert.equal(events({ type: 'mood', mood: 'good' } as unknown as ThreadEventData, say('x')), 'x\n');
});

test('on a terminal a silent turn is seen to be at work, and nothing of that is left', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let text = '';
  const err = stream((chunk) => (text += chunk));
  err.isTTY = true;
  err.columns = 80;
  const view = createTurnView({ out: err, err });
  view.event({ id: 1, event: 'execution_state', data: { type: 'execution.state', execution_id: 'e', thread_key: 'k', status: 'running' } });
  t.mock.timers.tick(250);
  // oxlint-disable-next-line no-control-regex -- what erases the line
  assert.match(text, /\r\u001b\[K.*running.*\d+ ms/);
  view.event({ id: 2, event: 'text.delta', data: say('hello') });
  assert.ok(text.endsWith('\r\u001b[Khello'));
  const before = text;
  t.mock.timers.tick(250);
  assert.equal(text, before, 'a line that is being said is not drawn over');
  view.end();
  assert.ok(text.endsWith('hello\n'));
});
