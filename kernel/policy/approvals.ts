/**
 * Approvals: asking people, waiting for their answer, and using it. What is asked, and what an answer allows, is its asker's business; how
 * they answer is in `votes.ts`. A state follows from a row and the time, so nothing depends on somebody writing down that time has passed.
 */
import { createHash } from 'node:crypto';
import { canonicalJson, type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { PolicyError } from './errors.ts';
import { DEFAULT_GATE, type Gate } from './parse.ts';
import { approversOf, type Beginning, beginningOf, type Involved, involvedIn } from './people.ts';
import { differences, redact } from './arguments.ts';
import type { Parts } from './parts.ts';
import { activePolicy } from './active.ts';
import { BUILTIN_POLICY } from './builtin.ts';
import { digestOf as policyDigest } from './compile.ts';
import { PUBLISH_RULE } from './publish-rule.ts';
import { diffTexts } from './text-diff.ts';
import { tellRun } from './tell-run.ts';
import type { JsonSchema } from './expression.ts';
import type { ToolRequest } from './types.ts';

/** `consumed`: approved, and used for its request. `cancelled`: nobody waits for the answer any more. */
export const APPROVAL_STATES = ['pending', 'approved', 'denied', 'expired', 'cancelled', 'consumed'] as const;
export type ApprovalState = (typeof APPROVAL_STATES)[number];

export interface ApprovalView {
  readonly approval_id: string;
  readonly state: ApprovalState;
  /** Changes with every vote, edit and decision. */
  readonly version: number;
  /** `egress`, `tool`, `permission`; `other` for the rest. */
  readonly kind: string;
  readonly risk: string | null;
  readonly gate: string;
  readonly rule: string;
  readonly principal: string;
  readonly summary: unknown;
  /** Of what would happen, edits included: SHA-256 in hex. Votes name it. */
  readonly digest: string;
  readonly quorum: number;
  /** Votes for it, as it is now. */
  readonly approvals: number;
  /** Roles and people whose votes count, as of now. */
  readonly approvers: readonly string[];
  readonly exclude: readonly string[];
  /** Paths of arguments that may be changed. */
  readonly editable: readonly string[];
  readonly edited_by: string | null;
  /** Decided by one administrator, past the gate. */
  readonly overridden: boolean;
  /** How often it was asked while it waited. */
  readonly asked: number;
  readonly thread_key: string | null;
  readonly lease_id: string | null;
  readonly run_id: string | null;
  readonly reason: string | null;
  readonly decided_by: string | null;
  readonly created_at: string;
  readonly expires_at: string;
  readonly escalate_at: string | null;
  readonly decided_at: string | null;
  readonly use_by: string | null;
  readonly consumed_at: string | null;
  readonly audit_id: string;
  readonly decided_audit_id: string | null;
}

export interface VoteView {
  readonly voter: string;
  readonly verdict: 'approve' | 'deny' | 'abstain';
  /** False: on what was asked before it was edited, or by one who then asked for it, too. */
  readonly counts: boolean;
  readonly digest: string;
  readonly reason: string | null;
  readonly channel: string;
  readonly at: string;
  readonly audit_id: string;
}

export interface ApprovalDetail extends ApprovalView {
  readonly votes: readonly VoteView[];
  /** With what is sensitive blanked; null for what has none. */
  readonly args: unknown;
  readonly edited_args: unknown;
  /** Paths in the arguments that were changed. */
  readonly changed: readonly string[];
  /** Of a policy's text: its lines against those of the text that it would replace. */
  readonly policy_diff: string | null;
  /** Who has which part in it, by the parts that the gate excludes. */
  readonly involved: Involved;
}

export interface ApprovalFilter {
  readonly state?: ApprovalState | undefined;
  /** Older ones than this. */
  readonly after?: string | undefined;
  readonly limit?: number | undefined;
}

/** How it stands now, whether or not anybody has written that down. Within a transaction that waited for a lock, `now()` is the past. */
const STATE = `case when state = 'pending' and expires_at <= clock_timestamp() then 'expired'
  when state = 'approved' and use_by <= clock_timestamp() then 'expired' else state end`;

export const COLUMNS = `approval_id, ${STATE} as state, version, kind, risk, gate, rule, principal, summary, terms, people, subject, args, sensitive,
  digest, edited_args, edited_digest, edited_by, overridden, asked, thread_key, lease_id, run_id, reason, decided_by, created_at, expires_at,
  escalate_at, escalate_at <= clock_timestamp() as escalated, decided_at, use_by, consumed_at, audit_id, decided_audit_id,
  (select count(*)::int from approval_votes v where v.approval_id = approvals.approval_id and v.verdict = 'approve' and not v.void)
    as approvals`;

/** Newest first. */
export async function listApprovals(
  store: Queryable,
  filter: ApprovalFilter = {},
): Promise<{ readonly items: readonly ApprovalView[]; readonly next: string | null }> {
  const limit = filter.limit ?? 50;
  const { rows } = await store.query<ApprovalRow>(
    `select ${COLUMNS} from approvals
     where ($1::text is null or ${STATE} = $1) and ($2::uuid is null or approval_id < $2) order by approval_id desc limit $3`,
    [filter.state ?? null, filter.after ?? null, limit + 1],
  );
  const items = rows.slice(0, limit).map((row) => shortened(toView(row)));
  return { items, next: rows.length > limit ? (items.at(-1)?.approval_id ?? null) : null };
}

/** The text of a policy is read where it is one approval that is looked at, and not in a list of many. */
function shortened(view: ApprovalView): ApprovalView {
  if (view.rule !== PUBLISH_RULE) return view;
  const { text = '', ...summary } = view.summary as { readonly text?: string };
  return { ...view, summary: { ...summary, text_bytes: Buffer.byteLength(text) } };
}

/** @throws PolicyError APPROVAL_NOT_FOUND */
export async function getApproval(store: Queryable, approvalId: string): Promise<ApprovalDetail> {
  const { rows } = await store.query<ApprovalRow>(`select ${COLUMNS} from approvals where approval_id = $1`, [approvalId]);
  if (rows[0] === undefined) throw notFound(approvalId);
  return detailOf(store, rows[0]);
}

export async function detailOf(on: Queryable, row: ApprovalRow): Promise<ApprovalDetail> {
  const { rows } = await on.query<{
    voter: string;
    verdict: VoteView['verdict'];
    digest: Buffer;
    void: boolean;
    reason: string | null;
    channel: string;
    at: number;
    audit_id: string;
  }>('select voter, verdict, digest, void, reason, channel, at, audit_id from approval_votes where approval_id = $1 order by at, voter', [
    row.approval_id,
  ]);
  const sensitive = JSON.parse(row.sensitive) as string[];
  const { words = [], author = null, runs = [] } = JSON.parse(row.people) as Partial<Beginning>;
  const shown = (text: string | null) => (text === null ? null : redact(JSON.parse(text), sensitive));
  return {
    ...toView(row),
    votes: rows.map(({ void: isVoid, ...vote }) => ({
      ...vote,
      counts: !isVoid,
      digest: vote.digest.toString('hex'),
      at: new Date(vote.at).toISOString(),
    })),
    args: shown(row.args),
    edited_args: shown(row.edited_args),
    changed: changedIn(row),
    policy_diff: row.rule === PUBLISH_RULE ? await policyDiff(on, JSON.parse(row.summary) as PublishSummary) : null,
    involved: await involvedIn(on, { words, author, runs }),
  };
}

interface PublishSummary {
  readonly before?: string;
  readonly text?: string;
}

/** Null when the text that it would replace is not there. */
async function policyDiff(on: Queryable, { before = '', text }: PublishSummary): Promise<string | null> {
  const { rows } = await on.query<{ source: string }>(
    `select source from policy_versions where digest = decode($1, 'hex') order by version desc limit 1`,
    [before],
  );
  const replaced = rows[0]?.source ?? (policyDigest(BUILTIN_POLICY).toString('hex') === before ? BUILTIN_POLICY : undefined);
  return replaced === undefined || text === undefined ? null : diffTexts(replaced, text);
}

export interface Question {
  /** Of exactly what will happen. One question a digest is open at a time. */
  readonly digest: Buffer;
  /** Of the active policy: what it asks now is what counts for this question. */
  readonly gate: string;
  /** What the gate asks, where whoever asks knows it: without it the active policy has to compile. */
  readonly terms?: Gate | undefined;
  readonly rule: string;
  readonly principal: string;
  /** What a person sees. No secrets. */
  readonly summary: Readonly<Record<string, unknown>>;
  /** What the audit log has of it, for good: no words of the agent. */
  readonly audited: Readonly<Record<string, unknown>>;
  readonly kind?: 'egress' | 'tool' | 'permission' | undefined;
  readonly risk?: string | undefined;
  readonly threadKey?: string | undefined;
  readonly leaseId?: string | undefined;
  readonly runId?: string | undefined;
  /** Whose turn it is, where that is one user's alone. */
  readonly user?: string | undefined;
  /** Of the policy that it is about. Without it: of the one in force. */
  readonly author?: string | undefined;
  /** Without it nothing can be edited. */
  readonly editing?: Editing | undefined;
  /** How long a person has at most; the gate may say less. */
  readonly seconds?: number | undefined;
  /** A question that was denied is asked again: never, or when the answer is older than this many seconds. */
  readonly askAgainAfter: number | 'never';
}

/** What it takes to put other arguments in place of those that were asked with. */
export type Editing = Subject & {
  readonly args: unknown;
  /** Paths of arguments that are shown to nobody. */
  readonly sensitive: readonly string[];
};

export type Subject = {
  /** What the digest is made of, but for the member `args`. */
  readonly bound: Readonly<Record<string, unknown>>;
} & (
  | {
      /** Of a call, as the policy sees it, without arguments and time. */
      readonly request: Omit<ToolRequest, 'args' | 'now'>;
    }
  | {
      /** Of a question of a workflow's own. Null: a value is replaced by one of its type. */
      readonly schema: JsonSchema | null;
    }
);

export interface Asked {
  readonly approvalId: string;
  readonly state: ApprovalState;
  readonly reason: string | null;
  readonly gate: string;
  readonly expiresAt: number;
  /** It was not there before. */
  readonly isNew: boolean;
}

/**
 * Asks, or finds that it was asked.
 *
 * @throws PolicyError TOO_MANY_PENDING; POLICY_BROKEN where `terms` are not given
 */
export async function askApproval(parts: Parts, question: Question): Promise<Asked> {
  return parts.store.transaction((tx) => askApprovalIn(tx, parts, question));
}

/** The same, in the transaction of what waits for the answer. */
export async function askApprovalIn(tx: Queryable, { store, audit }: Parts, question: Question): Promise<Asked> {
  const { digest, gate, rule, principal, summary, audited, leaseId, runId, threadKey, askAgainAfter, editing } = question;
  const terms = question.terms ?? (await activePolicy(tx)).policy.gates.get(gate) ?? DEFAULT_GATE;
  const scope = threadKey !== undefined ? `thread:${threadKey}` : runId !== undefined ? `run:${runId}` : principal;
  // questions of one digest, and new ones of one thread or run, one after the other: one is enough, and they are counted
  await tx.query('select pg_advisory_xact_lock(7226013, hashtext($1))', [scope]);
  await tx.query('select pg_advisory_xact_lock(7226014, $1)', [digest.readInt32BE(0)]);
  const known = await findApproval(tx, digest, askAgainAfter);
  if (known !== undefined) {
    if (known.state === 'pending') await askedAgain(tx, known.approvalId, await beginningOf(tx, question));
    return known;
  }
  await refuseTooMany(tx, scope, terms);
  const people = await beginningOf(tx, question);
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
  const { expires, escalate } = timesOf(terms, question.seconds);
  const { rows: made } = await tx.query<AskedRow>(
    `insert into approvals (approval_id, digest, gate, rule, principal, summary, state, lease_id, run_id, expires_at, audit_id, kind, risk, terms,
         scope, thread_key, people, subject, args, sensitive, escalate_at)
       values ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, now() + make_interval(secs => $9), $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
         now() + make_interval(secs => $20))
       returning approval_id, state, reason, gate, expires_at`,
    [
      approvalId,
      digest,
      gate,
      rule,
      principal,
      JSON.stringify(summary),
      leaseId ?? null,
      runId ?? null,
      expires,
      auditId,
      question.kind ?? 'other',
      question.risk ?? null,
      JSON.stringify(terms),
      scope,
      threadKey ?? null,
      JSON.stringify(people),
      editing === undefined ? null : JSON.stringify(subjectOf(editing)),
      editing === undefined ? null : JSON.stringify(editing.args),
      JSON.stringify(editing?.sensitive ?? []),
      escalate,
    ],
  );
  await tx.query(`select pg_notify('centaur_approvals', $1)`, [approvalId]);
  return toAsked(made[0] as AskedRow, true);
}

function subjectOf(editing: Editing): Subject {
  const { bound } = editing;
  return 'request' in editing ? { request: editing.request, bound } : { schema: editing.schema, bound };
}

/** By others, perhaps: whoever asks for it has a part in it. */
async function askedAgain(tx: Queryable, approvalId: string, { words, runs }: Beginning): Promise<void> {
  // locked, so that no vote is weighed in between
  const { rows } = await tx.query<{ people: string; terms: string }>(
    'select people, terms from approvals where approval_id = $1 for update',
    [approvalId],
  );
  const before = JSON.parse(rows[0]?.people ?? '{}') as Partial<Beginning>;
  const union = (one: readonly string[] = [], other: readonly string[] = []) => [...new Set([...one, ...other])];
  const people = { ...before, words: union(before.words, words), runs: union(before.runs, runs) };
  await tx.query('update approvals set asked = asked + 1, asked_at = now(), people = $2 where approval_id = $1', [
    approvalId,
    JSON.stringify(people),
  ]);
  const { exclude } = JSON.parse(rows[0]?.terms ?? '{}') as Partial<Gate>;
  const involved = await involvedIn(tx, { author: null, ...people });
  const excluded = (exclude ?? []).flatMap((part) => involved[part as keyof Involved] ?? []);
  // who asks for it by now has voted on what others asked for: that does not count for what is asked here
  await tx.query(
    `with ended as (update approval_votes set void = true where approval_id = $1 and not void and voter = any($2::text[]) returning 1)
     update approvals set version = version + 1 where approval_id = $1 and exists (select from ended)`,
    [approvalId, excluded],
  );
}

/** An agent that asks and asks tires people until they say yes without reading. */
async function refuseTooMany(tx: Queryable, scope: string, { pendingMost }: Gate): Promise<void> {
  const { rows } = await tx.query<{ open: number }>(
    `select count(*)::int as open from approvals where scope = $1 and state = 'pending' and expires_at > now()`,
    [scope],
  );
  const open = rows[0]?.open ?? 0;
  if (open >= pendingMost)
    throw new PolicyError(
      'TOO_MANY_PENDING',
      `${open} questions of ${scope} wait for a person already, and ${pendingMost} are the most: wait until some of them are decided`,
    );
}

/** In seconds. Who is asked instead when nobody answers has the same time again, and then it is over. */
function timesOf({ expiresMs, onExpiry, escalate }: Gate, most: number | undefined): { expires: number; escalate: number | null } {
  const first = expiresMs / 1000;
  const whole = onExpiry === 'escalate' ? 2 * first : first;
  const at = Math.min(...[escalate?.afterMs, onExpiry === 'escalate' ? expiresMs : undefined].filter((each) => each !== undefined));
  return { expires: most === undefined ? whole : Math.min(whole, most), escalate: Number.isFinite(at) ? at / 1000 : null };
}

/** Whether it was asked, and is not to be asked again. */
export async function findApproval(store: Queryable, digest: Buffer, askAgainAfter: Question['askAgainAfter']): Promise<Asked | undefined> {
  const { rows } = await store.query<AskedRow>(
    `select approval_id, ${STATE} as state, reason, gate, expires_at from approvals where digest = $1
       and ($2::float8 is null or ${STATE} in ('pending', 'approved')
         or (state = 'denied' and decided_at > now() - make_interval(secs => $2)))
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

/**
 * Nobody waits for the answer any more: to one question, to those named, or to all of a run, but for those about what its lease sends.
 * Of those named, what was approved and not used goes too: who asks again is to get a new answer. A run that does wait hears of it.
 */
export async function withdrawApprovals(
  tx: Queryable,
  of: { readonly digest: Buffer } | { readonly runId: string } | { readonly approvalIds: readonly string[] },
): Promise<void> {
  const pending = `state = 'pending' and expires_at > clock_timestamp()`;
  const unused = `state = 'approved' and use_by > clock_timestamp()`;
  const [which, value] =
    'digest' in of
      ? [`${pending} and digest = $1`, of.digest]
      : 'approvalIds' in of
        ? [`(${pending} or ${unused}) and approval_id = any($1::uuid[])`, of.approvalIds]
        : [`${pending} and run_id = $1 and lease_id is null`, of.runId];
  const { rows } = await tx.query<{ approval_id: string; run_id: string | null; now: number }>(
    `update approvals set state = 'cancelled', version = version + 1 where ${which}
     returning approval_id, run_id, floor(extract(epoch from clock_timestamp()) * 1000)::float8 as now`,
    [value],
  );
  for (const { approval_id, run_id, now } of rows) {
    await tellRun(tx, now, { approval_id, state: 'cancelled', run_id, reason: null, voters: [] });
    await tx.query(`select pg_notify('centaur_approvals', $1)`, [approval_id]);
  }
}

/** What was approved, and may be used now. */
export interface Given {
  readonly approvalId: string;
  /** In place of the arguments that were asked with, and where they differ. */
  readonly edited?: { readonly args: unknown; readonly changed: readonly string[]; readonly by: string };
}

/** The oldest approval for exactly this that may still be used, and that nobody has used or is using. Who uses it takes it. */
export async function givenApproval(on: Queryable, digest: Buffer): Promise<Given | undefined> {
  const { rows } = await on.query<ApprovalRow>(
    `select ${COLUMNS} from approvals where digest = $1 and state = 'approved' and use_by > clock_timestamp()
     order by approval_id limit 1 for update skip locked`,
    [digest],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  refuseTampered(row);
  if (row.edited_args === null) return { approvalId: row.approval_id };
  const edited = { args: JSON.parse(row.edited_args) as unknown, changed: changedIn(row), by: row.edited_by ?? '' };
  return { approvalId: row.approval_id, edited };
}

/** Takes an approval of exactly this; undefined when there is none. Answers its id. */
export async function takeApproval(store: Queryable, digest: Buffer): Promise<string | undefined> {
  const { rows } = await store.query<{ approval_id: string }>(
    `update approvals set state = 'consumed', consumed_at = now(), version = version + 1 where approval_id = (
       select approval_id from approvals where digest = $1 and state = 'approved' and use_by > clock_timestamp()
       order by approval_id limit 1 for update skip locked)
     returning approval_id`,
    [digest],
  );
  return rows[0]?.approval_id;
}

/** Gives back an approval that was taken for what was then not done: its time runs on. */
export async function returnApproval(store: Queryable, approvalId: string): Promise<void> {
  await store.query(
    `update approvals set state = 'approved', consumed_at = null, version = version + 1 where approval_id = $1 and state = 'consumed'`,
    [approvalId],
  );
}

/**
 * Whether it was taken, now or before: for the one asker that it is for, who may ask twice, and goes on with these arguments.
 *
 * @throws PolicyError APPROVAL_TAMPERED when they are not what was approved
 */
export async function useApproval(store: Queryable, approvalId: string, args: unknown): Promise<boolean> {
  const { rows } = await store.query<ApprovalRow>(`select ${COLUMNS} from approvals where approval_id = $1`, [approvalId]);
  const [row] = rows;
  if (row === undefined) return false;
  refuseTampered({ ...row, ...(row.edited_digest === null ? { args: JSON.stringify(args) } : { edited_args: JSON.stringify(args) }) });
  if (await consumeApproval(store, approvalId)) return true;
  // another look: a worker that is being replaced may have taken it just now
  const { rowCount } = await store.query(`select 1 from approvals where approval_id = $1 and state = 'consumed'`, [approvalId]);
  return rowCount === 1;
}

/**
 * What the arguments are made into has to be what was voted on: who can write to the database only, and changes them, changes nothing that
 * is done. Votes are in the audit log by that digest.
 *
 * @throws PolicyError APPROVAL_TAMPERED
 */
export function refuseTampered(row: ApprovalRow): void {
  // a request through the firewall has none, nor has a question from before they were kept
  if (row.subject === null || row.args === null) return;
  const { bound } = JSON.parse(row.subject) as Subject;
  const isEdited = row.edited_digest !== null;
  if (isEdited === (row.edited_args !== null) && digestOf(bound, row.edited_args ?? row.args).equals(boundTo(row))) return;
  throw new PolicyError(
    'APPROVAL_TAMPERED',
    `approval ${row.approval_id}: what is stored of it is not what its digest is of: it is not used, and the audit log says what was voted on`,
  );
}

function digestOf(bound: Subject['bound'], args: string): Buffer {
  return createHash('sha256')
    .update(canonicalJson({ ...bound, args: JSON.parse(args) as unknown }))
    .digest();
}

/** Takes an approval that was given; false when somebody else has used it, or its time is over. */
export async function consumeApproval(store: Queryable, approvalId: string): Promise<boolean> {
  const { rowCount } = await store.query(
    `update approvals set state = 'consumed', consumed_at = now(), version = version + 1
     where approval_id = $1 and state = 'approved' and use_by > clock_timestamp()`,
    [approvalId],
  );
  return rowCount === 1;
}

export function notFound(approvalId: string): PolicyError {
  return new PolicyError('APPROVAL_NOT_FOUND', `there is no approval ${JSON.stringify(approvalId)}`);
}

export interface ApprovalRow {
  readonly approval_id: string;
  readonly state: ApprovalState;
  readonly version: number;
  readonly kind: string;
  readonly risk: string | null;
  readonly gate: string;
  readonly rule: string;
  readonly principal: string;
  readonly summary: string;
  readonly terms: string;
  readonly people: string;
  readonly subject: string | null;
  readonly args: string | null;
  readonly sensitive: string;
  readonly digest: Buffer;
  readonly edited_args: string | null;
  readonly edited_digest: Buffer | null;
  readonly edited_by: string | null;
  readonly overridden: boolean;
  readonly asked: number;
  readonly thread_key: string | null;
  readonly lease_id: string | null;
  readonly run_id: string | null;
  readonly reason: string | null;
  readonly decided_by: string | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly escalate_at: number | null;
  readonly escalated: boolean | null;
  readonly decided_at: number | null;
  readonly use_by: number | null;
  readonly consumed_at: number | null;
  readonly audit_id: string;
  readonly decided_audit_id: string | null;
  readonly approvals: number;
}

/** The digest that a vote has to name. */
export const boundTo = ({ digest, edited_digest }: ApprovalRow): Buffer => edited_digest ?? digest;

/** The gate as it was when it was asked. */
export const termsOf = ({ terms }: ApprovalRow): Gate => ({ ...DEFAULT_GATE, ...(JSON.parse(terms) as Gate) });

export const escalationOf = ({ escalated }: ApprovalRow): 'escalated' | 'as asked' => (escalated === true ? 'escalated' : 'as asked');

function changedIn({ args, edited_args }: ApprovalRow): readonly string[] {
  return args === null || edited_args === null ? [] : differences(JSON.parse(args), JSON.parse(edited_args));
}

export function toView(row: ApprovalRow): ApprovalView {
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  const terms = termsOf(row);
  return {
    approval_id: row.approval_id,
    state: row.state,
    version: row.version,
    kind: row.kind,
    risk: row.risk,
    gate: row.gate,
    rule: row.rule,
    principal: row.principal,
    summary: JSON.parse(row.summary) as unknown,
    digest: boundTo(row).toString('hex'),
    quorum: terms.quorum,
    approvals: row.approvals,
    approvers: approversOf(terms, escalationOf(row)),
    exclude: terms.exclude,
    editable: row.subject === null ? [] : terms.editable,
    edited_by: row.edited_by,
    overridden: row.overridden,
    asked: row.asked,
    thread_key: row.thread_key,
    lease_id: row.lease_id,
    run_id: row.run_id,
    reason: row.reason,
    decided_by: row.decided_by,
    created_at: new Date(row.created_at).toISOString(),
    expires_at: new Date(row.expires_at).toISOString(),
    escalate_at: time(row.escalate_at),
    decided_at: time(row.decided_at),
    use_by: time(row.use_by),
    consumed_at: time(row.consumed_at),
    audit_id: row.audit_id,
    decided_audit_id: row.decided_audit_id,
  };
}
