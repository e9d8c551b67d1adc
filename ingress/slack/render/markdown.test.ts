import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Block } from './blocks.ts';
import { safeLabel, safeUrl } from './links.ts';
import { splitAnswer } from './split.ts';
import { alignTable } from './table.ts';
import { clip, safeEnd } from '../../chat/text.ts';
import { settledLength, withoutPings } from './text.ts';

/** Blocks of an answer that fits into one message, in short: `type` and texts, with a letter for each style. */
function show(markdown: string, mentions: readonly string[] = []): string[] {
  const { messages } = splitAnswer(markdown, { mentions });
  assert.ok(messages.length <= 1);
  return (messages[0]?.blocks ?? []).flatMap(shorten);
}

function shorten(block: Block): string[] {
  switch (block.type) {
    case 'header':
      return [`header ${block.text.text}`];
    case 'table':
      return [
        `table ${JSON.stringify(block.rows.map((row) => row.map((cell) => (cell.type === 'raw_text' ? cell.text : shorten(cell).join()))))}`,
      ];
    case 'rich_text':
      return block.elements.map((element) => {
        const name = element.type.replace('rich_text_', '');
        if (element.type !== 'rich_text_list') return `${name} ${inlines(element.elements)}`;
        const shape = `${element.style}${element.indent ?? ''}${element.offset === undefined ? '' : `+${element.offset}`}`;
        return `${shape} ${element.elements.map((item) => inlines(item.elements)).join(' / ')}`;
      });
    default:
      return [block.type];
  }
}

function inlines(elements: Extract<Block, { type: 'rich_text' }>['elements'][0]['elements']): string {
  return elements
    .map((each) => {
      if (each.type === 'rich_text_section') return inlines(each.elements);
      const marks =
        'style' in each
          ? Object.keys(each.style ?? {})
              .map((key) => key[0])
              .join('')
          : '';
      const text = each.type === 'user' ? `@${each.user_id}` : each.type === 'link' ? `<${each.url}|${each.text}>` : each.text;
      return marks === '' ? text : `${marks}{${text}}`;
    })
    .join('');
}

