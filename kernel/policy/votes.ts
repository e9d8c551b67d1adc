/**
 * Deciding: one handler for every surface. A person votes on a digest, so on exactly what would happen; the vote, what it leads to, the
 * audit entries and the notification are one transaction under the lock of the approval's row, so that an approval is decided once however
 * many vote at the same moment.
 *
 * One that denies is enough. An edit is a vote for what was edited, and ends all votes for what was asked before. Who may vote is looked
 * at when the vote comes: see `people.ts`.
 */
import { createHash } from 'node:crypto';
import { canonicalJson, type Queryable } from '../store/index.ts';
import {
  type ApprovalDetail,
  type ApprovalRow,
  boundTo,
  COLUMNS,
  detailOf,
  escalationOf,
  notFound,
  refuseTampered,
  type Subject,
  termsOf,
  toView,
} from './approvals.ts';
import { patched, redact, valueAt } from './arguments.ts';
import { PolicyError } from './errors.ts';
import type { JsonSchema } from './expression.ts';
import { byAuthor, isOfAuthor } from './publish-rule.ts';
import type { Gate } from './parse.ts';
import { type Beginning, involvedIn, type Voter, whyNot } from './people.ts';
import { checkSticky, grantSticky, type StickyAsk } from './sticky.ts';
import { tellRun } from './tell-run.ts';
import { policyTime, type ToolRequest } from './types.ts';
import type { Parts } from './parts.ts';
import { activePolicy } from './active.ts';

export type Channel = 'api' | 'cli' | 'console' | 'slack';

export interface Vote {
  readonly verdict: 'approve' | 'deny' | 'abstain';
  /** Of what is voted on, in hex. Without it: what was asked for, unless somebody edited that; to deny, whatever it is by now. */
  readonly digest?: string | undefined;
  /** Values by their paths in the arguments. Only to approve. */
  readonly patch?: Readonly<Record<string, unknown>> | undefined;
  readonly reason?: string | undefined;
  /** Refused when it has changed since. */
  readonly version?: number | undefined;
  /** To let the like of it through for a while. Only to approve. */
  readonly sticky?: StickyAsk | undefined;
  readonly channel: Channel;
  /** Account at the chat service by which it was cast: `slack:T1:U1`. For the record. */
  readonly account?: string | undefined;
}

export interface VotingParts extends Parts {
  /** What is wrong with these arguments for `tool.method`; undefined when this process cannot say. */
  checkArguments?(tool: string, args: unknown): readonly string[] | undefined;
  /** What is wrong with a value, by a JSON Schema. */
  checkSchema?(schema: JsonSchema, value: unknown): readonly string[];
}

/** These are reasoned for the record. */
const REASONED = ['financial', 'destructive'];
const PROOF_MS = 5 * 60_000;
/** Of a workflow's question, as it is when it is asked. */
const EDITED_BYTES_MOST = 32 * 1024;
export const BULK_MOST = 20;

/** @throws PolicyError */
export async function castVote(parts: VotingParts, voter: Voter, approvalId: string, vote: Vote): Promise<ApprovalDetail> {
  return parts.store.transaction((tx) => castVoteIn(tx, parts, voter, approvalId, vote));
}

