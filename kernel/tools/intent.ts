/**
 * The intent of a call: that it is made is committed to the audit log before its tool hears of it, in one transaction with what an approval
 * is used up by, the row of its key, and the lease of its secrets.
 */
import { consumeApproval, findSticky, type Given, type StickyCall, useSticky } from '../policy/index.ts';
import type { Queryable } from '../store/index.ts';
import { type Installation, openCallLease } from '../vault/index.ts';
import { type ApprovalRequest, approvalOf, approvalRequired, givenFor } from './approvals.ts';
import { decide, judge } from './decide.ts';
import { principalOf } from './declared-grants.ts';
import { longestMs } from './dispatch.ts';
import { type Edited, editedBy, editOf } from './edited.ts';
import { denialOf, intentOf, msSince, type Verdict } from './entries.ts';
import { ToolError } from './errors.ts';
import type { KnownCall, Ledger } from './ledger.ts';
import { gone } from './outcome.ts';
import { checkArguments, checkUser, digestOf, hasSecrets, type Prepared } from './prepare.ts';

/** That the call is made is recorded. */
export interface Intent {
  readonly id: string;
  /** Until its entry was committed, ms. */
  readonly auditMs: number;
  /** What a person approved, and is used for it. */
  readonly approvalId?: string;
  /** With the arguments that a person put in place of the caller's. */
  readonly call: Prepared;
  /** Of its key. */
  readonly row: KnownCall | undefined;
  readonly edited?: Edited;
}

/** For what is under way when the time of a call is up. */
const LEASE_MARGIN_SECONDS = 10;

export function createIntents(installation: Installation, ledger: Ledger) {
  const { store, audit } = installation;

  return { record };

  /**
   * Committed when it answers: without it there is no call.
   *
   * @param waiting aborts when nobody waits for a decision any more
   * @throws ToolError POLICY_DENIED, POLICY_FAILED, APPROVAL_DENIED, APPROVAL_REQUIRED, TOO_MANY_APPROVALS, TOOL_CANCELLED
   */
  async function record(call: Prepared, row: KnownCall | undefined, waiting: AbortSignal): Promise<Intent> {
    const { verdict, ask, sticky } = await decide(installation, call, waiting);
    if (waiting.aborted) throw gone();
    await checkUser(call);
    if (ask === undefined) return recordAllowed(call, verdict, row);
    return (await recordSticky(call, verdict, row, ask, sticky)) ?? recordApproved(call, verdict, row, ask);
  }

  async function recordAllowed(call: Prepared, verdict: Verdict, row: KnownCall | undefined): Promise<Intent> {
    const began = performance.now();
    const alone = row === undefined && !hasSecrets(call);
    const id = await (alone ? audit.write(intentOf(call, verdict)) : store.transaction((tx) => write(tx, call, verdict, row)));
    return { id, call, row, auditMs: msSince(began) };
  }

  /** When people have approved calls like this one for a while. Undefined: they have to be asked. */
  async function recordSticky(
    call: Prepared,
    verdict: Verdict,
    row: KnownCall | undefined,
    ask: ApprovalRequest,
    sticky: StickyCall | undefined,
  ): Promise<Intent | undefined> {
    const grantId = sticky && (await findSticky(store, sticky));
    // what was approved for this one call is used for it first: a yes is not left lying about
    if (grantId === undefined || (await givenFor(store, ask.digest)) !== undefined) return undefined;
    const began = performance.now();
    return store.transaction(async (tx) => {
      if (!(await useSticky(tx, grantId))) return undefined;
      const id = await write(tx, call, { ...verdict, approval_grant: grantId }, row);
      return { id, call, row, auditMs: msSince(began) };
    });
  }

  /** When people have approved it. A call like this one may use what was approved: then they are asked once more. */
  async function recordApproved(call: Prepared, verdict: Verdict, row: KnownCall | undefined, ask: ApprovalRequest): Promise<Intent> {
    for (;;) {
      const given = await approve(call, ask);
      if (ask.signal.aborted) throw gone();
      // a person takes time
      await checkUser(call);
      const { made, edited } = changed(call, given);
      const { facts } = await judge(installation, made);
      const about = {
        ...verdict,
        ...facts,
        approval_id: given.approvalId,
        ...(edited === undefined
          ? {}
          : {
              edited: Object.keys(edited.changed),
              edited_digest: digestOf({ tool: made.tool.name, method: made.method.name, args: made.args }).toString('hex'),
            }),
      };
      const began = performance.now();
      const intent = await store.transaction(async (tx) => {
        // in the transaction that records that the call is made: one that is not made uses none
        if (!(await consumeApproval(tx, given.approvalId))) return undefined;
        return { id: await write(tx, call, about, row), approvalId: given.approvalId, call: made, row, ...editOf(edited) };
      });
      if (intent !== undefined) return { ...intent, auditMs: msSince(began) };
      if (performance.now() >= ask.until) throw approvalRequired(given.approvalId, ask.gate);
    }
  }

  /** @throws ToolError APPROVAL_DENIED, APPROVAL_REQUIRED, TOO_MANY_APPROVALS */
  async function approve(call: Prepared, ask: ApprovalRequest): Promise<Given> {
    const decided = await approvalOf(installation, ask);
    if (!('denied' in decided) && !('late' in decided)) return decided;
    await audit.write(denialOf(call, { ...ask.facts, approval_id: decided.approvalId }));
    const said =
      'late' in decided
        ? 'nobody has approved this call in time'
        : `a person denied this call${decided.denied === null ? '' : `: ${decided.denied}`}`;
    throw new ToolError('APPROVAL_DENIED', said, { details: { approval_id: decided.approvalId } });
  }

  async function write(tx: Queryable, call: Prepared, verdict: Verdict, row: KnownCall | undefined): Promise<string> {
    if (row !== undefined) await ledger.start(tx, row);
    const intent = intentOf(call, verdict);
    const auditId = await audit.append(tx, intent);
    if (hasSecrets(call))
      await openCallLease(tx, {
        callId: call.callId,
        principal: principalOf(call.tool),
        onBehalfOf: call.own && `user:${call.own.user}`,
        runId: intent.runId,
        threadKey: intent.threadKey,
        traceId: intent.traceId,
        seconds: longestMs(call.method) / 1000 + LEASE_MARGIN_SECONDS,
        auditId,
      });
    return auditId;
  }
}

/** The call as it was approved. Its arguments are checked again: the tool may be another version by now. */
function changed(call: Prepared, given: Given): { readonly made: Prepared; readonly edited?: Edited } {
  if (given.edited === undefined) return { made: call };
  return { made: { ...call, args: checkArguments(call.method, given.edited.args) }, ...editOf(editedBy(given)) };
}