describe('markdown in slack', () => {
  const cases: readonly [name: string, markdown: string, blocks: readonly string[]][] = [
    ['paragraphs', 'one\ntwo\n\nthree', ['section one\ntwo\n\nthree']],
    ['headings: large ones as headers', '# One\n\n## Two\n\n### Three', ['header One', 'header Two', 'section b{Three}']],
    ['a heading with a link, which headers cannot hold', '# [a](https://a.b)', ['section b{<https://a.b|a>}']],
    ['styles, also within each other', '**b _i_** ~~s~~ `c`', ['section b{b }bi{i} s{s} c{c}']],
    [
      'what Slack would read as styles and Markdown does not',
      '\\*a\\* 2 * 3 * 4 snake_case_name ~x',
      ['section *a* 2 * 3 * 4 snake_case_name ~x'],
    ],
    ['fenced code, as it stands', '```ts\nconst a = `<@U1>` && "*b*";\n```', ['preformatted const a = `<@U1>` && "*b*";']],
    ['code that is not closed yet', 'so:\n\n```ts\nlet', ['section so:', 'preformatted let']],
    ['indented code', '    x < y', ['preformatted x < y']],
    ['lists in lists', '- a\n  - b\n    1. c\n- d', ['bullet a', 'bullet1 b', 'ordered2 c', 'bullet d']],
    ['a list that goes on counting after code', '1. a\n   ```\n   x\n   ```\n2. b', ['ordered a', 'preformatted x', 'ordered+1 b']],
    ['a list that begins with another number', '7. a\n8. b', ['ordered+6 a / b']],
    ['tasks', '- [x] a\n- [ ] b', ['bullet ☑ a / ☐ b']],
    [
      'lists deeper than Slack has',
      Array.from({ length: 11 }, (_, depth) => `${'  '.repeat(depth)}- ${depth}`).join('\n'),
      [
        'bullet 0',
        'bullet1 1',
        'bullet2 2',
        'bullet3 3',
        'bullet4 4',
        'bullet5 5',
        'bullet6 6',
        'bullet7 7',
        'bullet8 8',
        'bullet8 9',
        'bullet8 10',
      ],
    ],
    ['quotes, with what is in them', '> a\n>\n> b\n> - c\n\nd', ['quote a\n\nb', 'bullet c', 'section d']],
    [
      'links',
      '[a](https://a.b/c?d=1&e) <https://f.g> https://h.i [m](mailto:x@y.z)',
      [
        'section <https://a.b/c?d=1&e|a> <https://f.g|https://f.g> https://h.i'.replace('https://h.i', '<https://h.i|https://h.i>') +
          ' <mailto:x@y.z|m>',
      ],
    ],
    ['references', '[a][1]\n\n[1]: https://a.b', ['section <https://a.b|a>']],
    ['images as links', '![a cat](https://a.b/c.png)', ['section <https://a.b/c.png|a cat>']],
    ['a table', '| a | b |\n|---|--:|\n| **1** | |', ['table [["a","b"],["section b{1}"," "]]']],
    [
      'a second table as code',
      '|a|\n|-|\n|1|\n\nx\n\n|b|c|\n|-|-:|\n|22|3|',
      ['table [["a"],["1"]]', 'section x', 'preformatted b  | c\n---+--\n22 | 3'],
    ],
    [
      'a table of too many columns as code',
      `${'|a'.repeat(21)}|\n${'|-'.repeat(21)}|`,
      [`preformatted ${Array(21).fill('a').join(' | ')}\n${Array(21).fill('-').join('-+-')}`],
    ],
    [
      'a table of nothing but bold',
      `|a|\n|-|\n${`|${Array(8).fill('**b**').join(' ')}|\n`.repeat(99)}`,
      [`table ${JSON.stringify([['a'], ...Array.from({ length: 99 }, () => [`section ${Array(8).fill('b{b}').join(' ')}`])])}`],
    ],
    ['rules', 'a\n\n---\n\nb', ['section a', 'divider', 'section b']],
    ['footnotes', 'a[^x]\n\n[^x]: b', ['section a[x]', 'divider', 'section [x] b']],
    ['HTML as it stands', 'a <b>c</b>\n\n<div onclick="x">\ny\n</div>', ['section a <b>c</b>\n\n<div onclick="x">\ny\n</div>']],
    ['entities of HTML as what they mean', '&lt;!channel&gt; &amp;', ['section <!channel> &']],
    ['what runs from right to left, and cannot be seen', 'שלום \u200bx', ['section שלום \u200bx']],
    ['nothing', ' \n\n', []],
    ['NUL is dropped, and half a character is replaced', 'a\0b \ud83d', ['section ab \ufffd']],
  ];
  for (const [name, markdown, blocks] of cases) it(name, () => assert.deepEqual(show(markdown), blocks));
});