/** The same, in the transaction of what counts it once. @throws PolicyError */
export async function castVoteIn(tx: Queryable, parts: VotingParts, voter: Voter, approvalId: string, vote: Vote): Promise<ApprovalDetail> {
  const row = await lockOpen(tx, approvalId, vote.version);
  const terms = termsOf(row);
  if (isOfAuthor(row, `user:${voter.name}`)) throw byAuthor(approvalId);
  const why = await whyNotNow(tx, row, voter);
  if (why !== undefined) throw new PolicyError('NOT_AN_APPROVER', why);
  if (vote.verdict === 'approve') refuseTampered(row);
  refuseStale(row, vote);
  refuseUnreasoned(row, vote);
  if (vote.verdict !== 'approve' && (vote.patch !== undefined || vote.sticky !== undefined))
    throw new PolicyError('EDIT_REFUSED', 'only who approves changes what is asked for, or lets the like of it through');
  const edit = vote.patch === undefined ? undefined : await editOf(parts, tx, row, terms, vote.patch);
  if (vote.sticky !== undefined) checkSticky(row, vote.sticky, edit === undefined ? 'as asked' : 'edited');
  const digest = edit?.digest ?? boundTo(row);
  const auditId = await parts.audit.append(tx, {
    ...entryOf(row, voter),
    action: 'approval.vote',
    decision: vote.verdict === 'abstain' ? undefined : vote.verdict,
    details: {
      ...detailsOf(row),
      digest: digest.toString('hex'),
      verdict: vote.verdict,
      channel: vote.channel,
      ...(vote.account === undefined ? {} : { account: vote.account }),
      reason: vote.reason,
      ...(edit === undefined ? {} : { edited: Object.keys(vote.patch ?? {}), asked_digest: row.digest.toString('hex') }),
      ...(vote.sticky === undefined ? {} : { sticky: vote.sticky.for }),
    },
  });
  if (edit !== undefined) {
    await tx.query('update approval_votes set void = true where approval_id = $1', [approvalId]);
    await tx.query('update approvals set edited_args = $2, edited_digest = $3, edited_by = $4 where approval_id = $1', [
      approvalId,
      JSON.stringify(edit.args),
      edit.digest,
      voter.name,
    ]);
  }
  await tx.query(
    `insert into approval_votes (approval_id, voter, verdict, digest, reason, channel, sticky, audit_id, at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
     on conflict (approval_id, voter) do update set verdict = excluded.verdict, digest = excluded.digest, reason = excluded.reason,
       channel = excluded.channel, sticky = excluded.sticky, void = false, audit_id = excluded.audit_id, at = excluded.at`,
    [approvalId, voter.name, vote.verdict, digest, vote.reason ?? null, vote.channel, jsonOf(vote.sticky), auditId],
  );
  const votes = await countVotes(tx, approvalId);
  const state = vote.verdict === 'deny' ? 'denied' : votes.length >= terms.quorum ? 'approved' : 'pending';
  if (state === 'pending') return detailOf(tx, await change(tx, approvalId, 'version = version + 1'));
  const decided = await settle(parts, tx, row, voter, { state, reason: vote.reason, digest, voters: votes, useByMs: terms.useByMs });
  if (state === 'approved') await grantSticky(parts, tx, decided, voter.name, votes);
  return detailOf(tx, decided);
}

/**
 * Past the gate: one administrator, who has proved just before who they are, and says why. What is approved is still this one request.
 * Whoever listens on the channel `centaur_overrides` hears of it.
 *
 * @throws PolicyError
 */
export async function overrideApproval(
  parts: Parts,
  voter: Voter,
  approvalId: string,
  vote: { readonly reason: string; readonly digest?: string | undefined; readonly version?: number | undefined; readonly channel: Channel },
): Promise<ApprovalDetail> {
  if (voter.role !== 'admin')
    throw new PolicyError('NOT_AN_APPROVER', `${voter.name} is no administrator: only one may decide past a gate`);
  const age = parts.store.now() - voter.provenAt;
  // so written that a time that is none counts for nothing
  if (!(age <= PROOF_MS && age >= -PROOF_MS))
    throw new PolicyError(
      'PROOF_REQUIRED',
      `prove again who you are (centaur login by password, or /auth/oidc/start?again=1 in a browser), and override within ${PROOF_MS / 60_000} minutes`,
    );
  if (vote.reason.trim() === '') throw new PolicyError('REASON_REQUIRED', 'reason: say why the gate is passed by');
  return parts.store.transaction(async (tx) => {
    const row = await lockOpen(tx, approvalId, vote.version);
    if (isOfAuthor(row, `user:${voter.name}`)) throw byAuthor(approvalId);
    refuseTampered(row);
    refuseStale(row, { ...vote, verdict: 'approve' });
    const digest = boundTo(row);
    const { useByMs } = termsOf(row);
    const decided = await settle(parts, tx, row, voter, { ...vote, state: 'approved', digest, voters: [], useByMs, how: 'override' });
    await tx.query(`select pg_notify('centaur_overrides', $1)`, [approvalId]);
    return detailOf(tx, decided);
  });
}

