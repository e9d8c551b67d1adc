import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parseMarkdown } from './parse.ts';

const HOSTILE: Readonly<Record<string, string>> = {
  'emphasis within emphasis': `${'*aaaaaa '.repeat(2_000)}x${' a*'.repeat(2_000)}`,
  'of two kinds': `${'*aaaaaa _bbbbbb '.repeat(1_000)}x${' a_ a*'.repeat(1_000)}`,
  'in several paragraphs': `${'*aaaaaa '.repeat(300)}x${' a*'.repeat(300)}\n\n`.repeat(20),
  'ends without beginnings': 'aaaaaa* '.repeat(5_000),
  'images within images': `${'![aaaaaa '.repeat(2_000)}x${'aaaaaa](b)'.repeat(2_000)}`,
  'underlined headings': 'a\n===\n'.repeat(3_000),
  'quotes within quotes': `${'>'.repeat(13)} a`,
  'numbered lists within each other': `${'1. '.repeat(25)}a`,
  'a list far to the right': `${' '.repeat(81)}- a`,
  'nothing but marks': '`a` '.repeat(1_500),
};

for (const [what, markdown] of Object.entries(HOSTILE))
  it(`is not parsed: ${what}`, () => assert.equal(parseMarkdown(markdown), undefined));

it('parses what people and agents write, however long', () => {
  for (const markdown of [
    '- **A point**: with `code`, _stress_ and [a link](https://example.com).\n'.repeat(600),
    '* one of many\n'.repeat(1_000),
    '1. [ ] to do\n'.repeat(1_000),
    'snake_case_names and 2 * 3 * 4, \\*as they stand\n'.repeat(600),
    `\`\`\`c\n${'  *p = a[i];\n'.repeat(300)}\`\`\``,
    `${'>'.repeat(12)} a`,
    `${'1. '.repeat(24)}a`,
    `${' '.repeat(77)}- a`,
    `${' '.repeat(200)}code`,
    `${'`a` '.repeat(900)}\n\n`.repeat(3),
    `| a | b |\n| - | - |\n${'| `a` | `b` |\n'.repeat(1_000)}`,
    'a\n===\n\n'.repeat(390),
  ])
    assert.notEqual(parseMarkdown(markdown), undefined, markdown.slice(0, 30));
});
