/**
 * JSON Schema, as far as arguments of tools need it. A schema comes from whoever wrote the tool, and what is held against it from an
 * agent: so both are bounded, patterns run in linear time, and an issue names a place and never a value.
 *
 * The vocabulary of draft 2020-12 but `unevaluated…` and dynamic references, which are refused: what is not checked must not look as
 * if it were. A pattern that needs more than RE2 has (looking ahead, references back) is left to the tool, which checks its arguments, too.
 */
import { RE2JS } from 're2js';
import { canonicalJson } from '../store/index.ts';
import type { JsonSchema } from './types.ts';

export interface Issue {
  /** `labels[0].name`; empty for the whole. */
  readonly path: string;
  readonly message: string;
}

const BYTES_MOST = 64 * 1024;
const DEPTH_MOST = 32;
/** Of arguments. */
const ARGUMENTS_DEPTH = 64;
/** Steps of one check: more than the largest body has values, and over in milliseconds. */
const STEPS_MOST = 200_000;
/** Of references that lead to references. */
const NESTED_MOST = 250;
const ISSUES_MOST = 20;

const TYPES = ['string', 'number', 'integer', 'boolean', 'null', 'object', 'array'];
const REFUSED = ['unevaluatedProperties', 'unevaluatedItems', '$dynamicRef', '$recursiveRef'];
/** Keywords with one schema, a list of them, and schemas by name. */
const ONE = ['additionalProperties', 'items', 'additionalItems', 'contains', 'not', 'if', 'then', 'else', 'propertyNames'];
const MANY = ['anyOf', 'oneOf', 'allOf', 'prefixItems'];
const NAMED = ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'];
const COUNTS = ['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties', 'minContains', 'maxContains'];
const NUMBERS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'];

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is wrong with a schema itself; the path is that in the schema. */
export function schemaIssues(schema: unknown): Issue[] {
  const issues: Issue[] = [];
  if (!isObject(schema)) return [{ path: '', message: 'expected a JSON Schema of an object' }];
  if (tooDeep(schema, DEPTH_MOST * 2)) return [{ path: '', message: `nested more than ${DEPTH_MOST} deep` }];
  const bytes = Buffer.byteLength(JSON.stringify(schema));
  if (bytes > BYTES_MOST) return [{ path: '', message: `${bytes} bytes; ${BYTES_MOST} are the most` }];
  if (schema['type'] !== undefined && schema['type'] !== 'object')
    issues.push({ path: 'type', message: 'expected "object": arguments have names' });
  look(schema, '', 0);
  return issues.slice(0, ISSUES_MOST);

  function look(at: unknown, path: string, depth: number): void {
    const wrong = (field: string, message: string) => issues.push({ path: join(path, field), message });
    if (typeof at === 'boolean' || issues.length > ISSUES_MOST) return;
    if (!isObject(at)) return void issues.push({ path, message: 'expected a schema: an object, true or false' });
    if (depth > DEPTH_MOST) return void issues.push({ path, message: `nested more than ${DEPTH_MOST} deep` });
    for (const field of REFUSED) if (at[field] !== undefined) wrong(field, 'is not supported here');
    const types = at['type'] === undefined ? [] : [at['type']].flat();
    if (types.some((type) => !TYPES.includes(type as string))) wrong('type', `expected ${TYPES.join(', ')}, or a list of them`);
    if (at['enum'] !== undefined && !Array.isArray(at['enum'])) wrong('enum', 'expected a list');
    if (at['required'] !== undefined && !isNames(at['required'])) wrong('required', 'expected a list of names');
    if (at['uniqueItems'] !== undefined && typeof at['uniqueItems'] !== 'boolean') wrong('uniqueItems', 'expected true or false');
    if (at['pattern'] !== undefined && typeof at['pattern'] !== 'string') wrong('pattern', 'expected a string');
    if (at['format'] !== undefined && typeof at['format'] !== 'string') wrong('format', 'expected a string');
    for (const field of NUMBERS)
      // draft 4 has true and false here
      if (at[field] !== undefined && typeof at[field] !== 'number') wrong(field, 'expected a number');
    if (typeof at['multipleOf'] === 'number' && !(at['multipleOf'] > 0)) wrong('multipleOf', 'expected a number above 0');
    for (const field of COUNTS) if (at[field] !== undefined && !isCount(at[field])) wrong(field, 'expected a whole number of 0 or more');
    if (at['$ref'] !== undefined && (typeof at['$ref'] !== 'string' || resolve(schema as Json, at['$ref']) === undefined))
      wrong('$ref', 'expected a reference to a place in this schema, such as #/$defs/Name');
    for (const field of ONE) {
      const inner = at[field];
      // `items` was a list before `prefixItems`
      if (inner !== undefined && !(field === 'items' && Array.isArray(inner))) look(inner, join(path, field), depth + 1);
    }
    for (const field of [...MANY, ...(Array.isArray(at['items']) ? ['items'] : [])]) {
      const inner = at[field];
      if (inner === undefined) continue;
      if (!Array.isArray(inner)) wrong(field, 'expected a list of schemas');
      else inner.forEach((each, i) => look(each, `${join(path, field)}[${i}]`, depth + 1));
    }
    for (const field of NAMED) {
      const inner = at[field];
      if (inner === undefined) continue;
      if (!isObject(inner)) wrong(field, 'expected schemas by name');
      else for (const [name, each] of Object.entries(inner)) look(each, join(join(path, field), name), depth + 1);
    }
    const dependent = at['dependentRequired'];
    if (dependent !== undefined && (!isObject(dependent) || !Object.values(dependent).every(isNames)))
      wrong('dependentRequired', 'expected lists of names by name');
  }
}

