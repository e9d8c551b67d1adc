/** Codes with their HTTP status. */
export const CARE_ERRORS = {
  /** A subject is `thread:<key>` or `user:<name>`. */
  INVALID_SUBJECT: 422,
  /** There is nothing of such a thread. */
  SUBJECT_NOT_FOUND: 404,
  HOLD_NOT_FOUND: 404,
  ERASURE_NOT_FOUND: 404,
  /** A legal hold keeps it. */
  HELD: 409,
  /** A turn, or a run that asked for one, has not ended. */
  TURN_LIVE: 409,
  /** Nobody could manage users any more. */
  LAST_ADMIN: 409,
} as const;

export type CareErrorCode = keyof typeof CARE_ERRORS;

export class CareError extends Error {
  readonly code: CareErrorCode;
  readonly details: unknown;
  constructor(code: CareErrorCode, message: string, details?: unknown) {
    super(message);
    this.name = 'CareError';
    this.code = code;
    this.details = details;
  }

  get httpStatus(): number {
    return CARE_ERRORS[this.code];
  }
}
