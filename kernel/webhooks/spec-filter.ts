/** The `filter` of a declared webhook: a tree of `any` and `all` over leaves. */
import { type Fields, isRecord, type Problem, readFields } from './fields.ts';
import { parsePath } from './path.ts';
import { isSensitiveName } from './redact.ts';
import { HEADER_NAME } from './spec-auth.ts';
import type { Filter } from './types.ts';

const DEEPEST = 10;
const MOST_VALUES = 100;
const KEY = { pattern: /^.{1,200}$/, expected: 'a header, or a path such as "repository.full_name"' };

/** Null when there is none, or a problem. */
export function readFilter(declared: unknown, field: string, problems: Problem[]): Filter | null {
  return declared === undefined ? null : (readNode(declared, field, problems, 1) ?? null);
}

function readNode(declared: unknown, field: string, problems: Problem[], depth: number): Filter | undefined {
  if (!isRecord(declared) || depth > DEEPEST) {
    const message = isRecord(declared)
      ? `is nested more than ${DEEPEST} deep`
      : 'expected {any: […]}, {all: […]} or {source, key, op, value}';
    problems.push({ field, message });
    return undefined;
  }
  const fields = readFields(declared, field, problems);
  const any = fields.take('any');
  const all = any === undefined ? fields.take('all') : undefined;
  const children = any ?? all;
  const node =
    children === undefined ? readLeaf(fields) : readChildren(any === undefined ? 'all' : 'any', children, field, problems, depth);
  fields.end();
  return node;
}

function readChildren(kind: 'any' | 'all', children: unknown, field: string, problems: Problem[], depth: number): Filter | undefined {
  // an empty list would let all or nothing through, which nobody writes on purpose
  if (!Array.isArray(children) || children.length === 0) {
    problems.push({ field: `${field}.${kind}`, message: 'expected a list of filters' });
    return undefined;
  }
  const nodes = children.map((child, i) => readNode(child, `${field}.${kind}[${i}]`, problems, depth + 1));
  const known = nodes.filter((node) => node !== undefined);
  return kind === 'any' ? { any: known } : { all: known };
}

function readLeaf(fields: Fields): Filter {
  const source = fields.oneOf('source', 'body', ['header', 'body']);
  const key = fields.requiredText('key', source === 'header' ? HEADER_NAME : KEY);
  if (source === 'body' && key !== '' && parsePath(key) === undefined) fields.refuse('key', `expected ${KEY.expected}`);
  if (source === 'header' && isSensitiveName(key)) fields.refuse('key', 'is removed from what a workflow sees, so it matches nothing');
  const op = fields.oneOf('op', 'equals', ['equals', 'in', 'contains', 'prefix']);
  return { source, key: source === 'header' ? key.toLowerCase() : key, op, values: readValues(fields) };
}

function readValues(fields: Fields): (string | number | boolean)[] {
  const one = fields.take('value');
  const several = fields.take('values');
  const values: unknown[] = [...(one === undefined ? [] : [one]), ...(Array.isArray(several) ? several : [])];
  const known = values.filter((value) => typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean');
  if (
    known.length === 0 ||
    known.length !== values.length ||
    known.length > MOST_VALUES ||
    (several !== undefined && !Array.isArray(several))
  ) {
    fields.refuse('value', `expected a text, number or truth value, or in "values" up to ${MOST_VALUES} of them`);
  }
  return known;
}
