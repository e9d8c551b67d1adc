/**
 * What a person lets through for a while without being asked again: calls of one tool by one caller, with all arguments the same or with
 * some that they name. It is a row that everybody sees and may end, it is over after a day at the latest, and it counts only while the
 * policy asks just what it asked then. Never for money. With a quorum, everybody who approves has to want the same.
 */
import { createHash } from 'node:crypto';
import { canonicalJson, type Queryable, uuidv7 } from '../store/index.ts';
import { type ApprovalRow, termsOf } from './approvals.ts';
import { valueAt } from './arguments.ts';
import { PolicyError } from './errors.ts';
import type { Gate } from './parse.ts';
import type { CountedVote } from './votes.ts';
import type { Parts } from './parts.ts';

export interface StickyAsk {
  /** The thread, the run, or so many seconds: a day at most, as it is for the other two. */
  readonly for: 'thread' | 'run' | number;
  /** Paths of the arguments that have to be the same. Default: all arguments. */
  readonly fields?: readonly string[] | undefined;
}

export interface StickyView {
  readonly grant_id: string;
  readonly approval_id: string;
  readonly state: 'active' | 'expired' | 'revoked';
  readonly tool: string;
  readonly principal: string;
  readonly thread_key: string | null;
  readonly run_id: string | null;
  /** Null: all arguments have to be the same. */
  readonly fields: readonly string[] | null;
  readonly granted_by: string;
  readonly reason: string | null;
  readonly used: number;
  readonly last_used_at: string | null;
  readonly created_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
  readonly revoked_by: string | null;
  readonly audit_id: string;
}

/** A call that the policy sends to a gate. */
export interface StickyCall {
  /** All that an approval of it is bound to, but for the arguments. */
  readonly bound: Readonly<Record<string, unknown>>;
  readonly args: unknown;
  readonly risk: string;
  readonly gate: string;
  readonly rule: string;
  readonly terms: Gate;
  readonly threadKey?: string | undefined;
  readonly runId?: string | undefined;
}

const LONGEST_SECONDS = 86_400;
const MOST_FIELDS = 20;

/** @throws PolicyError STICKY_REFUSED */
export function checkSticky(row: ApprovalRow, { for: scope, fields }: StickyAsk, edited: 'edited' | 'as asked'): void {
  const refuse = (why: string) => new PolicyError('STICKY_REFUSED', `it cannot be approved for longer: ${why}`);
  if (row.kind !== 'tool' || row.args === null || row.subject === null) throw refuse('only calls of tools can be');
  if (row.risk === 'financial') throw refuse('what moves money is approved each time');
  if (edited === 'edited' || row.edited_digest !== null) throw refuse('it was edited, so the next call would not be like it');
  if (scope === 'thread' && row.thread_key === null) throw refuse('no thread asks for it');
  if (scope === 'run' && row.run_id === null) throw refuse('no run asks for it');
  if (typeof scope === 'number' && !(Number.isInteger(scope) && scope >= 1 && scope <= LONGEST_SECONDS))
    throw refuse('for: expected 24 hours at most');
  if (fields === undefined) return;
  if (fields.length === 0 || fields.length > MOST_FIELDS) throw refuse(`fields: expected 1 to ${MOST_FIELDS} of them`);
  const args = JSON.parse(row.args) as unknown;
  for (const path of fields)
    if (valueAt(args, path) === undefined) throw refuse(`fields: the call has no argument ${JSON.stringify(path)}`);
}

/** Once it is approved: when all who approved it want the same. */
export async function grantSticky(
  { audit, store }: Parts,
  tx: Queryable,
  row: ApprovalRow,
  voter: string,
  votes: readonly CountedVote[],
): Promise<void> {
  const [first, ...others] = votes;
  if (first === undefined || first.sticky === null || row.args === null || row.subject === null) return;
  const wanted = canonicalJson(JSON.parse(first.sticky));
  if (others.some(({ sticky }) => sticky === null || canonicalJson(JSON.parse(sticky)) !== wanted)) return;
  const { for: scope, fields } = JSON.parse(first.sticky) as StickyAsk;
  const { bound } = JSON.parse(row.subject) as { readonly bound: Readonly<Record<string, unknown>> };
  const grantId = uuidv7(store.now());
  const tool = `${String(bound['tool'])}.${String(bound['method'])}`;
  const auditId = await audit.append(tx, {
    action: 'approval.grant',
    actor: `user:${voter}`,
    resource: `approval_grant:${grantId}`,
    threadKey: row.thread_key ?? undefined,
    runId: row.run_id ?? undefined,
    details: {
      approval_id: row.approval_id,
      tool,
      principal: row.principal,
      for: scope,
      fields: fields ?? 'all',
      voters: votes.map((each) => each.voter),
      reason: row.reason ?? undefined,
    },
  });
  await tx.query(
    `insert into approval_grants (grant_id, approval_id, bound, terms, tool, principal, thread_key, run_id, fields, args, granted_by, reason,
       expires_at, audit_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now() + make_interval(secs => $13), $14)`,
    [
      grantId,
      row.approval_id,
      digestOf(bound),
      digestOf({ gate: row.gate, rule: row.rule, terms: termsOf(row) }),
      tool,
      row.principal,
      scope === 'thread' ? row.thread_key : null,
      scope === 'run' ? row.run_id : null,
      fields === undefined ? null : JSON.stringify(fields),
      predicateOf(JSON.parse(row.args), fields ?? null),
      `user:${voter}`,
      row.reason,
      typeof scope === 'number' ? scope : LONGEST_SECONDS,
      auditId,
    ],
  );
}

