/** Approvals: asking a person, waiting for the answer, and giving it. What is asked, and what an answer allows, is its asker's business. */
import { type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { PolicyError } from './errors.ts';
import { tellRun } from './tell-run.ts';
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
    await tellRun(tx, store.now(), { ...row, state: decision.state, reason: decision.reason ?? null, decided_by: actor });
    await tx.query(`select pg_notify('centaur_approvals', $1)`, [approvalId]);
    return toView(rows[0] as Row);
  });
}

/** Its time is up: makes that the decision, unless there is one. Answers until when it is open, in milliseconds since 1970, if it still is. */
export async function expireApproval({ store, audit }: Parts, approvalId: string): Promise<number | undefined> {
  return store.transaction(async (tx) => {
    const { rows } = await tx.query<Row & { readonly stored: ApprovalState }>(
      `select ${COLUMNS}, state as stored from approvals where approval_id = $1 for update`,
      [approvalId],
    );
    const [row] = rows;
    if (row?.stored !== 'pending') return undefined;
    if (row.state === 'pending') return row.expires_at;
    const auditId = await audit.append(tx, {
      action: 'approval.expire',
      actor: 'system:approvals',
      resource: `approval:${approvalId}`,
      decision: 'deny',
      leaseId: row.lease_id ?? undefined,
      runId: row.run_id ?? undefined,
      details: { gate: row.gate, rule: row.rule, principal: row.principal, digest: row.digest.toString('hex') },
    });
    await tx.query(`update approvals set state = 'expired', decided_at = now(), decided_audit_id = $2 where approval_id = $1`, [
      approvalId,
      auditId,
    ]);
    await tellRun(tx, store.now(), { ...row, state: 'expired' });
    await tx.query(`select pg_notify('centaur_approvals', $1)`, [approvalId]);
    return undefined;
  });
}

export interface Question {
  /** Of exactly what will happen. One question a digest is open at a time. */
  readonly digest: Buffer;
  readonly gate: string;
  readonly rule: string;
  readonly principal: string;
  /** What a person sees. No secrets. */
  readonly summary: Readonly<Record<string, unknown>>;
  /** What the audit log has of it, for good: no words of the agent. */
  readonly audited: Readonly<Record<string, unknown>>;
  readonly threadKey?: string | undefined;
  readonly leaseId?: string | undefined;
  readonly runId?: string | undefined;
  /** How long a person has. */
  readonly seconds: number;
  /** A question that was answered is asked again: never, or when the answer is older than this many seconds. */
  readonly askAgainAfter: number | 'never';
}

export interface Asked {
  readonly approvalId: string;
  readonly state: ApprovalState;
  readonly reason: string | null;
  readonly gate: string;
  readonly expiresAt: number;
  /** It was not there before. */
  readonly isNew: boolean;
}

/** Asks, or finds that it was asked. */
export async function askApproval(parts: Parts, question: Question): Promise<Asked> {
  return parts.store.transaction((tx) => askApprovalIn(tx, parts, question));
}

/** The same, in the transaction of what waits for the answer. */
export async function askApprovalIn(tx: Queryable, { store, audit }: Parts, question: Question): Promise<Asked> {
  const { digest, gate, rule, principal, summary, audited, leaseId, runId, threadKey, seconds, askAgainAfter } = question;
  // questions of one digest one after the other: one is enough
  await tx.query('select pg_advisory_xact_lock(7226013, $1)', [digest.readInt32BE(0)]);
  const known = await findApproval(tx, digest, askAgainAfter);
  if (known !== undefined) return known;
  const approvalId = uuidv7(store.now());
  const auditId = await audit.append(tx, {
    action: 'approval.request',
    actor: principal,
    resource: `approval:${approvalId}`,
    leaseId,
    runId,
    threadKey,
    details: { gate, rule, digest: digest.toString('hex'), ...audited },
  });
  const { rows: made } = await tx.query<AskedRow>(
    `insert into approvals (approval_id, digest, gate, rule, principal, summary, state, lease_id, run_id, expires_at, audit_id)
     values ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, now() + make_interval(secs => $9), $10)
     returning approval_id, state, reason, gate, expires_at`,
    [approvalId, digest, gate, rule, principal, JSON.stringify(summary), leaseId ?? null, runId ?? null, seconds, auditId],
  );
  await tx.query(`select pg_notify('centaur_approvals', $1)`, [approvalId]);
  return toAsked(made[0] as AskedRow, true);
}

