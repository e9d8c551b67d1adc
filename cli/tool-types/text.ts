/** Pieces of a TypeScript file, from texts of others: none of them ends a comment, a string or a line before its time. */

/** A doc comment with a line break behind it; nothing for an empty text. */
export function docText(text: string, indent: string): string {
  const lines = text
    .toWellFormed()
    .replaceAll(/\r\n?|[\u0085\u2028\u2029]/g, '\n')
    // nothing that turns the direction of what is read, or that no editor shows
    .replaceAll(/[^\P{Cc}\n\t]|\p{Bidi_Control}/gu, '')
    .replaceAll('*/', String.raw`*\/`)
    // an order to the compiler
    .replaceAll(/@(?=ts-)/g, '')
    .trim()
    .split('\n')
    .map((line) => line.trimEnd());
  if (lines.length === 1) return lines[0] === '' ? '' : `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`;
}

/** The name of a member, quoted where it is no identifier. */
export function nameText(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : quoted(name);
}

/** A value of JSON as a type. */
export function literalText(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return `readonly [${value.map(literalText).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'unknown';
  const members = Object.entries(value).map(([name, inner]) => `readonly ${nameText(name)}: ${literalText(inner)}`);
  return members.length === 0 ? 'Record<string, never>' : `{ ${members.join('; ')} }`;
}

function quoted(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u009f\u2028\u2029]|\p{Bidi_Control}/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
