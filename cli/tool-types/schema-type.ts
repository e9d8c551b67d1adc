/**
 * JSON Schema as a TypeScript type that has every value which the schema allows. What TypeScript cannot say (a length, a pattern, `not`,
 * `if`) is left out, and what has no end or is not understood is `unknown`: so a right call compiles, and a result is never taken for something
 * that it is not. The vocabulary is that of `kernel/tools/schema.ts`; schemas of results nobody has checked, so they may hold anything.
 */
import { docText, literalText, nameText } from './text.ts';

/** Results come from elsewhere, and may follow the older drafts and OpenAPI. */
export type Side = 'arguments' | 'result';

type Json = Readonly<Record<string, unknown>>;
type Kind = 'string' | 'number' | 'boolean' | 'null' | 'object' | 'array';

interface Context {
  /** What the value may be, as far as whoever refers to the schema has said it. */
  readonly kinds: readonly Kind[] | undefined;
  /** Whether others speak about the members of the same object: one that is not named here may be named there. */
  readonly open: boolean;
  readonly indent: string;
}

/** How tightly a text holds together: what goes into something tighter is put into parentheses. */
type Level = 'one' | 'prefixed' | 'intersection' | 'union';

interface Type {
  readonly text: string;
  readonly level: Level;
}

const KINDS: ReadonlyMap<unknown, Kind> = new Map<unknown, Kind>([
  ['string', 'string'],
  ['number', 'number'],
  ['integer', 'number'],
  ['boolean', 'boolean'],
  ['null', 'null'],
  ['object', 'object'],
  ['array', 'array'],
]);
/** Characters of one schema's type, counted at each level: references within references may mean very many. */
const TEXT_MOST = 1024 * 1024;

const UNKNOWN: Type = { text: 'unknown', level: 'one' };
const NEVER: Type = { text: 'never', level: 'one' };
const NULL: Type = { text: 'null', level: 'one' };

export function typeText(schema: unknown, side: Side, indent = ''): string {
  let left = TEXT_MOST;
  /** Those whose type is being written: one that is in itself has no end. */
  const begun = new Set<unknown>();
  return typeOf(schema, { kinds: undefined, open: false, indent }).text;

  function typeOf(at: unknown, context: Context): Type {
    if (at === false) return NEVER;
    if (!isObject(at) || begun.has(at)) return UNKNOWN;
    // with an address of its own, its references are relative to that
    if (left <= 0 || (at !== schema && typeof at['$id'] === 'string')) return UNKNOWN;
    begun.add(at);
    const type = wholeOf(at, context);
    begun.delete(at);
    left -= type.text.length;
    // of OpenAPI 3.0, whose authors mean it
    return side === 'result' && at['nullable'] === true ? union([type, NULL]) : type;
  }

  function wholeOf(at: Json, context: Context): Type {
    const target = typeof at['$ref'] === 'string' ? [resolve(schema, at['$ref'])] : [];
    // what stands beside a reference counts in the present draft alone
    if (side === 'result' && target.length > 0) return typeOf(target[0], context);
    const kinds = both(kindsOf(at), context.kinds);
    const inPlace = [...target, ...listOf(at['allOf'])];
    const choices = [at['anyOf'], at['oneOf']].filter((each) => Array.isArray(each));
    const own = ownOf(at, { ...context, kinds });
    const parts = (own === undefined ? 0 : 1) + inPlace.length + choices.length;
    const inner = {
      ...context,
      kinds,
      open: context.open || parts > 1 || namesMore(at, own === undefined ? [...OF_MEMBERS, ...MEMBERS] : OF_MEMBERS),
    };
    return intersection([
      ...(own === undefined ? [] : own(inner)),
      ...inPlace.map((each) => typeOf(each, inner)),
      ...choices.map((each) => union(each.map((one) => typeOf(one, inner)))),
    ]);
  }

  /** What a schema says by itself; undefined for nothing. */
  function ownOf(at: Json, { kinds }: Context): ((context: Context) => Type[]) | undefined {
    const literals = [
      ...(Array.isArray(at['enum']) ? [union(at['enum'].map(literal))] : []),
      ...(Object.hasOwn(at, 'const') ? [literal(at['const'])] : []),
    ];
    if (literals.length > 0) return () => literals;
    if (kinds === undefined) return undefined;
    return (context) => [union(kinds.map((kind) => kindType(kind, at, context)))];
  }

  function kindType(kind: Kind, at: Json, context: Context): Type {
    if (kind === 'object') return objectType(at, context);
    if (kind === 'array') return arrayType(at, context);
    return { text: kind, level: 'one' };
  }

  function objectType(at: Json, { open, indent }: Context): Type {
    const properties = isObject(at['properties']) ? at['properties'] : {};
    const required = listOf(at['required']).filter((name) => typeof name === 'string');
    const names = [...new Set([...Object.keys(properties), ...required])].sort();
    const further = indent + '  ';
    const inside: Context = { kinds: undefined, open: false, indent: further };
    const members = names.map((name) => {
      const inner = Object.hasOwn(properties, name) ? properties[name] : true;
      const isRequired = required.includes(name);
      const doc = isObject(inner) && typeof inner['description'] === 'string' ? docText(inner['description'], further) : '';
      // every object has one of its own, for the compiler, which is of another type
      const text = !isRequired && Object.hasOwn(Object.prototype, name) ? 'unknown' : typeOf(inner, inside).text;
      return `${doc}${further}readonly ${nameText(name)}${isRequired ? '' : '?'}: ${text};\n`;
    });
    const others = othersOf(at, names, open, inside);
    if (others?.text === 'never' && names.length === 0) return { text: 'Record<string, never>', level: 'one' };
    const index = others === undefined || others.text === 'never' ? '' : `readonly [name: string]: ${others.text};`;
    if (names.length === 0) return { text: `{ ${index} }`, level: 'one' };
    return { text: `{\n${members.join('')}${index === '' ? '' : `${further}${index}\n`}${indent}}`, level: 'one' };
  }

  /** What members that are not named may be: undefined where nobody has said it, as with every type of TypeScript. */
  function othersOf(at: Json, names: readonly string[], open: boolean, inside: Context): Type | undefined {
    const rest = at['additionalProperties'];
    const patterned = isObject(at['patternProperties']) ? Object.values(at['patternProperties']) : [];
    if (rest === false && patterned.length === 0) return NEVER;
    if (rest === undefined && patterned.length === 0 && !open && names.length > 0) return undefined;
    // it would have to hold for those that are named, too
    if (names.length > 0) return UNKNOWN;
    return union([...patterned, rest ?? true].map((each) => typeOf(each, inside)));
  }

  function arrayType(at: Json, { indent }: Context): Type {
    const { items, prefixItems, additionalItems, minItems } = at;
    const first = Array.isArray(prefixItems) ? prefixItems : Array.isArray(items) ? items : [];
    const inside: Context = { kinds: undefined, open: false, indent };
    const rest = typeOf((Array.isArray(items) ? additionalItems : items) ?? true, inside);
    const isNone = rest.text === 'never';
    if (first.length === 0) return { text: isNone ? 'readonly []' : `readonly ${tight(rest)}[]`, level: 'prefixed' };
    const least = typeof minItems === 'number' ? minItems : 0;
    const elements = first.map((each, i) => (i < least ? typeOf(each, inside).text : `${tight(typeOf(each, inside))}?`));
    return { text: `readonly [${[...elements, ...(isNone ? [] : [`...${tight(rest)}[]`])].join(', ')}]`, level: 'prefixed' };
  }
}

