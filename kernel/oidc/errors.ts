/** What this room refuses, by code, with the HTTP status that says so. A provider's own words are not among it: they may quote what it was sent. */
export const SIGN_IN_ERRORS = {
  /** centaur.yaml names no provider. */
  NO_PROVIDER: 404,
  /** It was not begun here, is too old, or was used before. */
  SIGN_IN_UNKNOWN: 400,
  /** The person, or the provider, said no. */
  SIGN_IN_DENIED: 403,
  /** What the provider answered is not what it must be; the log says more. */
  PROVIDER_ANSWER: 502,
} as const;

export type SignInErrorCode = keyof typeof SIGN_IN_ERRORS;

export class SignInError extends Error {
  readonly code: SignInErrorCode;
  constructor(code: SignInErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SignInError';
    this.code = code;
  }
  get httpStatus(): number {
    return SIGN_IN_ERRORS[this.code];
  }
}
