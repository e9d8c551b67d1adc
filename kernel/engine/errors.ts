/**
 * What the engine refuses, by code. Each code says what happened, and `httpStatus` is what the API answers.
 * Errors that a workflow can catch are in the SDK.
 */
export const ENGINE_ERRORS = {
  /** No loaded file defines a workflow of this name. */
  UNKNOWN_WORKFLOW: 422,
  /** The input does not satisfy the workflow's schema; `details.issues` names the fields. */
  INVALID_INPUT: 422,
  /** A field of the request is malformed or out of range; the message names it. */
  INVALID_REQUEST: 422,
  /** A value cannot be stored as JSON without losing something. */
  NOT_JSON: 422,
  /** A value is larger than its limit. */
  TOO_LARGE: 413,
  /** A cron expression, zone or interval that does not parse. */
  INVALID_SCHEDULE: 422,
  RUN_NOT_FOUND: 404,
  STEP_NOT_FOUND: 404,
  /** The run has ended; it cannot be cancelled. */
  RUN_FINISHED: 409,
  /** Only failed, cancelled and stuck runs are retried. */
  RUN_NOT_RETRYABLE: 409,
  /** Only runs that have ended are replayed. */
  RUN_NOT_ENDED: 409,
  /** The code of the run has changed since, and the request was to replay the very code. */
  CODE_CHANGED: 409,
  /** The replay took longer than it may, or more memory: its process was ended, and nothing is known. */
  REPLAY_STOPPED: 422,
  /** As many replays as may run and wait do so. */
  REPLAY_BUSY: 503,
  /** The history that would be copied has an approval in it, which was given for the other run. */
  FORK_AFTER_APPROVAL: 409,
  /** The trigger key was used with another input. */
  TRIGGER_KEY_MISMATCH: 409,
  /** The event key was used with another correlation id or payload. */
  EVENT_KEY_MISMATCH: 409,
  /** Postgres cannot be reached or did not answer in time; nothing is known to have changed. Try again. */
  STORE_UNAVAILABLE: 503,
  /** The engine is draining and takes no more work here. */
  DRAINING: 503,
  /** Postgres refused the row itself. */
  ROW_REJECTED: 500,
  /** The run's history and its code disagree. */
  HISTORY_MISMATCH: 409,
  /** The worker crashed too many times in a row on this run without it getting any further. */
  CRASH_LOOP: 500,
  /** The process that holds the workflow's code ended while it ran this. */
  HOST_CRASHED: 500,
  /** No process for the workflow's code could be started just now. */
  HOST_UNAVAILABLE: 503,
} as const;

export type EngineErrorCode = keyof typeof ENGINE_ERRORS;

export class EngineError extends Error {
  readonly code: EngineErrorCode;
  readonly details: unknown;
  constructor(code: EngineErrorCode, message: string, options?: ErrorOptions & { readonly details?: unknown }) {
    super(message, options);
    this.name = 'EngineError';
    this.code = code;
    this.details = options?.details;
  }
  get httpStatus(): number {
    return ENGINE_ERRORS[this.code];
  }
}

/**
 * What a hosted handler rejects with when the process of its code is gone. That says nothing about the run: it goes on
 * from its last checkpoint in another one, unless this happens `HOST_CRASHES_MAX` times without its getting further.
 */
export class HostCrashedError extends EngineError {
  constructor(message: string, options?: ErrorOptions) {
    super('HOST_CRASHED', message, options);
    this.name = 'HostCrashedError';
  }
}

export const HOST_CRASHES_MAX = 3;

/** No process could be started for it: nobody's fault but the machine's. The run goes on when one can, and no crash is counted. */
export class HostUnavailableError extends EngineError {
  readonly delayMs: number;
  constructor(message: string, delayMs: number, options?: ErrorOptions) {
    super('HOST_UNAVAILABLE', message, options);
    this.name = 'HostUnavailableError';
    this.delayMs = delayMs;
  }
}
