/** The end of a call: its entry in the audit log, what is stored under its key, and the end of its lease. */
import { returnApproval } from '../policy/index.ts';
import type { StoreLogEntry } from '../store/index.ts';
import { closeCallLease, type Installation } from '../vault/index.ts';
import { complain, entryOf } from './entries.ts';
import type { Intent } from './intent.ts';
import type { Ledger } from './ledger.ts';
import { type Outcome, unknown, writeError } from './outcome.ts';
import { hasSecrets } from './prepare.ts';

export interface Settling {
  readonly installation: Installation;
  readonly ledger: Ledger;
  readonly log: (entry: StoreLogEntry) => void;
}

/** Its entry, and what is stored under its key, in one commit. Never rejects: the call has been made. */
export async function settle({ installation, ledger, log }: Settling, intent: Intent, outcome: Outcome, ms: number): Promise<void> {
  const { store, audit } = installation;
  const { call, row } = intent;
  const warn = (cause: Error) => complain(log, call, cause);
  // it has been answered: its tool has no more business with the secrets. One that stays ends by itself
  const discardLease = async () => {
    if (hasSecrets(call)) await closeCallLease(store, call.callId).catch(warn);
  };
  // what was approved is for a call that is made
  const unused = outcome.ok || outcome.error.details?.['started'] !== false ? undefined : intent.approvalId;
  const entry = {
    ...entryOf(call),
    action: 'tool.outcome',
    intentId: intent.id,
    details: {
      call_id: call.callId,
      ok: outcome.ok,
      ...(outcome.ok ? { bytes: outcome.bytes, attachment_id: outcome.attachmentId } : { code: outcome.code }),
      ms,
      audit_ms: intent.auditMs,
      dispatch_ms: outcome.waitedMs,
      approval_returned: unused,
    },
  };
  if (row === undefined && unused !== undefined) {
    const returned = store.transaction(async (tx) => {
      await returnApproval(tx, unused);
      await audit.append(tx, entry);
    });
    await Promise.all([returned.catch(warn), discardLease()]);
    return;
  }
  if (row === undefined) {
    // nobody waits for what only reads; of what changes something, the answer comes after its entry
    const discarded = discardLease();
    if (call.method.risk === 'read') void audit.writeSoon(entry).catch(warn);
    else await Promise.all([audit.write(entry).catch(warn), discarded]);
    return;
  }
  const settled = ledger.settle(async (tx, isAgain) => {
    if (hasSecrets(call)) await closeCallLease(tx, call.callId);
    const changed = outcome.ok
      ? await ledger.complete(tx, row, outcome.result, intent.edited)
      : outcome.error.retryable
        ? await ledger.forget(tx, row)
        : await ledger.fail(tx, row, writeError(outcome.unsure ? unknown(call.callId) : outcome.error));
    // the try before had committed, and its answer was lost
    if (!changed && isAgain) return;
    if (unused !== undefined) await returnApproval(tx, unused);
    await audit.append(tx, entry);
  });
  await settled.catch(warn);
}
