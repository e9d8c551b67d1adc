/** Approvals of requests: what is approved is one request, down to its body, and it is used once. */
import type { AuditLog } from '../audit/index.ts';
import { askApproval, decisionOn } from '../policy/index.ts';
import type { Store } from '../store/index.ts';
import type { Approvals } from './gate.ts';

/** How long a person has. */
const PENDING_SECONDS = 24 * 3600;
/** How long an approval may be used once it is given. */
const USE_SECONDS = 3600;
/** A request that was denied is not asked for again for so long. */
const DENIED_SECONDS = 3600;

export function createApprovals(store: Store, audit: AuditLog): Approvals {
  return {
    async take(digest) {
      const { rows } = await store.query<{ approval_id: string }>(
        `update approvals set state = 'consumed', consumed_at = now() where approval_id = (
           select approval_id from approvals where digest = $1 and state = 'approved' and decided_at > now() - make_interval(secs => $2)
           order by approval_id limit 1 for update skip locked)
         returning approval_id`,
        [digest, USE_SECONDS],
      );
      return rows[0]?.approval_id;
    },
    async ask({ digest, gate, rule, egress, channel }) {
      const summary = {
        method: egress.method,
        url: `${egress.scheme}://${egress.host}:${egress.port}${egress.path}`,
        secrets: egress.secrets,
        bytes: egress.bytes,
      };
      const { approvalId, state, reason } = await askApproval(
        { store, audit },
        {
          digest,
          gate,
          rule,
          principal: egress.principal,
          summary,
          audited: summary,
          leaseId: channel.lease.leaseId,
          runId: channel.lease.runId ?? undefined,
          seconds: PENDING_SECONDS,
          askAgainAfter: DENIED_SECONDS,
        },
      );
      return { approvalId, denied: state === 'denied' ? reason : undefined };
    },
    async decided(approvalId, ms, isGone) {
      const { state } = await decisionOn(store, approvalId, ms, { isGone });
      return state === 'approved' || state === 'denied' ? state : 'pending';
    },
  };
}
