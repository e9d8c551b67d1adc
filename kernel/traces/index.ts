/**
 * Traces: what happened in one task, from the request that began it to its last entry in the audit log, with the milliseconds.
 *
 * A trace is read, not written: runs, steps, turns and audit entries say when they began and ended, and this puts them together. So it costs the
 * steps nothing, is there without a collector, and cannot say anything else than the log. It tells what was done, by whom and how long it took;
 * never arguments, results, messages or paths.
 */
export { readTrace, type SpanView, SPANS_DEFAULT, SPANS_MOST, type TraceView } from './read.ts';
export { SPAN_KINDS, type SpanKind, type SpanStatus } from './types.ts';
