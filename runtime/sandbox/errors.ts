import type { SandboxErrorCode } from './types.ts';

/** Whether asking again later may help. */
const RETRYABLE: Readonly<Record<SandboxErrorCode, boolean>> = {
  ISOLATION_UNAVAILABLE: false,
  SANDBOX_CAPACITY: true,
  SANDBOX_LOST: false,
  SANDBOX_START_FAILED: true,
  SANDBOX_LIMIT: false,
  SANDBOX_FILE: false,
  SANDBOX_TAKEN: false,
  SANDBOX_COMMAND_MISSING: false,
  SANDBOX_UNREACHABLE: true,
  INVALID_SPEC: false,
};

export class SandboxError extends Error {
  readonly code: SandboxErrorCode;
  readonly retryable: boolean;
  constructor(code: SandboxErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SandboxError';
    this.code = code;
    this.retryable = RETRYABLE[code];
  }
}

export function isSandboxErrorCode(code: unknown): code is SandboxErrorCode {
  return typeof code === 'string' && Object.hasOwn(RETRYABLE, code);
}
