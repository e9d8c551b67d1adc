import type { Problem } from './document.ts';

export type PolicyErrorCode =
  /** The text has errors: nothing was published. */
  | 'INVALID_POLICY'
  | 'POLICY_NOT_FOUND'
  /** The active version does not compile in this release: nothing may be allowed by it. */
  | 'POLICY_BROKEN'
  | 'APPROVAL_NOT_FOUND'
  /** It was decided before, used, or expired: an approval is decided once. */
  | 'APPROVAL_DECIDED';

export class PolicyError extends Error {
  readonly code: PolicyErrorCode;
  readonly problems: readonly Problem[];
  constructor(code: PolicyErrorCode, message: string, problems: readonly Problem[] = []) {
    super(message);
    this.name = 'PolicyError';
    this.code = code;
    this.problems = problems;
  }
}