export type Checker = (value: unknown) => readonly Issue[];

/** What is wrong with a value, in words. @param schema without issues */
export function checkSchema(schema: JsonSchema, value: unknown): readonly string[] {
  return compileSchema(schema)(value).map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
}

/** @param schema without issues */
export function compileSchema(schema: JsonSchema): Checker {
  const patterns = new Map<string, RE2JS | undefined>();
  return (value) => {
    if (tooDeep(value, ARGUMENTS_DEPTH)) return [{ path: '', message: `nested more than ${ARGUMENTS_DEPTH} deep` }];
    const check = new Check(schema, patterns);
    try {
      return check.issues(schema, value, '', 0).slice(0, ISSUES_MOST);
    } catch (error) {
      if (error instanceof TooMuch) return [{ path: '', message: 'takes too long to check' }];
      throw error;
    }
  };
}

/** With what the schema gives to members that are left out. */
export function withDefaults(schema: JsonSchema, value: Json): Json {
  const properties = schema['properties'];
  if (!isObject(properties)) return value;
  const members = Object.entries(value);
  for (const [name, inner] of Object.entries(properties))
    if (isObject(inner) && inner['default'] !== undefined && !Object.hasOwn(value, name)) members.push([name, inner['default']]);
  return Object.fromEntries(
    members.map(([name, member]) => {
      const inner = Object.hasOwn(properties, name) ? properties[name] : undefined;
      return [name, isObject(inner) && isObject(member) ? withDefaults(inner, member) : member];
    }),
  );
}

class TooMuch extends Error {}

const NONE: readonly Issue[] = [];

class Check {
  private steps = 0;
  private readonly root: Json;
  private readonly patterns: Map<string, RE2JS | undefined>;

  constructor(root: Json, patterns: Map<string, RE2JS | undefined>) {
    this.root = root;
    this.patterns = patterns;
  }

