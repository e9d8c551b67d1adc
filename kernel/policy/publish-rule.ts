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

/** Whether it is about a text that the actor wrote, or wants to publish. Of one whose author was erased: anybody may have been that. */
export function isOfAuthor({ rule, principal, summary }: Question, actor: string): boolean {
  if (rule !== PUBLISH_RULE) return false;
  const { author } = JSON.parse(summary) as { readonly author?: string };
  return author === undefined || actor === author || actor === principal;
}

export function byAuthor(approvalId: string): PolicyError {
  const message = `approval ${approvalId}: who wrote or publishes a policy does not approve it; somebody else does`;
  return new PolicyError('APPROVAL_BY_AUTHOR', message);
}
