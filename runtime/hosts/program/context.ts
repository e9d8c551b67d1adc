/** `ctx`: what a handler gets. Each method that returns a promise is a message to the worker, and one checkpoint. */
import type * as crypto from 'node:crypto';
import type { ApprovalOptions } from '../../../sdk/src/approvals.ts';
import type { ChildRun, WorkflowContext } from '../../../sdk/src/context.ts';
import { toMilliseconds, type Duration } from '../../../sdk/src/duration.ts';
import { ChildRunError } from '../../../sdk/src/errors.ts';
import type { SlackPost } from '../../../sdk/src/slack.ts';
import { agentCalls } from './agents.ts';
import { checkName, type Run, timeoutOf } from './run.ts';
import { runStep, runTransaction } from './steps.ts';
import { EngineError, toJson } from './values.ts';

interface EndedChild {
  readonly run_id: string;
  readonly status: string;
  readonly result: unknown;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export function createContext(run: Run): WorkflowContext {
  const { start } = run;
  let drawn = 0;

  const context: Omit<WorkflowContext, keyof ReturnType<typeof agentCalls>> = {
    runId: start.run_id,
    workflowName: start.workflow_name,
    attempt: start.attempt,
    get signal() {
      return run.signal;
    },
    log: {
      debug: (message, fields) => log(run, 'debug', message, fields),
      info: (message, fields) => log(run, 'info', message, fields),
      warn: (message, fields) => log(run, 'warn', message, fields),
      error: (message, fields) => log(run, 'error', message, fields),
    },

    step: ((name, fn, options) => runStep(run, name, fn, options)) as WorkflowContext['step'],
    transaction: ((name, fn, options) => runTransaction(run, name, fn, options)) as WorkflowContext['transaction'],

    sleep(name, duration) {
      checkName(name);
      const seconds = toMilliseconds(duration, `duration of sleep "${name}"`) / 1000;
      return run.call('ctx.sleep', { step: name, duration_seconds: seconds }, nothing);
    },
    sleepUntil(name, when) {
      checkName(name);
      const at = when instanceof Date ? when.getTime() : Date.parse(when);
      if (!Number.isFinite(at)) throw new EngineError('INVALID_REQUEST', `sleepUntil "${name}": ${String(when)} is not a time`);
      return run.call('ctx.sleep_until', { step: name, wake_at: new Date(at).toISOString() }, nothing);
    },

    waitForEvent: (name: string, options: { eventType: string; correlationId?: string; timeout?: Duration }) => {
      checkName(name);
      const { eventType, correlationId } = options;
      checkEventName(eventType, correlationId ?? start.run_id);
      const fields = {
        step: name,
        event_type: eventType,
        correlation_id: correlationId,
        timeout_seconds: timeoutOf(name, options.timeout),
      };
      return run.call('ctx.event.wait', fields, asIs);
    },

    startWorkflow: ((name: string, options: StartOptions) => startChild(run, name, options)) as WorkflowContext['startWorkflow'],
    waitForWorkflow: ((name: string, { runId, timeout }: { runId: string; timeout?: Duration }) =>
      waitForChild(run, name, runId, timeout)) as WorkflowContext['waitForWorkflow'],
    runWorkflow: (async (name: string, options: StartOptions & { timeout?: Duration }) => {
      const child = await startChild(run, `${name}.start`, options);
      return waitForChild(run, `${name}.wait`, child.run_id, options.timeout);
    }) as WorkflowContext['runWorkflow'],

    approval(name: string, options: ApprovalOptions) {
      checkName(name);
      const { summary, gate, tool, args, editable, schema, expires, ...unknown } = options;
      const [odd] = Object.keys(unknown);
      if (odd !== undefined)
        throw new EngineError(
          'INVALID_REQUEST',
          `approval "${name}": unknown option "${odd}"; use summary, gate, tool, args, editable, schema and expires`,
        );
      toJson(args, `args of approval "${name}"`);
      toJson(schema, `schema of approval "${name}"`);
      const seconds = expires === undefined ? undefined : toMilliseconds(expires, `expires of approval "${name}"`) / 1000;
      return run.call('ctx.approval', { step: name, summary, gate, tool, args, editable, schema, expires_seconds: seconds }, asIs);
    },

    callTool(tool: string, method: string, args: unknown = {}, options: { readonly name?: string; readonly edits?: 'tell' } = {}) {
      toJson(args, `arguments of ${tool}.${method}`);
      const { edits } = options;
      return run.call('ctx.call_tool', { ...named(options), tool, method, args, ...(edits === undefined ? {} : { edits }) }, asIs);
    },
    postToSlack(channel, text, { name, threadTs, replyBroadcast, blocks, unfurlLinks, unfurlMedia } = {}) {
      const args = { thread_ts: threadTs, reply_broadcast: replyBroadcast, blocks, unfurl_links: unfurlLinks, unfurl_media: unfurlMedia };
      return run.call('ctx.post_to_slack', { ...named({ name }), channel, text, args }, asIs<SlackPost>);
    },
    updateSlack(message, options = {}) {
      const { channel, ts, text, blocks } = message;
      return run.call('ctx.update_slack', { ...named(options), message: { channel, ts, text, blocks } }, asIs<SlackPost>);
    },

    patched: (id) => patched(run, id),
    now: () => new Date(run.now),
    random: () => draw().readUIntBE(0, 6) / 2 ** 48,
    uuid() {
      const bytes = draw();
      bytes[6] = 0x40 | ((bytes[6] ?? 0) & 0x0f);
      bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
      const hex = bytes.toString('hex', 0, 16);
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    },
  };

  /** The n-th draw of a run is the same on every replay: its seed and n decide. */
  function draw(): Buffer {
    // few handlers draw, and loading it takes a tenth of the host's start
    const { createHash }: typeof crypto = process.getBuiltinModule('node:crypto');
    return createHash('sha256').update(`${start.seed}:${drawn++}`).digest();
  }

  return Object.assign(context, agentCalls(run));
}

type StartOptions = Parameters<WorkflowContext['startWorkflow']>[1];

function startChild(run: Run, name: string, options: StartOptions): Promise<ChildRun> {
  checkName(name);
  toJson(options.input, 'input');
  const fields = {
    step: name,
    workflow_name: typeof options.workflow === 'string' ? options.workflow : options.workflow.name,
    input: options.input,
    queue: options.queue,
    priority: options.priority,
    concurrency_key: options.concurrencyKey,
    run_at: options.runAt instanceof Date ? options.runAt.toISOString() : options.runAt,
  };
  return run.call('ctx.workflow.start', fields, ({ run_id, workflow_name }: ChildRun) => ({ run_id, workflow_name }));
}

function waitForChild(run: Run, name: string, runId: string, timeout: Duration | undefined): Promise<unknown> {
  checkName(name);
  const fields = { step: name, child_run_id: runId, timeout_seconds: timeoutOf(name, timeout) };
  return run.call('ctx.workflow.wait', fields, (child: EndedChild) => {
    if (child.status === 'completed') return child.result;
    const cancelled = child.status === 'cancelled';
    throw new ChildRunError({
      code: cancelled ? 'CHILD_CANCELLED' : 'CHILD_FAILED',
      message: cancelled ? `run ${runId} was cancelled` : `run ${runId} failed: ${child.error?.message ?? 'without a message'}`,
      childRunId: runId,
      childError: child.error && { code: child.error.code, message: child.error.message },
    });
  });
}

/** The same answer in every replay: the number of the next checkpoint, and the history that the run came with, decide. */
function patched(run: Run, id: string): boolean {
  if (run.closed) return false;
  const { patches, history_length } = run.start;
  const known = patches.some((patch) => patch.seq === run.position && patch.id === id);
  if (!known && run.position < history_length) return false;
  run.position += 1;
  if (!known) run.tell('ctx.patch', { id });
  return true;
}

function log(run: Run, level: string, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
  if (!run.live || run.closed) return;
  try {
    run.tell('ctx.log', { level, message, fields });
  } catch (error) {
    // a line of the log is no reason for a run to fail
    run.tell('ctx.log', { level, message, fields: { fields_not_json: (error as Error).message } });
  }
}

function checkEventName(eventType: unknown, correlationId: unknown): void {
  for (const [field, value] of [
    ['event_type', eventType],
    ['correlation_id', correlationId],
  ] as const) {
    if (typeof value !== 'string' || value === '' || value.length > 512 || value.includes('\0'))
      throw new EngineError('INVALID_REQUEST', `${field}: expected 1 to 512 characters`);
  }
  if ((eventType as string).startsWith('$')) throw new EngineError('INVALID_REQUEST', 'event_type: names that begin with $ are reserved');
}

function named({ name }: { readonly name?: string | undefined }): { step?: string } {
  if (name === undefined) return {};
  checkName(name);
  return { step: name };
}

const nothing = (): void => undefined;
const asIs = <T>(value: T): T => value;
