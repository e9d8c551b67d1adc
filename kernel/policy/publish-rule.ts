/** What tells questions about a new policy from others, and who does not answer them. */
import { PolicyError } from './errors.ts';

/** In the place of a rule. */
export const PUBLISH_RULE = 'policy.publish';

interface Question {
  readonly rule: string;
  readonly principal: string;
  /** JSON. */
  readonly summary: string;
}

/** Whether it is about a text that the actor wrote, or wants to publish. */
export function isOfAuthor({ rule, principal, summary }: Question, actor: string): boolean {
  return rule === PUBLISH_RULE && (actor === principal || actor === (JSON.parse(summary) as { readonly author?: string }).author);
}

export function byAuthor(approvalId: string): PolicyError {
  const message = `approval ${approvalId}: who wrote or publishes a policy does not approve it; somebody else does`;
  return new PolicyError('APPROVAL_BY_AUTHOR', message);
}
