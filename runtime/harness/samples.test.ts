/** The recorded sessions, and what each codec makes of them: samples/<name>.ndjson and samples/<name>.txt. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { mulberry32 } from './samples/random.ts';
import { SAMPLES, readSample, replay, transcript, type Entry } from './samples/replay.ts';
import { findFaults } from './samples/wellformed.ts';

for (const name of SAMPLES) {
  test(`${name}: the normalised events`, () => {
    const expected = readFileSync(new URL(`samples/${name}.txt`, import.meta.url), 'utf8');
    assert.equal(`${transcript(replay(name).events)}\n`, expected);
  });

  test(`${name}: the same lines give the same events, and the same lines to send`, () => {
    const [first, second] = [replay(name), replay(name)];
    assert.deepEqual(first.events, second.events);
    assert.deepEqual(first.sent, second.sent);
  });
}

const GARBAGE = [
  '',
  'null',
  '[]',
  '42',
  '"text"',
  '{',
  '{}',
  '{"type":null}',
  '{"id":1}',
  '{"method":7}',
  '\u0000\uFFFD',
  '['.repeat(50_000),
];
const HOLLOW = [
  'stream_event',
  'assistant',
  'user',
  'system',
  'result',
  'control_request',
  'control_response',
  'message_end',
  'message_update',
  'tool_execution_end',
  'agent_end',
  'response',
];
const METHODS = [
  'item/started',
  'item/completed',
  'turn/completed',
  'error',
  'thread/tokenUsage/updated',
  'item/agentMessage/delta',
  'serverRequest/resolved',
];
const NOISE = [
  ...GARBAGE,
  ...HOLLOW.map((type) => JSON.stringify({ type })),
  ...METHODS.map((method) => JSON.stringify({ method, params: null })),
];

for (const name of SAMPLES) {
  const entries = readSample(name);
  const lines = entries.flatMap((entry, index) => (entry.stdout === undefined ? [] : [index]));
  const holds = (variant: readonly Entry[], what: string): void => {
    const { events, turns, codec } = replay(name, variant);
    assert.deepEqual(findFaults(events, turns), [], `${what}\n${transcript(events)}`);
    assert.equal(codec.busy, false);
    assert.equal(codec.ready, false);
  };

  test(`${name}: well-formed when the process ends after any line`, () => {
    for (let cut = 0; cut <= entries.length; cut += 1) holds(entries.slice(0, cut), `cut after ${cut}`);
  });

  test(`${name}: well-formed when a line is missing`, () => {
    for (const line of lines) holds(entries.toSpliced(line, 1), `without line ${line + 1}`);
  });

  test(`${name}: well-formed when a line comes twice`, () => {
    for (const line of lines) holds(entries.toSpliced(line, 0, entries[line] as Entry), `line ${line + 1} twice`);
    holds(
      entries.flatMap((entry) => (entry.stdout === undefined ? [entry] : [entry, entry])),
      'every line twice',
    );
  });

  test(`${name}: well-formed when a line comes again at the end`, () => {
    for (const line of lines) holds([...entries, entries[line] as Entry], `line ${line + 1} again`);
  });

  test(`${name}: well-formed among lines that mean nothing`, () => {
    const noisy = entries.flatMap((entry, index) => [entry, { t: entry.t, raw: NOISE[index % NOISE.length] as string }]);
    holds(noisy, 'noise');
    for (const raw of NOISE) holds(entries.toSpliced(Math.floor(entries.length / 2), 0, { t: 0, raw }), raw.slice(0, 80));
  });

  test(`${name}: well-formed when lines are cut off`, () => {
    for (const line of lines) {
      const { t, stdout } = entries[line] as Entry;
      const raw = JSON.stringify(stdout);
      holds(entries.toSpliced(line, 1, { t, raw: raw.slice(0, Math.floor(raw.length / 2)) }), `half of line ${line + 1}`);
    }
  });

  test(`${name}: well-formed in any order`, () => {
    for (let seed = 1; seed <= 25; seed += 1) holds(shuffleOutput(entries, seed), `seed ${seed}`);
  });
}

/** What was written to the CLI stays where it was; its answers come in any order. */
function shuffleOutput(entries: readonly Entry[], seed: number): Entry[] {
  const random = mulberry32(seed);
  const output = entries.filter(({ stdout }) => stdout !== undefined);
  for (let last = output.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [output[last], output[other]] = [output[other] as Entry, output[last] as Entry];
  }
  return entries.map((entry) => (entry.stdout === undefined ? entry : (output.pop() as Entry)));
}
