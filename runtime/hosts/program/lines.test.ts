import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLineReader, createOutbox } from './lines.ts';

test('lines come out whole, however the bytes are cut', () => {
  const text = Buffer.from('{"a":"é"}\n\n{"b":"日本"}\n{"c":3}\n');
  for (let size = 1; size <= text.length; size++) {
    const lines: string[] = [];
    const read = createLineReader(100, (line) => lines.push(line));
    for (let from = 0; from < text.length; from += size) read(text.subarray(from, from + size));
    assert.deepEqual(lines, ['{"a":"é"}', '{"b":"日本"}', '{"c":3}'], `in pieces of ${size} bytes`);
  }
});

test('a line without an end is refused when it is longer than allowed', () => {
  const read = createLineReader(10, () => undefined);
  read(Buffer.from('12345678'));
  assert.throws(() => read(Buffer.from('90a')), /longer than 10 bytes/);
});

test('what is said before a rest is written at once, after all that was ready to run', async () => {
  const written: string[] = [];
  const outbox = createOutbox((text) => written.push(text));
  let lines = '';
  outbox.rest({ take: () => lines });
  outbox.post('posted');
  void Promise.resolve()
    .then(() => {})
    .then(() => {})
    .then(() => (lines = 'said late\n'));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(written, ['posted\nsaid late\n']);
});
