import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Answer, FRESH_PACE, hasRoom, limitOf, LIMITS, noteEnd, notePause, noteWrite, type Pace, writeAt } from './pace.ts';

const T = 1_800_000_000_000;

/** Writes as soon as it may, so many times. */
function writeAll(count: number): { readonly pace: Pace; readonly at: readonly number[] } {
  let pace = FRESH_PACE;
  const at: number[] = [];
  for (let now = T; at.length < count;) {
    now = writeAt(pace, now);
    pace = noteWrite(pace, now);
    at.push(now);
  }
  return { pace, at };
}

describe('the pace of writing', () => {
  it('stays within what GitHub allows in any second, minute and hour', () => {
    const { at } = writeAll(1_500);
    for (const [index, now] of at.entries()) {
      const since = (period: number) => at.slice(0, index + 1).filter((each) => now - each < period).length;
      assert.ok(since(1_000) <= 1, `a second before ${index}`);
      assert.ok(since(60_000) <= LIMITS.perMinute, `a minute before ${index}`);
      assert.ok(since(3_600_000) <= LIMITS.perHour, `an hour before ${index}`);
    }
  });

  it('is not slower than that', () => {
    const { at } = writeAll(501);
    assert.equal((at[499] as number) - T, 499 * 1_000);
    assert.equal((at[500] as number) - T, 3_600_001);
  });

  it('keeps room for answers', () => {
    assert.equal(hasRoom(FRESH_PACE, T), true);
    const { pace, at } = writeAll(60);
    assert.equal(hasRoom(pace, at.at(-1) as number), false, 'of this minute');
    assert.equal(hasRoom(pace, (at.at(-1) as number) + 60_000), true);
    const { pace: full, at: long } = writeAll(320);
    assert.equal(hasRoom(full, (long.at(-1) as number) + 60_000), false, 'of this hour');
    assert.equal(hasRoom(notePause(FRESH_PACE, T + 1), T), false);
  });

  it('counts from the answer to the write before', () => {
    const pace = noteEnd(noteWrite(FRESH_PACE, T), T + 800);
    assert.equal(writeAt(pace, T + 900), T + 1_800);
  });

  it('waits as long as GitHub wants, also when it says so twice', () => {
    const paused = notePause(notePause(FRESH_PACE, T + 9_000), T + 5_000);
    assert.equal(writeAt(paused, T), T + 9_000);
  });
});

const answer = (status: number, headers: Readonly<Record<string, string>> = {}, message = ''): Answer => ({
  status,
  header: (name) => headers[name] ?? null,
  message,
});

const LIMITED: readonly [name: string, answer: Answer, tries: number, expected: number | undefined][] = [
  ['Retry-After', answer(403, { 'retry-after': '7' }), 0, T + 7_000],
  ['Retry-After of nothing', answer(429, { 'retry-after': '0' }), 0, T + 1_000],
  ['no calls left until', answer(403, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(T / 1000 + 30) }), 0, T + 31_000],
  ['no calls left until a time that is over', answer(403, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1' }), 0, T + 1_000],
  ['a secondary limit without a time', answer(403, {}, 'You have exceeded a secondary rate limit.'), 0, T + 60_000],
  ['and again', answer(429), 2, T + 240_000],
  ['forbidden', answer(403, { 'x-ratelimit-remaining': '4000' }, 'Resource not accessible by integration'), 0, undefined],
  ['not found', answer(404, { 'retry-after': '7' }), 0, undefined],
];

describe('an answer about a limit', () => {
  for (const [name, given, tries, expected] of LIMITED) it(name, () => assert.equal(limitOf(given, tries, T), expected));
});
