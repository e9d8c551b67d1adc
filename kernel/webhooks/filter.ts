/** Whether a delivery is one that its workflow asked for. */
import { valueAt } from './path.ts';
import type { Envelope, Filter } from './types.ts';

type Leaf = Extract<Filter, { readonly source: string }>;

/** A header or member that is missing matches nothing. */
export function matchesFilter(filter: Filter, { webhook }: Envelope): boolean {
  if ('any' in filter) return filter.any.some((each) => matchesFilter(each, { webhook }));
  if ('all' in filter) return filter.all.every((each) => matchesFilter(each, { webhook }));
  const actual = filter.source === 'body' ? valueAt(webhook.body, filter.key) : webhook.headers[filter.key];
  return filter.values.some((value) => holds(filter.op, actual, value));
}

function holds(op: Leaf['op'], actual: unknown, expected: Leaf['values'][number]): boolean {
  switch (op) {
    case 'equals':
    case 'in':
      return isSame(actual, expected);
    case 'contains':
      return Array.isArray(actual)
        ? actual.some((item) => isSame(item, expected))
        : typeof actual === 'string' && actual.includes(String(expected));
    case 'prefix':
      return typeof actual === 'string' && actual.startsWith(String(expected));
  }
}

/** A number or truth value may be declared as its text, which is all that the original's filters had. */
function isSame(actual: unknown, expected: Leaf['values'][number]): boolean {
  return actual === expected || (typeof expected === 'string' && /^(?:number|boolean)$/.test(typeof actual) && String(actual) === expected);
}
