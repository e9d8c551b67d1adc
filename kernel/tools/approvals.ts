/** Approvals of calls: what is approved is one call, down to its arguments, and it is used once. */
import { askApproval, decisionOn, givenApproval, takeApproval } from '../policy/index.ts';
import type { Queryable } from '../store/index.ts';
import type { Installation } from '../vault/index.ts';
import { ToolError } from './errors.ts';
import type { Risk, ToolCaller } from './types.ts';

/** How long a person has. */
const PENDING_SECONDS = 24 * 3600;
/** How long an approval may be used once it is given, and a denial counts. */
const USE_SECONDS = 3600;
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
  readonly args: unknown;
  /** What the audit log has of the decision. */
  readonly facts: object;
  /** How long the call is held, on the monotonic clock. */
  readonly until: number;
  readonly signal: AbortSignal;
  onWaits(waiting: Waiting): void;
}

export type Approved = { readonly approvalId: string } | { readonly denied: string | null; readonly approvalId: string };

/**
 * Answers when a person has decided. What was approved is not used by this: see `takeFor`.
 *
 * @throws ToolError APPROVAL_REQUIRED when nobody has in time, TOOL_CANCELLED when nobody waits for the answer any more
 */
export async function approvalOf({ store, audit }: Installation, request: ApprovalRequest): Promise<Approved> {
  const { digest, caller, tool, method, risk, signal, until } = request;
  for (;;) {
    refuseGone(signal);
    const given = await givenApproval(store, digest, USE_SECONDS);
    if (given !== undefined) return { approvalId: given };
    const { approvalId, state, reason, gate } = await askApproval(
      { store, audit },
      {
        digest,
        gate: request.gate,
        rule: request.rule,
        principal: caller.principal,
        summary: {
          tool: `${tool}.${method}`,
          risk,
          input: shown(request.args),
          thread: caller.threadKey,
          workflow: caller.workflow,
          user: request.user,
        },
        audited: { ...request.facts, tool: `${tool}.${method}`, risk },
        runId: caller.runId,
        threadKey: caller.threadKey,
        seconds: PENDING_SECONDS,
        askAgainAfter: USE_SECONDS,
      },
    );
    if (state === 'denied') return { denied: reason, approvalId };
    request.onWaits({ approvalId, gate });
    const decided = await decisionOn(store, approvalId, Math.max(0, until - performance.now()), { signal });
    // an approval is for whoever waits for the answer
    refuseGone(signal);
    if (decided.state === 'denied') return { denied: decided.reason, approvalId };
    if (decided.state === 'approved') return { approvalId };
    // a call like this one has used it
    if (decided.state === 'consumed' && performance.now() < until) continue;
    throw approvalRequired(approvalId, gate);
  }
}

export function approvalRequired(approvalId: string, gate: string): ToolError {
  return new ToolError(
    'APPROVAL_REQUIRED',
    `a person has to approve this call (gate ${gate}): make the same call again when approval ${approvalId} is given`,
    { details: { approval_id: approvalId, gate, retry_after: 30 }, retryable: true },
  );
}

/**
 * Uses an approval of exactly this call, in the transaction that records that the call is made: one that is not made uses none.
 *
 * @returns undefined when a call like this one was first
 */
export function takeFor(tx: Queryable, digest: Buffer): Promise<string | undefined> {
  return takeApproval(tx, digest, USE_SECONDS);
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
