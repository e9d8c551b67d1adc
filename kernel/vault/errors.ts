export type VaultErrorCode =
  | 'INVALID_SECRET'
  | 'SECRET_NOT_FOUND'
  | 'NOT_GRANTED'
  | 'GRANT_NOT_FOUND'
  | 'LEASE_NOT_FOUND'
  | 'MASTER_KEY_UNKNOWN'
  | 'SEAL_BROKEN'
  | 'SOURCE_FAILED';

/** What the vault refuses. Messages name secrets, never values. */
export class VaultError extends Error {
  readonly code: VaultErrorCode;
  readonly details: unknown;
  constructor(code: VaultErrorCode, message: string, options: ErrorOptions & { readonly details?: unknown } = {}) {
    super(message, options);
    this.name = 'VaultError';
    this.code = code;
    this.details = options.details;
  }
}