/** One that covers this call; undefined when there is none. That it was used is written by `useSticky`. */
export async function findSticky(on: Queryable, call: StickyCall): Promise<string | undefined> {
  if (call.risk === 'financial') return undefined;
  const { rows } = await on.query<{ grant_id: string; fields: string | null; args: Buffer }>(
    `select grant_id, fields, args from approval_grants where bound = $1 and terms = $2 and revoked_at is null and expires_at > clock_timestamp()
       and (thread_key is null or thread_key = $3) and (run_id is null or run_id = $4) order by grant_id`,
    [digestOf(call.bound), digestOf({ gate: call.gate, rule: call.rule, terms: call.terms }), call.threadKey ?? null, call.runId ?? null],
  );
  const found = rows.find(({ fields, args }) =>
    predicateOf(call.args, fields === null ? null : (JSON.parse(fields) as string[])).equals(args),
  );
  return found?.grant_id;
}

/** In the transaction that records that the call is made. False: it was revoked or ran out just now. */
export async function useSticky(tx: Queryable, grantId: string): Promise<boolean> {
  // waits for whoever revokes it
  const { rowCount } = await tx.query(
    `update approval_grants set used = used + 1, last_used_at = now() where grant_id = $1 and revoked_at is null and expires_at > clock_timestamp()`,
    [grantId],
  );
  return rowCount === 1;
}

/** Newest first. */
export async function listSticky(
  on: Queryable,
  { all = 'active' }: { readonly all?: 'all' | 'active' | undefined } = {},
): Promise<readonly StickyView[]> {
  const { rows } = await on.query<StickyRow>(
    `select ${COLUMNS} from approval_grants where $1 = 'all' or (revoked_at is null and expires_at > clock_timestamp())
     order by grant_id desc limit 500`,
    [all],
  );
  return rows.map(toView);
}

/** From here on it lets nothing through. @throws PolicyError STICKY_NOT_FOUND */
export async function revokeSticky({ store, audit }: Parts, actor: string, grantId: string): Promise<StickyView> {
  return store.transaction(async (tx) => {
    const { rows: found } = await tx.query<StickyRow>(`select ${COLUMNS} from approval_grants where grant_id = $1 for update`, [grantId]);
    const [row] = found;
    if (row === undefined) throw new PolicyError('STICKY_NOT_FOUND', `there is no approval grant ${JSON.stringify(grantId)}`);
    if (row.revoked_at !== null) return toView(row);
    const auditId = await audit.append(tx, {
      action: 'approval.grant_revoke',
      actor,
      resource: `approval_grant:${grantId}`,
      details: { approval_id: row.approval_id, tool: row.tool, principal: row.principal, used: row.used },
    });
    const { rows } = await tx.query<StickyRow>(
      `update approval_grants set revoked_at = now(), revoked_by = $2, revoked_audit_id = $3 where grant_id = $1 returning ${COLUMNS}`,
      [grantId, actor, auditId],
    );
    return toView(rows[0] as StickyRow);
  });
}

function predicateOf(args: unknown, fields: readonly string[] | null): Buffer {
  // what is not there is not the same as null
  return digestOf(
    fields === null ? { args } : { fields: fields.map((path) => [path, valueAt(args, path) ?? null, valueAt(args, path) === undefined]) },
  );
}

function digestOf(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value)).digest();
}

const COLUMNS = `grant_id, approval_id, case when revoked_at is not null then 'revoked' when expires_at <= clock_timestamp() then 'expired'
  else 'active' end as state, tool, principal, thread_key, run_id, fields, granted_by, reason, used, last_used_at, created_at, expires_at,
  revoked_at, revoked_by, audit_id`;

interface StickyRow {
  readonly grant_id: string;
  readonly approval_id: string;
  readonly state: StickyView['state'];
  readonly tool: string;
  readonly principal: string;
  readonly thread_key: string | null;
  readonly run_id: string | null;
  readonly fields: string | null;
  readonly granted_by: string;
  readonly reason: string | null;
  readonly used: number;
  readonly last_used_at: number | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly revoked_at: number | null;
  readonly revoked_by: string | null;
  readonly audit_id: string;
}

function toView({ fields, last_used_at, created_at, expires_at, revoked_at, ...row }: StickyRow): StickyView {
  return {
    ...row,
    fields: fields === null ? null : (JSON.parse(fields) as string[]),
    last_used_at: last_used_at === null ? null : new Date(last_used_at).toISOString(),
    created_at: new Date(created_at).toISOString(),
    expires_at: new Date(expires_at).toISOString(),
    revoked_at: revoked_at === null ? null : new Date(revoked_at).toISOString(),
  };
}
