/** Approvals of calls: what is approved is one call, down to its arguments, and it is used once. */
import { askApproval, decisionOn, type Editing, type Given, givenApproval, PolicyError, redact } from '../policy/index.ts';
import type { Queryable } from '../store/index.ts';
import type { Installation } from '../vault/index.ts';
import { ToolError } from './errors.ts';
import type { Risk, ToolCaller } from './types.ts';

/** How long a denial counts: the same call is denied without asking a person again. */
const DENIED_SECONDS = 3600;
/** Until it is looked again whether a call like this one has used what was approved. */
const USED_MS = 100;
/** Of the arguments, what a person is shown. */
const SHOWN_BEGINNING = 3000;
const SHOWN_END = 1000;

export interface Waiting {
  readonly approvalId: string;
  readonly gate: string;
}

export interface ApprovalRequest {
  /** Of exactly this call. */
  readonly digest: Buffer;
  readonly gate: string;
  readonly rule: string;
  readonly caller: ToolCaller;
  /** Whose turn it is, where that is one user's alone. */
  readonly user: string | undefined;
  readonly tool: string;
  readonly method: string;
  readonly risk: Risk;
  /** For whoever approves it with other arguments. */
  readonly editing: Editing;
  /** What the audit log has of the decision. */
  readonly facts: object;
  /** How long the call is held, on the monotonic clock. */
  readonly until: number;
  readonly signal: AbortSignal;
  onWaits(waiting: Waiting): void;
}

/** `denied`: why, in the words of whoever decided; `late`: nobody has. */
export type Approved =
  | Given
  | { readonly denied: string | null; readonly approvalId: string }
  | { readonly late: 'late'; readonly approvalId: string };

/**
 * Answers when people have decided. What was approved is not used by this.
 *
 * @throws ToolError APPROVAL_REQUIRED when nobody has in time, TOO_MANY_APPROVALS, TOOL_CANCELLED when nobody waits for the answer any more
 */
export async function approvalOf({ store, audit }: Installation, request: ApprovalRequest): Promise<Approved> {
  const { digest, signal, until } = request;
  for (;;) {
    refuseGone(signal);
    const given = await givenFor(store, digest);
    if (given !== undefined) return given;
    const { approvalId, state, reason, gate } = await askApproval({ store, audit }, toQuestion(request)).catch(refuseMany);
    if (state === 'denied') return { denied: reason, approvalId };
    request.onWaits({ approvalId, gate });
    const decided = await decisionOn(store, approvalId, Math.max(0, until - performance.now()), { signal });
    // an approval is for whoever waits for the answer
    refuseGone(signal);
    if (decided.state === 'denied') return { denied: decided.reason, approvalId };
    if (decided.state === 'expired') return { late: 'late', approvalId };
    if (decided.state === 'approved') {
      const mine = await givenFor(store, digest);
      if (mine !== undefined) return mine;
    }
    // a call like this one has used it, or is about to
    if (decided.state !== 'pending' && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, USED_MS));
      continue;
    }
    throw approvalRequired(approvalId, gate);
  }
}

/** What was approved of this call, and may be used. @throws ToolError POLICY_FAILED when what is stored of it is not what was voted on */
export async function givenFor(store: Queryable, digest: Buffer): Promise<Given | undefined> {
  try {
    return await givenApproval(store, digest);
  } catch (error) {
    if (!(error instanceof PolicyError) || error.code !== 'APPROVAL_TAMPERED') throw error;
    throw new ToolError('POLICY_FAILED', error.message, { cause: error });
  }
}

function toQuestion(request: ApprovalRequest): Parameters<typeof askApproval>[1] {
  const { digest, gate, rule, caller, tool, method, risk, user, editing } = request;
  return {
    digest,
    gate,
    rule,
    kind: 'tool',
    risk,
    principal: caller.principal,
    summary: {
      tool: `${tool}.${method}`,
      risk,
      input: shown(redact(editing.args, editing.sensitive)),
      thread: caller.threadKey,
      workflow: caller.workflow,
      user,
    },
    audited: { ...request.facts, tool: `${tool}.${method}`, risk },
    runId: caller.runId,
    threadKey: caller.threadKey,
    user,
    editing,
    askAgainAfter: DENIED_SECONDS,
  };
}

function refuseMany(error: unknown): never {
  if (!(error instanceof PolicyError) || error.code !== 'TOO_MANY_PENDING') throw error;
  throw new ToolError('TOO_MANY_APPROVALS', error.message, { details: { retry_after: 60 }, retryable: true });
}

export function approvalRequired(approvalId: string, gate: string): ToolError {
  return new ToolError(
    'APPROVAL_REQUIRED',
    `a person has to approve this call (gate ${gate}): make the same call again when approval ${approvalId} is given`,
    { details: { approval_id: approvalId, gate, retry_after: 30 }, retryable: true },
  );
}

function refuseGone(signal: AbortSignal): void {
  if (signal.aborted) throw new ToolError('TOOL_CANCELLED', 'the caller went away before the call was made', { retryable: true });
}

/** Its beginning and its end, and how much there is between them. */
function shown(args: unknown): string {
  const text = JSON.stringify(args);
  const left = text.length - SHOWN_BEGINNING - SHOWN_END;
  return left <= 0
    ? text
    : `${text.slice(0, SHOWN_BEGINNING)} [… ${left} characters are not shown …] ${text.slice(-SHOWN_END)}`.toWellFormed();
}
