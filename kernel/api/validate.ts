/** Checking what a request carries against its route's schema, in words that name the field. */
import { z } from 'zod';
import { ApiError } from './errors.ts';

/** @param where what the issues are in, when not in the body: `path` or `query` */
export function parse<T>(schema: z.ZodType<T>, value: unknown, where?: string): T {
  const outcome = schema.safeParse(value);
  if (outcome.success) return outcome.data;
  const issues = outcome.error.issues.flatMap((issue) => explain(issue, schema, value));
  const first = issues[0] ?? { path: '', message: 'not valid' };
  const others = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  const place = [where, first.path].filter((part) => part !== undefined && part !== '').join(' ') || 'the body';
  throw new ApiError('INVALID_REQUEST', `${place}: ${first.message}${others}`, { details: { issues } });
}

interface Issue {
  readonly path: string;
  readonly message: string;
}

function explain(issue: z.core.$ZodIssue, schema: z.ZodType, value: unknown): Issue[] {
  const path = pathText(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = knownFields(schema, issue.path);
    // A mistyped field that was ignored would be found out when it is too late
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key]),
      message: `unknown field${known.length > 0 ? `; known are ${known.join(', ')}` : ''}`,
    }));
  }
  if (issue.code === 'invalid_type') {
    const found = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
    const wanted = `expected ${withArticle(issue.expected === 'int' ? 'whole number' : issue.expected)}`;
    return [{ path, message: found === undefined ? `is required: ${wanted}` : `${wanted}, got ${kindOf(found)}` }];
  }
  return [{ path, message: issue.message.replace(/^Invalid (?:input|option): /, '').replace(/^./, (letter) => letter.toLowerCase()) }];
}

/** The fields of the object in which the unknown one was found. */
function knownFields(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const key of path) {
    if (at instanceof z.ZodArray) at = at.element;
    else if (at instanceof z.ZodObject) at = at.shape[key as string];
    while (at instanceof z.ZodOptional || at instanceof z.ZodNullable) at = at.unwrap();
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

/** `[0, 'rate_limit', 'limit']` is `[0].rate_limit.limit`. */
function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`),
    '',
  );
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : withArticle(Array.isArray(value) ? 'array' : typeof value);
}

function withArticle(noun: string): string {
  return /^(?:null|undefined|true|false)$/.test(noun) ? noun : `${/^[aeio]/.test(noun) ? 'an' : 'a'} ${noun}`;
}
