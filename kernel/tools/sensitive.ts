/** What a schema says of an argument that nobody should read over somebody's shoulder: `"x-sensitive": true`. */
import type { JsonSchema } from './types.ts';

const DEEPEST = 12;
const MOST = 200;

/** Paths of such arguments, with dots between names and `*` for every item of a list. */
export function sensitivePaths(schema: JsonSchema): readonly string[] {
  const found = new Set<string>();
  visit(schema, []);
  return [...found];

  function visit(at: unknown, path: readonly string[], references = 0): void {
    if (!isObject(at) || path.length > DEEPEST || references > DEEPEST || found.size >= MOST) return;
    if (at['x-sensitive'] === true && path.length > 0) {
      found.add(path.join('.'));
      return;
    }
    if (typeof at['$ref'] === 'string') visit(resolve(schema, at['$ref']), path, references + 1);
    for (const [name, inner] of Object.entries(isObject(at['properties']) ? at['properties'] : {}))
      visit(inner, [...path, name], references);
    for (const key of ['items', 'additionalProperties', 'additionalItems', 'contains']) visit(at[key], [...path, '*'], references);
    for (const key of ['if', 'then', 'else']) visit(at[key], path, references + 1);
    for (const key of ['anyOf', 'oneOf', 'allOf']) for (const inner of listOf(at[key])) visit(inner, path, references + 1);
    for (const [i, inner] of listOf(at['prefixItems']).entries()) visit(inner, [...path, String(i)], references);
  }
}

/** Within the schema itself, as all that `compileSchema` takes is. */
function resolve(root: unknown, ref: string): unknown {
  let at = root;
  for (const part of ref.replace(/^#\/?/, '').split('/').filter(Boolean)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    at = isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined;
  }
  return at;
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
