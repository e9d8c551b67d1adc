/** What crosses the line: values as JSON, errors as what can be told of them. The same rules as the engine's own. */
import { ChildRunError, RunCancelledError, StepError, WaitTimeoutError, WorkflowError } from '../../../sdk/src/errors.ts';
import { describeError, toJson as jsonOf } from '../../../sdk/src/values.ts';
import type { HostErrorInfo, ResponseError } from '../protocol/messages.ts';

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
 * A value as JSON text.
 *
 * @param what names the value in errors, such as `step "fetch"`
 * @param most bytes of it
 * @throws EngineError NOT_JSON or TOO_LARGE
 */
export function toJson(value: unknown, what: string, most?: number): string {
  return jsonOf(value, what, EngineError, most);
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

/** The call whose error this is, also through `cause`. */
function failedCall(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth++) {
    const call = thrownBy.get(at);
    if (call !== undefined) return call;
  }
  return undefined;
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
