import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nothingShown, type Shown } from '../render/shown.ts';
import { NO_PROGRESS, progressOf, readProgress, shownAfter } from './progress.ts';

/** What the platform keeps of it. */
const KEPT = 8_192;
const ts = (index: number): string => `${1_700_000_000 + index}.000001`;
const message = (index: number) => ({ ts: ts(index), digest: 'x'.repeat(16) });
const none = { began: null, answerFile: false, files: false } as const;

const cards = Array.from({ length: 50 }, (_, index) => ({
  id: `${'e'.repeat(36)}/12/${index}${'x'.repeat(200)}`,
  title: 'ü'.repeat(256),
  status: 'in_progress' as const,
  details: '"'.repeat(256),
}));
const streaming: Shown = {
  ...nothingShown('stream'),
  messages: Array.from({ length: 12 }, (_, index) => message(index)),
  stream: {
    ts: ts(99),
    startedAt: 1,
    appendedAt: 2,
    length: 3,
    digest: 'd',
    fence: '`'.repeat(9_000),
    textLength: 4,
    textBytes: 5,
    isAtLineStart: true,
    title: 't'.repeat(256),
    cards,
  },
};

describe('progress', () => {
  for (const [what, shown] of Object.entries<Shown>({
    nothing: nothingShown('stream'),
    'a stream with fifty cards': streaming,
    'five messages': { ...nothingShown('edits'), messages: Array.from({ length: 5 }, (_, index) => message(index)) },
    'messages of days': { ...nothingShown('stream'), messages: Array.from({ length: 2_000 }, (_, index) => message(index)) },
    'streams of days that nobody closed': { ...nothingShown('edits'), toStop: Array.from({ length: 2_000 }, (_, index) => ts(index)) },
  }))
    it(`of ${what} is small enough to be kept, and read again`, () => {
      const ids = Array.from({ length: 20 }, (_, index) => `F0123456789${index}`);
      const progress = progressOf(shown, { began: 1_700_000_000_000, answerFile: ids, files: ids });
      const kept = JSON.stringify(progress);
      assert.ok(kept.length <= KEPT, `${kept.length}`);
      assert.deepEqual(readProgress(JSON.parse(kept)), progress);
    });

  it('says which messages are there, and which may be open', () => {
    const progress = progressOf(streaming, none);
    assert.deepEqual([progress.messages.length, progress.messages.at(-1), progress.open, progress.began], [13, ts(99), [ts(99)], null]);
    const shown = shownAfter(progress);
    assert.deepEqual([shown.by, shown.toStop, shown.messages.at(-1)], ['edits', [ts(99)], { ts: ts(99), digest: '' }]);
  });

  it('of too much says that the thread has to be read', () => {
    const { messages, began } = progressOf({ ...streaming, messages: Array.from({ length: 2_000 }, (_, index) => message(index)) }, none);
    assert.deepEqual([messages, began], [[], 0]);
  });

  it('names no message of which nobody knows', () => {
    const unknown = { ...nothingShown('edits'), messages: [{ ts: '', digest: 'd' }] };
    assert.deepEqual(progressOf(unknown, { ...none, began: 5 }).messages, []);
  });

  for (const [what, noted, expected] of [
    ['nothing noted', null, undefined],
    ['nothing given', undefined, undefined],
    ['another release’s', { v: 2 }, { ...NO_PROGRESS, began: 0 }],
    ['no object', 'text', { ...NO_PROGRESS, began: 0 }],
    ['a time that is none', { ...NO_PROGRESS, messages: ['1'] }, { ...NO_PROGRESS, began: 0 }],
    ['its own', NO_PROGRESS, NO_PROGRESS],
  ] as const)
    it(`reads ${what}`, () => assert.deepEqual(readProgress(noted), expected));
});
