/** What calls of tools are refused with, by code, with the status that the API answers. */
export const TOOL_ERRORS = {
  TOOL_NOT_FOUND: 404,
  TOOL_METHOD_NOT_FOUND: 404,
  /** `details.issues` names the arguments, and never has their values. */
  INVALID_ARGUMENTS: 422,
  POLICY_DENIED: 403,
  /** The policy could not decide, which counts as a denial. */
  POLICY_FAILED: 403,
  /** A person has to approve the call: `details.approval_id`. Make the same call again when that is done. */
  APPROVAL_REQUIRED: 403,
  APPROVAL_DENIED: 403,
  /** Of this thread or run, too many calls wait for a person already. */
  TOO_MANY_APPROVALS: 429,
  /** The idempotency key was used for another call. */
  IDEMPOTENCY_PAYLOAD_MISMATCH: 409,
  /** The process that made this call died, or an earlier attempt of the run failed in the middle of it, and nobody knows whether it was done: look, and call under another key if it was not. */
  TOOL_CALL_UNKNOWN: 409,
  /** The result is larger than what is kept or sent. */
  TOO_LARGE: 413,
  /** The tool's method refused: `details.tool_code` says why in its own words. Calling again would not help. */
  TOOL_REFUSED: 422,
  /** The caller went away before the call was made, or the tool was stopped for it. */
  TOOL_CANCELLED: 499,
  /** The tool's method failed. `details.retryable` says whether to call again. */
  TOOL_FAILED: 502,
  /** A secret that the tool needs is not in the vault: `details.missing_secrets`. */
  TOOL_NOT_READY: 503,
  TOOL_TIMEOUT: 504,
} as const;

export type ToolErrorCode = keyof typeof TOOL_ERRORS;

export interface ToolErrorOptions extends ErrorOptions {
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly retryable?: boolean;
}

export class ToolError extends Error {
  readonly code: ToolErrorCode;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  /** The same call, under the same key if it has one, may go better later. */
  readonly retryable: boolean;
  constructor(code: ToolErrorCode, message: string, { details, retryable = false, ...options }: ToolErrorOptions = {}) {
    super(message, options);
    this.name = 'ToolError';
    this.code = code;
    this.details = details;
    this.retryable = retryable;
  }
  get httpStatus(): number {
    return TOOL_ERRORS[this.code];
  }
}