  issues(schema: unknown, value: unknown, path: string, nested: number): readonly Issue[] {
    if (++this.steps > STEPS_MOST || nested > NESTED_MOST) throw new TooMuch();
    if (schema === false) return [{ path, message: 'is not allowed here' }];
    if (!isObject(schema)) return NONE;
    const found: Issue[] = [];
    const says = (message: string) => void found.push({ path, message });
    const under = (inner: unknown, member: unknown = value, at = path) => this.issues(inner, member, at, nested + 1);
    const fits = (inner: unknown, member: unknown = value) => under(inner, member).length === 0;

    const types = schema['type'] === undefined ? [] : [schema['type']].flat();
    if (types.length > 0 && !types.some((type) => hasType(value, type as string)))
      return [{ path, message: `expected ${types.map((type) => article(type as string)).join(' or ')}, got ${kindOf(value)}` }];
    if (Array.isArray(schema['enum']) && !schema['enum'].some((each) => same(each, value)))
      says(`expected one of ${shorten(schema['enum'].map((each) => JSON.stringify(each)).join(', '))}`);
    if (Object.hasOwn(schema, 'const') && !same(schema['const'], value)) says(`expected ${shorten(JSON.stringify(schema['const']))}`);
    if (typeof schema['$ref'] === 'string') found.push(...under(resolve(this.root, schema['$ref'])));

    if (typeof value === 'string') this.text(schema, value, says);
    else if (typeof value === 'number') numbers(schema, value, says);
    else if (Array.isArray(value)) found.push(...this.list(schema, value, path, nested, says));
    else if (isObject(value)) found.push(...this.object(schema, value, path, nested, says));

    if (Array.isArray(schema['allOf'])) for (const each of schema['allOf']) found.push(...under(each));
    if (Array.isArray(schema['anyOf'])) found.push(...this.closest(schema['anyOf'], value, path, nested));
    if (Array.isArray(schema['oneOf'])) {
      const fitting = schema['oneOf'].filter((each) => fits(each)).length;
      if (fitting > 1) says('fits more than one of the forms that exclude each other');
      if (fitting === 0) found.push(...this.closest(schema['oneOf'], value, path, nested));
    }
    if (schema['not'] !== undefined && fits(schema['not'])) says('is of a form that is not allowed');
    if (schema['if'] !== undefined) found.push(...under(schema[fits(schema['if']) ? 'then' : 'else'] ?? true));
    return found;
  }

  /** Of several forms, what is wrong with the one that comes closest. */
  private closest(forms: readonly unknown[], value: unknown, path: string, nested: number): readonly Issue[] {
    let best: readonly Issue[] = [{ path, message: 'is of no form that is allowed' }];
    let deepest = -1;
    for (const form of forms) {
      const found = this.issues(form, value, path, nested + 1);
      if (found.length === 0) return NONE;
      // a form whose type does not fit says nothing of use
      const depth = found.some((issue) => issue.path === path && issue.message.includes(', got ')) ? 0 : 1;
      if (depth > deepest || (depth === deepest && found.length < best.length)) [best, deepest] = [found, depth];
    }
    if (deepest > 0 || forms.length === 1) return best;
    const types = forms.flatMap((form) => (isObject(form) && typeof form['type'] === 'string' ? [article(form['type'])] : []));
    return types.length === forms.length
      ? [{ path, message: `expected ${[...new Set(types)].join(' or ')}, got ${kindOf(value)}` }]
      : [{ path, message: 'is of no form that is allowed' }];
  }

  private text(schema: Json, value: string, says: (message: string) => void): void {
    const { minLength, maxLength, pattern, format } = schema;
    // counted in characters, which are at most as many as the units of the string
    if (typeof minLength === 'number' && (value.length < minLength || charactersOf(value) < minLength))
      says(`expected ${minLength} characters or more`);
    if (typeof maxLength === 'number' && value.length > maxLength && charactersOf(value) > maxLength)
      says(`expected ${maxLength} characters at most`);
    if (typeof pattern === 'string' && this.matches(pattern, value) === false) says(`does not match ${shorten(pattern)}`);
    if (typeof format === 'string' && FORMATS.get(format)?.(value) === false) says(`expected the form ${format}`);
  }