export type BulkOutcome =
  | { readonly approval_id: string; readonly ok: true; readonly approval: ApprovalDetail }
  | { readonly approval_id: string; readonly ok: false; readonly code: string; readonly message: string };

/** Each by itself: one that is refused refuses no other. */
export async function castVotes(
  parts: VotingParts,
  voter: Voter,
  votes: readonly (Vote & { readonly approvalId: string })[],
): Promise<readonly BulkOutcome[]> {
  const outcomes: BulkOutcome[] = [];
  for (const { approvalId, ...vote } of votes) {
    try {
      outcomes.push({ approval_id: approvalId, ok: true, approval: await castVote(parts, voter, approvalId, vote) });
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      outcomes.push({ approval_id: approvalId, ok: false, code: error.code, message: error.message });
    }
  }
  return outcomes;
}

export interface LockedApproval {
  /** As they would be sent; null where there are none. */
  readonly args: unknown;
  /** With what is sensitive blanked. */
  readonly shown: unknown;
  /** It is of a risk that is voted on with a reason of one's own. */
  readonly reasoned: boolean;
}

/** For whoever makes a vote of what a person was shown: held until the transaction ends. @throws PolicyError APPROVAL_NOT_FOUND */
export async function lockApproval(tx: Queryable, approvalId: string): Promise<LockedApproval> {
  const { rows: found } = await tx.query('select 1 from approvals where approval_id = $1 for update', [approvalId]);
  if (found.length === 0) throw notFound(approvalId);
  // a fresh look: somebody may have edited it while this waited
  const { rows } = await tx.query<Pick<ApprovalRow, 'args' | 'edited_args' | 'sensitive' | 'risk'>>(
    'select args, edited_args, sensitive, risk from approvals where approval_id = $1',
    [approvalId],
  );
  const { args, edited_args, sensitive, risk } = rows[0] as (typeof rows)[number];
  const text = edited_args ?? args;
  const read: unknown = text === null ? null : JSON.parse(text);
  return { args: read, shown: redact(read, JSON.parse(sensitive) as string[]), reasoned: REASONED.includes(risk ?? '') };
}

/** Undefined: this person may vote on it now. @throws PolicyError APPROVAL_NOT_FOUND */
export async function whyNotVoter(on: Queryable, voter: Voter, approvalId: string): Promise<string | undefined> {
  const { rows } = await on.query<ApprovalRow>(`select ${COLUMNS} from approvals where approval_id = $1`, [approvalId]);
  const [row] = rows;
  if (row === undefined) throw notFound(approvalId);
  return row.state === 'pending' ? whyNotNow(on, row, voter) : decidedText(row);
}

async function whyNotNow(on: Queryable, row: ApprovalRow, voter: Voter): Promise<string | undefined> {
  const { words = [], author = null, runs = [] } = JSON.parse(row.people) as Partial<Beginning>;
  return whyNot(voter, termsOf(row), escalationOf(row), await involvedIn(on, { words, author, runs }));
}

/** Voters wait here for each other. @throws PolicyError APPROVAL_NOT_FOUND, APPROVAL_DECIDED, STALE_VERSION */
async function lockOpen(tx: Queryable, approvalId: string, version: number | undefined): Promise<ApprovalRow> {
  const { rows: found } = await tx.query('select 1 from approvals where approval_id = $1 for update', [approvalId]);
  if (found.length === 0) throw notFound(approvalId);
  // a fresh look: the votes that the one before had cast are counted in it
  const { rows } = await tx.query<ApprovalRow>(`select ${COLUMNS} from approvals where approval_id = $1`, [approvalId]);
  const row = rows[0] as ApprovalRow;
  if (row.state !== 'pending') throw new PolicyError('APPROVAL_DECIDED', decidedText(row));
  if (version !== undefined && version !== row.version)
    throw new PolicyError('STALE_VERSION', `approval ${approvalId} is at version ${row.version} by now, not ${version}: look at it again`);
  return row;
}