describe('nothing that an agent writes', () => {
  it('calls people: only those on the list are mentioned', () => {
    const markdown = '<@U1> <@U2> <@W3|bob> <!channel> <!here|x> <!subteam^S1> <#C1> @channel @here @everyone';
    assert.deepEqual(show(markdown, ['U1']), [
      'section @U1 <@U2> <@W3|bob> <!channel> <!here|x> <!subteam^S1> <#C1> @channel @here @everyone',
    ]);
    const { text } = splitAnswer(`${markdown} **<!channel>** \`<@U2>\` [<!here>](https://a.b) # <@U2>`, { mentions: ['U1'] })
      .messages[0] ?? { text: '' };
    assert.deepEqual(text.match(/<[@!#][^>]*>/g), ['<@U1>']);
    assert.doesNotMatch(text, /@(channel|here|everyone)/);
  });

  it('calls people where Slack reads Markdown, and looks the same', () => {
    for (const ping of ['<@U1>', '<@W1|x>', '<!channel>', '<!here>', '<!subteam^S1>', '<#C1>', '@channel', '@Everyone', '@here!']) {
      const safe = withoutPings(`a ${ping} b`);
      assert.doesNotMatch(safe, /<[@#][A-Z\d]|<!\w|@(channel|everyone|here)/i);
      assert.equal(safe.replaceAll('\u2060', ''), `a ${ping} b`);
    }
    for (const plain of ['<!DOCTYPE html>', 'a@b.c', 'if (a <b)', '@herein', '<!-- -->']) assert.equal(withoutPings(plain), plain);
  });

  it('calls anyone but who may be called, in Markdown too', () => {
    assert.equal(withoutPings('<@U1> <@U1|x> <@U2>', ['U1']), '<@U1> <@U1|x> <\u2060@U2>');
  });

  it('calls people when half of the ping comes first', () => {
    for (const ping of ['<@U1>', '<!channel>', '<!subteam^S1>', '@channel', '@everyone']) {
      for (let cut = 1; cut < ping.length; cut++) {
        const first = ping.slice(0, cut);
        const said = first.slice(0, settledLength(first));
        const both = withoutPings(said) + withoutPings(ping).slice(withoutPings(said).length);
        assert.equal(both, withoutPings(ping), `${ping} cut at ${cut}`);
        assert.ok(withoutPings(ping).startsWith(withoutPings(said)), `${ping} cut at ${cut}`);
      }
    }
  });

  const refused = [
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    'data:text/html,x',
    'vbscript:x',
    'file:///etc/passwd',
    'slack://open',
    '//evil.com',
    '/a',
    'a.b',
    'https:evil.com',
    'http://',
    'https://a b',
    'https://a\u200b.b',
    `https://a.b/${'x'.repeat(2000)}`,
    '',
  ];
  for (const url of refused) {
    it(`leads to ${JSON.stringify(url.slice(0, 30))}`, () => {
      assert.equal(safeUrl(url), undefined);
      assert.doesNotMatch(JSON.stringify(splitAnswer(`[x](<${url}>) ![y](<${url}>)`).messages), /"type":"link"/);
    });
  }

  const labels: readonly [label: string, url: string, shown: string][] = [
    ['docs', 'https://a.b/c', 'docs'],
    ['https://bank.com', 'https://evil.com', 'https://evil.com'],
    ['bank.com', 'https://evil.com/', 'https://evil.com/'],
    ['bank.com/login', 'https://bank.com.evil.io/login', 'https://bank.com.evil.io/login'],
    ['see https://bank.com here', 'https://evil.com', 'https://evil.com'],
    ['ba\u200bnk.com', 'https://evil.com', 'https://evil.com'],
    ['b a n k . c o m', 'https://evil.com', 'https://evil.com'],
    ['\u202emoc.live', 'https://evil.com', 'https://evil.com'],
    ['\u202e(moc.knab)', 'https://evil.com', 'https://evil.com'],
    ['me@bank.com', 'mailto:you@evil.com', 'mailto:you@evil.com'],
    ['www.bank.com', 'https://bank.com/', 'www.bank.com'],
    ['BANK.com', 'https://bank.com', 'BANK.com'],
    ['bank.com/a…', 'https://bank.com/a/b/c', 'bank.com/a…'],
    ['bank.com…', 'https://bank.com.evil.io', 'https://bank.com.evil.io'],
    ['me@bank.com', 'mailto:me@bank.com', 'me@bank.com'],
    ['README.md', 'https://github.com/a/b/blob/main/README.md#x', 'README.md'],
    ['README.md', 'https://evil.com', 'https://evil.com'],
    ['Node.js', 'https://nodejs.org', 'Node.js'],
    ['v1.2.3', 'https://a.b', 'v1.2.3'],
    ['', 'https://a.b', 'https://a.b'],
    ['\u200b', 'https://a.b', 'https://a.b'],
  ];
  for (const [label, url, shown] of labels)
    it(`shows ${JSON.stringify(label)} for ${url} if that is something else`, () => assert.equal(safeLabel(label, url), shown));

  it('ends a link of mrkdwn early', () => {
    const { text } = splitAnswer('[a|b>c](https://a.b/?x=<!here>|y)').messages[0] ?? { text: '' };
    assert.doesNotMatch(text, /<!here>/);
    assert.equal(text.match(/</g)?.length ?? 0, text.match(/>/g)?.length ?? 0);
  });
});

describe('cutting text', () => {
  it('never halves a character, nor parts an accent or the people of a family', () => {
    assert.equal(safeEnd('a😀b', 2), 1);
    assert.equal(safeEnd('ae\u0301b', 2), 1);
    assert.equal(safeEnd('a👩‍👧b', 3), 1);
    assert.equal(safeEnd('😀', 1), 2);
    assert.equal(safeEnd('abc', 9), 3);
    assert.equal(clip('😀😀😀', 4), '😀…');
  });

  it('aligns tables by what characters take', () => {
    assert.equal(
      alignTable(
        [
          ['中', 'b'],
          ['a', '1\n2'],
        ],
        ['left', 'right'],
      ),
      '中 |   b\n---+----\na  | 1 2',
    );
  });
});
