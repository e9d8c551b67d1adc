import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { plainText } from './blocks.ts';
import { LIMITS } from './limits.ts';
import { splitAnswer } from './split.ts';

describe('an answer in messages', () => {
  it('is one message when it fits', () => {
    assert.equal(splitAnswer('x '.repeat(5_900)).messages.length, 1);
    assert.equal(splitAnswer('x '.repeat(6_100)).messages.length, 2);
  });

  it('ends parts with paragraphs, lines or words', () => {
    const paragraph = `${'lorem ipsum '.repeat(80).trim()}.`;
    const { messages } = splitAnswer(Array(30).fill(paragraph).join('\n\n'));
    assert.ok(messages.length > 1);
    for (const { blocks } of messages) for (const block of blocks) assert.ok(plainText([block]).endsWith('.'));
    const words = splitAnswer('word '.repeat(4_000)).messages.flatMap((message) => message.blocks.map((block) => plainText([block])));
    for (const text of words) assert.match(text, /^(word ?)+$/);
  });

  it('closes and opens code at the ends of lines', () => {
    const code = Array.from({ length: 900 }, (_, index) => `const line${index} = ${index};`).join('\n');
    const { messages } = splitAnswer(`\`\`\`ts\n${code}\n\`\`\``);
    const parts = messages.flatMap(({ blocks }) => blocks.flatMap((block) => (block.type === 'rich_text' ? block.elements : [])));
    assert.ok(parts.length > 5);
    for (const part of parts) {
      assert.equal(part.type, 'rich_text_preformatted');
      assert.match(plainText([{ type: 'rich_text', elements: [part] }]), /^(const line\d+ = \d+;\n?)+$/);
    }
    assert.equal(messages.map(({ blocks }) => plainText(blocks)).join('\n'), code);
  });

  it('never cuts a row of a table', () => {
    const rows = Array.from({ length: 200 }, (_, index) => `| row ${index} | ${'cell '.repeat(8)} | end ${index} |`);
    const { messages } = splitAnswer(`| a | b | c |\n|---|---|---|\n${rows.join('\n')}`);
    const lines = messages.flatMap(({ blocks }) => plainText(blocks).split('\n')).filter((line) => line.startsWith('row'));
    assert.equal(lines.length, 200);
    for (const line of lines) assert.match(line, /^row (\d+) .*end \1$/);
  });

  it('never cuts a link', () => {
    const { messages } = splitAnswer(
      Array.from({ length: 300 }, (_, index) => `[link number ${index}](https://example.com/${index}/${'x'.repeat(60)})`).join(' '),
    );
    const links = JSON.stringify(messages).match(/"text":"link number \d+"/g);
    assert.equal(links?.length, 300);
  });

  it('is shown as it stands when its emphasis is nested without end', () => {
    const deep = `${'*aaaaaa '.repeat(2_000)}x${' a*'.repeat(2_000)}`;
    const { messages } = splitAnswer(deep);
    assert.ok(plainText(messages[0]?.blocks ?? []).startsWith('*aaaaaa *aaaaaa'));
    const some = splitAnswer('*aaaaaa* '.repeat(1_000));
    assert.ok(!plainText(some.messages[0]?.blocks ?? []).includes('*'));
  });

  it('keeps a heading with what it heads', () => {
    for (let size = 11_700; size < 12_000; size += 20) {
      const { messages } = splitAnswer(`${'x '.repeat(size / 2)}\n\n# Heading\n\n${'y '.repeat(200)}`);
      assert.notEqual(messages[0]?.blocks.at(-1)?.type, 'header', `${size}`);
    }
  });

  it('attaches what is longer than can be shown, whole, and says so', () => {
    const markdown = Array(2_000).fill('A sentence of some words.').join('\n\n');
    const { messages, attachment } = splitAnswer(markdown);
    assert.deepEqual(attachment, { filename: 'answer.md', content: markdown });
    assert.ok(messages.length <= LIMITS.messages);
    assert.match(plainText(messages.at(-1)?.blocks ?? []), /The whole answer is in answer\.md: 53,998 characters\.$/);
    assert.equal(splitAnswer('---\n\n'.repeat(2_000)).attachment?.filename, 'answer.md');
  });
});