  /** Undefined when RE2 does not have what the pattern uses. */
  private matches(pattern: string, text: string): boolean | undefined {
    if (!this.patterns.has(pattern)) {
      let compiled: RE2JS | undefined;
      try {
        compiled = RE2JS.compile(RE2JS.translateRegExp(pattern));
      } catch {
        compiled = undefined;
      }
      this.patterns.set(pattern, compiled);
    }
    const compiled = this.patterns.get(pattern);
    if (compiled === undefined) return undefined;
    // each instruction may be looked at for each character
    this.steps += (text.length * compiled.programSize()) / 250;
    if (this.steps > STEPS_MOST) throw new TooMuch();
    return compiled.matcher(text).find();
  }

  private list(schema: Json, value: readonly unknown[], path: string, nested: number, says: (message: string) => void): Issue[] {
    const { minItems, maxItems, items, prefixItems, additionalItems, contains, uniqueItems } = schema;
    if (typeof minItems === 'number' && value.length < minItems) says(`expected ${minItems} items or more`);
    if (typeof maxItems === 'number' && value.length > maxItems) says(`expected ${maxItems} items at most`);
    const first = Array.isArray(prefixItems) ? prefixItems : Array.isArray(items) ? items : [];
    const rest = Array.isArray(items) ? additionalItems : items;
    const found: Issue[] = [];
    for (let i = 0; i < value.length && found.length < ISSUES_MOST; i++) {
      const inner: unknown = i < first.length ? first[i] : rest;
      if (inner !== undefined) found.push(...this.issues(inner, value[i], `${path}[${i}]`, nested + 1));
    }
    if (contains !== undefined) {
      const count = value.filter((each) => this.issues(contains, each, path, nested + 1).length === 0).length;
      const { minContains = 1, maxContains = value.length } = schema as { minContains?: number; maxContains?: number };
      if (count < minContains || count > maxContains) says('has too few or too many items of the form that it must contain');
    }
    if (uniqueItems === true && new Set(value.map(canonicalJson)).size < value.length) says('has an item twice');
    return found;
  }

  private object(schema: Json, value: Json, path: string, nested: number, says: (message: string) => void): Issue[] {
    const found: Issue[] = [];
    const names = Object.keys(value);
    const properties = isObject(schema['properties']) ? schema['properties'] : {};
    const patterned = isObject(schema['patternProperties']) ? Object.entries(schema['patternProperties']) : [];
    const { required, minProperties, maxProperties, additionalProperties, propertyNames, dependentRequired, dependentSchemas } = schema;
    for (const name of (required as readonly string[] | undefined) ?? [])
      if (!Object.hasOwn(value, name)) found.push({ path: join(path, name), message: `is required${wanted(properties[name])}` });
    if (typeof minProperties === 'number' && names.length < minProperties) says(`expected ${minProperties} members or more`);
    if (typeof maxProperties === 'number' && names.length > maxProperties) says(`expected ${maxProperties} members at most`);
    for (const name of names) {
      if (found.length >= ISSUES_MOST) break;
      const at = join(path, name);
      let known = false;
      if (Object.hasOwn(properties, name)) {
        known = true;
        found.push(...this.issues(properties[name], value[name], at, nested + 1));
      }
      for (const [pattern, inner] of patterned) {
        const matches = this.matches(pattern, name);
        known ||= matches !== false;
        if (matches === true) found.push(...this.issues(inner, value[name], at, nested + 1));
      }
      if (!known && additionalProperties === false) found.push({ path: at, message: `unknown${knownText(Object.keys(properties))}` });
      else if (!known && additionalProperties !== undefined) found.push(...this.issues(additionalProperties, value[name], at, nested + 1));
      if (propertyNames !== undefined && this.issues(propertyNames, name, at, nested + 1).length > 0)
        found.push({ path: at, message: 'is a name that is not allowed' });
    }
    for (const [name, needed] of Object.entries(isObject(dependentRequired) ? dependentRequired : {}))
      for (const other of Object.hasOwn(value, name) ? (needed as readonly string[]) : [])
        if (!Object.hasOwn(value, other)) found.push({ path: join(path, other), message: `is required beside ${name}` });
    for (const [name, inner] of Object.entries(isObject(dependentSchemas) ? dependentSchemas : {}))
      if (Object.hasOwn(value, name)) found.push(...this.issues(inner, value, path, nested + 1));
    return found;
  }
}

