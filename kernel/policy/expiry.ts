/**
 * What follows when nobody has decided in time: it is written down and said, others are asked, or the run is ended. How an approval stands
 * does not depend on this: that follows from the time. Any number of processes may do it; each row is one's.
 */
import { type ApprovalRow, COLUMNS, escalationOf, termsOf } from './approvals.ts';
import { approversOf } from './people.ts';
import type { Parts } from './parts.ts';

export interface ExpiryParts extends Parts {
  /** Ends the run, or the turn of the thread, that an undecided question belongs to. May be asked twice. */
  cancelRun?(of: { readonly runId: string | null; readonly threadKey: string | null }): Promise<void>;
}

export interface Swept {
  readonly escalated: number;
  readonly expired: number;
  readonly cancelled: number;
}

const AT_ONCE = 100;

export async function sweepApprovals(parts: ExpiryParts): Promise<Swept> {
  const escalated = await escalateDue(parts);
  return { escalated, ...(await expireDue(parts)) };
}

async function escalateDue({ store, audit }: Parts): Promise<number> {
  return store.transaction(async (tx) => {
    // others skip what this one has
    const { rows } = await tx.query<ApprovalRow>(
      `select ${COLUMNS} from approvals where state = 'pending' and escalated_audit_id is null and escalate_at <= now() and expires_at > now()
       order by escalate_at limit ${AT_ONCE} for update skip locked`,
    );
    for (const row of rows) {
      const auditId = await audit.append(tx, {
        ...entryOf(row),
        action: 'approval.escalate',
        details: { gate: row.gate, rule: row.rule, approvers: approversOf(termsOf(row), escalationOf(row)) },
      });
      await tx.query('update approvals set escalated_audit_id = $2, version = version + 1 where approval_id = $1', [
        row.approval_id,
        auditId,
      ]);
      await tx.query(`select pg_notify('centaur_approvals', $1)`, [row.approval_id]);
    }
    return rows.length;
  });
}

async function expireDue(parts: ExpiryParts): Promise<Omit<Swept, 'escalated'>> {
  const { store, audit, cancelRun } = parts;
  return store.transaction(async (tx) => {
    const { rows } = await tx.query<ApprovalRow & { stored: string }>(
      `select ${COLUMNS}, state as stored from approvals
       where (state = 'pending' and expires_at <= now()) or (state = 'approved' and use_by <= now())
       order by approval_id limit ${AT_ONCE} for update skip locked`,
    );
    let cancelled = 0;
    for (const row of rows) {
      const ends = row.stored === 'pending' && termsOf(row).onExpiry === 'cancel_run' && cancelRun !== undefined;
      // before it is written: a process that dies in between leaves it to the next one
      if (ends) {
        await cancelRun({ runId: row.run_id, threadKey: row.thread_key });
        cancelled += 1;
      }
      await audit.append(tx, {
        ...entryOf(row),
        action: 'approval.expire',
        details: {
          gate: row.gate,
          rule: row.rule,
          was: row.stored,
          ...(ends ? { run_cancelled: true } : {}),
        },
      });
      await tx.query(`update approvals set state = 'expired', version = version + 1 where approval_id = $1`, [row.approval_id]);
      await tx.query(`select pg_notify('centaur_approvals', $1)`, [row.approval_id]);
    }
    return { expired: rows.length, cancelled };
  });
}

function entryOf({ approval_id, lease_id, run_id, thread_key }: ApprovalRow) {
  return {
    actor: 'system:approvals',
    resource: `approval:${approval_id}`,
    leaseId: lease_id ?? undefined,
    runId: run_id ?? undefined,
    threadKey: thread_key ?? undefined,
  };
}
