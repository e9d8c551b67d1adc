/** Approvals of requests: what is approved is one request, down to its body, and it is used once. */
import type { AuditLog } from '../audit/index.ts';
import { askApproval, decisionOn, takeApproval } from '../policy/index.ts';
import type { Store } from '../store/index.ts';
import type { Approvals } from './gate.ts';
import type { Cause } from './records.ts';

/** A request that was denied is not asked for again for so long. */
const DENIED_SECONDS = 3600;

export function createApprovals(store: Store, audit: AuditLog): Approvals {
  return {
    take: (digest) => takeApproval(store, digest),
    async ask({ digest, gate, rule, egress, channel, causes }) {
      const summary = {
        method: egress.method,
        url: `${egress.scheme}://${egress.host}:${egress.port}${egress.path}`,
        secrets: egress.secrets,
        bytes: egress.bytes,
      };
      const askFor = ({ runId, threadKey }: Partial<Cause>) =>
        askApproval(
          { store, audit },
          {
            digest,
            gate,
            rule,
            kind: 'egress',
            principal: egress.principal,
            summary,
            audited: summary,
            leaseId: channel.lease.leaseId,
            runId,
            threadKey,
            askAgainAfter: DENIED_SECONDS,
          },
        );
      const [first = {}, ...others] = causes;
      const { approvalId, state, reason } = await askFor(first);
      // the same question of each: whoever is behind one of them is known as asking
      for (const other of others) if (state === 'pending') await askFor(other);
      return { approvalId, denied: state === 'denied' ? reason : undefined };
    },
    async decided(approvalId, ms, isGone) {
      const { state } = await decisionOn(store, approvalId, ms, { isGone });
      return state === 'approved' || state === 'denied' ? state : 'pending';
    },
  };
}