function refuseStale(row: ApprovalRow, { verdict, digest }: Pick<Vote, 'verdict' | 'digest'>): void {
  const bound = boundTo(row).toString('hex');
  const isStale = digest === undefined ? verdict === 'approve' && row.edited_digest !== null : digest.toLowerCase() !== bound;
  if (!isStale) return;
  const edited = row.edited_by === null ? '' : `; ${row.edited_by} has edited it`;
  throw new PolicyError('STALE_DIGEST', `approval ${row.approval_id} is for ${bound}${edited}: look at it, and vote on that digest`);
}

function refuseUnreasoned({ risk }: ApprovalRow, { verdict, reason }: Vote): void {
  if (reason !== undefined && reason.trim() !== '') return;
  if (verdict === 'deny') throw new PolicyError('REASON_REQUIRED', 'reason: say why: whoever asked is told');
  if (verdict === 'approve' && REASONED.includes(risk ?? ''))
    throw new PolicyError('REASON_REQUIRED', `reason: what is ${risk} is approved with a reason`);
}

/** @throws PolicyError EDIT_REFUSED */
async function editOf(
  parts: VotingParts,
  tx: Queryable,
  row: ApprovalRow,
  terms: Gate,
  patch: Readonly<Record<string, unknown>>,
): Promise<{ readonly args: unknown; readonly digest: Buffer }> {
  if (row.subject === null || row.args === null)
    throw refused('only arguments of a tool’s call, or of a workflow’s question, can be changed; deny it, and say what to do instead');
  const subject = JSON.parse(row.subject) as Subject;
  const before = JSON.parse(row.edited_args ?? row.args) as unknown;
  const args = patched(before, patch, terms.editable);
  if ('request' in subject) await checkCall(parts, tx, row, subject.request, args);
  else checkAnswer(parts, subject.schema, { asked: JSON.parse(row.args) as unknown, args, paths: Object.keys(patch) });
  const digest = createHash('sha256')
    .update(canonicalJson({ ...subject.bound, args }))
    .digest();
  if (digest.equals(boundTo(row))) throw refused('it changes nothing');
  return { args, digest };
}

/** The tool's schema and the policy have to let it be. */
async function checkCall(
  parts: VotingParts,
  tx: Queryable,
  row: ApprovalRow,
  request: Omit<ToolRequest, 'args' | 'now'>,
  args: unknown,
): Promise<void> {
  const issues = parts.checkArguments?.(request.tool.name, args);
  if (issues === undefined) throw refused(`this process does not serve ${request.tool.name}, so it cannot say whether the arguments fit`);
  if (issues.length > 0) throw refused(issues.join('; '));
  const { policy } = await activePolicy(tx);
  const decision = policy.decide({ ...request, args, now: policyTime(parts.store.now()) });
  if (decision.effect === 'deny') throw refused(`the policy denies it (rule ${decision.rule ?? 'default'})`);
  // whom the other gate asks has not been asked
  if (decision.effect === 'approve' && decision.gate !== row.gate)
    throw refused(`it would need the gate ${decision.gate}: deny this, and let it be asked for again`);
}

/** What the workflow says that it can go on with. No rule of the policy has asked, so none is asked. */
function checkAnswer(
  { checkSchema }: VotingParts,
  schema: JsonSchema | null,
  { asked, args, paths }: { readonly asked: unknown; readonly args: unknown; readonly paths: readonly string[] },
): void {
  if (checkSchema === undefined) throw refused('this process holds nothing against a schema');
  const bytes = Buffer.byteLength(JSON.stringify(args));
  if (bytes > EDITED_BYTES_MOST) throw refused(`${bytes} bytes of JSON; ${EDITED_BYTES_MOST} are the most that people are shown`);
  const issues = checkSchema(schema ?? {}, args);
  if (issues.length > 0) throw refused(issues.join('; '));
  if (schema !== null) return;
  for (const path of paths) {
    const wanted = typeName(valueAt(asked, path));
    if (typeName(valueAt(args, path)) !== wanted) throw refused(`${JSON.stringify(path)}: expected ${wanted}, as it was asked with`);
  }
}

