/** A call that is recorded is made: its tool's process is asked, and answered for when its time is up. */
import { createHash } from 'node:crypto';
import { contextOfCall, type StoreLogEntry, traceUuidOf } from '../store/index.ts';
import { complain } from './entries.ts';
import { ToolError } from './errors.ts';
import { failed, isRepeatable, type Outcome } from './outcome.ts';
import type { Prepared } from './prepare.ts';
import { type AttachFile, attachments, keepResult } from './results.ts';
import type { Dispatch, DispatchResult, MethodDeclaration, ToolRunner } from './types.ts';

/** A runner that does not answer after its time is up is answered for. */
const LATE_MS = 5000;

/** So long a call may be under way. */
export const longestMs = ({ timeoutMs }: MethodDeclaration): number => timeoutMs + LATE_MS;

export interface Asking {
  readonly runner: ToolRunner;
  readonly attach: AttachFile | undefined;
  readonly log: (entry: StoreLogEntry) => void;
}

/** @param auditId of the entry of its intent */
export async function answerOf(asking: Asking, call: Prepared, auditId: string, signal: AbortSignal): Promise<Outcome> {
  const { runner, attach, log } = asking;
  const { caller, tool, method, args } = call;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new DOMException('the time of the call is up', 'TimeoutError')), method.timeoutMs);
  let hard: NodeJS.Timeout | undefined;
  const unanswered = new Promise<DispatchResult>((resolve) => {
    const code = 'TOOL_TIMEOUT';
    hard = setTimeout(() => resolve({ ok: false, code, message: 'no answer', retryable: true, started: true }), longestMs(method));
  });
  const trace = traceUuidOf(caller.traceId);
  const dispatch: Dispatch = {
    callId: call.callId,
    trace: trace === undefined ? undefined : contextOfCall(trace, auditId),
    tool,
    method,
    args,
    idempotencyKey: call.key === undefined ? call.callId : uuidOf(`${call.keysOf}\0${call.key}`),
    caller,
    own: call.own,
    signal: AbortSignal.any([signal, late.signal]),
    onProgress: (message, done, total) => call.onProgress?.(message.slice(0, 1000), finite(done), finite(total)),
    attach: attachments(attach, caller.threadKey),
  };
  try {
    const told = await Promise.race([runner.dispatch(dispatch), unanswered]);
    const outcome = told.ok ? await kept(asking, call, told.value) : failed(call, told, late.signal.aborted, signal.aborted);
    return { ...outcome, waitedMs: told.waitedMs };
  } catch (error) {
    // what the tool does wrong is an answer: this is a fault of ours
    complain(log, call, error as Error);
    const told = { ok: false, code: 'TOOL_FAILED', message: 'the tool could not be asked', retryable: true, started: true } as const;
    return failed(call, told, false, false);
  } finally {
    clearTimeout(timer);
    clearTimeout(hard);
  }
}

/** The call was made: whatever happens to its result, it must not look as if it could be made again. */
async function kept({ attach, log }: Asking, call: Prepared, value: unknown): Promise<Outcome> {
  const { caller, tool, method } = call;
  try {
    return { ok: true, ...(await keepResult(value, `${tool.name}.${method.name}`, attach, caller.threadKey)) };
  } catch (error) {
    if (error instanceof ToolError) return { ok: false, error, code: error.code, unsure: false };
    complain(log, call, error as Error);
    const retryable = isRepeatable(method);
    const details = { call_id: call.callId, retryable, started: true };
    const made = new ToolError('TOOL_FAILED', 'the call was made, and its result could not be kept', { details, retryable });
    return { ok: false, error: made, code: 'TOOL_FAILED', unsure: !retryable };
  }
}

function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

const finite = (value: number | undefined): number | undefined => (Number.isFinite(value) ? value : undefined);
