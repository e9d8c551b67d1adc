/** How SKILL.md and personas begin: YAML between two lines of `---`. Whoever wrote it may be hostile. */
import { isAlias, isMap, isNode, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml';
import type { SkillProblem } from './types.ts';

const FRONT_MATTER_MOST = 16 * 1024;
const FIELDS_MOST = 64;
/** Also in lists and maps within lists and maps: nothing here is deeper than a map of texts. */
const DEEPEST = 4;

export interface FrontMatter {
  /** What stands between the marks; undefined when there are none. */
  readonly fields: ReadonlyMap<string, Field> | undefined;
  readonly body: string;
}

export interface Field {
  readonly value: unknown;
  readonly line: number;
  readonly column: number;
}

/** What is wrong with a file, and where. */
export class Malformed extends Error {
  readonly line: number | undefined;
  readonly column: number | undefined;
  constructor(message: string, at?: { readonly line: number; readonly column: number }) {
    super(message);
    this.name = 'Malformed';
    this.line = at?.line;
    this.column = at?.column;
  }
  in(file: string): SkillProblem {
    const { line, column, message } = this;
    return { file, ...(line === undefined ? {} : { line }), ...(column === undefined ? {} : { column }), message };
  }
}

/** UTF-8, without the mark that some editors put before it; lines end in a newline. @throws Malformed */
export function decode(data: Buffer): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(data);
  } catch {
    throw new Malformed('it is not UTF-8');
  }
  const nul = text.indexOf('\0');
  if (nul >= 0) throw new Malformed('it holds a NUL character: it is no text', { line: text.slice(0, nul).split('\n').length, column: 1 });
  return text.replaceAll('\r\n', '\n');
}

/** @throws Malformed */
export function readFrontMatter(text: string): FrontMatter {
  const opening = /^---[ \t]*\n/.exec(text);
  if (opening === null) return { fields: undefined, body: text };
  const rest = text.slice(opening[0].length);
  const closing = /^---[ \t]*(?:\n|$)/m.exec(rest);
  if (closing === null) throw new Malformed('the front matter has no end: expected a line of ---', { line: 1, column: 1 });
  const yaml = rest.slice(0, closing.index);
  if (Buffer.byteLength(yaml) > FRONT_MATTER_MOST)
    throw new Malformed(`the front matter is larger than ${FRONT_MATTER_MOST / 1024} KiB`, { line: 2, column: 1 });
  return { fields: parseFields(yaml), body: rest.slice(closing.index + closing[0].length) };
}

/** One line of marks stands before it. */
function parseFields(yaml: string): Map<string, Field> {
  const lines = new LineCounter();
  const at = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: line + 1, column: col };
  };
  const whole = { line: 2, column: 1 };
  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(yaml, { lineCounter: lines, schema: 'core', logLevel: 'error', prettyErrors: false });
  } catch {
    // so deep that whoever reads it runs out of stack
    throw new Malformed('the front matter cannot be read: it is nested too deeply', whole);
  }
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    // whoever reads it ran out of stack, and says so in its own way
    const tooDeep = /call stack/.test(problem.message);
    throw new Malformed(tooDeep ? 'it is nested too deeply' : problem.message, at(problem.pos[0]));
  }
  const { contents } = document;
  if (contents === null) return new Map();
  if (!isMap(contents)) throw new Malformed('expected fields, such as "description: …"', at(contents.range?.[0] ?? 0));
  let refusal: Malformed | undefined;
  visit(document, (_key, node, path) => {
    if (!isNode(node)) return undefined;
    const place = at(node.range?.[0] ?? 0);
    if (path.length > DEEPEST * 2) refusal = new Malformed('it is nested too deeply', place);
    // what it stands for may be much larger
    else if (isAlias(node) || node.anchor !== undefined) refusal = new Malformed('anchors and aliases are not allowed here', place);
    return refusal === undefined ? undefined : visit.BREAK;
  });
  if (refusal !== undefined) throw refusal;
  if (contents.items.length > FIELDS_MOST) throw new Malformed(`it has more than ${FIELDS_MOST} fields`, whole);
  return new Map(
    contents.items.map(({ key, value }): [string, Field] => {
      const place = at((key as Node).range?.[0] ?? 0);
      if (!isScalar(key) || typeof key.value !== 'string') throw new Malformed('the name of a field is a text', place);
      return [key.value, { value: (value as Node | null)?.toJS(document) ?? undefined, ...place }];
    }),
  );
}

// ---- reading fields

export type Fields = ReadonlyMap<string, Field>;

/** A text without control characters; blanks around it do not count. @throws Malformed */
export function textField(fields: Fields, name: string, most: number, options: { readonly lines?: true } = {}): string | undefined {
  const field = fields.get(name);
  if (field === undefined || field.value === undefined) return undefined;
  if (typeof field.value !== 'string')
    throw new Malformed(`${name}: expected a text${typeof field.value === 'object' ? '' : '; put it in quotes'}`, field);
  const text = field.value.trim();
  if (text === '' || text.length > most) throw new Malformed(`${name}: expected 1 to ${most} characters, not ${text.length}`, field);
  // oxlint-disable-next-line no-control-regex
  const control = options.lines ? /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/ : /[\u0000-\u001f\u007f-\u009f]/;
  if (control.test(text)) throw new Malformed(`${name}: control characters are not allowed`, field);
  return text;
}

/** A list of texts, or a text with commas or blanks between them. @throws Malformed */
export function listField(fields: Fields, name: string, between: RegExp, most: number): string[] | undefined {
  const field = fields.get(name);
  if (field === undefined || field.value === undefined) return undefined;
  const given = typeof field.value === 'string' ? field.value.split(between).filter(Boolean) : field.value;
  if (!Array.isArray(given) || !given.every((each) => typeof each === 'string' && each !== '' && each.length <= 200))
    throw new Malformed(`${name}: expected a list of texts`, field);
  if (given.length > most) throw new Malformed(`${name}: ${most} are the most`, field);
  return [...new Set(given as string[])];
}

/** @throws Malformed */
export function choiceField<const T extends string>(fields: Fields, name: string, choices: readonly T[]): T | undefined {
  const field = fields.get(name);
  if (field === undefined || field.value === undefined) return undefined;
  const chosen = choices.find((each) => each === field.value);
  if (chosen === undefined) throw new Malformed(`${name}: expected one of ${choices.join(', ')}`, field);
  return chosen;
}
