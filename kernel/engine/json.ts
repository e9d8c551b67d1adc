import { EngineError } from './errors.ts';
import type { StoredError } from './types.ts';

/** Most bytes of one stored value: a step's result, a run's input or result, an event's payload. */
export const VALUE_BYTES_MAX = 1024 * 1024;

/** Deepest nesting of a stored value. */
const DEPTH_MAX = 200;

/**
 * A value as the JSON text that is stored. What JSON would drop or bend without a word (NaN, functions, Map, BigInt,
 * cycles) is refused, because the value would differ between the first run and a replay.
 *
 * @param what names the value in errors, such as `step "fetch"`
 * @throws EngineError NOT_JSON or TOO_LARGE
 */
export function toJson(value: unknown, what: string): string {
  if (value === undefined) return 'null';
  check(value, what, '$', 0);
  const text = JSON.stringify(value) ?? 'null';
  // a UTF-16 length bounds the bytes from below, and three times it from above
  if (text.length * 3 > VALUE_BYTES_MAX && Buffer.byteLength(text) > VALUE_BYTES_MAX) {
    throw new EngineError(
      'TOO_LARGE',
      `${what}: ${Buffer.byteLength(text)} bytes of JSON are over the limit of ${VALUE_BYTES_MAX}; store it elsewhere and return a reference`,
    );
  }
  return text;
}

function check(value: unknown, what: string, path: string, depth: number): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return;
    case 'number':
      if (!Number.isFinite(value)) refuse(what, path, String(value));
      return;
    case 'object':
      if (value !== null) checkObject(value, what, path, depth);
      return;
    default:
      refuse(what, path, `a ${typeof value}`);
  }
}

function checkObject(value: object, what: string, path: string, depth: number): void {
  if (depth > DEPTH_MAX) refuse(what, path, 'nested too deeply, or refers to itself');
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) check(value[i], what, `${path}[${i}]`, depth + 1);
    return;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return;
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype !== null && prototype !== Object.prototype) {
    if (
      value instanceof Map ||
      value instanceof Set ||
      ArrayBuffer.isView(value) ||
      value instanceof ArrayBuffer ||
      value instanceof Promise
    ) {
      refuse(what, path, `a ${(prototype.constructor as { name?: string } | undefined)?.name ?? 'special object'}`);
    }
  }
  for (const key of Object.keys(value)) check((value as Record<string, unknown>)[key], what, `${path}.${key}`, depth + 1);
}

function refuse(what: string, path: string, found: string): never {
  throw new EngineError('NOT_JSON', `${what}: ${path} is ${found}, which JSON cannot hold`);
}

export function fromJson(text: string | null | undefined): unknown {
  return text === null || text === undefined ? null : (JSON.parse(text) as unknown);
}

/** An error as it is stored: name, message and code, never a stack, which would differ on replay. */
export function toStoredError(error: unknown): StoredError {
  if (!(error instanceof Error)) return { code: 'ERROR', message: clip(describe(error)), name: 'Error' };
  const code = (error as { code?: unknown }).code;
  return {
    code: typeof code === 'string' && code !== '' ? clip(code, 128) : 'ERROR',
    message: clip(error.message),
    // a step that failed keeps the name of what it threw
    name: clip(((error as { causeName?: unknown }).causeName as string | undefined) ?? error.name, 128),
  };
}

function describe(value: unknown): string {
  if (typeof value === 'string') return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

function clip(text: string, most = 8192): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
