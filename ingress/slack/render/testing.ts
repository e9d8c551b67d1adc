/** What the tests of this room share: Markdown by dice, Markdown to hurt, and whether Slack would take a message. */
import type { Dice } from '../../chat/testing.ts';
import { type Block, plainElement, plainText, sizeOfElement } from './blocks.ts';
import { LIMITS } from './limits.ts';
import type { SlackMessage } from './split.ts';

/** Markdown of all kinds. Its words are numbered, so that what is lost, doubled or out of order shows. */
export function writeMarkdown(dice: Dice, blocks: number): string {
  let count = 0;
  const word = (): string => {
    count++;
    const decoration = ['', '', '', 'é', '中文', '👩‍👩‍👧', '😀', 'שלום', 'a\u0301'][dice(9)] ?? '';
    return `w${count}w${decoration}`;
  };
  const words = (most: number): string => Array.from({ length: 1 + dice(most) }, phrase).join(' ');
  function phrase(): string {
    switch (dice(12)) {
      case 0:
        return `**${word()}**`;
      case 1:
        return `_${word()}_`;
      case 2:
        return `~~${word()}~~`;
      case 3:
        return `\`${word()}\``;
      case 4:
        return `[${word()}](https://example.com/${dice(100)})`;
      case 5:
        return `**${word()} _${word()}_ ${word()}**`;
      default:
        return word();
    }
  }
  const lines = (most: number, line: () => string): string => Array.from({ length: 1 + dice(most) }, line).join('\n');
  function block(): string {
    switch (dice(9)) {
      case 0:
        return `${'#'.repeat(1 + dice(6))} ${words(5)}`;
      case 1:
        return `\`\`\`ts\n${lines(200, () => `${word()} ${word()};`)}\n\`\`\``;
      case 2:
        return lines(60, () => `${'  '.repeat(dice(3))}- ${words(8)}`);
      case 3:
        return Array.from({ length: 1 + dice(30) }, (_, index) => `${index + 1}. ${words(8)}`).join('\n');
      case 4:
        return lines(20, () => `> ${words(12)}`);
      case 5:
        return `| ${word()} | ${word()} |\n|---|--:|\n${lines(40, () => `| ${words(3)} | ${word()} |`)}`;
      case 6:
        return '---';
      default:
        return words(300);
    }
  }
  return Array.from({ length: blocks }, block).join('\n\n');
}

/** `size` characters each. */
export function hostileMarkdown(size: number): Record<string, string> {
  const fill = (text: string): string => text.repeat(Math.ceil(size / text.length)).slice(0, size);
  return {
    backticks: fill('`'),
    'longer and longer backticks': Array.from({ length: Math.floor(Math.sqrt(2 * size)) }, (_, index) => '`'.repeat(index + 1)).join(' '),
    brackets: fill('['),
    'closing brackets': fill(']'),
    'links that never end': fill('[a]('),
    'links in links': fill('[') + fill('](b)'),
    references: fill('[a]'),
    images: fill('!['),
    stars: fill('*'),
    'stars between words': fill('a**b'),
    underscores: fill('_a'),
    tildes: fill('~a~ '),
    'quotes in quotes': fill('>'),
    'quotes in quotes, apart': fill('> '),
    'lists in lists': fill('- '),
    'numbered lists in lists': fill('1. '),
    'lists in quotes': fill('> - '),
    'lazy lines': `${'> '.repeat(200)}a\n${fill('b\n')}`,
    'deeper and deeper': Array.from({ length: Math.floor(Math.sqrt(size)) }, (_, index) => `${'  '.repeat(index)}- a`).join('\n'),
    tables: `|a|b|\n|-|-|\n${fill('|x|y|\n')}`,
    'one wide row': `${fill('|a')}|\n${fill('|-')}|\n`,
    'one wide cell': `|a|b|\n|-|-|\n|${fill('x')}|y|\n${fill('|x|y|\n')}`,
    'less than': fill('<'),
    tags: fill('<a '),
    ampersands: fill('&'),
    definitions: fill('[a]: b\n'),
    footnotes: `${fill('[^1]')}\n\n[^1]: x`,
    addresses: fill('http://a.b '),
    mail: fill('a@b.c'),
    lines: fill('\n'),
    spaces: fill(' '),
    rules: fill('---\n\n'),
    headings: fill('# a\n\n'),
    'no spaces': fill('x'),
    emoji: fill('😀'),
    'accents without end': `a${fill('\u0301')}`,
    joined: fill('👩\u200d'),
    halves: fill('\ud83d'),
    nul: fill('\0'),
  };
}

/** What Slack would refuse of it, as far as its documents and we know. */
export function refusals({ blocks, text }: SlackMessage): string[] {
  const found: string[] = [];
  const refuse = (isWrong: boolean, why: string): void => void (isWrong && found.push(why));
  refuse(blocks.length > LIMITS.blocks, `${blocks.length} blocks`);
  refuse(text.length > LIMITS.fallbackText, `a text of ${text.length}`);
  refuse(plainText(blocks).length > LIMITS.messageText * 1.1, `${plainText(blocks).length} characters`);
  refuse(blocks.filter((block) => block.type === 'table').length > 1, 'two tables');
  const everything = JSON.stringify({ blocks, text });
  refuse(/\\ud[89a-f]/i.test(everything) || everything.includes('\\u0000'), 'half a character');
  refuse(/"text":""|"elements":\[\]|"text":\{\}/.test(everything), 'something empty');
  for (const block of blocks) found.push(...refusalsOf(block));
  return found;
}

function refusalsOf(block: Block): string[] {
  if (block.type === 'header') return block.text.text.length > LIMITS.headerText ? ['a long header'] : [];
  if (block.type === 'rich_text') {
    const size = block.elements.reduce((sum, element) => sum + sizeOfElement(element), 0);
    return size > LIMITS.blockText
      ? [`rich text of ${size}: ${plainElement(block.elements[0] as (typeof block.elements)[0]).slice(0, 40)}`]
      : [];
  }
  if (block.type !== 'table') return [];
  const isLarge = block.rows.length > LIMITS.tableRows || block.rows.some((row) => row.length > LIMITS.tableColumns);
  return isLarge || plainText([block]).length > LIMITS.tableText * 1.1 ? ['a large table'] : [];
}
