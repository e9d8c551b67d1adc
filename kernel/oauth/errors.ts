/** What this room refuses, by code, with the HTTP status that says so. */
export const OAUTH_ERRORS = {
  /** The message names the field. */
  INVALID_OAUTH_APP: 422,
  OAUTH_APP_NOT_FOUND: 404,
  /** Accounts are connected by it: revoke them first. */
  OAUTH_APP_IN_USE: 409,
  /** The message names the field. */
  INVALID_CONNECTION: 422,
  CONNECTION_NOT_FOUND: 404,
  /** There is a secret of that name which no account was connected for. */
  SECRET_TAKEN: 409,
  /** So many attempts are under way that no other is begun. */
  TOO_MANY_CONNECTIONS: 429,
  /** The provider has not answered as it should; `details.reason` says why, in a code. */
  PROVIDER_FAILED: 502,
  /** Where the provider would send people back to is not an address for that. */
  PUBLIC_URL_UNFIT: 503,
} as const;

export type OAuthErrorCode = keyof typeof OAUTH_ERRORS;

export class OAuthError extends Error {
  readonly code: OAuthErrorCode;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  constructor(code: OAuthErrorCode, message: string, details?: Readonly<Record<string, unknown>>) {
    super(message);
    this.name = 'OAuthError';
    this.code = code;
    this.details = details;
  }
  get httpStatus(): number {
    return OAUTH_ERRORS[this.code];
  }
}

/**
 * Why an account was not connected. A provider's own words may quote what it was sent, so they are never kept: what is not one of
 * the words of the standards is `PROVIDER_REFUSED`.
 */
export type FailureReason =
  | 'DENIED'
  | 'EXPIRED'
  | 'CANCELLED'
  | 'OTHER_APP'
  | 'OTHER_ISSUER'
  | 'APP_CHANGED'
  | 'SECRET_TAKEN'
  | 'NO_TOKEN'
  | 'ADDRESS_DENIED'
  | 'UNREACHABLE'
  | 'REDIRECTED'
  | 'TOO_LARGE'
  | 'INVALID_CODE'
  | 'INVALID_CLIENT'
  | 'INVALID_SCOPE'
  | 'UNAUTHORIZED_CLIENT'
  | 'REDIRECT_MISMATCH'
  | 'PROVIDER_REFUSED'
  | 'INTERNAL';

const SAID: Readonly<Record<string, FailureReason>> = {
  access_denied: 'DENIED',
  expired_token: 'EXPIRED',
  invalid_grant: 'INVALID_CODE',
  bad_verification_code: 'INVALID_CODE',
  invalid_code: 'INVALID_CODE',
  invalid_client: 'INVALID_CLIENT',
  invalid_client_id: 'INVALID_CLIENT',
  bad_client_secret: 'INVALID_CLIENT',
  incorrect_client_credentials: 'INVALID_CLIENT',
  invalid_scope: 'INVALID_SCOPE',
  unauthorized_client: 'UNAUTHORIZED_CLIENT',
  device_flow_disabled: 'UNAUTHORIZED_CLIENT',
  redirect_uri_mismatch: 'REDIRECT_MISMATCH',
  bad_redirect_uri: 'REDIRECT_MISMATCH',
};

/** @param said the `error` of an answer or a redirect */
export function reasonOf(said: unknown): FailureReason {
  return (typeof said === 'string' && Object.hasOwn(SAID, said) ? SAID[said] : undefined) ?? 'PROVIDER_REFUSED';
}

/** An attempt that ends here. */
export class ConnectFailure extends Error {
  readonly reason: FailureReason;
  constructor(reason: FailureReason, options?: ErrorOptions) {
    super(`the account was not connected: ${reason}`, options);
    this.name = 'ConnectFailure';
    this.reason = reason;
  }
}
