/** Decisions of people, for tests that are about what follows from them. */
import { castVote } from '../../kernel/policy/index.ts';

/** By a vote of an approver. */
export function decideApproval(
  parts: Parameters<typeof castVote>[0],
  name: string,
  approvalId: string,
  { state, reason }: { readonly state: 'approved' | 'denied'; readonly reason?: string },
) {
  const voter = { name, role: 'approver', roles: [], provenAt: Date.now() } as const;
  const verdict = state === 'approved' ? 'approve' : 'deny';
  return castVote(parts, voter, approvalId, { verdict, reason, channel: 'api' });
}
