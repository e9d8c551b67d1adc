/** Blocks as Slack's mrkdwn: what notifications and screen readers get, and where blocks cannot be shown. */
import type { Block, Inline, RichTextElement, TableCell } from './blocks.ts';
import { clip } from '../../chat/text.ts';
import { escapeSlack, withoutPings } from './text.ts';

/** At most `limit` characters; a link is there whole or not at all. */
export function toMrkdwn(blocks: readonly Block[], limit: number): string {
  let text = '';
  for (const part of blocks.flatMap((block) => [...partsOf(block), '\n'])) {
    if (text.length + part.length >= limit) return `${text.trimEnd()}…`;
    text += part;
  }
  return text.trimEnd();
}

/** Words that are no markup, whatever they are. */
export function mrkdwnText(text: string): string {
  return escapeSlack(withoutPings(text));
}

export function mrkdwnLink(url: string, label: string): string {
  // the two characters that would end it
  return `<${escapeSlack(url).replaceAll('|', '%7C')}|${mrkdwnText(label.replaceAll('\n', ' '))}>`;
}

function partsOf(block: Block): string[] {
  switch (block.type) {
    case 'header':
      return [`*${mrkdwnText(block.text.text)}*`];
    case 'divider':
      return ['———'];
    case 'context':
      return block.elements.map((element) => element.text);
    case 'actions':
      return [];
    case 'table':
      return block.rows.flatMap((row) => [...row.flatMap((cell, index) => [index > 0 ? ' | ' : '', ...cellParts(cell)]), '\n']);
    case 'rich_text':
      return block.elements.flatMap((element) => [...elementParts(element), '\n']);
  }
}

function cellParts(cell: TableCell): string[] {
  return cell.type === 'raw_text' ? words(cell.text) : partsOf(cell).filter((part) => part !== '\n');
}

function elementParts(element: RichTextElement): string[] {
  switch (element.type) {
    case 'rich_text_section':
      return element.elements.flatMap(inlineParts);
    case 'rich_text_quote':
      return ['> ', ...element.elements.flatMap(inlineParts).map((part) => part.replaceAll('\n', '\n> '))];
    case 'rich_text_preformatted':
      return ['```\n', ...element.elements.flatMap((inline) => words(inline.type === 'user' ? inline.user_id : inline.text)), '\n```'];
    case 'rich_text_list': {
      const lead = '    '.repeat(element.indent ?? 0);
      return element.elements.flatMap((item, index) => {
        const mark = element.style === 'ordered' ? `${(element.offset ?? 0) + index + 1}.` : '•';
        return [`${index > 0 ? '\n' : ''}${lead}${mark} `, ...item.elements.flatMap(inlineParts)];
      });
    }
  }
}

function inlineParts(inline: Inline): string[] {
  if (inline.type === 'user') return [`<@${inline.user_id}>`];
  // a label so long that the notification would be nothing else
  if (inline.type === 'link') return [mrkdwnLink(inline.url, clip(inline.text, 300))];
  const { bold, italic, strike, code } = inline.style ?? {};
  const marks = [code && '`', bold && '*', italic && '_', strike && '~'].filter((mark) => mark !== undefined);
  if (marks.length === 0 || inline.text.trim() !== inline.text || inline.text.length > 300) return words(inline.text);
  return [`${marks.toReversed().join('')}${mrkdwnText(inline.text)}${marks.join('')}`];
}

/** In pieces at which the whole may end. */
function words(text: string): string[] {
  return mrkdwnText(text).match(/\s*\S{1,60}|\s+$/gu) ?? [];
}
