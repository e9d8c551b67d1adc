/**
 * Publishing as something that a person approves: where the policy in force says so, its place is given away only to the text
 * that somebody else has seen. Bound to both texts, so that what was approved replaces what it was held against.
 */
import { createHash } from 'node:crypto';
import { canonicalJson, type Queryable } from '../store/index.ts';
import { askApproval, givenApproval, consumeApproval } from './approvals.ts';
import { BUILTIN_POLICY } from './builtin.ts';
import { digestOf } from './compile.ts';
import { PolicyError } from './errors.ts';
import { DEFAULT_GATE, type Gate, parsePolicy } from './parse.ts';
import type { Parts } from './parts.ts';
import { byAuthor, isOfAuthor, PUBLISH_RULE } from './publish-rule.ts';

export interface PublishRequest {
  readonly text: string;
  readonly action: 'policy.publish' | 'policy.rollback';
  readonly message: string | undefined;
  /** Who wrote it, where that is not who publishes it. */
  readonly author: string | undefined;
}

/** How long an approval holds once it is given, and a denial counts, whatever the gate says of calls: nothing runs that waits for it. */
const USE_SECONDS = 24 * 3600;

interface Wanted {
  readonly digest: Buffer;
  readonly gate: string;
  readonly terms: Gate;
  readonly before: string;
}

/** Undefined when the policy in force asks nobody. One that does not compile any more is asked all the same. */
function wantedFor(active: string | undefined, { text, action }: PublishRequest): Wanted | undefined {
  const { document } = parsePolicy(active ?? BUILTIN_POLICY);
  if (document.publish === undefined) return undefined;
  const before = digestOf(active ?? BUILTIN_POLICY).toString('hex');
  const { gate } = document.publish;
  const asks = document.gates.get(gate) ?? DEFAULT_GATE;
  const digest = createHash('sha256')
    .update(canonicalJson({ kind: 'policy', action, before, after: digestOf(text).toString('hex') }))
    .digest();
  const exclude = [...new Set([...asks.exclude, 'requester', 'policy_author'])];
  return { digest, gate, before, terms: { ...asks, exclude, editable: [], useByMs: USE_SECONDS * 1000 } };
}

/** What kept a text from being published: whoever wants it asks. */
export class NeedsApproval extends Error {
  readonly wanted: Wanted;
  constructor(wanted: Wanted) {
    super('a person has to approve it');
    this.wanted = wanted;
  }
}

/**
 * Uses the approval that this text needs, in the transaction that puts it into force. Answers its id.
 *
 * @throws NeedsApproval when there is none; PolicyError APPROVAL_BY_AUTHOR when it came from who wrote or wants the text
 */
export async function usePublishApproval(tx: Queryable, actor: string, request: PublishRequest): Promise<string | undefined> {
  const { rows } = await tx.query<{ source: string }>(`select source from policy_versions where state = 'active'`);
  const wanted = wantedFor(rows[0]?.source, request);
  if (wanted === undefined) return undefined;
  const given = await givenApproval(tx, wanted.digest);
  if (given === undefined) throw new NeedsApproval(wanted);
  const { approvalId } = given;
  const { rows: found } = await tx.query<{ by: readonly string[]; rule: string; principal: string; summary: string }>(
    `select rule, principal, summary, array(
       select a.decided_by where a.decided_by is not null
       union select 'user:' || v.voter from approval_votes v where v.approval_id = a.approval_id and v.verdict = 'approve' and not v.void) as by
     from approvals a where approval_id = $1`,
    [approvalId],
  );
  const [approval] = found;
  // who asked is not always who wrote it, nor who publishes it now
  const isOwn = (by: string) => approval === undefined || isOfAuthor(approval, by) || by === request.author || by === actor;
  if (approval === undefined || approval.by.length === 0 || approval.by.some(isOwn)) throw byAuthor(approvalId);
  if (!(await consumeApproval(tx, approvalId))) throw new NeedsApproval(wanted);
  return approvalId;
}

/** Asks, or finds that it was asked. @throws PolicyError APPROVAL_REQUIRED, APPROVAL_DENIED */
export async function askToPublish(parts: Parts, actor: string, request: PublishRequest, wanted: Wanted): Promise<never> {
  const { digest, gate, terms, before } = wanted;
  const author = request.author ?? actor;
  const after = digestOf(request.text).toString('hex');
  const asked = await askApproval(parts, {
    digest,
    gate,
    terms,
    rule: PUBLISH_RULE,
    principal: actor,
    author,
    // all of it: who approves it has read what comes into force
    summary: { policy: request.action, author, before, after, message: request.message, text: request.text },
    audited: { action: request.action, author, before, after },
    askAgainAfter: USE_SECONDS,
  });
  const details = { approval_id: asked.approvalId, gate: asked.gate };
  if (asked.state === 'denied')
    throw new PolicyError('APPROVAL_DENIED', `a person denied this text${asked.reason === null ? '' : `: ${asked.reason}`}`, [], details);
  throw new PolicyError(
    'APPROVAL_REQUIRED',
    `a person has to approve this text at gate ${asked.gate}: approval ${asked.approvalId}; publish it again when that is done`,
    [],
    details,
  );
}
