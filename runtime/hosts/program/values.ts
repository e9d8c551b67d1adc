/** What crosses the line: values as JSON, errors as what can be told of them. The same rules as the engine's own. */
import { ChildRunError, RunCancelledError, StepError, WaitTimeoutError, WorkflowError } from '../../../sdk/src/errors.ts';
import type { HostErrorInfo, ResponseError } from '../protocol/messages.ts';

/** Most bytes of one value. */
const VALUE_BYTES_MAX = 1024 * 1024;
const DEPTH_MAX = 200;

/** What the engine would refuse, refused here already. Named like its own error: handlers and retry policies see the name. */
export class EngineError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'EngineError';
    this.code = code;
  }
}

/**
 * A value as JSON text. What JSON would drop or bend without a word (NaN, functions, Map, BigInt, cycles) is refused,
 * because the value would differ between the first run and a replay.
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
  if (prototype !== null && prototype !== Object.prototype && isEmptiedByJson(value)) {
    refuse(what, path, `a ${(prototype.constructor as { name?: string } | undefined)?.name ?? 'special object'}`);
  }
  for (const key of Object.keys(value)) check((value as Record<string, unknown>)[key], what, `${path}.${key}`, depth + 1);
}

function isEmptiedByJson(value: object): boolean {
  return (
    value instanceof Map || value instanceof Set || ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof Promise
  );
}

function refuse(what: string, path: string, found: string): never {
  throw new EngineError('NOT_JSON', `${what}: ${path} is ${found}, which JSON cannot hold`);
}

/** Which call an error was thrown by: a retry of the run repeats that call. */
const thrownBy = new WeakMap<object, string>();

export function blame(error: unknown, requestId: string): void {
  if (error instanceof Error) thrownBy.set(error, requestId);
}

/** What is told of an error: never its stack, which would differ on a replay. */
export function errorInfo(error: unknown): HostErrorInfo {
  const { name, code, message } = describeError(error);
  const requestId = failedCall(error);
  return {
    name,
    code,
    message,
    non_retryable: name === 'NonRetryableError' || code === 'NON_RETRYABLE',
    ...(requestId === undefined ? {} : { request_id: requestId }),
  };
}

function describeError(error: unknown): { name: string; code: string; message: string } {
  if (!(error instanceof Error)) return { name: 'Error', code: 'ERROR', message: clip(describe(error)) };
  const { code, causeName } = error as { code?: unknown; causeName?: unknown };
  return {
    // a step that failed keeps the name of what it threw
    name: clip(typeof causeName === 'string' ? causeName : error.name, 128),
    code: typeof code === 'string' && code !== '' ? clip(code, 128) : 'ERROR',
    message: clip(error.message),
  };
}

/** The call whose error this is, also through `cause`. */
function failedCall(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth++) {
    const call = thrownBy.get(at);
    if (call !== undefined) return call;
  }
  return undefined;
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

/** The error that a handler gets for a call that was answered with a failure. */
export function toError(message: string, info: ResponseError | undefined): Error {
  const code = info?.code ?? 'ERROR';
  switch (info?.name) {
    case 'StepError':
      return new StepError({
        stepName: info.step_name ?? '',
        attempts: info.attempts ?? 1,
        causeName: info.cause_name ?? 'Error',
        code,
        message,
      });
    case 'WaitTimeoutError':
      return new WaitTimeoutError(info.step_name ?? '', message);
    case 'ChildRunError':
      return new ChildRunError({ code, message, childRunId: info.child_run_id ?? '', childError: null });
    case 'RunCancelledError':
      return new RunCancelledError(message);
    case 'WorkflowError':
    case undefined:
      return new WorkflowError(code, message);
  }
}
