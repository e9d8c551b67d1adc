/** What became of a call: the words in which its caller hears of it, and whether the same key may make it again. */
import type { Edited } from './edited.ts';
import { TOOL_ERRORS, ToolError, type ToolErrorCode } from './errors.ts';
import type { DispatchResult, MethodDeclaration, ServedTool } from './types.ts';

interface Answered {
  readonly callId: string;
  readonly tool: ServedTool;
  readonly method: MethodDeclaration;
}

export interface CallAnswer {
  readonly callId: string;
  /** JSON. */
  readonly result: unknown;
  /** It was made before, under the same key. */
  readonly repeated: boolean;
  /** Whoever approved the call changed its arguments: what was made is not what was asked for. */
  readonly edited?: Edited;
}

/** The same, as it is settled. */
export type Outcome = (
  | { readonly ok: true; readonly result: unknown; readonly bytes: number; readonly attachmentId?: string }
  | { readonly ok: false; readonly error: ToolError; readonly code: string; readonly unsure: boolean }
) & { readonly waitedMs?: number | undefined };

/** What the tool's process said, as the caller hears it, and whether the same key may make the call again. */
export function failed(call: Answered, told: Extract<DispatchResult, { readonly ok: false }>, isLate: boolean, isGone: boolean): Outcome {
  const { tool, method } = call;
  const code = isLate ? 'TOOL_TIMEOUT' : /^[A-Z][A-Z0-9_]{0,63}$/.test(told.code) ? told.code : 'TOOL_FAILED';
  const isOurs = code.startsWith('TOOL_');
  // how far the method had come is known when it says so itself, or has not seen the call; else it is made again only where that does no harm
  const retryable = told.retryable && (!told.started || !isOurs || isRepeatable(method));
  const unsure = told.started && isOurs && !isRepeatable(method) && code !== 'TOOL_FAILED';
  const said = told.message.toWellFormed().slice(0, 4000);
  const details = { call_id: call.callId, tool_code: code, retryable, started: told.started };
  const refuse = (as: ToolErrorCode, message: string) =>
    ({ ok: false, code, unsure, error: new ToolError(as, message, { details, retryable }) }) as const;
  if (isLate) return refuse('TOOL_TIMEOUT', `${tool.name}.${method.name} took longer than ${method.timeoutMs / 1000} s`);
  if (isGone) return refuse('TOOL_CANCELLED', 'the caller went away');
  if (code === 'TOOL_TIMEOUT' || code === 'TOOL_CANCELLED') return refuse(code, said);
  return refuse(told.retryable || isOurs ? 'TOOL_FAILED' : 'TOOL_REFUSED', said);
}

/** What hosts say of a method that ran: of what it returned, or of what nobody caught in it. */
const OF_HOSTS: ReadonlySet<unknown> = new Set(['RESULT_NOT_JSON', 'NOT_JSON', 'TOO_LARGE', 'REFUSED_BY_FIREWALL']);

/**
 * Of a failure that is stored under a key. `failed`: the tool has not seen the call, or threw a failure of its own, in its author's words.
 * `made`: it was, and only its result is lost. Else nobody knows how far it had come.
 */
export function knownOf(stored: unknown): 'failed' | 'made' | 'unknown' {
  const { code, details } = stored as { readonly code?: unknown; readonly details?: Readonly<Record<string, unknown>> };
  if (code === 'TOO_LARGE') return 'made';
  if (details?.['started'] === false) return 'failed';
  const said = details?.['tool_code'];
  return typeof said === 'string' && !said.startsWith('TOOL_') && !OF_HOSTS.has(said) ? 'failed' : 'unknown';
}

/** Doing it again does no harm. */
export const isRepeatable = ({ risk, idempotent }: MethodDeclaration): boolean => idempotent || risk === 'read';

export const gone = () => new ToolError('TOOL_CANCELLED', 'the caller went away', { retryable: true });

export const mismatch = () => new ToolError('IDEMPOTENCY_PAYLOAD_MISMATCH', 'the idempotency key was used for another call');

export function unknown(callId: string): ToolError {
  const message = 'this call was begun, and nobody knows whether it was done: look, and make it under another key if it was not';
  return new ToolError('TOOL_CALL_UNKNOWN', message, { details: { call_id: callId } });
}

export function refusedArguments(message: string, issues: readonly object[]): ToolError {
  return new ToolError('INVALID_ARGUMENTS', message, { details: { issues } });
}

export function writeError({ code, message, details }: ToolError): object {
  return { code, message, details };
}

export function readError(stored: unknown): ToolError {
  const { code, message, details } = stored as { code: string; message: string; details?: Record<string, unknown> };
  return new ToolError(code in TOOL_ERRORS ? (code as ToolErrorCode) : 'TOOL_FAILED', message, { details });
}
