/**
 * A process that takes a turn over from another has its journal and nothing else: the same calls and lines, in the same
 * order, must bring a new codec to the same state, wherever the other one stopped.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Codec, CodecOutput } from './codec.ts';
import { harnesses } from './index.ts';
import { SAMPLES, kindOf, readSample, replay, type Noted } from './samples/replay.ts';

for (const name of SAMPLES) {
  test(`${name}: taken over after any entry of the journal, it goes on as if nothing had been`, () => {
    const { journal } = replay(name);
    const expected = journal.map(({ output }) => JSON.stringify(output));
    const states = statesOf(journal, name);
    for (let cut = 0; cut < journal.length; cut += 1) {
      const codec = harnesses[kindOf(name)].createCodec();
      for (const noted of journal.slice(0, cut)) tell(codec, noted);
      assert.deepEqual([codec.ready, codec.busy], states[cut], `after ${cut}`);
      for (const [index, noted] of journal.entries()) {
        if (index >= cut) assert.equal(JSON.stringify(tell(codec, noted)), expected[index], `taken over after ${cut}, at ${index}`);
      }
    }
  });
}

for (const name of SAMPLES.filter((sample) => sample.startsWith('live-'))) {
  test(`${name}: what is written to the CLI is what was written to it then`, () => {
    const then = readSample(name).flatMap(({ stdin }) => (stdin === undefined ? [] : [JSON.stringify(stdin)]));
    assert.deepEqual(replay(name).sent, then);
  });
}

function statesOf(journal: readonly Noted[], name: string): boolean[][] {
  const codec = harnesses[kindOf(name)].createCodec();
  return journal.map((noted) => {
    const state = [codec.ready, codec.busy];
    tell(codec, noted);
    return state;
  });
}

function tell(codec: Codec, { method, given }: Noted): CodecOutput {
  return (codec[method] as (...given: readonly unknown[]) => CodecOutput)(...given);
}
