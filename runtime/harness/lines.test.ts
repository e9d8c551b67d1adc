import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLineSplitter, type Line } from './lines.ts';

const SAMPLE = Buffer.from(
  '{"a":1}\n{"b":"\u2028 ünïcödé 🙂"}\r\n\n   \n{"c":3}\n{"long":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}\nlast',
);

test('splits at \\n and nothing else, whichever way the bytes arrive', () => {
  const whole = split([SAMPLE]);
  assert.deepEqual(
    whole.map(({ text }) => text),
    ['{"a":1}', '{"b":"\u2028 ünïcödé 🙂"}', '{"c":3}', '{"long":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 'last'],
  );
  for (let size = 1; size <= SAMPLE.length; size += 1) assert.deepEqual(split(chunk(SAMPLE, size)), whole, `chunks of ${size}`);
});

test('a reader that goes on at a line’s end reads the rest, once', () => {
  const whole = split([SAMPLE]);
  for (const [index, { end }] of whole.entries()) {
    assert.deepEqual(split([SAMPLE.subarray(end)], { start: end }), whole.slice(index + 1), `after line ${index}`);
  }
  assert.equal(whole.at(-1)?.end, SAMPLE.length);
});

test('of a line that is too long the beginning is kept, the rest is counted, and the next line is whole', () => {
  const long = Buffer.concat([Buffer.from('{"type":"agent_end","messages":['), Buffer.alloc(10_000, 'x')]);
  const stream = Buffer.concat([long, Buffer.from('\nnext\n')]);
  for (const size of [1, 7, 100, 4096, 20_000]) {
    const [first, second] = split(chunk(stream, size), { maxBytes: 5000 });
    assert.deepEqual(
      { ...first, text: first?.text.slice(0, 20), length: first?.text.length },
      { text: '{"type":"agent_end",', length: 4096, end: long.length + 1, dropped: long.length - 4096 },
    );
    assert.deepEqual(second, { text: 'next', end: stream.length, dropped: 0 });
  }
});

test('the limit is the last length that passes', () => {
  assert.deepEqual(split([Buffer.from('12345\n123456\n')], { maxBytes: 5 }), [
    { text: '12345', end: 6, dropped: 0 },
    { text: '12345', end: 13, dropped: 1 },
  ]);
});

test('a cut goes through no character', () => {
  assert.deepEqual(split([Buffer.from('ab🙂cd\n')], { maxBytes: 4 }), [{ text: 'ab', end: 9, dropped: 4 }]);
});

test('a line of 100 MB takes no more memory than the limit', () => {
  const splitter = createLineSplitter();
  const piece = Buffer.alloc(1024 * 1024, 'x');
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let pushed = 0; pushed < 100; pushed += 1) {
    assert.deepEqual(splitter.push(piece), []);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  assert.ok(most < 40 * 1024 * 1024, `${most} bytes`);
  const [line] = splitter.push(Buffer.from('\n'));
  assert.deepEqual([line?.text.length, line?.dropped], [4096, 100 * 1024 * 1024 - 4096]);
});

function split(chunks: readonly Uint8Array[], options: { maxBytes?: number; start?: number } = {}): Line[] {
  const splitter = createLineSplitter(options);
  return [...chunks.flatMap((bytes) => splitter.push(bytes)), ...splitter.flush()];
}

function chunk(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
}
