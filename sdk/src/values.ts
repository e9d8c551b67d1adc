/**
 * What of a run is stored or told: values as JSON text, errors by name, code and message. For the engine and the host program
 * alone, which refuse the same with the same words; `index.ts` does not export it.
 */

/** Most bytes of one value: a step's result, a run's input or result, an event's payload. */
const VALUE_BYTES_MAX = 1024 * 1024;

/** Deepest nesting of a value. */
const DEPTH_MAX = 200;

/** What a caller throws for a value that is refused. */
export type ValueError = new (code: 'NOT_JSON' | 'TOO_LARGE', message: string) => Error;

/**
 * A value as JSON text. What JSON would drop or bend without a word (NaN, functions, Map, BigInt, cycles) is refused,
 * because the value would differ between the first run and a replay.
 *
 * @param what names the value in errors, such as `step "fetch"`
 * @param most bytes of it
 * @throws Refused NOT_JSON or TOO_LARGE
 */
export function toJson(value: unknown, what: string, Refused: ValueError, most = VALUE_BYTES_MAX): string {
  if (value === undefined) return 'null';
  check(value, '$', 0, (path, found) => {
    throw new Refused('NOT_JSON', `${what}: ${path} is ${found}, which JSON cannot hold`);
  });
  const text = JSON.stringify(value) ?? 'null';
  // a UTF-16 length bounds the bytes from below, and three times it from above
  if (text.length * 3 <= most) return text;
  const bytes = new TextEncoder().encode(text).length;
  if (bytes <= most) return text;
  throw new Refused(
    'TOO_LARGE',
    `${what}: ${bytes} bytes of JSON are over the limit of ${most}; store it elsewhere and return a reference`,
  );
}

type Refuse = (path: string, found: string) => never;

function check(value: unknown, path: string, depth: number, refuse: Refuse): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return;
    case 'number':
      if (!Number.isFinite(value)) refuse(path, String(value));
      return;
    case 'object':
      if (value !== null) checkObject(value, path, depth, refuse);
      return;
    default:
      refuse(path, `a ${typeof value}`);
  }
}

function checkObject(value: object, path: string, depth: number, refuse: Refuse): void {
  if (depth > DEPTH_MAX) refuse(path, 'nested too deeply, or refers to itself');
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) check(value[i], `${path}[${i}]`, depth + 1, refuse);
    return;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return;
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype !== null && prototype !== Object.prototype && isEmptiedByJson(value)) {
    refuse(path, `a ${(prototype.constructor as { name?: string } | undefined)?.name ?? 'special object'}`);
  }
  for (const key of Object.keys(value)) check((value as Record<string, unknown>)[key], `${path}.${key}`, depth + 1, refuse);
}

function isEmptiedByJson(value: object): boolean {
  return (
    value instanceof Map || value instanceof Set || ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof Promise
  );
}

/** What is told of an error: never its stack, which would differ on a replay. */
export function describeError(error: unknown): { readonly code: string; readonly message: string; readonly name: string } {
  if (!(error instanceof Error)) return { code: 'ERROR', message: clip(describe(error)), name: 'Error' };
  const { code, causeName } = error as { code?: unknown; causeName?: unknown };
  return {
    code: typeof code === 'string' && code !== '' ? clip(code, 128) : 'ERROR',
    message: clip(error.message),
    // a step that failed keeps the name of what it threw
    name: clip(typeof causeName === 'string' ? causeName : error.name, 128),
  };
}

export function describe(value: unknown): string {
  if (typeof value === 'string') return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

export function clip(text: string, most = 8192): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
