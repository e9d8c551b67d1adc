/**
 * What follows when nobody has decided in time: it is written down and said, others are asked, or the run is ended. How an approval stands
 * does not depend on this: that follows from the time. Any number of processes may do it; each row is one's.
 */
import { type ApprovalRow, COLUMNS, escalationOf, termsOf } from './approvals.ts';
import { approversOf } from './people.ts';
import type { Queryable } from '../store/index.ts';
import type { Parts } from './parts.ts';
import { tellRun } from './tell-run.ts';

export interface ExpiryParts extends Parts {
  /** Ends the run, or the turn of the thread, that an undecided question belongs to. May be asked twice. */
  cancelRun?(of: AskedBy): Promise<void>;
}

export interface AskedBy {
  readonly runId: string | null;
  readonly threadKey: string | null;
  /** Milliseconds since 1970. */
  readonly askedAt: number;
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

const DUE = `((state = 'pending' and expires_at <= now()) or (state = 'approved' and use_by <= now()))`;

async function expireDue(parts: ExpiryParts): Promise<Omit<Swept, 'escalated'>> {
  const { store, cancelRun } = parts;
  const { rows } = await store.query<StoredRow>(
    `select ${COLUMNS}, state as stored from approvals where ${DUE} order by approval_id limit ${AT_ONCE}`,
  );
  const swept = { expired: 0, cancelled: 0 };
  const failures: Error[] = [];
  for (const row of rows) {
    const ends = row.stored === 'pending' && termsOf(row).onExpiry === 'cancel_run' && cancelRun !== undefined;
    // Before it is written: a process that dies in between leaves it to the next one. And before the row is locked: what ends the run
    // locks its questions, from another connection, and the two would wait for each other.
    try {
      if (ends) await cancelRun({ runId: row.run_id, threadKey: row.thread_key, askedAt: row.created_at });
    } catch (error) {
      // one that cannot be ended just now keeps no other from its end
      failures.push(error as Error);
      continue;
    }
    if (!(await expireOne(parts, row.approval_id, ends ? { run_cancelled: true } : {}))) continue;
    swept.expired += 1;
    if (ends) swept.cancelled += 1;
  }
  const [first] = failures;
  if (first !== undefined)
    throw new Error(`${failures.length} runs that nobody decided on could not be ended: ${first.message}`, { cause: first });
  return swept;
}

/** False when another process has it, or had it. */
async function expireOne({ store, audit }: Parts, approvalId: string, more: object): Promise<boolean> {
  return store.transaction(async (tx) => {
    const { rows } = await tx.query<StoredRow>(
      `select ${COLUMNS}, state as stored from approvals where approval_id = $1 and ${DUE} for update skip locked`,
      [approvalId],
    );
    if (rows[0] === undefined) return false;
    await expire({ store, audit }, tx, rows[0], more);
    return true;
  });
}

/** Because somebody waits for it: at once, and not with the next sweep. Answers until when it is open, in milliseconds since 1970, if it still is. */
export async function expireApproval({ store, audit }: Parts, approvalId: string): Promise<number | undefined> {
  return store.transaction(async (tx) => {
    await tx.query('select 1 from approvals where approval_id = $1 for update', [approvalId]);
    // a fresh look: it may have been decided on while this waited for the lock
    const { rows } = await tx.query<StoredRow>(`select ${COLUMNS}, state as stored from approvals where approval_id = $1`, [approvalId]);
    const [row] = rows;
    if (row?.stored !== 'pending') return undefined;
    if (row.state === 'pending') return row.expires_at;
    // to end the run is the sweep's business
    if (termsOf(row).onExpiry === 'cancel_run') return store.now() + LOOK_AGAIN_MS;
    await expire({ store, audit }, tx, row, {});
    return undefined;
  });
}

interface StoredRow extends ApprovalRow {
  readonly stored: string;
}

const LOOK_AGAIN_MS = 5000;

async function expire({ store, audit }: Parts, tx: Queryable, row: StoredRow, more: object): Promise<void> {
  await audit.append(tx, {
    ...entryOf(row),
    action: 'approval.expire',
    details: { gate: row.gate, rule: row.rule, was: row.stored, ...more },
  });
  await tx.query(`update approvals set state = 'expired', version = version + 1 where approval_id = $1`, [row.approval_id]);
  // of one that was approved and not used it has heard before
  if (row.stored === 'pending')
    await tellRun(tx, store.now(), { approval_id: row.approval_id, state: 'expired', run_id: row.run_id, reason: null, voters: [] });
  await tx.query(`select pg_notify('centaur_approvals', $1)`, [row.approval_id]);
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