/** What may speak of members, and has no type; and what has one only where an object is meant. */
const OF_MEMBERS = ['if', 'then', 'else', 'not', 'dependentSchemas', 'dependentRequired', 'propertyNames'];
const MEMBERS = ['properties', 'required', 'patternProperties', 'additionalProperties'];

/** Whether there may be members that no type here names, since one of these keywords is left out of it. */
function namesMore(at: Json, leftOut: readonly string[]): boolean {
  return leftOut.some((keyword) => at[keyword] !== undefined);
}

function kindsOf(at: Json): readonly Kind[] | undefined {
  if (at['type'] === undefined) return undefined;
  const kinds = [at['type']].flat().map((type) => KINDS.get(type));
  return kinds.every((kind) => kind !== undefined) ? [...new Set(kinds)] : undefined;
}

function both(a: readonly Kind[] | undefined, b: readonly Kind[] | undefined): readonly Kind[] | undefined {
  return a === undefined || b === undefined ? (a ?? b) : a.filter((kind) => b.includes(kind));
}

function union(types: readonly Type[]): Type {
  if (types.some(({ text }) => text === 'unknown')) return UNKNOWN;
  return joined(
    types.filter(({ text }) => text !== 'never'),
    'union',
    NEVER,
  );
}

function intersection(types: readonly Type[]): Type {
  if (types.some(({ text }) => text === 'never')) return NEVER;
  return joined(
    types.filter(({ text }) => text !== 'unknown'),
    'intersection',
    UNKNOWN,
  );
}

function joined(types: readonly Type[], level: 'union' | 'intersection', none: Type): Type {
  const different = [...new Map(types.map((type) => [type.text, type])).values()];
  const [only] = different;
  if (only === undefined) return none;
  if (different.length === 1) return only;
  const isLoose = (type: Type): boolean => type.level === 'union' && level === 'intersection';
  const parts = different.map((type) => (isLoose(type) ? `(${type.text})` : type.text));
  return { text: parts.join(level === 'union' ? ' | ' : ' & '), level };
}

function tight({ text, level }: Type): string {
  return level === 'one' ? text : `(${text})`;
}

function literal(value: unknown): Type {
  return { text: literalText(value), level: Array.isArray(value) || typeof value === 'number' ? 'prefixed' : 'one' };
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A place in the same schema; undefined when there is none. */
function resolve(root: unknown, ref: string): unknown {
  if (ref !== '#' && !ref.startsWith('#/')) return undefined;
  let at = root;
  for (const part of ref.split('/').slice(1)) {
    const name = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Json)[name];
  }
  return at;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
