/**
 * Reading what a host sends. Any of it may be anything: what comes out of here is what the engine takes, or an error that names
 * the field. Pure.
 */
import {
  type ApprovalOptions,
  NonRetryableError,
  type PostToSlackOptions,
  type SlackMessage,
  type StepOptions,
  type WorkflowContext,
} from '@centaur/sdk';
import type { CallMessage, FromHost, HostErrorInfo, HostRetry } from '../protocol/messages.ts';

const NAME_MOST = 256;

/** @throws Error naming the field */
export function text(value: unknown, field: string, most = NAME_MOST): string {
  if (typeof value !== 'string' || value === '') throw refused(field, 'expected text');
  if (value.length > most) throw refused(field, `at most ${most} characters`);
  return value;
}

/** @throws Error naming the field */
export function finite(value: unknown, field: string): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value;
  throw refused(field, 'expected a number of at least 0');
}

export function refused(field: string, problem: string): Error {
  return Object.assign(new Error(`${field}: ${problem}`), { code: 'INVALID_REQUEST' });
}

/** Of a value that should be text: what a host sends may be anything, and to make text of an object runs what is in it. */
export function plainText(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';
}

/** Fields of a log line, where they are not too much for one. */
export function plainFields(fields: unknown, most: number): Readonly<Record<string, unknown>> {
  if (typeof fields !== 'object' || fields === null) return {};
  try {
    return JSON.stringify(fields).length <= most ? (fields as Record<string, unknown>) : { fields_dropped: 'too long' };
  } catch {
    return { fields_dropped: 'too deep' };
  }
}

/** A value that is no number becomes NaN, which whoever keeps metrics drops. */
export function plainMetric(message: Extract<FromHost, { type: 'ctx.metric' }>) {
  return {
    kind: plainText(message.kind),
    name: plainText(message.name),
    value: typeof message.value === 'number' ? message.value : Number.NaN,
    labels: plainLabels(message.labels),
  };
}

function plainLabels(labels: unknown): Readonly<Record<string, string>> {
  if (typeof labels !== 'object' || labels === null) return {};
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, plainText(value)]));
}

export function stepOptions({ retry, timeout_ms: timeoutMs }: { readonly retry?: HostRetry; readonly timeout_ms?: number }): StepOptions {
  return {
    ...(retry == null
      ? {}
      : {
          retry: {
            ...(retry.max_attempts == null ? {} : { maxAttempts: retry.max_attempts }),
            ...(retry.delay_ms == null ? {} : { delay: retry.delay_ms }),
            ...(retry.backoff == null ? {} : { backoff: retry.backoff }),
            ...(retry.factor == null ? {} : { factor: retry.factor }),
            ...(retry.jitter == null ? {} : { jitter: retry.jitter }),
            ...(retry.max_delay_ms == null ? {} : { maxDelay: retry.max_delay_ms }),
            ...(retry.non_retryable == null ? {} : { nonRetryable: retry.non_retryable }),
          },
        }),
    ...(timeoutMs == null ? {} : { timeout: finite(timeoutMs, 'timeout_ms') }),
  };
}

export function timeoutOf(seconds: unknown): { readonly timeout?: number } {
  return seconds == null ? {} : { timeout: finite(seconds, 'timeout_seconds') * 1000 };
}

/** How a child run is to run; the engine checks what it is given. */
export function childOptions(message: Extract<CallMessage, { type: 'ctx.workflow.start' }>) {
  const { queue, priority, concurrency_key: concurrencyKey, run_at: runAt } = message;
  return {
    ...(queue == null ? {} : { queue }),
    ...(priority == null ? {} : { priority }),
    ...(concurrencyKey == null ? {} : { concurrencyKey }),
    ...(runAt == null ? {} : { runAt }),
  };
}

/** What people are asked; the engine checks what it is given. */
export function approvalOptions(message: Extract<CallMessage, { type: 'ctx.approval' }>): ApprovalOptions {
  const { summary, gate, tool, args, editable, schema, expires_seconds: expires } = message;
  return {
    summary: text(summary, 'summary', 2000),
    ...(gate == null ? {} : { gate: text(gate, 'gate') }),
    ...(tool == null ? {} : { tool: text(tool, 'tool') }),
    ...(args === undefined ? {} : { args }),
    ...(editable == null ? {} : { editable }),
    ...(schema == null ? {} : { schema }),
    ...(expires == null ? {} : { expires: finite(expires, 'expires_seconds') * 1000 }),
  };
}

export function startedAgent(value: unknown): Parameters<WorkflowContext['waitForAgent']>[1] {
  const { execution_id: execution, thread_key: thread, run_id: run } = (value ?? {}) as Record<string, unknown>;
  return {
    execution_id: text(execution, 'agent.execution_id'),
    thread_key: text(thread, 'agent.thread_key'),
    run_id: text(run, 'agent.run_id'),
  };
}

export function slackOptions(args: Readonly<Record<string, unknown>>): PostToSlackOptions {
  const { thread_ts: thread, reply_broadcast: broadcast, blocks, unfurl_links: links, unfurl_media: media } = args;
  return {
    ...(typeof thread === 'string' ? { threadTs: thread } : {}),
    ...(typeof broadcast === 'boolean' ? { replyBroadcast: broadcast } : {}),
    ...(Array.isArray(blocks) ? { blocks: blocks as readonly unknown[] } : {}),
    ...(typeof links === 'boolean' ? { unfurlLinks: links } : {}),
    ...(typeof media === 'boolean' ? { unfurlMedia: media } : {}),
  };
}

export function slackMessage({ channel, ts, text: says, blocks }: Readonly<Record<string, unknown>>): SlackMessage {
  const message = { channel: text(channel, 'channel'), ts: text(ts, 'ts'), text: plainText(says) };
  return Array.isArray(blocks) ? { ...message, blocks } : message;
}

/** What a step's function, or the handler, threw: its name and code decide about retries. */
export function thrown(info: HostErrorInfo | undefined): Error {
  const { name = 'Error', code = 'ERROR', message = '' } = (info ?? {}) as Partial<HostErrorInfo>;
  if (info?.non_retryable === true) return new NonRetryableError(plainText(message), { code: plainText(code) });
  return Object.assign(new Error(plainText(message)), { name: plainText(name).slice(0, 128), code: plainText(code).slice(0, 128) });
}
