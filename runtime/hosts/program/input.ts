/** Checking an input with whatever schema library the workflow's author chose. */
import type { StandardSchemaV1 } from '../../../sdk/src/index.ts';

export type Checked =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: string; readonly issues: readonly { readonly path: string; readonly message: string }[] };

/** A schema is an object, or with some libraries a function, that carries `~standard`. */
export function isStandardSchema(value: unknown): value is StandardSchemaV1 {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as { '~standard'?: { validate?: unknown } })['~standard'];
  return typeof standard?.validate === 'function';
}

/** What an input is turned into, with defaults and transforms applied, or what is wrong with it. */
export function checkInput(schema: StandardSchemaV1, input: unknown): Checked | Promise<Checked> {
  const outcome = schema['~standard'].validate(input);
  return outcome instanceof Promise ? outcome.then(judge) : judge(outcome);
}

function judge(outcome: StandardSchemaV1.Result<unknown>): Checked {
  if (outcome.issues === undefined) return { ok: true, value: outcome.value };
  const issues = outcome.issues.map(({ path, message }) => ({ path: pathText(path ?? []), message }));
  const first = issues[0] ?? { path: '', message: 'not valid' };
  const others = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  const field = first.path === '' ? 'input' : `input.${first.path}`.replace('.[', '[');
  return { ok: false, error: `${field}: ${first.message}${others}`, issues };
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
