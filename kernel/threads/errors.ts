/** What threads refuse, by code, with the status that the API answers. */
export const THREAD_ERRORS = {
  /** A field is malformed or out of range; the message names it. */
  INVALID_REQUEST: 422,
  /** No harness of this name is known. */
  UNKNOWN_HARNESS: 422,
  UNKNOWN_PERSONA_ID: 422,
  /** A part's data is not base64. */
  INVALID_BASE64_ATTACHMENT: 422,
  /** A part, or all parts of a message, are larger than what is kept. */
  TOO_LARGE: 413,
  THREAD_NOT_FOUND: 404,
  EXECUTION_NOT_FOUND: 404,
  MESSAGE_NOT_FOUND: 404,
  ATTACHMENT_NOT_FOUND: 404,
  /** The id was used with another body. */
  IDEMPOTENCY_PAYLOAD_MISMATCH: 409,
  /** The thread has no assignment: spawn first. */
  NO_ACTIVE_ASSIGNMENT: 409,
  /** The thread was assigned anew since. */
  ASSIGNMENT_GENERATION_STALE: 409,
  /** The thread is assigned to another harness or persona: release it first. */
  ACTIVE_ASSIGNMENT_PROMPT_MISMATCH: 409,
  /** No message waits to be answered. */
  NO_INPUT: 409,
  /** The execution has ended. */
  EXECUTION_FINISHED: 409,
  /** The execution is not running, so nothing can be added to it. */
  EXECUTION_NOT_RUNNING: 409,
  /** The delivery is claimed by somebody else, or is over. */
  DELIVERY_NOT_CLAIMED: 409,
  /** The event is claimed by somebody else, or was acted on. */
  EVENT_NOT_CLAIMED: 409,
  /** The process that was asked does not know what agents are told. */
  PROMPT_UNAVAILABLE: 503,
  /** Another worker has taken the turn over. */
  TURN_TAKEN_OVER: 409,
} as const;

export type ThreadErrorCode = keyof typeof THREAD_ERRORS;

export class ThreadError extends Error {
  readonly code: ThreadErrorCode;
  readonly details: unknown;
  constructor(code: ThreadErrorCode, message: string, details?: unknown) {
    super(message);
    this.name = 'ThreadError';
    this.code = code;
    this.details = details;
  }
  get httpStatus(): number {
    return THREAD_ERRORS[this.code];
  }
}
