/**
 * Whatever a CLI writes, or whoever in its sandbox writes to the same pipe: a codec neither throws nor hangs, what it says
 * can be stored, and what began completes once. Seeded, so that a failure comes again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { harnesses, type HarnessEvent, type HarnessKind } from './index.ts';
import { object, type JsonObject } from './json.ts';
import { SAMPLES, kindOf, readSample } from './samples/replay.ts';
import { mulberry32 } from './samples/random.ts';
import { findFaults } from './samples/wellformed.ts';

const KINDS = Object.keys(harnesses) as HarnessKind[];
const HELLO = { content: [{ type: 'text', text: 'hello' }] } as const;
const ROUNDS = 40;
const LINES = 60;

for (const kind of KINDS) {
  test(`${kind}: lines of random bytes`, () => {
    fuzz(kind, (random) => Buffer.from(Array.from({ length: random() * 300 }, () => random() * 256)).toString('utf8'));
  });

  test(`${kind}: true lines that are cut off, or run into each other`, () => {
    const lines = linesOf(kind).map((line) => JSON.stringify(line));
    fuzz(kind, (random) => {
      const [line, other] = [pick(lines, random), pick(lines, random)];
      const cut = line.slice(0, random() * line.length);
      return random() < 0.5 ? cut : cut + other.slice(random() * other.length);
    });
  });

  test(`${kind}: true lines with values of other types`, () => {
    const lines = linesOf(kind);
    fuzz(kind, (random) => JSON.stringify(mutate(pick(lines, random), random)));
  });

  test(`${kind}: true lines in any order, of any turn`, () => {
    const lines = linesOf(kind).map((line) => JSON.stringify(line));
    fuzz(kind, (random) => pick(lines, random));
  });

  test(`${kind}: true lines with something very deep inside`, () => {
    const depths = [150, 1900, 20_000].map((depth) => '['.repeat(depth) + ']'.repeat(depth));
    const random = mulberry32(1);
    const all = linesOf(kind).flatMap((line) => deepened(line));
    const lines = Array.from({ length: 150 }, () => pick(all, random).replace(JSON.stringify(MARK), pick(depths, random)));
    const { events, codec } = start(kind);
    for (const line of lines) events.push(...codec.line(line).events);
    finish(kind, events, codec, 1);
  });

  test(`${kind}: lines of 10 MB`, () => {
    const { events, codec } = start(kind);
    const long = 'x'.repeat(10 * 1024 * 1024);
    const lines = [long, `{"type":"${long}","method":"${long}"}`, '['.repeat(long.length)];
    const effort = startEffort();
    for (const line of lines) events.push(...codec.line(line).events);
    assert.ok(effort() < 3000, 'too slow');
    assert.ok(JSON.stringify(events).length < 20_000, 'a line that means nothing was passed on');
    finish(kind, events, codec, 1);
  });
}

test('calls in any order, among true lines, leave every codec well-formed', () => {
  for (const kind of KINDS) {
    const lines = linesOf(kind).map((line) => JSON.stringify(line));
    for (let seed = 1; seed <= ROUNDS; seed += 1) {
      const random = mulberry32(seed);
      const { events, codec } = start(kind);
      let turns = 1;
      for (let index = 0; index < LINES; index += 1) {
        const calls = [
          () => codec.interrupt(),
          () => codec.steer(HELLO.content),
          () => codec.answer(pick(['0', '1', 'approval-1', 'r1', 'no such'], random), { allow: random() < 0.5, message: 'no' }),
          () => codec.line(pick(lines, random)),
          () => codec.line(pick(lines, random)),
        ];
        if (codec.ready && random() < 0.5) {
          turns += 1;
          events.push(...codec.turn(HELLO).events);
        } else events.push(...pick(calls, random)().events);
      }
      finish(kind, events, codec, turns, seed);
    }
  }
});

function fuzz(kind: HarnessKind, next: (random: () => number) => string): void {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const random = mulberry32(seed);
    const { events, codec } = start(kind);
    let turns = 1;
    for (let index = 0; index < LINES; index += 1) {
      if (codec.ready) {
        turns += 1;
        events.push(...codec.turn(HELLO).events);
      }
      events.push(...codec.line(next(random)).events);
    }
    finish(kind, events, codec, turns, seed);
  }
}

/** A codec in the middle of its first turn. */
function start(kind: HarnessKind) {
  const codec = harnesses[kind].createCodec();
  const events: HarnessEvent[] = [...codec.open({ cwd: '/workspace' }).events];
  for (const line of HANDSHAKES[kind]) events.push(...codec.line(JSON.stringify(line)).events);
  assert.ok(codec.ready, kind);
  events.push(...codec.turn(HELLO).events);
  return { codec, events };
}

