/**
 * Paths in the arguments of a call: what may be changed, what is blanked, what differs. A path is names and positions with dots between
 * them (`customer.email`, `items.0.amount`); in a pattern `*` stands for any one of them. What is below a path belongs to it.
 */
import { isDeepStrictEqual } from 'node:util';
import { PolicyError } from './errors.ts';

export const BLANKED = '[sensitive]';
const LONGEST_PATH = 200;
const DEEPEST = 16;
const MOST_CHANGES = 50;

type Holder = Record<string, unknown>;

/**
 * The arguments with these values in place of those that stand there. What is not there yet can be added beside what is.
 *
 * @throws PolicyError EDIT_REFUSED naming the path
 */
export function patched(args: unknown, patch: Readonly<Record<string, unknown>>, editable: readonly string[]): unknown {
  const paths = Object.keys(patch);
  if (paths.length === 0) throw refused('it changes nothing');
  if (paths.length > MOST_CHANGES) throw refused(`${paths.length} changes: ${MOST_CHANGES} are the most`);
  const copy = structuredClone(args);
  for (const path of paths) {
    if (editable.length === 0) throw refused('no argument of it may be changed: deny it, and say what to change');
    if (!editable.some((pattern) => covers(pattern, path)))
      throw refused(`${quote(path)} may not be changed; these may be: ${editable.join(', ')}`);
    put(copy, path, patch[path]);
  }
  return copy;
}

function put(root: unknown, path: string, value: unknown): void {
  const parts = path.split('.');
  const last = parts.pop() as string;
  if (path.length > LONGEST_PATH || parts.length >= DEEPEST) throw refused(`${quote(path)} is too long for a path`);
  let at = root;
  for (const part of parts) {
    if (!isHolder(at) || !Object.hasOwn(at, part)) throw refused(`there is nothing at ${quote(path)}`);
    at = at[part];
  }
  if (!isHolder(at)) throw refused(`there is nothing at ${quote(path)}`);
  // a list grows by no gaps, and gets no members beside its items
  if (Array.isArray(at) && !Object.hasOwn(at, last)) throw refused(`the list has no ${quote(path)}`);
  // a plain assignment to __proto__ would change what the object is
  Object.defineProperty(at, last, { value, writable: true, enumerable: true, configurable: true });
}

/** Whether the path is the pattern's, or below it. */
export function covers(pattern: string, path: string): boolean {
  const [wanted, given] = [pattern.split('.'), path.split('.')];
  return given.length >= wanted.length && wanted.every((part, i) => part === '*' || part === given[i]);
}

/** A copy with what is at these paths blanked. */
export function redact(args: unknown, sensitive: readonly string[]): unknown {
  if (sensitive.length === 0) return args;
  const copy = structuredClone(args);
  for (const pattern of sensitive) blank(copy, pattern.split('.'));
  return copy;
}

function blank(at: unknown, [part, ...rest]: readonly string[]): void {
  if (part === undefined || !isHolder(at)) return;
  for (const name of part === '*' ? Object.keys(at) : Object.hasOwn(at, part) ? [part] : []) {
    if (rest.length === 0) at[name] = BLANKED;
    else blank(at[name], rest);
  }
}

/** Paths at which two values differ, shallowest first within each branch. */
export function differences(before: unknown, after: unknown, path = ''): readonly string[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isHolder(before) || !isHolder(after) || Array.isArray(before) !== Array.isArray(after)) return [path];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.flatMap((name) => {
    const here = path === '' ? name : `${path}.${name}`;
    const both = Object.hasOwn(before, name) && Object.hasOwn(after, name);
    return both ? differences(before[name], after[name], here) : [here];
  });
}

/** What stands at a path; undefined when nothing does. */
export function valueAt(args: unknown, path: string): unknown {
  let at = args;
  for (const part of path.split('.')) {
    if (!isHolder(at) || !Object.hasOwn(at, part)) return undefined;
    at = at[part];
  }
  return at;
}

const isHolder = (value: unknown): value is Holder => typeof value === 'object' && value !== null;
const quote = (path: string): string => JSON.stringify(path.slice(0, LONGEST_PATH));

function refused(why: string): PolicyError {
  return new PolicyError('EDIT_REFUSED', `the edit is refused: ${why}`);
}
