/** What blocks and attachments say, in the markup in which Slack sends texts: apps often send nothing else. */
import type { Raw } from '../heard.ts';
import { escapeSlack } from '../render/text.ts';
import { listOf, objectOf, objectsOf, textOf } from '../shapes.ts';

const DEEPEST = 8;
/** Of all blocks of a message; a message has some 40,000 at most. */
const LONGEST = 100_000;

export function textOfBlocks(blocks: unknown): string {
  return objectsOf(blocks)
    .map((block) => textOfBlock(block, 0))
    .filter((text) => text !== '')
    .join('\n')
    .slice(0, LONGEST);
}

/** Messages that somebody has shared, links that were unfolded, and what older apps send. */
export function textOfAttachments(attachments: unknown): string {
  return objectsOf(attachments)
    .map((attachment) => {
      const shared = objectsOf(attachment['message_blocks']).map((each) => textOfBlocks(objectOf(each['message'])?.['blocks']));
      const fields = objectsOf(attachment['fields']).map((field) =>
        [textOf(field['title']), textOf(field['value'])].filter(Boolean).join(': '),
      );
      const said = [textOf(attachment['text']), textOfBlocks(attachment['blocks']), shared.join('\n')].find((text) => text !== '');
      const lines = [textOf(attachment['pretext']), textOf(attachment['author_name']), textOf(attachment['title']), said, ...fields];
      const told = lines.filter((line) => line !== undefined && line !== '').join('\n');
      return told === '' ? textOf(attachment['fallback']) : told;
    })
    .filter((text) => text !== '')
    .join('\n\n')
    .slice(0, LONGEST);
}

function textOfBlock(block: Raw, depth: number): string {
  if (depth > DEEPEST) return '';
  const inner = (key: string, between: string): string =>
    objectsOf(block[key])
      .map((each) => textOfBlock(each, depth + 1))
      .filter((text) => text !== '')
      .join(between);
  switch (block['type']) {
    case 'rich_text':
      return inner('elements', '\n');
    case 'rich_text_section':
      return inner('elements', '');
    case 'rich_text_list':
      return objectsOf(block['elements'])
        .map((each) => `• ${textOfBlock(each, depth + 1)}`)
        .join('\n');
    case 'rich_text_quote':
      return inner('elements', '')
        .split('\n')
        .map((line) => `&gt; ${line}`)
        .join('\n');
    case 'rich_text_preformatted':
      return `\`\`\`\n${inner('elements', '')}\n\`\`\``;
    case 'section':
      return [textOfObject(block['text']), ...objectsOf(block['fields']).map(textOfObject)].filter((text) => text !== '').join('\n');
    case 'header':
      return textOfObject(block['text']);
    case 'context':
      return objectsOf(block['elements']).map(textOfObject).join(' ').trim();
    case 'markdown':
      return escapeSlack(textOf(block['text']));
    case 'image':
      return escapeSlack(textOf(block['alt_text']));
    case 'table':
      return listOf(block['rows'])
        .map((row) =>
          objectsOf(row)
            .map((cell) => textOfBlock(cell, depth + 1))
            .join(' | '),
        )
        .join('\n');
    case 'raw_text':
      return escapeSlack(textOf(block['text']));
    default:
      return textOfInline(block);
  }
}

/** A piece of rich text. */
function textOfInline(element: Raw): string {
  const id = textOf(element['user_id'] ?? element['channel_id'] ?? element['usergroup_id']);
  switch (element['type']) {
    case 'text': {
      const isCode = objectOf(element['style'])?.['code'] === true;
      const text = escapeSlack(textOf(element['text']));
      return isCode && text !== '' ? `\`${text}\`` : text;
    }
    case 'user':
      return `<@${id}>`;
    case 'channel':
      return `<#${id}>`;
    case 'usergroup':
      return `<!subteam^${id}>`;
    case 'broadcast':
      return `<!${textOf(element['range'])}>`;
    case 'link': {
      const label = textOf(element['text']);
      return label === '' ? `<${textOf(element['url'])}>` : `<${textOf(element['url'])}|${escapeSlack(label)}>`;
    }
    case 'emoji':
      return `:${textOf(element['name'])}:`;
    case 'date':
      return escapeSlack(textOf(element['fallback']));
    default:
      return '';
  }
}

/** A text object: markup as it is, plain text escaped. */
function textOfObject(value: unknown): string {
  const object = objectOf(value);
  const text = textOf(object?.['text']);
  return object?.['type'] === 'mrkdwn' ? text : escapeSlack(text);
}
