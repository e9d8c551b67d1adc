import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import type { RunEvent, StepView } from '@centaur/sdk';
import { clip, createLiveView, createPlainView, type View } from './progress.ts';

const step = (fields: Partial<StepView>): StepView => ({
  seq: 0,
  name: 'collect',
  kind: 'step',
  status: 'completed',
  result: null,
  error: null,
  started_at: '2026-01-01T00:00:00.000Z',
  ended_at: '2026-01-01T00:00:00.250Z',
  attempts: 1,
  ...fields,
});

const EVENTS: RunEvent[] = [
  { id: null, event: 'run.status', data: { status: 'running', waiting_on: [], error: null } },
  { id: '1-0', event: 'step.completed', data: step({}) },
  { id: '1-1', event: 'step.failed', data: step({ name: 'send', attempts: 3, error: { code: 'HTTP_503', message: 'no \u001b[2Jluck' } }) },
  {
    id: null,
    event: 'run.status',
    data: {
      status: 'waiting',
      waiting_on: [{ type: 'event', name: 'ok', event_type: 'approved', correlation_id: 'E-42', deadline: null }],
      error: null,
    },
  },
  { id: '2-0', event: 'run.retrying', data: { attempt: 2, error: { code: 'ERROR', message: 'broke' } } },
];

/** What is written; `end` also tells the view that nothing more comes. */
function show(make: (stream: NodeJS.WriteStream) => View, events: readonly RunEvent[], { end }: { readonly end: boolean }): string {
  let text = '';
  const stream = new Writable({
    decodeStrings: false,
    write: (chunk: string, _encoding, done) => done(void (text += chunk)),
  }) as NodeJS.WriteStream;
  stream.columns = 60;
  const view = make(stream);
  for (const event of events) view.event(event);
  const before = text;
  view.end();
  return end ? text : before;
}

const live = (stream: NodeJS.WriteStream) => createLiveView(stream, { now: () => 0 });

/** What a terminal shows after it was sent this: `\x1b[nA` goes up, `\x1b[0J` clears what is below. */
function screen(text: string): string[] {
  const lines = [''];
  // oxlint-disable-next-line no-control-regex -- what moves the cursor
  for (const part of text.split(/(\x1b\[\d+A|\x1b\[0J|\n)/)) {
    const up = /\[(\d+)A/.exec(part);
    if (up) lines.splice(lines.length - 1 - Number(up[1]));
    else if (part === '\n' || up) lines.push('');
    else if (!part.startsWith('\x1b[0J')) lines[lines.length - 1] += part;
    if (up) lines.push('');
  }
  return lines.map((line) => stripVTControlCharacters(line).trimEnd());
}

test('off a terminal each event is one plain line', () => {
  assert.deepEqual(
    stripVTControlCharacters(show(createPlainView, EVENTS, { end: true }))
      .trimEnd()
      .split('\n'),
    [
      'running',
      '✔ collect 250 ms',
      '✖ send 250 ms, 3 attempts: no \\x1b[2Jluck (HTTP_503)',
      'ok: waiting for event approved of E-42',
      '↻ attempt 2 after broke',
    ],
  );
});

test('on a terminal what happened stays, and what the run is doing stands below it', () => {
  assert.deepEqual(screen(show(live, EVENTS.slice(0, 2), { end: false })), ['  ✔ collect 250 ms', '  ⠋ running 0 ms', '']);
  assert.deepEqual(screen(show(live, EVENTS, { end: false })), [
    '  ✔ collect 250 ms',
    '  ✖ send 250 ms, 3 attempts: no \\x1b[2Jluck (HTTP_503)',
    '  ↻ attempt 2 after broke',
    '  ⠋ ok: waiting for event approved of E-42 0 ms',
    '',
  ]);
});

test('when nothing more comes, only what happened is left on the terminal', () => {
  assert.deepEqual(screen(show(live, EVENTS.slice(0, 2), { end: true })), ['  ✔ collect 250 ms', '']);
});

test('a line is clipped to the terminal, its colours not counted', () => {
  assert.equal(clip('\x1b[31mabcdef\x1b[39mghi', 5), '\x1b[31mabcd\x1b[39m');
  assert.equal(clip('abc', undefined), 'abc');
});
