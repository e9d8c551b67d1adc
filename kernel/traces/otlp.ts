/** Spans as OTLP's JSON (https://github.com/open-telemetry/opentelemetry-proto, `trace/v1`): ids in hex, times as texts of nanoseconds, kinds as numbers. */
import { traceHexOf } from '../store/index.ts';
import { nanoseconds, otlpAttributes, type OtlpValue } from '../telemetry/otlp-json.ts';
import { NAMES, OPERATION, OPERATIONS, OURS } from './conventions.ts';
import type { Span, SpanKind } from './types.ts';

export { type OtlpReceiver, type Posted, postOtlp } from '../telemetry/post.ts';

const INTERNAL = 1;
const SERVER = 2;
const CLIENT = 3;
const CONSUMER = 5;

const KINDS: Partial<Record<SpanKind, number>> = {
  'ingress.webhook': SERVER,
  egress: CLIENT,
  'egress.upstream': CLIENT,
  'queue.wait': CONSUMER,
};

const OK = 1;
const ERROR = 2;

export interface TracedSpan {
  /** UUID. */
  readonly trace: string;
  readonly span: Span;
}

/** @param resource its attributes */
export function tracesRequest(spans: readonly TracedSpan[], resource: Readonly<Record<string, string>>, version: string): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: otlpAttributes(resource) },
        scopeSpans: [{ scope: { name: 'centaur', version }, spans: spans.map(toOtlp) }],
      },
    ],
  };
}

function toOtlp({ trace, span }: TracedSpan): object {
  // clocks of several processes: a receiver refuses what ends before it begins
  const end = Math.max(span.start, span.end ?? span.start);
  return {
    traceId: traceHexOf(trace),
    spanId: span.id,
    ...(span.parent === null ? {} : { parentSpanId: span.parent }),
    name: nameOf(span),
    kind: KINDS[span.kind] ?? INTERNAL,
    startTimeUnixNano: nanoseconds(span.start),
    endTimeUnixNano: nanoseconds(end),
    attributes: otlpAttributes(attributesOf(span)),
    status: statusOf(span),
  };
}

/** As the conventions ask: the operation and what it is done with; elsewhere, our kind and its name. */
function nameOf({ kind, name }: Span): string {
  if (kind === 'run') return `${OPERATIONS.workflow} ${name}`;
  if (kind === 'agent.turn') return `${OPERATIONS.agent} ${name}`;
  if (kind === 'execute_tool') return `${OPERATIONS.tool} ${name}`;
  return name === '' ? kind : `${kind} ${name}`;
}

function statusOf({ status, error }: Span): object {
  if (status === 'ok') return { code: OK };
  return status === 'open' ? {} : { code: ERROR, message: error ?? status };
}

function attributesOf(span: Span): Record<string, OtlpValue> {
  const { kind, name, attributes: own, error, attempt, runId, threadKey, actor, auditIds } = span;
  const found: Record<string, OtlpValue> = { [`${OURS}kind`]: kind };
  if (kind === 'run') Object.assign(found, { [OPERATION]: OPERATIONS.workflow, [NAMES.workflow]: name });
  if (kind === 'agent.turn') {
    Object.assign(found, { [OPERATION]: OPERATIONS.agent, [NAMES.agent]: name });
    for (const [ours, theirs] of [
      ['model', NAMES.model],
      ['input_tokens', NAMES.inputTokens],
      ['output_tokens', NAMES.outputTokens],
    ] as const)
      if (own[ours] !== undefined) found[theirs] = own[ours];
  }
  if (kind === 'execute_tool') Object.assign(found, { [OPERATION]: OPERATIONS.tool, [NAMES.tool]: name, [NAMES.toolType]: 'function' });
  if (kind === 'egress' || kind === 'egress.upstream') {
    const [method = '', authority = ''] = name.split(' ', 2);
    const port = /:(\d+)$/.exec(authority)?.[1];
    Object.assign(found, {
      [NAMES.method]: method,
      [NAMES.address]: port === undefined ? authority : authority.slice(0, -port.length - 1),
    });
    if (port !== undefined) found[NAMES.port] = Number(port);
    if (own['status'] !== undefined) found[NAMES.status] = own['status'];
  }
  if (own['call'] !== undefined) found[NAMES.toolCall] = own['call'];
  for (const [key, value] of Object.entries(own)) found[`${OURS}${key}`] = value;
  if (threadKey !== null) found[NAMES.conversation] = threadKey;
  if (error !== null) found[NAMES.error] = error;
  if (attempt > 1) found[`${OURS}attempt`] = attempt;
  if (runId !== null) found[`${OURS}run_id`] = runId;
  if (actor !== null) found[`${OURS}actor`] = actor;
  if (auditIds.length > 0) found[`${OURS}audit_ids`] = auditIds.join(' ');
  if (span.atMost) found[`${OURS}at_most`] = true;
  return found;
}
