/** Arguments by flags: `--count 3` is a number where the method's JSON Schema says so. */
import { type JsonObject, list, object, parseJson, words } from './json.ts';
import { Refusal, USAGE } from './refusal.ts';

/** Values get the types that the schema says. @throws Refusal naming the flag */
export function parseFlags(schema: JsonObject, given: readonly string[]): JsonObject {
  const properties = object(schema.properties);
  const values = new Map<string, unknown>();
  let base: JsonObject = {};
  const left = [...given];
  while (left.length > 0) {
    const word = left.shift() as string;
    const [, flag, , inline] = /^--([^=]+)(=([^]*))?$/.exec(word) ?? [];
    if (flag === undefined) throw new Refusal(USAGE, `${word}: arguments are given by name, --name value, or all at once as JSON`);
    const value = (): string => {
      if (inline !== undefined) return inline;
      const next = left[0];
      if (next === undefined || next.startsWith('--'))
        throw new Refusal(USAGE, `--${flag} needs a value; one that begins with -- is given as --${flag}=value`);
      left.shift();
      return next;
    };
    if (flag === 'json') {
      base = parseObject(value(), '--json');
      continue;
    }
    const name = findProperty(properties, flag);
    if (name === undefined) {
      const denied = /^no-(.+)$/.exec(flag)?.[1];
      const negated = denied === undefined ? undefined : findProperty(properties, denied);
      if (negated !== undefined && typesOf(schema, properties[negated]).has('boolean')) values.set(negated, false);
      else if (schema.additionalProperties === undefined || schema.additionalProperties === false)
        throw new Refusal(USAGE, unknownFlag(flag, Object.keys(properties)));
      else values.set(flag, parseValue(flag, value(), object(schema.additionalProperties), schema));
      continue;
    }
    const property = object(properties[name]);
    const types = typesOf(schema, property);
    const next = left[0] ?? '--';
    const isBare = inline === undefined && (next.startsWith('--') || (types.size === 1 && !/^(true|false)$/.test(next)));
    if (types.has('boolean') && isBare) {
      values.set(name, true);
    } else if (types.has('array')) {
      const before = values.get(name);
      const said = value();
      const whole = parseJson(said);
      const items = Array.isArray(whole) ? whole : [parseValue(flag, said, object(resolve(schema, property).items), schema)];
      values.set(name, [...(Array.isArray(before) ? before : []), ...items]);
    } else {
      if (values.has(name)) throw new Refusal(USAGE, `--${flag} is given twice`);
      values.set(name, parseValue(flag, value(), property, schema));
    }
  }
  const args = { ...base, ...Object.fromEntries(values) };
  const missing = list(schema.required)
    .map((name) => words(name))
    .filter((name) => !Object.hasOwn(args, name));
  if (missing.length > 0) throw new Refusal(USAGE, `missing: ${missing.map((name) => `--${name}`).join(', ')}`);
  return args;
}

/** `--issue-number` is `issue_number` and `issueNumber` too. */
function findProperty(properties: JsonObject, flag: string): string | undefined {
  if (Object.hasOwn(properties, flag)) return flag;
  const plain = (name: string): string => name.replaceAll(/[-_]/g, '').toLowerCase();
  const alike = Object.keys(properties).filter((name) => plain(name) === plain(flag));
  return alike.length === 1 ? alike[0] : undefined;
}

function unknownFlag(flag: string, known: readonly string[]): string {
  const names = known.length === 0 ? 'it takes no arguments' : `there are ${known.map((name) => `--${name}`).join(', ')}`;
  return `there is no --${flag}: ${names}`;
}

function parseValue(flag: string, said: string, property: JsonObject, root: JsonObject): unknown {
  const types = typesOf(root, property);
  const choices = choicesOf(root, property);
  if (choices.length > 0) {
    const chosen = choices.find((choice) => String(choice) === said);
    if (chosen !== undefined) return chosen;
    if (!types.has('null') || said !== 'null')
      throw new Refusal(USAGE, `--${flag} must be one of ${choices.map(String).join(', ')}, not ${said}`);
    return null;
  }
  if (types.size === 0) return parseJson(said) ?? (said === 'null' ? null : said);
  if (types.size === 1 && types.has('string')) return said;
  const value = said === 'null' ? null : parseJson(said);
  if (value !== undefined && types.has(typeName(value))) return value;
  if (typeof value === 'number' && types.has('number')) return value;
  if (types.has('string')) return said;
  const wanted = [...types].filter((type) => type !== 'null').map((type) => NAMES[type] ?? type);
  throw new Refusal(USAGE, `--${flag} must be ${wanted.join(' or ')}, not ${said}`);
}

/** Schemas may refer to themselves without end. */
const DEEPEST = 8;

const NAMES: Readonly<Record<string, string>> = {
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object in JSON',
  array: 'a list in JSON',
};

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
}

/** Behind references and alternatives. Empty: anything. */
function typesOf(root: JsonObject, property: unknown, depth = 0): Set<string> {
  if (depth > DEEPEST) return new Set();
  const schema = resolve(root, property);
  const named = [schema.type].flat().filter((type) => typeof type === 'string');
  const others = alternativesOf(schema).flatMap((each) => [...typesOf(root, each, depth + 1)]);
  const constants = choicesOf(root, schema).map(typeName);
  return new Set([...named, ...(named.length === 0 ? [...others, ...constants] : [])]);
}

function choicesOf(root: JsonObject, property: unknown, depth = 0): unknown[] {
  if (depth > DEEPEST) return [];
  const schema = resolve(root, property);
  if (Array.isArray(schema.enum)) return schema.enum;
  if ('const' in schema) return [schema.const];
  // a list of constants is an enumeration with words to each; beside a type that is free it says nothing
  const others = alternativesOf(schema).filter((each) => object(each).type !== 'null');
  const choices = others.map((each) => choicesOf(root, each, depth + 1));
  return choices.every((each) => each.length > 0) ? choices.flat() : [];
}

function alternativesOf(schema: JsonObject): unknown[] {
  return [schema.anyOf, schema.oneOf].flatMap(list);
}

/** References lead to definitions of the same document. */
export function resolve(root: JsonObject, property: unknown, depth = 0): JsonObject {
  const schema = object(property);
  const [, place, name] = /^#\/(\$defs|definitions)\/([^/]+)$/.exec(words(schema.$ref)) ?? [];
  if (place === undefined || name === undefined) return schema;
  return depth > DEEPEST ? {} : resolve(root, object(root[place])[name], depth + 1);
}

/** How a value is asked for. */
export function shapeOf(root: JsonObject, property: unknown, depth = 0): string {
  if (depth > 1) return 'JSON';
  const choices = choicesOf(root, property);
  if (choices.length > 0) return choices.map(String).join('|');
  const types = [...typesOf(root, property)].filter((type) => type !== 'null');
  if (types.includes('array'))
    return `${shapeOf(root, resolve(root, property).items, depth + 1)}${depth === 0 ? ' (more than once, or a list in JSON)' : '[]'}`;
  return types.length === 0 ? 'value' : types.map((type) => (type === 'object' ? 'JSON' : type)).join('|');
}

export function parseObject(said: string, where: string): JsonObject {
  const value = parseJson(said);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new Refusal(USAGE, `${where} is not a JSON object`);
}
