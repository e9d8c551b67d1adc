import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createDice } from '../../chat/testing.ts';
import { changesOf, placesOf, visible, visibleJson } from './plain.ts';

describe('a text as it is', () => {
  const cases: readonly [name: string, text: string, shown: string][] = [
    ['words and lines', 'pay 20 €\nto Zoë 中文 😀', 'pay 20 €\nto Zoë 中文 😀'],
    ['what turns text round', 'a\u202etxt.exe', String.raw`a\u202etxt.exe`],
    ['what has no width', 'ap\u200bprove\u2060d\ufeff', String.raw`ap\u200bprove\u2060d\ufeff`],
    ['joined emoji', '👩\u200d👧', String.raw`👩\u200d👧`],
    ['tags beyond the first plane', 'a\u{e0041}', String.raw`a\udb40\udc41`],
    ['spaces that are none of the keyboard', 'a\u00a0b\u2003c\u3000d', String.raw`a\u00a0b\u2003c\u3000d`],
    ['letters that are blank', 'a\u3164b\u2800c\u115fd', String.raw`a\u3164b\u2800c\u115fd`],
    ['ends of lines of others', 'a\r\nb\rc\u2028d\u0085e', 'a\nb\\u000dc\\u2028d\\u0085e'],
    ['control characters', 'a\u0000b\u001b[31mc\td', String.raw`a\u0000b\u001b[31mc\td`],
    ['half a character', 'a\ud83d', String.raw`a\ud83d`],
    ['accents on accents', 'a\u0301\u0302\u0303\u0304\u0305', 'a\u0301\u0302\u0303\\u0304\\u0305'],
  ];
  for (const [name, text, shown] of cases) it(name, () => assert.equal(visible(text), shown));
});

it('a value is read again from what is shown of it, whatever is in it', () => {
  const dice = createDice(7);
  const alphabet = ['a', '"', '\\', '\n', '\t', '\0', '\u202e', '\u200d', '😀', '\ud800', '\u0301', '\u00a0', '<@U1>', '中', '\u{e0041}'];
  const text = (): string => Array.from({ length: dice(8) }, () => alphabet[dice(alphabet.length)] as string).join('');
  const value = (depth: number): unknown => {
    const kind = dice(depth > 3 ? 4 : 6);
    if (kind === 4) return Array.from({ length: dice(4) }, () => value(depth + 1));
    if (kind === 5) return Object.fromEntries(Array.from({ length: dice(4) }, () => [text(), value(depth + 1)]));
    return [text(), dice(1000) / 8, null, dice(2) === 0][kind];
  };
  for (let round = 0; round < 500; round++) {
    const one = value(0);
    const shown = visibleJson(one);
    assert.deepEqual(JSON.parse(shown.replaceAll(String.raw`\ud800`, '\ud800')), one);
    assert.doesNotMatch(shown.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Cs}\u00a0]/u);
  }
});

describe('what was changed', () => {
  it('is told path by path', () => {
    assert.deepEqual(changesOf({ a: 1, b: { c: [1, 2], 'x.y': 1 }, d: 1 }, { a: 1, b: { c: [1, 3], 'x.y': 2 }, e: { f: 1 } }), [
      { path: 'b.c.1', before: 2, after: 3 },
      { path: 'b.x.y', before: 1, after: 2 },
      { path: 'd', before: 1, after: undefined },
      { path: 'e', before: undefined, after: { f: 1 } },
    ]);
    assert.deepEqual(changesOf([1], { 0: 1 }), [{ path: '', before: [1], after: { 0: 1 } }]);
  });
});

describe('places that a pattern means', () => {
  const args = { items: [{ price: 1 }, { price: 2 }], to: 'x', deep: { a: { b: 1 } } };
  const cases: readonly [pattern: string, places: readonly [string, unknown][]][] = [
    ['to', [['to', 'x']]],
    [
      'items.*.price',
      [
        ['items.0.price', 1],
        ['items.1.price', 2],
      ],
    ],
    ['items.7', []],
    ['deep.a', [['deep.a', { b: 1 }]]],
    ['deep.new', [['deep.new', undefined]]],
    ['none.new', []],
    ['to.length', []],
    ['constructor', [['constructor', undefined]]],
  ];
  for (const [pattern, places] of cases)
    it(pattern, () =>
      assert.deepEqual(
        placesOf(args, pattern).map(({ path, value }) => [path, value]),
        places,
      ),
    );
});
