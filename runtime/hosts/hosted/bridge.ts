/**
 * One run whose handler is in another process: its calls, which come as messages, are made on the run's own context, and
 * their outcomes go back as answers. All that is durable stays where it is, in the engine; here is nothing but the passing on.
 */
import { HostCrashedError, type HostedRun } from '@centaur/kernel/engine';
import { contextOfRun } from '@centaur/kernel/store';
import { type AgentResult, ChildRunError, NonRetryableError, StepError, WaitTimeoutError, type WorkflowContext } from '@centaur/sdk';
import { agentOptions } from './agent-args.ts';
import type { Connection, RunMessage } from './connection.ts';
import {
  approvalOptions,
  childOptions,
  finite,
  plainFields,
  plainMetric,
  plainText,
  slackMessage,
  slackOptions,
  startedAgent,
  stepOptions,
  text,
  thrown,
  timeoutOf,
} from './fields.ts';
import type { CallMessage, HostRetry, ResponseError, TransactionMessage } from '../protocol/messages.ts';
import { createTransactionCalls, type RunTransaction } from './transaction-calls.ts';

export interface Outsiders {
  /** Starts a run that belongs to no other, under an idempotency key. */
  startRun(request: {
    /** The run that asks: whoever started it has asked for this one, too. */
    readonly from: string;
    readonly workflow_name: string;
    readonly input: unknown;
    readonly trigger_key: string;
  }): Promise<{ readonly run_id: string; readonly created: boolean }>;
  metric(metric: {
    readonly workflow: string;
    readonly kind: string;
    readonly name: string;
    readonly value: number;
    readonly labels: Readonly<Record<string, string>>;
  }): void;
  log(entry: { readonly level: 'error' | 'warn'; readonly message: string; readonly [field: string]: unknown }): void;
  /** Undefined where workflows have no place of their own in the database. */
  readonly runTransaction?: RunTransaction | undefined;
}

/** Calls of one run that nobody has answered. */
const OPEN_MOST = 10_000;
/** Characters of one burst, which takes several times as much memory. */
const BURST_MOST = 12 * 1024 * 1024;
/** Failures that are remembered, for the error that the handler may make of one. */
const FAILURES_MOST = 1000;
/** Characters of what comes with a line of the log. */
const FIELDS_MOST = 16_384;
/** Lines of the log, a second. */
const LOGS_MOST = 200;

/** A step whose function runs in the host. */
interface OpenStep {
  /** Of the message that the next word about the step goes to. */
  waiter: string | undefined;
  /** Of the question it began with. */
  readonly first: string;
  settle: { resolve(value: unknown): void; reject(error: Error): void } | undefined;
  attempt: number;
}

