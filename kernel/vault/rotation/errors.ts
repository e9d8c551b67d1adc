/** Why a rotation does not go on. Texts are ours, whole: what a service said may have a value in it. */
export const ROTATION_ERRORS = {
  ROTATION_NOT_FOUND: 'no rotation was asked for that this run could make; ask for one: centaur secrets rotate NAME',
  ROTATION_OVER: 'this rotation has ended; ask for another one: centaur secrets rotate NAME',
  SUPERSEDED: 'the secret was given another value, or taken away, meanwhile: that stays',
  DESCRIBED_ANEW: 'the secret was described anew meanwhile, and is rotated otherwise now, or not at all',
  NOT_BOUND: 'the host that it would go to is none that the secret is bound to',
  ADDRESS_DENIED: 'its host has an address, or a port, that may not be dialled: see egress in centaur.yaml',
  NOT_A_DSN: 'its value is no postgres:// address with a user and a password',
  UNREACHABLE: 'the database cannot be reached',
  LOGIN_REFUSED: 'the database refuses the present value',
  NO_PASSWORD_ASKED: 'the database lets the role in without a password, so a new one would prove nothing',
  ALTER_REFUSED: 'the database refuses to give the role another password',
  PROBE_FAILED: 'the new value was tried, and the service refuses it',
  UNDO_FAILED: 'nobody knows which of the two values the database takes: both are kept, and the next rotation finds out',
  ADMIN_REFUSED: 'the admin secret is not there, does not name this secret in its option "rotates", or is for another server, host or path',
  SERVICE_UNREACHABLE: 'the service cannot be reached; nothing was sent',
  MINT_REFUSED: 'the service refuses to make a new value',
  MINT_UNKNOWN:
    'the service was asked for a new value, and nobody knows whether it made one: look there for a key that is used by nobody, and revoke it',
  REVOKE_FAILED: 'the new value is in use, and the service did not take back the one before: revoke it there',
  NO_ID: 'nobody knows what the service calls the value that is to be revoked: it was not made by a rotation. Revoke it there',
  NOT_SENDABLE: 'a value has a line break in it, so no header can carry it',
  REQUEST_FAILED: 'the service did not answer, or not as it was asked to',
  RUN_ENDED: 'its run was ended by somebody, or could not go on',
} as const;

export type RotationErrorCode = keyof typeof ROTATION_ERRORS;

/** These do not change by trying again. */
export const FOR_GOOD: readonly RotationErrorCode[] = [
  'ROTATION_NOT_FOUND',
  'ROTATION_OVER',
  'SUPERSEDED',
  'DESCRIBED_ANEW',
  'NOT_BOUND',
  'NOT_A_DSN',
  'NO_PASSWORD_ASKED',
  'ADMIN_REFUSED',
  'MINT_UNKNOWN',
  'NO_ID',
  'NOT_SENDABLE',
];

/** Without a cause: what a driver of a database or a parser says is stored by nothing. */
export class RotationError extends Error {
  readonly code: RotationErrorCode;
  constructor(code: RotationErrorCode) {
    super(ROTATION_ERRORS[code]);
    this.name = 'RotationError';
    this.code = code;
  }
}

export function isRotationError(code: string): code is RotationErrorCode {
  return Object.hasOwn(ROTATION_ERRORS, code);
}
