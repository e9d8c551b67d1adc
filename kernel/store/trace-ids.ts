/** Ids of traces and spans, and the headers of W3C Trace Context (https://www.w3.org/TR/trace-context/) that carry them. */
import { createHash, randomBytes } from 'node:crypto';
import { isUuid } from './ids.ts';

/** Kinds of things that have a span under which others are. */
export type SpanOf = 'run' | 'step' | 'attempt' | 'turn' | 'call' | 'made' | 'egress';

/**
 * Of 16 hex digits, computed from what it is the span of: whoever reads the rows again gets the same ids, so a span that is exported twice
 * is one span.
 */
export function spanIdOf(kind: SpanOf | (string & {}), id: string): string {
  const hex = createHash('sha256').update(`${kind}:${id}`).digest('hex').slice(0, 16);
  return /^0+$/.test(hex) ? 'f'.repeat(16) : hex;
}

export function newTraceId(): string {
  return randomBytes(16).toString('hex');
}

/** In the form in which the database keeps it; undefined for what is no trace id. */
export function traceUuidOf(text: string | undefined): string | undefined {
  const hex = text?.toLowerCase().replaceAll('-', '') ?? '';
  if (!/^[\da-f]{32}$/.test(hex) || /^0+$/.test(hex)) return undefined;
  const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  return isUuid(uuid) ? uuid : undefined;
}

/** 32 hex digits. */
export function traceHexOf(uuid: string): string {
  return uuid.replaceAll('-', '');
}

export function traceparentOf(traceId: string, spanId: string): string {
  return `00-${traceHexOf(traceId)}-${spanId}-01`;
}

/** What code that we run is given for its requests: to which call or run they belong. The firewall believes the second, and checks it. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate: string;
}

/** A call of a tool, by the audit entry of its intent. */
export function contextOfCall(traceId: string, intentId: string): TraceContext {
  return { traceparent: traceparentOf(traceId, spanIdOf('made', intentId)), tracestate: `${MEMBER}=c${traceHexOf(intentId)}` };
}

export function contextOfRun(traceId: string, runId: string): TraceContext {
  return { traceparent: traceparentOf(traceId, spanIdOf('run', runId)), tracestate: `${MEMBER}=r${traceHexOf(runId)}` };
}

/** Our name in a `tracestate`. */
const MEMBER = 'centaur';

export interface TraceReference {
  readonly kind: 'call' | 'run';
  readonly id: string;
}

/** What a request says that it belongs to. A claim: whoever sent it may have made it up. */
export function readReference(tracestate: string): TraceReference | undefined {
  if (tracestate.length > 512) return undefined;
  const found = new RegExp(`(?:^|,)[ \\t]*${MEMBER}=([cr])([\\da-f]{32})[ \\t]*(?:,|$)`).exec(tracestate);
  const id = traceUuidOf(found?.[2]);
  return id === undefined ? undefined : { kind: found?.[1] === 'c' ? 'call' : 'run', id };
}
