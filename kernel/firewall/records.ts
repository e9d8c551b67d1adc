/** What the audit log is told of a request: that it is about to be sent, what came of it, or that it was refused. */
import type { AuditEntry } from '../audit/index.ts';
import type { OpenCall, Target } from '../vault/index.ts';
import type { Channel, Parts } from './exchange.ts';
import type { LiveLease } from './lease-book.ts';
import { authorityText, RefusedError, type RequestPath } from './target.ts';
import type { RequestTrace } from './trace.ts';

/** An audit log that takes longer is as good as gone. */
const AUDIT_MS = 5000;
/** Entries that wait for their commit. */
const QUEUED_MOST = 20_000;

/** Refusals that came after the entry of their intent: its outcome tells of them. */
const recorded = new WeakSet<RefusedError>();

export function markRecorded(refusal: RefusedError): void {
  recorded.add(refusal);
}

export function isRecorded(refusal: RefusedError): boolean {
  return recorded.has(refusal);
}

export function resourceOf(target: Target, path: RequestPath | string): string {
  const shown = typeof path === 'string' ? path : path.path;
  return `${target.scheme}://${authorityText(target)}${shown.slice(0, 500)}`;
}

/**
 * What a request is part of. Of a tool's process that is the call that it serves: the one that the request names, else the one that is open; of
 * several at a time nobody knows which one it is, so that only what they share is told.
 */
export function causeOf(lease: LiveLease, calls: readonly OpenCall[] | undefined, trace: RequestTrace = {}): Partial<AuditEntry> {
  const shared = <Key extends keyof OpenCall>(key: Key) => (new Set(calls?.map((call) => call[key])).size === 1 ? calls?.[0]?.[key] : null);
  return {
    leaseId: lease.leaseId,
    runId: trace.runId ?? lease.runId ?? shared('runId') ?? undefined,
    threadKey: trace.threadKey ?? lease.threadKey ?? shared('threadKey') ?? undefined,
    traceId: trace.traceId ?? lease.traceId ?? shared('traceId') ?? undefined,
  };
}

/** On whose behalf a request may be: where nobody knows which of several calls it belongs to, all of them. */
export interface Cause {
  readonly runId: string | undefined;
  readonly threadKey: string | undefined;
}

export function causesOf(lease: LiveLease, calls: readonly OpenCall[] | undefined, trace: RequestTrace = {}): readonly Cause[] {
  const own: Cause = { runId: trace.runId ?? lease.runId ?? undefined, threadKey: trace.threadKey ?? lease.threadKey ?? undefined };
  const isKnown = trace.causedBy !== undefined || own.runId !== undefined || own.threadKey !== undefined;
  if (isKnown || calls === undefined || calls.length === 0) return [own];
  return calls.map(({ runId, threadKey }) => ({ runId: runId ?? undefined, threadKey: threadKey ?? undefined }));
}

export function callIds(calls: readonly OpenCall[] | undefined): { readonly calls?: readonly string[] } {
  return calls === undefined || calls.length === 0 ? {} : { calls: calls.map(({ callId }) => callId) };
}

/** @throws RefusedError 503 */
export async function recordIntent(parts: Pick<Parts, 'audit' | 'log'>, intent: AuditEntry): Promise<string> {
  if (parts.audit.queued > QUEUED_MOST) throw new RefusedError(503, 'AUDIT_UNAVAILABLE', 'the audit log cannot keep up');
  const written = parts.audit.write(intent);
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      written,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error('it does not answer')), AUDIT_MS);
      }),
    ]);
  } catch (error) {
    // it may still be written, when the database is back: then it says that nothing was sent
    written.then(
      (id) => (intent.action === 'egress.intent' ? outcome(parts, intent, id, { error: 'AUDIT_UNAVAILABLE' }) : undefined),
      () => undefined,
    );
    throw new RefusedError(503, 'AUDIT_UNAVAILABLE', 'the audit log cannot be written, so nothing is sent', {
      cause: (error as Error).message,
    });
  } finally {
    clearTimeout(timer);
  }
}

/** @param details with `alert` it is as durable as the intent */
export function outcome(
  { audit, log }: Pick<Parts, 'audit' | 'log'>,
  intent: AuditEntry,
  intentId: string,
  details: { readonly alert?: boolean; readonly [field: string]: unknown },
): void {
  const entry: AuditEntry = {
    action: 'egress.outcome',
    actor: intent.actor,
    resource: intent.resource,
    intentId,
    leaseId: intent.leaseId,
    runId: intent.runId,
    threadKey: intent.threadKey,
    traceId: intent.traceId,
    details,
  };
  const written = details.alert === true ? audit.write(entry) : audit.writeSoon(entry);
  // the intent is there; that its outcome is unknown shows
  written.catch((error: Error) =>
    log({ level: 'error', message: 'an outcome could not be recorded', intent_id: intentId, error: error.message }),
  );
}

/** One entry per refusal. The refusal stands also when the log cannot be reached. */
export async function recordRefusal(
  parts: Pick<Parts, 'audit' | 'leases' | 'metrics' | 'log'>,
  refusal: RefusedError,
  about: {
    readonly channel?: Channel | undefined;
    readonly peer?: string;
    readonly method: string;
    readonly url: string;
    readonly target?: Target | undefined;
    readonly trace?: RequestTrace | undefined;
  },
): Promise<void> {
  if (isRecorded(refusal)) return;
  parts.metrics.count('refused', refusal.code);
  const { channel } = about;
  const target = channel?.target ?? about.target;
  const peer = channel?.peer ?? about.peer ?? '';
  if (!parts.metrics.mayRecord(peer)) return;
  // those that come before it was asked whose turn it is; a database that is away is not asked again
  if (channel?.lease.threadKey != null && about.trace === undefined && refusal.status !== 503)
    await parts.leases.checkTurn(channel.lease).catch(() => undefined);
  // of a lease that is known and may not do this
  const known = (refusal.details ?? {}) as { readonly lease_id?: string; readonly principal?: string };
  const written = recordIntent(parts, {
    action: 'egress.deny',
    actor: channel?.lease.principal ?? known.principal ?? 'unknown',
    resource: target === undefined ? undefined : resourceOf(target, about.url.split('?', 1)[0] as string),
    decision: refusal.code === 'APPROVAL_REQUIRED' ? 'approve' : 'deny',
    leaseId: channel?.lease.leaseId ?? known.lease_id,
    runId: about.trace?.runId ?? channel?.lease.runId ?? undefined,
    threadKey: about.trace?.threadKey ?? channel?.lease.threadKey ?? undefined,
    traceId: about.trace?.traceId ?? channel?.lease.traceId ?? undefined,
    details: {
      ...(about.trace?.causedBy === undefined ? {} : { caused_by: about.trace.causedBy }),
      ...refusal.details,
      code: refusal.code,
      status: refusal.status,
      method: about.method.slice(0, 20),
      peer,
      via: channel?.via,
    },
  }).catch((error: Error) => {
    parts.log({ level: 'error', message: 'a refusal is not recorded yet', code: refusal.code, error: error.message });
  });
  // without a database there is no use in waiting for it: the entry is written when it is back
  if (refusal.status !== 503) await written;
}