/** Whether it was asked, and is not to be asked again. */
export async function findApproval(store: Queryable, digest: Buffer, askAgainAfter: Question['askAgainAfter']): Promise<Asked | undefined> {
  const { rows } = await store.query<AskedRow>(
    `select approval_id, ${STATE} as state, reason, gate, expires_at from approvals where digest = $1
       and ($2::float8 is null or (state = 'pending' and expires_at > now())
         or (state in ('approved', 'denied') and decided_at > now() - make_interval(secs => $2)))
     order by approval_id desc limit 1`,
    [digest, askAgainAfter === 'never' ? null : askAgainAfter],
  );
  return rows[0] === undefined ? undefined : toAsked(rows[0], false);
}

interface AskedRow {
  readonly approval_id: string;
  readonly state: ApprovalState;
  readonly reason: string | null;
  readonly gate: string;
  readonly expires_at: number;
}

function toAsked({ approval_id, state, reason, gate, expires_at }: AskedRow, isNew: boolean): Asked {
  return { approvalId: approval_id, state, reason, gate, expiresAt: expires_at, isNew };
}

/** How often is looked without a notification. */
const LOOK_MS = 1000;

/** Resolves when it is not pending any more, after `ms`, at `signal`, or soon after the asker has gone. */
export async function decisionOn(
  store: Pick<Store, 'query' | 'listener'>,
  approvalId: string,
  ms: number,
  { isGone = () => false, signal }: { readonly isGone?: () => boolean; readonly signal?: AbortSignal },
): Promise<{ readonly state: ApprovalState; readonly reason: string | null }> {
  let told = () => {};
  const stop = () => told();
  signal?.addEventListener('abort', stop);
  const unlisten = await store.listener.on('centaur_approvals', (payload) => {
    if (payload === approvalId || payload === '') told();
  });
  try {
    for (const deadline = performance.now() + ms; ;) {
      const { rows } = await store.query<{ state: ApprovalState; reason: string | null }>(
        `select ${STATE} as state, reason from approvals where approval_id = $1`,
        [approvalId],
      );
      const [row] = rows;
      if (row === undefined) throw notFound(approvalId);
      const left = deadline - performance.now();
      if (row.state !== 'pending' || left <= 0 || isGone() || signal?.aborted === true) return row;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        told = resolve;
        timer = setTimeout(resolve, Math.min(left, LOOK_MS));
      });
      clearTimeout(timer);
    }
  } finally {
    unlisten();
    signal?.removeEventListener('abort', stop);
  }
}

/** Nobody waits for the answer any more: to one question, to those named, or to all of a run, but for those about what its lease sends. */
export async function withdrawApprovals(
  store: Queryable,
  of: { readonly digest: Buffer } | { readonly runId: string } | { readonly approvalIds: readonly string[] },
): Promise<void> {
  const open = `update approvals set expires_at = now() where state = 'pending' and expires_at > now()`;
  if ('digest' in of) await store.query(`${open} and digest = $1`, [of.digest]);
  else if ('approvalIds' in of) await store.query(`${open} and approval_id = any($1::uuid[])`, [of.approvalIds]);
  else await store.query(`${open} and run_id = $1 and lease_id is null`, [of.runId]);
}

/** The oldest approval for exactly this that was given in the last `seconds`, and that nobody has used or is using. Who uses it takes it. */
export async function givenApproval(on: Queryable, digest: Buffer, seconds: number): Promise<string | undefined> {
  const { rows } = await on.query<{ approval_id: string }>(
    `select approval_id from approvals where digest = $1 and state = 'approved' and decided_at > now() - make_interval(secs => $2)
     order by approval_id limit 1 for update skip locked`,
    [digest, seconds],
  );
  return rows[0]?.approval_id;
}

/** Takes an approval of exactly this, given in the last `seconds`; undefined when there is none. Answers its id. */
export async function takeApproval(store: Queryable, digest: Buffer, seconds: number): Promise<string | undefined> {
  const { rows } = await store.query<{ approval_id: string }>(
    `update approvals set state = 'consumed', consumed_at = now() where approval_id = (
       select approval_id from approvals where digest = $1 and state = 'approved' and decided_at > now() - make_interval(secs => $2)
       order by approval_id limit 1 for update skip locked)
     returning approval_id`,
    [digest, seconds],
  );
  return rows[0]?.approval_id;
}

/** Gives back an approval that was taken for what was then not done: its time runs on. */
export async function returnApproval(store: Queryable, approvalId: string): Promise<void> {
  await store.query(`update approvals set state = 'approved', consumed_at = null where approval_id = $1 and state = 'consumed'`, [
    approvalId,
  ]);
}

/** Takes an approval that was given; false when somebody else has used it. */
export async function consumeApproval(store: Queryable, approvalId: string): Promise<boolean> {
  const { rowCount } = await store.query(
    `update approvals set state = 'consumed', consumed_at = now() where approval_id = $1 and state = 'approved'`,
    [approvalId],
  );
  return rowCount === 1;
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
