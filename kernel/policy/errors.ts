import type { Problem } from './document.ts';

export type PolicyErrorCode =
  /** The text has errors: nothing was published. */
  | 'INVALID_POLICY'
  | 'POLICY_NOT_FOUND'
  /** The active version does not compile in this release: nothing may be allowed by it. */
  | 'POLICY_BROKEN'
  | 'APPROVAL_NOT_FOUND'
  /** It was decided before, used, or expired: an approval is decided once. */
  | 'APPROVAL_DECIDED'
  /** The gate asks others, or this person has a part in what is asked for. */
  | 'NOT_AN_APPROVER'
  /** It was edited since: what was voted on is not what would happen. */
  | 'STALE_DIGEST'
  /** It has changed since the version that was named. */
  | 'STALE_VERSION'
  | 'REASON_REQUIRED'
  /** What was put in place of an argument may not be, does not fit, or would be denied. */
  | 'EDIT_REFUSED'
  /** What is stored is not what was asked, edited or approved: somebody has changed it past the platform. */
  | 'APPROVAL_TAMPERED'
  /** Not for this risk, this kind of question, or so long. */
  | 'STICKY_REFUSED'
  /** Who overrides has proved who they are just before. */
  | 'PROOF_REQUIRED'
  /** One thread or run has too many questions open. */
  | 'TOO_MANY_PENDING'
  | 'STICKY_NOT_FOUND'
  /** A person has to approve a text before it is in force; or has denied it. */
  | 'APPROVAL_REQUIRED'
  | 'APPROVAL_DENIED'
  /** Who wrote a policy does not approve it. */
  | 'APPROVAL_BY_AUTHOR';

export class PolicyError extends Error {
  readonly code: PolicyErrorCode;
  readonly problems: readonly Problem[];
  readonly details: object | undefined;
  constructor(code: PolicyErrorCode, message: string, problems: readonly Problem[] = [], details?: object) {
    super(message);
    this.name = 'PolicyError';
    this.code = code;
    this.problems = problems;
    this.details = details;
  }
}
