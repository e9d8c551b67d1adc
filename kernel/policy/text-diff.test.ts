import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { diffTexts } from './text-diff.ts';

const lines = (n: number, more: Readonly<Record<number, string>> = {}) =>
  Array.from({ length: n }, (_, i) => more[i + 1] ?? `line ${i + 1}`).join('\n');

test('what changed is shown with what is around it, and the rest is left out', () => {
  assert.equal(diffTexts('a\nb', 'a\nb'), '');
  assert.equal(diffTexts('', 'a'), '-\n+a');
  assert.equal(diffTexts('a\nb\nc', 'a\nc'), ' a\n-b\n c');
  assert.equal(
    diffTexts(lines(40), lines(40, { 10: 'ten', 30: 'thirty' })),
    `@@ line 7\n line 7\n line 8\n line 9\n-line 10\n+ten\n line 11\n line 12\n line 13
@@ line 27\n line 27\n line 28\n line 29\n-line 30\n+thirty\n line 31\n line 32\n line 33`,
  );
});

test('whatever the texts are, what is added and taken away makes the one of the other', () => {
  let seed = 7;
  const random = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n;
  for (let round = 0; round < 200; round++) {
    const text = () => Array.from({ length: random(12) }, () => 'abc'[random(3)]).join('\n');
    const [before, after] = [text(), text()];
    const shown = diffTexts(before, after).split('\n');
    const of = (marks: string) => shown.filter((line) => marks.includes(line[0] ?? ' ')).map((line) => line.slice(1));
    if (before === after || shown.some((line) => line.startsWith('@@'))) continue;
    const changed = (lines: readonly string[], all: string) => all.includes(lines.join('\n'));
    assert.ok(changed(of(' -'), before) && changed(of(' +'), after), JSON.stringify([before, after, shown]));
  }
});

test('texts with nothing in common are compared in no time', () => {
  const before = Array.from({ length: 20_000 }, (_, i) => `old ${i}`).join('\n');
  const after = Array.from({ length: 20_000 }, (_, i) => `new ${i}`).join('\n');
  const effort = startEffort();
  assert.equal(diffTexts(before, after).split('\n').length, 40_000);
  assert.ok(effort() < 2000);
});
