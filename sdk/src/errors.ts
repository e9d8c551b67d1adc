/**
 * The errors a workflow can meet, each with a stable `code`. What a step throws reaches the handler as a
 * `StepError` that carries the original's name, message and code but not its class or stack: those would differ
 * between the first run and a replay, and a handler that looked at them would take another branch.
 */

/** Base of every error the platform throws into a workflow. Compare `code`, which survives bundling and replays. */
export class WorkflowError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'WorkflowError';
    this.code = code;
  }
}

/** Throw it inside a step, or from a handler, to say that trying again cannot help. */
export class NonRetryableError extends WorkflowError {
  constructor(message: string, options?: ErrorOptions & { readonly code?: string }) {
    super(options?.code ?? 'NON_RETRYABLE', message, options);
    this.name = 'NonRetryableError';
  }
}

/** A step failed for good: its last attempt threw, or the error was not retryable. */
export class StepError extends WorkflowError {
  readonly stepName: string;
  /** How many times the step's function was called. */
  readonly attempts: number;
  /** `name` of the error the step threw, such as `"TypeError"`. */
  readonly causeName: string;
  constructor(fields: { stepName: string; attempts: number; causeName: string; code: string; message: string }) {
    super(fields.code, fields.message);
    this.name = 'StepError';
    this.stepName = fields.stepName;
    this.attempts = fields.attempts;
    this.causeName = fields.causeName;
  }
}

/** A wait for an event or for a child run passed its `timeout`. `code` is `"WAIT_TIMEOUT"`. */
export class WaitTimeoutError extends WorkflowError {
  readonly waitName: string;
  constructor(waitName: string, message: string) {
    super('WAIT_TIMEOUT', message);
    this.name = 'WaitTimeoutError';
    this.waitName = waitName;
  }
}

/** A child run that was waited for ended as failed or cancelled. `code` is `"CHILD_FAILED"` or `"CHILD_CANCELLED"`. */
export class ChildRunError extends WorkflowError {
  readonly childRunId: string;
  /** What the child itself reported. */
  readonly childError: { readonly code: string; readonly message: string } | null;
  constructor(fields: { code: string; message: string; childRunId: string; childError: ChildRunError['childError'] }) {
    super(fields.code, fields.message);
    this.name = 'ChildRunError';
    this.childRunId = fields.childRunId;
    this.childError = fields.childError;
  }
}

/** The run was cancelled. It is also the `reason` of `ctx.signal`. Catch it only to tidy up in memory: the run is over. */
export class RunCancelledError extends WorkflowError {
  constructor(message = 'the run was cancelled') {
    super('RUN_CANCELLED', message);
    this.name = 'RunCancelledError';
  }
}