const HANDSHAKES: Readonly<Record<HarnessKind, readonly object[]>> = {
  demo: [{ type: 'session', native_id: 's' }],
  claude: [],
  codex: [
    { id: 1, result: {} },
    { id: 2, result: { thread: { id: 't' } } },
  ],
  pi: [{ id: '2', type: 'response', command: 'get_state', success: true, data: { sessionId: 's' } }],
  amp: [],
};

function finish(kind: HarnessKind, events: HarnessEvent[], codec: ReturnType<typeof start>['codec'], turns: number, seed = 0): void {
  events.push(...codec.exit({ code: 1, signal: null, stderr: '' }).events);
  assert.deepEqual(findFaults(events, turns), [], `${kind}, seed ${seed}`);
  assert.equal(codec.busy, false);
  // what is stored is what was said
  assert.deepEqual(JSON.parse(JSON.stringify(events)), events);
  for (const event of events) if (event.type === 'error') assert.match(event.class, /^[a-z_]+$/);
}

/** What its CLI has written in all samples. Amp has none of its own, and writes what Claude Code writes. */
function linesOf(kind: HarnessKind): JsonObject[] {
  const samples = SAMPLES.filter((name) => kindOf(name) === (kind === 'amp' ? 'claude' : kind));
  return samples.flatMap(readSample).flatMap(({ stdout }) => (stdout === undefined ? [] : [stdout]));
}

const WRONG: readonly unknown[] = [
  { toString: 1, valueOf: null },
  'constructor',
  null,
  true,
  -1,
  1e308,
  '',
  'text',
  [],
  {},
  [null],
  [[1]],
  { type: 'text' },
  { content: 7 },
  '\u0000',
  '__proto__',
];

/** One or two values, anywhere inside, are something else; or a whole member is gone. */
function mutate(value: unknown, random: () => number, changes = 2): unknown {
  let changed = value;
  for (let change = 0; change < changes; change += 1) changed = change === 0 || random() < 0.5 ? mutateOnce(changed, random) : changed;
  return changed;
}

function mutateOnce(value: unknown, random: () => number): unknown {
  if (Array.isArray(value) && value.length > 0 && random() < 0.8) {
    const at = Math.floor(random() * value.length);
    return value.with(at, mutateOnce(value[at], random));
  }
  const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  if (keys.length === 0 || random() < 0.1) return pick(WRONG, random);
  const key = pick(keys, random);
  const { [key]: inside, ...rest } = value as JsonObject;
  return random() < 0.1 ? rest : { ...rest, [key]: mutateOnce(inside, random) };
}

/** The line, once for each of its members with the mark in its place, and those of its members' members. */
function deepened(line: JsonObject): string[] {
  const members = Object.keys(line).filter((key) => key !== 'type' && key !== 'method');
  return members.flatMap((key) => {
    const inside = object(line[key]) ?? {};
    const paths = [{ ...line, [key]: MARK }, ...Object.keys(inside).map((name) => ({ ...line, [key]: { ...inside, [name]: MARK } }))];
    return paths.map((marked) => JSON.stringify(marked));
  });
}

const MARK = 'something very deep';

function pick<T>(from: readonly T[], random: () => number): T {
  return from[Math.floor(random() * from.length)] as T;
}
