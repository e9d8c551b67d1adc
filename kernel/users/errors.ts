/** What this room refuses, by code, with the HTTP status that says so. */
export const USER_ERRORS = {
  /** The message names the field. */
  INVALID_USER: 422,
  USER_NOT_FOUND: 404,
  USER_EXISTS: 409,
  /** Nobody could manage the others any more. */
  LAST_ADMIN: 409,
  /** Name or password is wrong, or the account is disabled: which of them is not said. */
  SIGN_IN_REFUSED: 401,
  /** The password is right, and only for choosing another: send `new_password` too. */
  PASSWORD_CHANGE_REQUIRED: 403,
  /** Too many tries for this name or from this address; `Retry-After` says when the next one counts. */
  TOO_MANY_TRIES: 429,
  /** So many passwords are being checked that no other is begun. */
  SIGN_IN_BUSY: 503,
} as const;

export type UserErrorCode = keyof typeof USER_ERRORS;

export class UserError extends Error {
  readonly code: UserErrorCode;
  readonly headers: Readonly<Record<string, string>>;
  constructor(code: UserErrorCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'UserError';
    this.code = code;
    this.headers = headers;
  }
  get httpStatus(): number {
    return USER_ERRORS[this.code];
  }
}