function numbers(schema: Json, value: number, says: (message: string) => void): void {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema as Readonly<Record<string, number | undefined>>;
  if (minimum !== undefined && value < minimum) says(`expected ${minimum} or more`);
  if (maximum !== undefined && value > maximum) says(`expected ${maximum} or less`);
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) says(`expected more than ${exclusiveMinimum}`);
  if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) says(`expected less than ${exclusiveMaximum}`);
  if (multipleOf !== undefined && Math.abs(value / multipleOf - Math.round(value / multipleOf)) > 1e-9)
    says(`expected a multiple of ${multipleOf}`);
}

/** The forms that agents get wrong. What is looser here than in its standard is for the tool to refuse. */
const FORMATS: ReadonlyMap<string, (text: string) => boolean> = new Map([
  ['date-time', (text) => /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/.test(text) && isTime(text)],
  ['date', (text) => /^\d{4}-\d\d-\d\d$/.test(text) && isTime(`${text}T00:00:00Z`)],
  ['uuid', (text) => /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i.test(text)],
  ['email', (text) => /^[^\s@]{1,64}@[^\s@]{1,255}$/.test(text)],
  ['uri', (text) => URL.canParse(text)],
  ['ipv4', (text) => /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/.test(text)],
]);

const isTime = (text: string) => !Number.isNaN(Date.parse(text.replace(' ', 'T').toUpperCase()));

/** Undefined when there is nothing. */
function resolve(root: Json, ref: string): unknown {
  if (ref === '#') return root;
  if (!ref.startsWith('#/')) return undefined;
  let at: unknown = root;
  for (const part of ref.slice(2).split('/')) {
    const key = decodeURIComponentSafe(part).replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Json)[key];
  }
  return typeof at === 'boolean' || isObject(at) ? at : undefined;
}

function decodeURIComponentSafe(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Without recursion: what is looked at may be deeper than the stack. */
export function tooDeep(value: unknown, most: number): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > most) return true;
    level = level.flatMap((each) =>
      typeof each === 'object' && each !== null ? Object.values(each).filter((inner) => typeof inner === 'object' && inner !== null) : [],
    );
  }
  return false;
}

function hasType(value: unknown, type: string): boolean {
  if (type === 'array') return Array.isArray(value);
  if (type === 'null') return value === null;
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

/** Code points, as JSON Schema counts. */
const charactersOf = (text: string): number => Array.from(text).length;
const isNames = (value: unknown): boolean => Array.isArray(value) && value.every((each) => typeof each === 'string');
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const same = (a: unknown, b: unknown): boolean => a === b || (typeof a === 'object' && canonicalJson(a) === canonicalJson(b));
const article = (type: string): string => (type === 'null' ? type : `${/^[aio]/.test(type) ? 'an' : 'a'} ${type}`);
const kindOf = (value: unknown): string => article(value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
const shorten = (text: string): string => (text.length > 300 ? `${text.slice(0, 300)}…` : text);
const join = (path: string, name: string): string => (path === '' ? name.slice(0, 100) : `${path}.${name.slice(0, 100)}`);
const knownText = (names: readonly string[]): string => (names.length === 0 ? '' : `; known are ${shorten(names.join(', '))}`);

function wanted(schema: unknown): string {
  return isObject(schema) && typeof schema['type'] === 'string' ? `: expected ${article(schema['type'])}` : '';
}
