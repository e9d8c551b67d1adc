import assert from 'node:assert/strict';
import { test } from 'node:test';
import { capToolResult, coalesceDeltas } from './coalesce.ts';
import type { ContentBlock, HarnessEvent } from './events.ts';
import { SAMPLES, replay } from './samples/replay.ts';

const said = (message_id: string, text: string): HarnessEvent => ({ type: 'text.delta', message_id, text });
const thought = (message_id: string, text: string): HarnessEvent => ({ type: 'thinking.delta', message_id, text });
const output = (id: string, text: string): HarnessEvent => ({ type: 'tool_output.delta', id, text });

test('deltas of a message become one', () => {
  assert.deepEqual(coalesceDeltas([said('a', 'one '), said('a', 'two '), said('a', 'three')]), [said('a', 'one two three')]);
});

test('deltas of other messages and tools in between are passed over', () => {
  const events = [said('a', '1'), said('b', 'x'), output('t', 'o'), said('a', '2'), said('b', 'y'), output('t', 'p')];
  assert.deepEqual(coalesceDeltas(events), [said('a', '12'), said('b', 'xy'), output('t', 'op')]);
});

test('thinking and text of a message keep their order', () => {
  const events = [thought('a', '1'), said('a', '2'), thought('a', '3'), thought('a', '4')];
  assert.deepEqual(coalesceDeltas(events), [thought('a', '1'), said('a', '2'), thought('a', '34')]);
});

test('nothing moves past an event that is no delta', () => {
  const notice: HarnessEvent = { type: 'notice', text: 'here' };
  assert.deepEqual(coalesceDeltas([said('a', '1'), notice, said('a', '2')]), [said('a', '1'), notice, said('a', '2')]);
});

test('a delta has at most so many units, and no half of a pair', () => {
  const pieces = coalesceDeltas([said('a', '🙂🙂'), said('a', 'x🙂yz')], { maxLength: 3 }).map((event) =>
    'text' in event ? event.text : '',
  );
  assert.deepEqual(pieces, ['🙂', '🙂x', '🙂y', 'z']);
  assert.ok(pieces.every((piece) => piece.isWellFormed()));
});

test('a bound that is smaller than a character still ends', () => {
  assert.deepEqual(coalesceDeltas([said('a', '🙂🙂')], { maxLength: 1 }), [said('a', '🙂'), said('a', '🙂')]);
});

test('no text is lost, and merging again changes nothing', () => {
  for (const name of SAMPLES) {
    const { events } = replay(name);
    for (const maxLength of [1, 5, 20, 10_000]) {
      const merged = coalesceDeltas(events, { maxLength });
      assert.deepEqual(textOf(merged), textOf(events), name);
      assert.deepEqual(coalesceDeltas(merged, { maxLength }), merged, name);
    }
  }
});

function textOf(events: readonly HarnessEvent[]): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const event of events) {
    if (event.type === 'text.delta' || event.type === 'thinking.delta')
      texts[`${event.type} ${event.message_id}`] = (texts[`${event.type} ${event.message_id}`] ?? '') + event.text;
  }
  return texts;
}

const result = (...content: ContentBlock[]) => ({ type: 'tool_result', id: 't', content, is_error: false, exit_code: 0 }) as const;
const text = (words: string): ContentBlock => ({ type: 'text', text: words });

test('a small result passes as it is', () => {
  const event = result(text('ok'));
  assert.deepEqual(capToolResult(event), { event });
  assert.deepEqual(capToolResult(result(text('x'.repeat(99))), { maxBytes: 99 }).full, undefined);
});

test('of a big result head and tail stay, and the whole is handed back', () => {
  const event = result(text(`begin ${'x'.repeat(1000)} end`));
  const { event: capped, full } = capToolResult(event, { maxBytes: 90 });
  assert.deepEqual(capped.content, [
    text(`begin ${'x'.repeat(54)}`),
    text('[… 920 of 1010 bytes left out …]'),
    text(`${'x'.repeat(26)} end`),
  ]);
  assert.equal(full, event.content);
  assert.equal(capped.exit_code, 0);
});

test('what is cut is cut between characters, and counted in bytes', () => {
  const { event: capped } = capToolResult(result(text('🙂'.repeat(100))), { maxBytes: 30 });
  assert.deepEqual(capped.content, [text('🙂'.repeat(5)), text('[… 372 of 400 bytes left out …]'), text('🙂'.repeat(2))]);
});

test('of several blocks the outer ones stay; an image is kept whole or not at all', () => {
  const image: ContentBlock = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(500) } };
  const { event: capped } = capToolResult(result(text('first'), image, text('middle'), image, text('last')), { maxBytes: 300 });
  assert.deepEqual(
    capped.content.map((block) => (block.type === 'text' ? block.text.replace(/\d+ of \d+/, 'n') : block.type)),
    ['first', '[… n bytes left out …]', 'last'],
  );
});

test('a capped result is about as big as the bound, whatever is in it', () => {
  for (const size of [1000, 50_000, 1_000_000]) {
    const { event: capped } = capToolResult(result(text('a\n'.repeat(size)), text('ü'.repeat(size))), { maxBytes: 1500 });
    assert.ok(Buffer.byteLength(JSON.stringify(capped.content)) < 2700);
  }
});
