/** A thread as text: for the documentation, and for what a failed test says. */
import type { SeenMessage } from './seen.ts';
import type { Json } from './world.ts';

/** @param nameOf a user's or bot's name by its id */
export function transcribe(messages: readonly SeenMessage[], nameOf: (id: string) => string): string {
  return messages.map((message, place) => (place === 0 ? '' : '  ') + lines(message, nameOf).join(place === 0 ? '\n' : '\n  ')).join('\n');
}

function lines({ by, text, blocks, files, stream, isMarkedEdited, reactions }: SeenMessage, nameOf: (id: string) => string): string[] {
  const written = text.replaceAll(/<@([A-Z0-9]+)>/g, (_, id: string) => `@${nameOf(id)}`);
  const note = isMarkedEdited ? ' (edited)' : stream === undefined || stream.state === 'stopped' ? '' : ` (${stream.state})`;
  return [
    `${nameOf(by)}: ${written}${note}`,
    ...(stream?.plan === undefined ? [] : [`    # ${stream.plan}`]),
    ...(stream?.tasks ?? []).map(({ status, title, details }) => `    [${status}] ${title}${details === undefined ? '' : ` · ${details}`}`),
    ...blocks.filter(({ type }) => type !== 'rich_text').flatMap((block) => blockLines(block).map((line) => `    | ${line}`)),
    ...files.map(({ name }) => `    file: ${name}`),
    ...Object.entries(reactions).map(([name, users]) => `    :${name}: ${users.map(nameOf).join(', ')}`),
  ];
}

/** Every text in a block, and the names of what can be clicked in brackets. */
function blockLines(block: Json): string[] {
  if (block.type === 'divider') return ['---'];
  if (block.type === 'table') {
    const rows = block.rows as readonly (readonly { readonly text?: string }[])[];
    return rows.map((row) => row.map(({ text = '' }) => text).join(' | '));
  }
  const {
    text,
    fields = [],
    elements = [],
    accessory,
  } = block as {
    readonly text?: string | { readonly text: string };
    readonly fields?: readonly { readonly text: string }[];
    readonly elements?: readonly Json[];
    readonly accessory?: Json;
  };
  const own = typeof text === 'string' ? text : text?.text;
  const clickable = [...elements, ...(accessory === undefined ? [] : [accessory])].map(elementText).join(' ');
  return [own ?? '', ...fields.map((field) => field.text), clickable].filter((line) => line !== '').flatMap((line) => line.split('\n'));
}

function elementText(element: Json): string {
  const { text, placeholder, type } = element as {
    readonly text?: string | { readonly text: string };
    readonly placeholder?: { readonly text: string };
    readonly type: string;
  };
  if (typeof text === 'string') return text;
  return type === 'button' ? `[${text?.text ?? ''}]` : `[${placeholder?.text ?? type}]`;
}
