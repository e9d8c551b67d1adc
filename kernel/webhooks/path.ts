/** Dotted paths into a body: `issue.number`, `commits[0].id`, `commits.0.id`, `$.issue`, `headers['x.y']`. */

const STEP = /^(?:\.?([^.[\]]+)|\[(\d+)\]|\['([^']*)'\])/;

/** The members to go through, from the outside in; undefined for what is no path. */
export function parsePath(path: string): readonly string[] | undefined {
  const steps: string[] = [];
  let rest = path.replace(/^\$(?=$|[.[])/, '');
  while (rest !== '') {
    const match = STEP.exec(rest);
    // the first step has no dot before it, unless it follows the $
    if (match === null || (steps.length === 0 && rest === path && rest.startsWith('.'))) return undefined;
    steps.push(match[1] ?? match[2] ?? (match[3] as string));
    rest = rest.slice(match[0].length);
  }
  return steps.length === 0 ? undefined : steps;
}

/** What the sender put there; never a member that every object has. */
export function valueAt(body: unknown, path: string): unknown {
  let value = body;
  for (const step of parsePath(path) ?? []) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}
