import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textOfAttachments, textOfBlocks } from './blocks.ts';
import { idsIn, stripMention, toWords, whoIsNamed } from './words.ts';

const NAMES = { people: new Map([['U0ADA', 'Ada Lovelace']]), channels: new Map([['C0OPS', 'ops']]) };

const WORDS: readonly (readonly [markup: string, words: string])[] = [
  ['hi <@U0ADA>, meet <@U0X> and <@U0Y|yo>', 'hi @Ada Lovelace, meet @U0X and @yo'],
  ['in <#C0OPS>, <#C0X|general> and <#C0Y>', 'in #ops, #general and #C0Y'],
  ['<!here> <!subteam^S0X|@team> <!subteam^S0Y> <!channel>', '@here @team @a group @channel'],
  ['<!date^1392734382^{date_num}|18 Feb>', '18 Feb'],
  ['see <https://example.com/a?b=1&amp;c=2>', 'see https://example.com/a?b=1&c=2'],
  ['<http://example.com|example.com>', 'http://example.com'],
  ['<https://example.com/a|the page>', 'the page (https://example.com/a)'],
  ['<https://evil.example/|https://bank.example/>', 'https://bank.example/ (https://evil.example/)'],
  ['<mailto:a@example.com|a@example.com>', 'a@example.com'],
  ['1 &lt; 2 &amp;&amp; 3 &gt; 2', '1 < 2 && 3 > 2'],
  ['&lt;@U0ADA&gt; was typed', '<@U0ADA> was typed'],
  ['&amp;lt;', '&lt;'],
  ['a < b <', 'a < b <'],
  ['```\ncurl <https://example.com> &lt; in\n```', '```\ncurl https://example.com < in\n```'],
];
for (const [markup, words] of WORDS) test(`${markup} reads ${words}`, () => assert.equal(toWords(markup, NAMES), words));

test('who is named is told apart from what was only typed', () => {
  assert.deepEqual(
    ['<@U0ME> hi', '&lt;@U0ME&gt;', '<@U0ADA> hi', '<!here>', '<#C0OPS>', '<@U0ME|me> <@U0ADA>', '<@U0MEE>'].map((text) =>
      Object.values(whoIsNamed(text, 'U0ME')),
    ),
    [
      [true, false],
      [false, false],
      [false, true],
      [false, true],
      [false, false],
      [true, true],
      [false, true],
    ],
  );
  assert.deepEqual(idsIn('<@U0ADA> <@U0ADA|a> <#C0OPS> <#C0X|x> <https://x>'), { people: ['U0ADA'], channels: ['C0OPS'] });
});

test('mentions of us go, with what belongs to them', () => {
  assert.deepEqual(
    ['<@U0ME>: hi', 'hi <@U0ME>', '<@U0ME>, <@U0ME> hi', 'so <@U0ME|me> do it', 'a\n<@U0ME>\nb', '<@U0ME>hi'].map((text) =>
      stripMention(text, 'U0ME'),
    ),
    ['hi', 'hi', 'hi', 'so do it', 'a\n\nb', 'hi'],
  );
});

test('blocks are read whatever they hold', () => {
  const section = (...elements: unknown[]) => ({ type: 'rich_text', elements: [{ type: 'rich_text_section', elements }] });
  const rows: readonly (readonly [unknown, string])[] = [
    [
      [section({ type: 'text', text: 'a <b> ' }, { type: 'user', user_id: 'U0ADA' }, { type: 'emoji', name: 'tada' })],
      'a &lt;b&gt; <@U0ADA>:tada:',
    ],
    [
      [section({ type: 'link', url: 'https://x.example', text: 'x' }, { type: 'broadcast', range: 'here' })],
      '<https://x.example|x><!here>',
    ],
    [
      [
        {
          type: 'rich_text',
          elements: [{ type: 'rich_text_list', elements: [{ type: 'rich_text_section', elements: [{ type: 'text', text: 'one' }] }] }],
        },
      ],
      '• one',
    ],
    [[{ type: 'rich_text', elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'text', text: 'x=1' }] }] }], '```\nx=1\n```'],
    [
      [{ type: 'section', text: { type: 'mrkdwn', text: '*a* <@U0ADA>' }, fields: [{ type: 'plain_text', text: '<b>' }] }],
      '*a* <@U0ADA>\n&lt;b&gt;',
    ],
    [
      [
        { type: 'header', text: { type: 'plain_text', text: 'H' } },
        { type: 'divider' },
        { type: 'context', elements: [{ type: 'mrkdwn', text: 'c' }] },
      ],
      'H\nc',
    ],
    [[{ type: 'rich_text', elements: 'x' }, null, 7, { type: 'section', text: 'x' }, {}], ''],
    ['x', ''],
  ];
  for (const [blocks, text] of rows) assert.equal(textOfBlocks(blocks), text);
  let deep: unknown = { type: 'text', text: 'x' };
  for (let i = 0; i < 2000; i++) deep = { type: 'rich_text', elements: [deep] };
  assert.equal(textOfBlocks([deep]), '');
});

test('of attachments the text is read, and what stands in for it', () => {
  assert.equal(
    textOfAttachments([{ title: 'T', text: 't', fields: [{ title: 'a', value: '1' }], fallback: 'f' }, { fallback: 'only' }]),
    'T\nt\na: 1\n\nonly',
  );
  assert.equal(
    textOfAttachments([
      { author_name: 'Grace', message_blocks: [{ message: { blocks: [{ type: 'header', text: { type: 'plain_text', text: 'said' } }] } }] },
    ]),
    'Grace\nsaid',
  );
});
