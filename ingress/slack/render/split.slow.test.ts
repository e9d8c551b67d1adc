import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createDice } from '../../chat/testing.ts';
import { plainInlines, plainText } from './blocks.ts';
import { type Piece, readMarkdown } from './markdown.ts';
import { type SlackMessage, splitAnswer } from './split.ts';
import { hostileMarkdown, refusals, writeMarkdown } from './testing.ts';

const SEEDS = 20;
/** Of the processor's time, since a busy machine takes ten times as long as an idle one. */
const CPU_MS = 6_000;

function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1_000;
}

/** What is read of it, whatever lines it is on. Marks between the cells of tables that became code do not count. */
function read(text: string): string {
  return text.replaceAll(/[\s|+-]/g, '');
}

const shownIn = (messages: readonly SlackMessage[]): string => read(messages.map((message) => plainText(message.blocks)).join('\n'));

function wholeOf(pieces: readonly Piece[]): string {
  return read(
    pieces
      .map((piece) => {
        if (piece.type === 'header') return piece.text;
        if (piece.type === 'divider') return '';
        if (piece.type === 'table') return piece.rows.flat().map(plainInlines).join(' ');
        const { element } = piece;
        return element.type === 'rich_text_list'
          ? element.elements.map((item) => plainInlines(item.elements)).join(' ')
          : plainInlines(element.elements);
      })
      .join('\n'),
  );
}

describe('any answer in messages', () => {
  it('says everything once and in order, within the limits, whatever it is', () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const dice = createDice(seed);
      const markdown = writeMarkdown(dice, 1 + dice(24));
      const { messages, attachment } = splitAnswer(markdown);
      for (const message of messages) assert.deepEqual(refusals(message), [], `seed ${seed}`);
      const whole = wholeOf(readMarkdown(markdown));
      if (attachment === undefined) assert.equal(shownIn(messages), whole, `seed ${seed}`);
      else {
        assert.equal(attachment.content, markdown);
        const words = [...shownIn(messages).matchAll(/w(\d+)w/g)].map((match) => Number(match[1]));
        // the last may be cut in two
        assert.deepEqual(
          words.slice(0, -1),
          words.slice(0, -1).map((_, index) => index + 1),
          `seed ${seed}`,
        );
      }
    }
  });

  for (const [name, markdown] of Object.entries(hostileMarkdown(1_000_000))) {
    it(`takes a megabyte of ${name}`, () => {
      const start = process.cpuUsage();
      const { messages } = splitAnswer(markdown);
      const took = cpuMs(start);
      for (const message of messages) assert.deepEqual(refusals(message), []);
      assert.ok(took < CPU_MS, `${Math.round(took)} ms`);
    });
  }
  for (const [name, markdown] of Object.entries(hostileMarkdown(30_000))) {
    it(`takes 30,000 characters of ${name}, which are all shown`, () => {
      const start = process.cpuUsage();
      const { messages } = splitAnswer(markdown);
      const took = cpuMs(start);
      for (const message of messages) assert.deepEqual(refusals(message), []);
      assert.ok(took < CPU_MS, `${Math.round(took)} ms`);
    });
  }
});