function typeName(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

const refused = (why: string): PolicyError => new PolicyError('EDIT_REFUSED', `the edit is refused: ${why}`);

/** Those who approve it as it is now: an edit has voided what was cast before it. */
async function countVotes(tx: Queryable, approvalId: string): Promise<readonly CountedVote[]> {
  const { rows } = await tx.query<{ voter: string; sticky: string | null }>(
    `select voter, sticky from approval_votes where approval_id = $1 and verdict = 'approve' and not void order by at, voter`,
    [approvalId],
  );
  return rows;
}

export interface CountedVote {
  readonly voter: string;
  readonly sticky: string | null;
}

async function settle(
  { store, audit }: Parts,
  tx: Queryable,
  row: ApprovalRow,
  voter: Voter,
  decision: {
    readonly state: 'approved' | 'denied';
    readonly reason?: string | undefined;
    readonly digest: Buffer;
    readonly voters: readonly CountedVote[];
    readonly useByMs: number;
    readonly how?: 'override';
  },
): Promise<ApprovalRow> {
  const { state, reason, digest, voters, useByMs, how } = decision;
  const auditId = await audit.append(tx, {
    ...entryOf(row, voter),
    action: how === undefined ? 'approval.decide' : 'approval.override',
    decision: state === 'approved' ? 'approve' : 'deny',
    details: {
      ...detailsOf(row),
      digest: digest.toString('hex'),
      reason,
      ...(how === undefined ? { voters: voters.map((each) => each.voter) } : { override: true }),
    },
  });
  const decided = await change(
    tx,
    row.approval_id,
    `version = version + 1, state = $2, reason = $3, decided_by = $4, decided_at = clock_timestamp(), decided_audit_id = $5, overridden = $6,
     use_by = case when $2 = 'approved' then clock_timestamp() + make_interval(secs => $7) end`,
    [state, reason ?? null, `user:${voter.name}`, auditId, how !== undefined, useByMs / 1000],
  );
  const mine = { name: voter.name, verdict: state === 'approved' ? 'approve' : 'deny' };
  await tellRun(tx, store.now(), {
    approval_id: row.approval_id,
    state,
    run_id: row.run_id,
    reason: reason ?? null,
    voters: state === 'approved' && voters.length > 0 ? voters.map(({ voter: name }) => ({ name, verdict: 'approve' })) : [mine],
    ...(decided.edited_args === null ? {} : { edited: { args: JSON.parse(decided.edited_args) as unknown, edited_by: decided.edited_by } }),
  });
  await tx.query(`select pg_notify('centaur_approvals', $1)`, [row.approval_id]);
  return decided;
}

async function change(tx: Queryable, approvalId: string, what: string, values: readonly unknown[] = []): Promise<ApprovalRow> {
  const { rows } = await tx.query<ApprovalRow>(`update approvals set ${what} where approval_id = $1 returning ${COLUMNS}`, [
    approvalId,
    ...values,
  ]);
  return rows[0] as ApprovalRow;
}

function entryOf({ approval_id, lease_id, run_id, thread_key }: ApprovalRow, { name }: Voter) {
  return {
    actor: `user:${name}`,
    resource: `approval:${approval_id}`,
    leaseId: lease_id ?? undefined,
    runId: run_id ?? undefined,
    threadKey: thread_key ?? undefined,
  };
}

const detailsOf = ({ gate, rule, principal }: ApprovalRow): object => ({ gate, rule, principal });

const jsonOf = (value: unknown): string | null => (value === undefined ? null : JSON.stringify(value));

function decidedText(row: ApprovalRow): string {
  const { approval_id, state, decided_by, decided_at, expires_at } = toView(row);
  if (state === 'cancelled') return `approval ${approval_id} is not waited for any more`;
  if (state === 'expired' && decided_at === null)
    return `approval ${approval_id} expired at ${expires_at}, undecided; the request has to be made again`;
  const decided = state === 'denied' ? 'denied' : 'approved';
  return `approval ${approval_id} was ${decided} by ${decided_by} at ${decided_at}; it is decided once`;
}
