/** Approvals as the firewall needs them: asking for one, waiting for it, using it once. Who decides is not its business. */
import type { AuditLog } from '../audit/index.ts';
import { type Store, uuidv7 } from '../store/index.ts';
import type { Approvals } from './gate.ts';

/** How long a person has. */
const PENDING_SECONDS = 24 * 3600;
/** How long an approval may be used once it is given. */
const USE_SECONDS = 3600;
/** A request that was denied is not asked for again for so long. */
const DENIED_SECONDS = 3600;
const LOOK_MS = 1000;

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
      return store.transaction(async (tx) => {
        // requests of one digest one after the other: one question is enough
        await tx.query('select pg_advisory_xact_lock(7226013, $1)', [digest.readInt32BE(0)]);
        const { rows } = await tx.query<{ approval_id: string; state: string; reason: string | null }>(
          `select approval_id, state, reason from approvals where digest = $1
             and ((state in ('pending', 'approved') and expires_at > now()) or (state = 'denied' and decided_at > now() - make_interval(secs => $2)))
           order by approval_id desc limit 1`,
          [digest, DENIED_SECONDS],
        );
        const [known] = rows;
        if (known !== undefined) return { approvalId: known.approval_id, denied: known.state === 'denied' ? known.reason : undefined };
        const approvalId = uuidv7(store.now());
        const summary = {
          method: egress.method,
          url: `${egress.scheme}://${egress.host}:${egress.port}${egress.path}`,
          secrets: egress.secrets,
          bytes: egress.bytes,
        };
        const auditId = await audit.append(tx, {
          action: 'approval.request',
          actor: egress.principal,
          resource: `approval:${approvalId}`,
          leaseId: channel.lease.leaseId,
          runId: channel.lease.runId ?? undefined,
          details: { gate, rule, digest: digest.toString('hex'), ...summary },
        });
        await tx.query(
          `insert into approvals (approval_id, digest, gate, rule, principal, summary, state, lease_id, run_id, expires_at, audit_id)
           values ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, now() + make_interval(secs => $9), $10)`,
          [
            approvalId,
            digest,
            gate,
            rule,
            egress.principal,
            JSON.stringify(summary),
            channel.lease.leaseId,
            channel.lease.runId,
            PENDING_SECONDS,
            auditId,
          ],
        );
        await tx.query(`select pg_notify('centaur_approvals', $1)`, [approvalId]);
        return { approvalId, denied: undefined };
      });
    },
    async decided(approvalId, ms, isGone) {
      let told = () => {};
      const unlisten = await store.listener.on('centaur_approvals', (payload) => {
        if (payload === approvalId || payload === '') told();
      });
      try {
        for (const deadline = performance.now() + ms; ;) {
          const { rows } = await store.query<{ state: string }>('select state from approvals where approval_id = $1', [approvalId]);
          const state = rows[0]?.state;
          if (state === 'approved' || state === 'denied') return state;
          const left = deadline - performance.now();
          if (left <= 0 || isGone() || state !== 'pending') return 'pending';
          await new Promise<void>((resolve) => {
            told = resolve;
            setTimeout(resolve, Math.min(left, LOOK_MS));
          });
        }
      } finally {
        unlisten();
      }
    },
  };
}
