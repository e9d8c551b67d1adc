/** Why a rotation does not go on. Texts are ours, whole: what a service said may have a value in it. */
export const ROTATION_ERRORS = {
  ROTATION_NOT_FOUND: 'no rotation was asked for that this run could make; ask for one: centaur secrets rotate NAME',
  ROTATION_OVER: 'this rotation has ended; ask for another one: centaur secrets rotate NAME',
  SUPERSEDED: 'the secret was given another value, or taken away, meanwhile: that stays',
  DESCRIBED_ANEW: 'the secret was described anew meanwhile, and is rotated otherwise now, or not at all',
  NOT_BOUND: 'the host of its address is none that the secret is bound to',
  ADDRESS_DENIED: 'its host has an address, or a port, that may not be dialled: see egress in centaur.yaml',
  NOT_A_DSN: 'its value is no postgres:// address with a user and a password',
  UNREACHABLE: 'the database cannot be reached',
  LOGIN_REFUSED: 'the database refuses the present value',
  NO_PASSWORD_ASKED: 'the database lets the role in without a password, so a new one would prove nothing',
  ALTER_REFUSED: 'the database refuses to give the role another password',
  PROBE_FAILED: 'the new value was tried, and the service refuses it',
  UNDO_FAILED: 'nobody knows which of the two values the database takes: both are kept, and the next rotation finds out',
  ADMIN_REFUSED: 'the admin secret is not there, is no DSN on the same server, or does not name this secret in its option "rotates"',
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
