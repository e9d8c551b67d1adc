/** What is written down of a call, in the audit log and the log: a digest of its arguments, and nothing else of them or of the result. */
import { isTransient, isUuid, type StoreLogEntry, traceUuidOf } from '../store/index.ts';
import type { Prepared } from './prepare.ts';

/** What the policy said to a call that may be made: for its intent. */
export type Verdict = Readonly<Record<string, unknown>>;

export function entryOf({ caller, tool, method }: Prepared) {
  const trace = traceUuidOf(caller.traceId);
  return {
    actor: caller.principal,
    resource: `tool:${tool.name}.${method.name}`,
    threadKey: caller.threadKey,
    ...(caller.runId !== undefined && isUuid(caller.runId) ? { runId: caller.runId } : {}),
    ...(trace === undefined ? {} : { traceId: trace }),
  };
}

export function intentOf(call: Prepared, verdict: Verdict) {
  return { ...entryOf(call), action: 'tool.call', decision: 'allow' as const, details: { ...detailsOf(call), ...verdict } };
}

export function denialOf(call: Prepared, about: object) {
  return { ...entryOf(call), action: 'tool.deny', decision: 'deny' as const, details: { ...detailsOf(call), ...about } };
}

function detailsOf({ callId, caller, user, tool, method, own, digest, key }: Prepared): object {
  const { name, version } = tool;
  return {
    call_id: callId,
    tool: name,
    method: method.name,
    version,
    risk: method.risk,
    digest: digest.toString('hex'),
    keyed: key !== undefined,
    ...(caller.step === undefined ? {} : { step: caller.step.slice(0, 256) }),
    ...(user === undefined ? {} : { user }),
    ...(own === undefined ? {} : { on_behalf_of: `user:${own.user}` }),
  };
}

export function complain(log: (entry: StoreLogEntry) => void, { callId, tool, method }: Prepared, error: Error): void {
  log({
    level: isTransient(error) ? 'warn' : 'error',
    message: 'a tool call met a fault of the platform',
    tool: tool.name,
    method: method.name,
    call_id: callId,
    error: error.message,
  });
}

/** To the hundredth. */
export const msSince = (began: number): number => Math.round((performance.now() - began) * 100) / 100;
