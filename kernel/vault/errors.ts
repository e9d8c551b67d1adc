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

/**
 * Why a call failed, without a word of what was sent or answered: a parser and a header list quote what they refuse, which
 * here may be a key.
 */
export function whatFailed(error: unknown): string {
  if (!(error instanceof Error)) return 'for an unknown reason';
  if (error instanceof SyntaxError) return 'the answer is not JSON';
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'there was no answer in time';
  if (!(error instanceof TypeError)) return error.message;
  const { code } = (error.cause ?? {}) as { readonly code?: unknown };
  return error.message === 'fetch failed'
    ? `it cannot be reached${typeof code === 'string' ? ` (${code})` : ''}`
    : 'the request cannot be made: is the address, or the token, written as it should be?';
}
