/** Checking a run's input with whatever schema library the workflow's author chose. */
import { EngineError } from '@centaur/kernel/engine';
import type { StandardSchemaV1 } from '@centaur/sdk';

/** A schema is an object, or with some libraries a function, that carries `~standard`. */
export function isStandardSchema(value: unknown): value is StandardSchemaV1 {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as { '~standard'?: { validate?: unknown } })['~standard'];
  return typeof standard?.validate === 'function';
}

/** @returns what a run's input is turned into, with defaults and transforms applied. @throws EngineError INVALID_INPUT */
export function inputParser(workflow: string, schema: StandardSchemaV1): (input: unknown) => unknown {
  return (input) => {
    const outcome = schema['~standard'].validate(input);
    return outcome instanceof Promise ? outcome.then((settled) => accept(workflow, settled)) : accept(workflow, outcome);
  };
}

function accept(workflow: string, outcome: StandardSchemaV1.Result<unknown>): unknown {
  if (outcome.issues === undefined) return outcome.value;
  const issues = outcome.issues.map(({ path, message }) => ({ path: pathText(path ?? []), message }));
  const first = issues[0] ?? { path: '', message: 'not valid' };
  const others = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  const field = first.path === '' ? 'input' : `input.${first.path}`.replace('.[', '[');
  throw new EngineError('INVALID_INPUT', `${workflow}: ${field}: ${first.message}${others}`, { details: { issues } });
}

/** `['a', 'b', 0, 'c d']` is `a.b[0]["c d"]`. */
function pathText(path: readonly (PropertyKey | StandardSchemaV1.PathSegment)[]): string {
  let text = '';
  for (const segment of path) {
    const key = typeof segment === 'object' ? segment.key : segment;
    if (typeof key === 'number') text += `[${key}]`;
    else if (typeof key === 'string' && /^[\p{L}_$][\p{L}\d_$]*$/u.test(key)) text += text === '' ? key : `.${key}`;
    else text += `[${typeof key === 'string' ? JSON.stringify(key) : String(key)}]`;
  }
  return text;
}
