/** Approvals as people meet them: what waits, and deciding it. Asking for one, and using it, is the firewall's business. */
import type { Queryable } from '../store/index.ts';
import { PolicyError } from './errors.ts';
import type { Parts } from './versions.ts';

/** `consumed`: approved, and used for its request. */
export type ApprovalState = 'pending' | 'approved' | 'denied' | 'expired' | 'consumed';

export interface ApprovalView {
  readonly approval_id: string;
  readonly state: ApprovalState;
  readonly gate: string;
  readonly rule: string;
  readonly principal: string;
  readonly summary: unknown;
  /** Of the request that it is for: SHA-256 in hex. */
  readonly digest: string;
  readonly lease_id: string | null;
  readonly run_id: string | null;
  readonly reason: string | null;
  readonly decided_by: string | null;
  readonly created_at: string;
  readonly expires_at: string;
  readonly decided_at: string | null;
  readonly consumed_at: string | null;
  readonly audit_id: string;
  readonly decided_audit_id: string | null;
}

export interface ApprovalFilter {
  readonly state?: ApprovalState | undefined;
  /** Older ones than this. */
  readonly after?: string | undefined;
  readonly limit?: number | undefined;
}

/** Nobody decided in time: so it is expired, whether or not anybody has written that down. */
const STATE = `case when state = 'pending' and expires_at <= now() then 'expired' else state end`;

const COLUMNS = `approval_id, ${STATE} as state, gate, rule, principal, summary, digest, lease_id, run_id, reason, decided_by, created_at,
  expires_at, decided_at, consumed_at, audit_id, decided_audit_id`;

/** Newest first. */
export async function listApprovals(
  store: Queryable,
  filter: ApprovalFilter = {},
): Promise<{ readonly items: readonly ApprovalView[]; readonly next: string | null }> {
  const limit = filter.limit ?? 50;
  const { rows } = await store.query<Row>(
    `select ${COLUMNS} from approvals
     where ($1::text is null or ${STATE} = $1) and ($2::uuid is null or approval_id < $2) order by approval_id desc limit $3`,
    [filter.state ?? null, filter.after ?? null, limit + 1],
  );
  const items = rows.slice(0, limit).map(toView);
  return { items, next: rows.length > limit ? (items.at(-1)?.approval_id ?? null) : null };
}

/** @throws PolicyError APPROVAL_NOT_FOUND */
export async function getApproval(store: Queryable, approvalId: string): Promise<ApprovalView> {
  const { rows } = await store.query<Row>(`select ${COLUMNS} from approvals where approval_id = $1`, [approvalId]);
  if (rows[0] === undefined) throw notFound(approvalId);
  return toView(rows[0]);
}

/**
 * Decides once: of two people at the same moment, one is told what the other decided. Whoever waits for it hears of it
 * when the decision and its audit entry are committed.
 *
 * @throws PolicyError APPROVAL_NOT_FOUND, APPROVAL_DECIDED
 */
export async function decideApproval(
  { store, audit }: Parts,
  actor: string,
  approvalId: string,
  decision: { readonly state: 'approved' | 'denied'; readonly reason?: string | undefined },
): Promise<ApprovalView> {
  return store.transaction(async (tx) => {
    const { rows: found } = await tx.query<Row>(`select ${COLUMNS} from approvals where approval_id = $1 for update`, [approvalId]);
    const [row] = found;
    if (row === undefined) throw notFound(approvalId);
    if (row.state !== 'pending') throw new PolicyError('APPROVAL_DECIDED', decidedText(toView(row)));
    const auditId = await audit.append(tx, {
      action: 'approval.decide',
      actor,
      resource: `approval:${approvalId}`,
      decision: decision.state === 'approved' ? 'approve' : 'deny',
      leaseId: row.lease_id ?? undefined,
      runId: row.run_id ?? undefined,
      details: { gate: row.gate, rule: row.rule, principal: row.principal, digest: row.digest.toString('hex'), reason: decision.reason },
    });
    const { rows } = await tx.query<Row>(
      `update approvals set state = $2, reason = $3, decided_by = $4, decided_at = now(), decided_audit_id = $5
       where approval_id = $1 returning ${COLUMNS}`,
      [approvalId, decision.state, decision.reason ?? null, actor, auditId],
    );
    await tx.query(`select pg_notify('centaur_approvals', $1)`, [approvalId]);
    return toView(rows[0] as Row);
  });
}

function decidedText({ approval_id, state, decided_by, decided_at, expires_at }: ApprovalView): string {
  if (state === 'expired') return `approval ${approval_id} expired at ${expires_at}, undecided; the request has to be made again`;
  const decided = state === 'denied' ? 'denied' : 'approved';
  return `approval ${approval_id} was ${decided} by ${decided_by} at ${decided_at}; it is decided once`;
}

function notFound(approvalId: string): PolicyError {
  return new PolicyError('APPROVAL_NOT_FOUND', `there is no approval ${JSON.stringify(approvalId)}`);
}

interface Row {
  readonly approval_id: string;
  readonly state: ApprovalState;
  readonly gate: string;
  readonly rule: string;
  readonly principal: string;
  readonly summary: string;
  readonly digest: Buffer;
  readonly lease_id: string | null;
  readonly run_id: string | null;
  readonly reason: string | null;
  readonly decided_by: string | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly decided_at: number | null;
  readonly consumed_at: number | null;
  readonly audit_id: string;
  readonly decided_audit_id: string | null;
}

function toView(row: Row): ApprovalView {
  const time = (ms: number) => new Date(ms).toISOString();
  return {
    ...row,
    summary: JSON.parse(row.summary) as unknown,
    digest: row.digest.toString('hex'),
    created_at: time(row.created_at),
    expires_at: time(row.expires_at),
    decided_at: row.decided_at === null ? null : time(row.decided_at),
    consumed_at: row.consumed_at === null ? null : time(row.consumed_at),
  };
}
