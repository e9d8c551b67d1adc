/** One trace, as a tree in the order in which things began. */
import type { Store } from '../store/index.ts';
import { isUuid, traceHexOf, traceUuidOf } from '../store/index.ts';
import { readTraceRows, resolveTrace, type RowLimits } from './rows.ts';
import { entrySpans, runSpans, stretched } from './spans.ts';
import type { EntryRow, Rows, Span } from './types.ts';

export interface TraceView {
  /** 32 hex digits. */
  readonly trace_id: string;
  readonly started_at: string;
  /** From the first beginning to the last end; null while anything of it is under way. */
  readonly duration_ms: number | null;
  readonly status: 'ok' | 'error' | 'open';
  /** Depth first: each after what it is part of, and in the order in which they began. */
  readonly spans: readonly SpanView[];
  /** Whether there is more than is told here. */
  readonly truncated: boolean;
}

export interface SpanView {
  readonly span_id: string;
  readonly parent_id: string | null;
  readonly depth: number;
  readonly kind: Span['kind'];
  readonly name: string;
  /** Since the trace began. */
  readonly start_ms: number;
  readonly duration_ms: number | null;
  readonly at_most: boolean;
  readonly status: Span['status'];
  readonly error: string | null;
  readonly attempt: number;
  readonly run_id: string | null;
  readonly thread_key: string | null;
  readonly actor: string | null;
  readonly audit_ids: readonly string[];
  readonly attributes: Span['attributes'];
}

export interface TraceQuery {
  /** Most spans. */
  readonly limit: number;
  /** The only workflows whose runs are told of, and what was done in them. */
  readonly workflows: 'all' | readonly string[];
}

export const SPANS_DEFAULT = 1000;
export const SPANS_MOST = 10_000;

/** However large a trace is, reading it stays within these. */
const LIMITS: RowLimits = { runs: 1000, steps: 10_000, turns: 1000, entries: 10_000 };

/** @param id of a trace, a run or a turn. @returns undefined when there is nothing to tell */
export async function readTrace(store: Store, id: string, query: TraceQuery): Promise<TraceView | undefined> {
  const asked = isUuid(id.toLowerCase()) ? id.toLowerCase() : traceUuidOf(id);
  const trace = asked === undefined ? undefined : await resolveTrace(store, asked);
  if (trace === undefined) return undefined;
  const limits = { ...LIMITS, steps: Math.min(LIMITS.steps, query.limit), entries: Math.min(LIMITS.entries, query.limit * 2) };
  const { rows, cut } = await readTraceRows(store, trace, limits);
  const seen = query.workflows === 'all' ? rows : only(rows, new Set(query.workflows));
  const runs = new Set(seen.runs.map((run) => run.runId));
  const spans = stretched([...runSpans(seen), ...entrySpans(seen.entries, seen.approvals, { ...seen, runs })]);
  if (spans.length === 0) return undefined;
  const ordered = inOrder(spans);
  const start = ordered.reduce((least, { span }) => Math.min(least, span.start), Number.POSITIVE_INFINITY);
  const open = spans.some((span) => span.end === null && span.kind !== 'delivery');
  const end = spans.reduce((latest, span) => Math.max(latest, span.end ?? span.start), start);
  const roots = ordered.filter(({ depth }) => depth === 0);
  return {
    trace_id: traceHexOf(trace),
    started_at: new Date(start).toISOString(),
    duration_ms: open ? null : hundredths(end - start),
    status: open ? 'open' : roots.every(({ span }) => span.status === 'ok') ? 'ok' : 'error',
    spans: ordered.slice(0, query.limit).map(({ span, depth }) => toView(span, depth, start)),
    truncated: cut.length > 0 || ordered.length > query.limit || rows.runs.length > seen.runs.length,
  };
}

/** Of the runs of these workflows, and what was done in them. What belongs to no run is nobody's in particular, and left out. */
function only(rows: Rows, workflows: ReadonlySet<string>): Rows {
  const runs = rows.runs.filter((run) => workflows.has(run.workflow));
  const ids = new Set(runs.map((run) => run.runId));
  const entries = rows.entries.filter(({ runId }: EntryRow) => runId !== null && ids.has(runId));
  const own = <T extends { readonly runId: string | null }>(all: readonly T[]) =>
    all.filter(({ runId }) => runId !== null && ids.has(runId));
  return {
    runs,
    entries,
    steps: own(rows.steps),
    attempts: own(rows.attempts),
    takeovers: own(rows.takeovers),
    webhooks: own(rows.webhooks),
    turns: own(rows.turns),
    approvals: rows.approvals.filter(({ runId }) => runId !== null && ids.has(runId)),
  };
}

interface Placed {
  readonly span: Span;
  readonly depth: number;
}

/** Without recursion: a trace may be as deep as it is long. */
function inOrder(spans: readonly Span[]): Placed[] {
  const ids = new Set(spans.map((span) => span.id));
  const children = Map.groupBy(spans, (span) => (span.parent !== null && ids.has(span.parent) ? span.parent : ''));
  for (const each of children.values()) each.sort(earlier);
  const placed: Placed[] = [];
  const told = new Set<string>();
  const waiting: Placed[] = (children.get('') ?? []).toReversed().map((span) => ({ span, depth: 0 }));
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (told.has(next.span.id)) continue;
    told.add(next.span.id);
    placed.push(next);
    const depth = next.depth + 1;
    for (const span of (children.get(next.span.id) ?? []).toReversed()) waiting.push({ span, depth });
  }
  // what is part of itself is part of nothing else
  for (const span of spans) if (!told.has(span.id)) placed.push({ span, depth: 0 });
  return placed;
}

function earlier(a: Span, b: Span): number {
  return a.start - b.start || (a.end ?? Infinity) - (b.end ?? Infinity) || (a.id < b.id ? -1 : 1);
}

function toView(span: Span, depth: number, start: number): SpanView {
  return {
    span_id: span.id,
    parent_id: span.parent,
    depth,
    kind: span.kind,
    name: span.name,
    start_ms: hundredths(span.start - start),
    duration_ms: span.end === null ? null : hundredths(span.end - span.start),
    at_most: span.atMost,
    status: span.status,
    error: span.error,
    attempt: span.attempt,
    run_id: span.runId,
    thread_key: span.threadKey,
    actor: span.actor,
    audit_ids: span.auditIds,
    attributes: span.attributes,
  };
}

const hundredths = (ms: number): number => Math.round(ms * 100) / 100;