/** Resolves with the handler's result. @throws what the handler threw; HostCrashedError when its process is gone */
export function serveRun(
  connection: Connection,
  workflow: { readonly name: string },
  start: { readonly input: unknown; readonly ctx: WorkflowContext; readonly run: HostedRun },
  outsiders: Outsiders,
  /** The run has left the host, by whichever way. */
  onEnd: () => void,
): Promise<unknown> {
  const { ctx, run, input } = start;
  const runId = ctx.runId;
  const steps = new Map<string, OpenStep>();
  const names = new Map<string, number>();
  /** What calls have failed with, for the error that the handler may make of it. */
  const failures = new Map<string, Error>();
  let burst: RunMessage[] = [];
  let burstSize = 0;
  /** Runs that this one has started: the only ones that it may wait for. */
  const ours = new Set<string>();
  let open = 0;
  /** Messages sent to the run, and how many of them the host says it has taken. */
  let sent = 0;
  let taken = 0;
  let onRest: (() => void) | undefined;
  let ended = false;
  let logs = { second: 0, count: 0 };

  return new Promise<unknown>((resolve, reject) => {
    const transactions = createTransactionCalls({
      ctx,
      workflow: workflow.name,
      runTransaction: outsiders.runTransaction,
      number,
      answer,
      refuse,
    });
    const detach = connection.attach(runId, {
      message: receive,
      lost: (reason) => finish(() => reject(new HostCrashedError(`the process of workflow ${workflow.name} is gone: ${reason.message}`))),
    });

    function finish(settle: () => void): void {
      if (ended) return;
      ended = true;
      detach();
      transactions.close();
      settle();
      onEnd();
    }

    run.onOutcome(
      (done) => {
        if (ended || taken >= sent) done();
        else onRest = done;
      },
      () => taken >= sent && burst.length === 0,
    );
    run.onClose((reason) =>
      finish(() =>
        connection.send({
          type: 'workflow.cancel',
          run_id: runId,
          reason: reason?.name === 'RunCancelledError' ? 'cancelled' : 'suspended',
        }),
      ),
    );
    sent += 1;
    connection.send({
      type: 'workflow.start',
      run_id: runId,
      task_id: runId,
      workflow_name: workflow.name,
      input,
      attempt: ctx.attempt,
      trace_id: run.traceId,
      ...contextOfRun(run.traceId, runId),
      seed: run.seed,
      now: ctx.now().getTime(),
      live: run.live,
      history_length: run.historyLength,
      patches: run.patches,
      lease_until: monotonic(run.leaseHeldUntil),
    });

    /** A burst is taken whole: the calls in it are made before any of them is answered. */
    function receive(message: RunMessage, size: number): void {
      burst.push(message);
      burstSize += size;
      if (burstSize > BURST_MOST) return connection.close(new Error('it sent more of one run than is kept, without coming to rest'));
      if (burst.length > OPEN_MOST) return connection.close(new Error(`it sent ${OPEN_MOST} messages of one run without coming to rest`));
      const last = message.type === 'workflow.result' || message.type === 'workflow.error';
      if (message.rest !== true && !last) return;
      const whole = burst;
      burst = [];
      burstSize = 0;
      for (const each of whole) {
        if (ended) return;
        handle(each);
      }
      if (typeof message.taken === 'number') taken = Math.max(taken, message.taken);
      if (taken < sent || onRest === undefined) return;
      const done = onRest;
      onRest = undefined;
      done();
    }

    function handle(message: RunMessage): void {
      switch (message.type) {
        case 'workflow.result':
          abandonSteps();
          return finish(() => resolve(message.result));
        case 'workflow.error': {
          abandonSteps();
          const failure = failureOf(message);
          return finish(() => reject(failure));
        }
        case 'ctx.rest':
        case 'workflow.input':
          return;
        case 'ctx.log':
          return log(message);
        case 'ctx.metric':
          if (run.live) outsiders.metric({ workflow: workflow.name, ...plainMetric(message) });
          return;
        case 'ctx.patch':
          ctx.patched(text(message.id, 'id'));
          return;
        case 'tool.discovery':
        case 'tool.progress':
        case 'tool.attach':
        case 'tool.log':
        case 'tool.result':
          throw new Error(`a workflow's host sends no ${message.type}`);
        default:
          call(message);
      }
    }

    function call(message: CallMessage | TransactionMessage): void {
      open += 1;
      if (open > OPEN_MOST) return connection.close(new Error(`it has more than ${OPEN_MOST} calls of one run open`));
      try {
        perform(message);
      } catch (error) {
        refuse(plainText(message.request_id).slice(0, 20), error as Error);
      }
    }

    function perform(message: CallMessage | TransactionMessage): void {
      const id = text(message.request_id, 'request_id', 20);
      switch (message.type) {
        case 'ctx.step.get':
          return beginStep(text(message.step, 'step'), id, message, undefined);
        case 'ctx.step.put':
          if (message.step !== undefined)
            return beginStep(text(message.step, 'step'), id, message, { value: message.value, echo: message.echo });
          return settleStep(message, id, (step) => step.settle?.resolve(message.value));
        case 'ctx.step.fail':
          if (message.step !== undefined) return beginStep(text(message.step, 'step'), id, message, { error: thrown(message.error) });
          return settleStep(message, id, (step) => step.settle?.reject(thrown(message.error)));
        case 'ctx.sleep':
          number(message.step);
          return answerWith(
            id,
            ctx.sleep(text(message.step, 'step'), finite(message.duration_seconds, 'duration_seconds') * 1000).then(slept),
          );
        case 'ctx.sleep_until':
          number(message.step);
          return answerWith(id, ctx.sleepUntil(text(message.step, 'step'), text(message.wake_at, 'wake_at')).then(slept));
        case 'ctx.event.wait':
          number(message.step);
          return answerWith(
            id,
            ctx.waitForEvent(text(message.step, 'step'), {
              eventType: text(message.event_type, 'event_type', 512),
              ...(message.correlation_id == null ? {} : { correlationId: text(message.correlation_id, 'correlation_id', 512) }),
              ...timeoutOf(message.timeout_seconds),
            }),
          );
        case 'ctx.workflow.start':
          return answerWith(id, startChild(message));
        case 'ctx.workflow.wait':
          number(message.step);
          return answerWith(
            id,
            waitForChild(message.step, ofOurs({ run_id: text(message.child_run_id, 'child_run_id') }).run_id, message.timeout_seconds),
          );
        case 'ctx.agent.start':
          number(message.step);
          return answerWith(
            id,
            ctx.startAgent(text(message.step, 'step'), agentOptions(message.args).options).then((agent) => {
              ours.add(agent.run_id);
              return agent;
            }),
          );
        case 'ctx.agent.wait':
          number(message.step);
          return answerWith(
            id,
            ctx.waitForAgent(text(message.step, 'step'), ofOurs(startedAgent(message.agent)), timeoutOf(message.timeout_seconds)),
          );
        case 'ctx.agent_turn': {
          const { options, timeoutMs } = agentOptions(message.args);
          const name = message.step ?? 'agent_turn';
          return answerWith(id, turn(name, { threadKey: `workflow:${runId}`, ...options }, timeoutMs));
        }
        case 'ctx.run_agents':
          return answerWith(
            id,
            ctx.runAgents(
              message.agents.map((each) => ({ ...agentOptions(each).options, name: text(each['name'], 'name') })),
              message.max_concurrency == null ? {} : { maxConcurrency: message.max_concurrency },
            ),
          );
        case 'ctx.approval':
          number(message.step);
          return answerWith(id, ctx.approval(text(message.step, 'step'), approvalOptions(message)));
        case 'ctx.call_tool': {
          const name = message.step ?? `tool_${message.tool}_${message.method}`;
          number(name);
          const [tool, method] = [text(message.tool, 'tool'), text(message.method, 'method')];
          if (message.edits === 'tell') return answerWith(id, ctx.callTool(tool, method, message.args, { name, edits: 'tell' }));
          return answerWith(id, ctx.callTool(tool, method, message.args, { name }));
        }
        case 'ctx.post_to_slack': {
          const name = message.step ?? `post_slack_${message.channel}`;
          number(name);
          return answerWith(
            id,
            ctx.postToSlack(text(message.channel, 'channel'), plainText(message.text), { ...slackOptions(message.args ?? {}), name }),
          );
        }
        case 'ctx.update_slack': {
          const name = message.step ?? `update_slack_${plainText(message.message['channel'])}`;
          number(name);
          return answerWith(id, ctx.updateSlack(slackMessage(message.message), { name }));
        }
        case 'ctx.tx.begin':
        case 'ctx.tx.query':
        case 'ctx.tx.commit':
        case 'ctx.tx.rollback':
          return transactions.handle(message);
        default:
          throw new Error(`there is no call ${JSON.stringify((message as { type: string }).type)}`);
      }
    }

    /** @param done what came of its first attempt, when the host has made that without asking */
    function beginStep(
      name: string,
      id: string,
      limits: { readonly retry?: HostRetry; readonly timeout_ms?: number },
      done: { readonly value?: unknown; readonly error?: Error; readonly echo?: boolean | undefined } | undefined,
    ): void {
      const full = number(name);
      const step: OpenStep = { waiter: id, first: id, settle: undefined, attempt: 1 };
      let ours = false;
      const outcome = ctx.step(
        name,
        ({ attempt }) => {
          if (attempt === 1 && done !== undefined) {
            ours = true;
            if (done.error !== undefined) throw done.error;
            return done.value;
          }
          return new Promise((resolve, reject) => {
            steps.set(full, step);
            step.settle = { resolve, reject };
            step.attempt = attempt;
            // who asked first is told to begin, who failed before is told to try again; after a timeout it is the first again
            answer(step.waiter ?? step.first, { done: false, retry: attempt > 1, checkpoint_name: full, attempt });
            step.waiter = undefined;
          });
        },
        stepOptions(limits),
      );
      outcome.then(
        (value) => {
          steps.delete(full);
          const waiter = step.waiter ?? step.first;
          if (done !== undefined && step.settle === undefined) answer(waiter, ours && done.echo === false ? null : value);
          else if (step.settle === undefined) answer(waiter, { done: true, checkpoint_name: full, value });
          else answer(waiter, value);
        },
        (error: Error) => {
          steps.delete(full);
          refuse(step.waiter ?? step.first, error);
        },
      );
    }

    function settleStep(
      { checkpoint_name: name, attempt }: { readonly checkpoint_name?: string; readonly attempt?: number },
      id: string,
      settle: (step: OpenStep) => void,
    ): void {
      const step = steps.get(text(name, 'checkpoint_name'));
      // of an attempt that took too long: its step has been answered, or its next attempt has begun
      if (step?.settle === undefined || step.waiter !== undefined || (attempt ?? step.attempt) !== step.attempt) return void (open -= 1);
      step.waiter = id;
      settle(step);
    }

    /** The handler has ended; what it did not wait for, and what has not come to an end, has failed. */
    function abandonSteps(): void {
      for (const [name, { settle, waiter }] of steps)
        if (waiter === undefined)
          settle?.reject(new NonRetryableError(`the handler ended before step "${name}" did`, { code: 'STEP_ABANDONED' }));
    }

    /**
     * The id of another's run may be known: its result is not for everybody. A wait that has its outcome in the history gets
     * that, whatever it asks for; a host that only passes by need not know any more what it was.
     */
    function ofOurs<T extends { readonly run_id: string }>(wanted: T): T {
      if (ours.has(wanted.run_id) || run.nextIsSettled) return wanted;
      throw Object.assign(new Error(`run ${wanted.run_id} was not started by this run, which alone may wait for it`), {
        code: 'NOT_A_CHILD',
      });
    }

    async function startChild(message: Extract<CallMessage, { type: 'ctx.workflow.start' }>): Promise<unknown> {
      const child = text(message.workflow_name, 'workflow_name');
      const name = message.step ?? `start_${child}`;
      number(name);
      const { idempotency_key: key } = message;
      if (key != null) {
        // of its own workflow: no schedule's key, no webhook's, and none of another
        const own = `workflow:${workflow.name}:${text(key, 'idempotency_key', 300)}`;
        const run = await ctx.step(name, () =>
          outsiders.startRun({ from: runId, workflow_name: child, input: message.input, trigger_key: own }),
        );
        ours.add(run.run_id);
        return { workflow_name: child, run_id: run.run_id, task_id: run.run_id, created: run.created };
      }
      const { run_id: childId } = await ctx.startWorkflow(name, {
        workflow: child,
        input: message.input,
        ...childOptions(message),
      });
      ours.add(childId);
      return { workflow_name: child, run_id: childId, task_id: childId, created: true };
    }

    /** A child that failed is a value: each language makes of it what its authors expect. */
    async function waitForChild(name: string, childId: string, timeoutSeconds: number | undefined): Promise<unknown> {
      const ran = { run_id: childId, task_id: childId };
      try {
        const result = await ctx.waitForWorkflow(text(name, 'step'), { runId: childId, ...timeoutOf(timeoutSeconds) });
        return { ...ran, status: 'completed', result, output_json: result, error: null };
      } catch (error) {
        if (!(error instanceof ChildRunError) || !['CHILD_FAILED', 'CHILD_CANCELLED'].includes(error.code)) throw error;
        const status = error.code === 'CHILD_CANCELLED' ? 'cancelled' : 'failed';
        return { ...ran, status, result: null, output_json: null, error: error.childError ?? { code: error.code, message: error.message } };
      }
    }

    async function turn(
      name: string,
      options: Parameters<WorkflowContext['startAgent']>[1],
      timeoutMs: number | undefined,
    ): Promise<AgentResult> {
      number(name);
      const agent = await ctx.startAgent(name, options);
      number(`${name}.wait`);
      return ctx.waitForAgent(`${name}.wait`, agent, timeoutMs === undefined ? {} : { timeout: timeoutMs });
    }

    function answerWith(id: string, outcome: Promise<unknown>): void {
      outcome.then(
        (value) => answer(id, value ?? null),
        (error: Error) => refuse(id, error),
      );
    }

    function answer(id: string, value: unknown): void {
      if (ended) return;
      open -= 1;
      sent += 1;
      connection.send({ type: 'ctx.response', run_id: runId, request_id: id, ok: true, value, now: ctx.now().getTime(), live: run.live });
    }

    function refuse(id: string, error: Error): void {
      if (ended) return;
      open -= 1;
      sent += 1;
      failures.set(id, error);
      if (failures.size > FAILURES_MOST)
        for (const [oldest] of failures) {
          failures.delete(oldest);
          break;
        }
      connection.send({
        type: 'ctx.response',
        run_id: runId,
        request_id: id,
        ok: false,
        error: error.message,
        error_info: infoOf(error),
        now: ctx.now().getTime(),
        live: run.live,
      });
    }

    /** The whole name of a call: as the engine numbers it. */
    function number(name: string): string {
      const n = (names.get(name) ?? 0) + 1;
      names.set(name, n);
      return n === 1 ? name : `${name}#${n}`;
    }

    /** The call that it comes of is its cause: so a retry of the run repeats that call. */
    function failureOf({ message, error, traceback }: Extract<RunMessage, { type: 'workflow.error' }>): Error {
      if (traceback !== undefined)
        outsiders.log({
          level: 'warn',
          message: 'a handler threw',
          run_id: runId,
          workflow_name: workflow.name,
          traceback: plainText(traceback).slice(0, 8000),
        });
      const cause = error?.request_id === undefined ? undefined : failures.get(error.request_id);
      if (error === undefined) return new Error(plainText(message), { cause });
      if (cause !== undefined && cause.message === error.message) return cause;
      return Object.assign(thrown(error), { cause });
    }

    function log({ level = 'info', message, fields }: Extract<RunMessage, { type: 'ctx.log' }>): void {
      const second = Math.floor(performance.now() / 1000);
      if (second !== logs.second) {
        if (logs.count > LOGS_MOST) ctx.log.warn('lines of this log were dropped', { dropped: logs.count - LOGS_MOST });
        logs = { second, count: 0 };
      }
      logs.count += 1;
      if (logs.count > LOGS_MOST) return;
      const say = level === 'debug' || level === 'warn' || level === 'error' ? ctx.log[level] : ctx.log.info;
      say(plainText(message).slice(0, FIELDS_MOST), plainFields(fields, FIELDS_MOST));
    }
  });
}

const slept = (): { slept: true } => ({ slept: true });

/** From the clock of this process to that of the system, in milliseconds. */
export function monotonic(at: number): number | null {
  if (!Number.isFinite(at) || at <= 0) return null;
  return Number(process.hrtime.bigint() / 1000n) / 1000 + (at - performance.now());
}

function infoOf(error: Error): ResponseError {
  const code = (error as { code?: unknown }).code;
  const base = { code: typeof code === 'string' ? code : 'ERROR', message: error.message };
  if (error instanceof StepError)
    return { name: 'StepError', ...base, step_name: error.stepName, attempts: error.attempts, cause_name: error.causeName };
  if (error instanceof WaitTimeoutError) return { name: 'WaitTimeoutError', ...base };
  if (error instanceof ChildRunError) return { name: 'ChildRunError', ...base, child_run_id: error.childRunId };
  if (error.name === 'RunCancelledError') return { name: 'RunCancelledError', ...base };
  return { name: 'WorkflowError', ...base };
}
