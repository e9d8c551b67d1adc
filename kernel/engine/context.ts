/** `ctx`: what a handler sees of its frame. Each method is a durable call; see `frame.ts` for how outcomes return. */
import { createHash } from 'node:crypto';
import {
  type ApprovalAnswer,
  type ApprovalOptions,
  ChildRunError,
  type Duration,
  RunCancelledError,
  StepError,
  type StepOptions,
  type TransactionClient,
  toMilliseconds,
  WaitTimeoutError,
  type WorkflowContext,
} from '@centaur/sdk';
import { describeError } from '@centaur/sdk/values';
import { agentCalls, type StartAgent } from './agents.ts';
import {
  APPROVAL_EVENT,
  type ApprovalDetail,
  approvalDetail,
  type ApprovalEvent,
  type CheckedQuestion,
  checkQuestion,
  WaitsForApprovalError,
} from './approvals.ts';
import { type Outside, outsideCalls } from './outside.ts';
import { EngineError } from './errors.ts';
import type { StartRow } from './flush.ts';
import { type Call, type Frame, type HistoryRow, kindName, type Outcome } from './frame.ts';
import { fromJson, toJson } from './json.ts';
import { nextDelay, type ResolvedRetry, resolveRetry } from './retry.ts';
import type { StartRequest, StoredError } from './types.ts';

export interface ContextHost {
  now(): number;
  log(entry: { level: 'debug' | 'info' | 'warn' | 'error'; message: string; [field: string]: unknown }): void;
  /** Checks a child's start and makes its row. */
  prepareStart(request: StartRequest, parent: { runId: string; traceId: string | null }): Promise<StartRow>;
  /** Undefined where no threads are. */
  readonly startAgent: StartAgent | undefined;
  readonly outside: Outside;
  /** A child's start has committed. */
  onStarted(row: StartRow): void;
  /** The call's wait row has committed: look whether what it waits for is already there. */
  checkWait(frame: Frame, call: Call): void;
  /** Runs `work`, then inserts the step's row and commits, all in one fenced transaction. */
  transactionStep(frame: Frame, call: Call, work: (tx: TransactionClient) => Promise<string>): Promise<void>;
  /** Asks people, and stores that the call waits for them, in one fenced transaction. Undefined when the run is not this worker's any more. */
  ask(frame: Frame, call: Call, question: CheckedQuestion): Promise<{ readonly detail: string; readonly expiresAt: number } | undefined>;
  /** Time is up. Answers until when the question is open, if it still is. */
  expireApproval(frame: Frame, approvalId: string): Promise<number | undefined>;
  withdrawApproval(approvalId: string): Promise<void>;
  useApproval(frame: Frame, approvalId: string, args: unknown): Promise<boolean>;
  countStep(): void;
  /** The step's function is done, or has failed. */
  timeStep(seconds: number): void;
  /** Undefined while this worker's lease surely holds, else what to wait for before user code may begin. */
  leaseInDoubt(): Promise<void> | undefined;
  /**
   * Of a replay that changes nothing: sees each call, and what it asks for. Told to `hold`, a call that has no outcome in the history is
   * left open, and nothing of it is done.
   */
  observe?(call: Call, recorded: HistoryRow | undefined, asks: object | undefined): 'go' | 'hold';
}

/** Errors thrown into a handler, by the call that threw them: a retry of the run repeats that call. */
export const thrownBy = new WeakMap<object, { readonly seq: number; readonly name: string }>();

/** A question whose time was not up after all, by the clock that decides. */
const EXPIRE_AGAIN_MS = 250;
const EXPIRE_FAILED_MS = 10_000;

/** No timer is set beyond: later times cannot be written as everybody reads them. */
export const LATEST_MS = Date.UTC(9999, 11, 31);

const NO_RETRY: ResolvedRetry = resolveRetry(undefined, 'retry');

export function createContext(host: ContextHost, frame: Frame): WorkflowContext {
  const { run } = frame;
  let drawn = 0;

  /**
   * Opens a call as a promise. `live` runs when its outcome is not in the history.
   *
   * @param differs what is not the same about it as in the history, beside its kind and name
   */
  function open<T>(
    kind: string,
    name: string,
    read: (outcome: Outcome, call: Call) => T,
    live: (call: Call, resumed: boolean) => void,
    asks?: object,
    differs?: (recorded: HistoryRow) => string | undefined,
  ): Promise<T> {
    if (typeof name !== 'string' || name === '' || name.length > 256 || name.includes('\0')) {
      throw new EngineError('INVALID_REQUEST', 'a step needs a name of 1 to 256 characters');
    }
    if (frame.closeReason !== undefined)
      return frame.closeReason instanceof RunCancelledError ? Promise.reject(frame.closeReason) : never();
    return new Promise<T>((resolve, reject) => {
      const opened = frame.begin(kind, name, (outcome, call) => {
        try {
          if (outcome.status === 'n') throw new RunCancelledError();
          resolve(read(outcome, call));
        } catch (error) {
          if (error instanceof Error) thrownBy.set(error, { seq: call.seq, name: call.name });
          reject(error);
        }
      });
      if (opened === undefined) return;
      const difference = opened.recorded && differs?.(opened.recorded);
      if (opened.recorded !== undefined && difference !== undefined)
        return frame.mismatch(opened.call.seq, opened.recorded, { kind: kindName(kind), name: opened.call.name }, difference);
      const held = host.observe?.(opened.call, opened.recorded, asks) === 'hold';
      if (held || (opened.recorded !== undefined && opened.recorded.ord !== null)) return;
      live(opened.call, opened.recorded !== undefined);
    });
  }

  function readStep(outcome: Outcome, call: Call): unknown {
    if (outcome.status === 'o') return fromJson(outcome.outcome);
    const error = fromJson(outcome.outcome) as StoredError;
    throw new StepError({
      stepName: call.name,
      attempts: outcome.attempts,
      causeName: error.name ?? 'Error',
      code: error.code,
      message: error.message,
    });
  }

  /** Tries once, and settles, or parks until the next attempt. */
  async function attemptStep(call: Call, retry: ResolvedRetry, body: (attempt: number) => Promise<string | undefined>): Promise<void> {
    const attempt = call.attempts + 1;
    call.waiting = false;
    call.wakeAt = null;
    frame.executing += 1;
    host.countStep();
    const began = performance.now();
    try {
      // a process that was frozen past its lease wakes up here: others may have done this step by now
      const doubt = host.leaseInDoubt();
      if (doubt !== undefined) await doubt;
      if (frame.closed) return await never();
      const json = await body(attempt).finally(() => host.timeStep((performance.now() - began) / 1000));
      if (json !== undefined) frame.settle(call, { status: 'o', outcome: json, attempts: attempt, detail: waitedFor(call) });
    } catch (error) {
      if (frame.closed) {
        // it was cancelled while it asked: nobody waits for that. One that another worker took over asks there
        if (error instanceof WaitsForApprovalError && frame.closeReason instanceof RunCancelledError)
          host.withdrawApproval(error.approvalId).catch(() => {});
        return;
      }
      if (error instanceof WaitsForApprovalError) {
        const detail: ApprovalDetail = { approval_id: error.approvalId, gate: error.gate };
        const awaits = { eventType: APPROVAL_EVENT, correlationId: error.approvalId };
        frame.hadWaits = true;
        frame.asks = true;
        call.awaits = awaits;
        frame.park(
          call,
          { wakeAt: error.expiresAt, detail: JSON.stringify(detail), attempts: attempt - 1 },
          () =>
            frame.write({ type: 'wait', runId: run.runId, seq: call.seq, ...awaits }, () => {
              tryAgainWhenDecided(call, detail, error.expiresAt, retry, body);
              frame.check();
            }),
          undefined,
        );
        return;
      }
      const stored = describeError(error);
      const delayMs = nextDelay(retry, attempt, stored, Math.random);
      if (delayMs === null)
        frame.settle(call, { status: 'e', outcome: JSON.stringify(stored), attempts: attempt, detail: waitedFor(call) });
      else {
        call.onDue = () => void attemptStep(call, retry, body);
        frame.retryLater(call, attempt, host.now() + delayMs, JSON.stringify(stored));
      }
    } finally {
      frame.executing -= 1;
      frame.check();
    }
  }

  function startOrResume(call: Call, resumed: boolean, retry: ResolvedRetry, body: (attempt: number) => Promise<string | undefined>): void {
    if (!resumed) {
      void attemptStep(call, retry, body);
      return;
    }
    const asked = approvalDetail(call.detail);
    if (asked !== undefined) {
      frame.hadWaits = true;
      return tryAgainWhenDecided(call, asked, frame.history[call.seq]?.wakeAt ?? null, retry, body);
    }
    // its last attempt failed, and the wait for the next one was stored
    call.waiting = true;
    call.wakeAt = frame.history[call.seq]?.wakeAt ?? host.now();
    call.onDue = () => void attemptStep(call, retry, body);
  }

  /** Whoever was asked about it decides whether it is tried again: it was refused until then. */
  function tryAgainWhenDecided(
    call: Call,
    asked: ApprovalDetail,
    until: number | null,
    retry: ResolvedRetry,
    body: (attempt: number) => Promise<string | undefined>,
  ): void {
    awaitDecision(call, asked.approval_id, until, (event) => {
      // one that was withdrawn, though this waits for it, is asked again
      if (event.verdict !== 'expired') return void attemptStep(call, retry, body);
      const stored: StoredError = {
        name: 'ApprovalError',
        code: 'APPROVAL_EXPIRED',
        message: `approval ${asked.approval_id} (gate ${asked.gate}) expired, undecided`,
      };
      frame.settle(call, { status: 'e', outcome: JSON.stringify(stored), attempts: call.attempts + 1, detail: call.detail });
      return undefined;
    });
  }

  /** That the call waits is stored, with a row by which the decision finds it. */
  function awaitDecision(call: Call, approvalId: string, until: number | null, decided: (event: ApprovalEvent) => void): void {
    if (frame.closed) return;
    call.waiting = true;
    call.wakeAt = until;
    call.awaits = { eventType: APPROVAL_EVENT, correlationId: approvalId };
    call.registered = true;
    call.onEvent = (payload) => {
      // too late: the handler has ended, and the question is being withdrawn, or is left to the next attempt
      if (frame.ended) return;
      call.waiting = false;
      call.registered = false;
      decided(fromJson(payload) as ApprovalEvent);
    };
    const onDue = () => {
      frame.executing += 1;
      host
        .expireApproval(frame, approvalId)
        .then((openUntil) => {
          if (frame.closed || call.awaits === undefined) return;
          if (openUntil === undefined) return host.checkWait(frame, call);
          call.wakeAt = Math.max(openUntil, host.now() + EXPIRE_AGAIN_MS);
          call.onDue = onDue;
          return undefined;
        })
        .catch((error: unknown) => {
          host.log({ level: 'error', message: 'an approval could not be expired; trying again', error: (error as Error).message });
          call.wakeAt = host.now() + EXPIRE_FAILED_MS;
          call.onDue = onDue;
        })
        .finally(() => {
          frame.executing -= 1;
          frame.check();
        });
    };
    call.onDue = onDue;
    host.checkWait(frame, call);
  }

  function approval(name: string, options: ApprovalOptions): Promise<ApprovalAnswer> {
    const question = checkQuestion(name, options);
    frame.hadWaits = true;
    frame.asks = true;
    return open(
      'a',
      name,
      // an answer from before it told of edits had none
      (outcome, call) => {
        const told = readStep(outcome, call) as ApprovalAnswer;
        return 'asked' in told
          ? told
          : { ...(told as object as ApprovalAnswer), asked: approvalDetail(call.detail)?.args ?? null, edited_by: null };
      },
      (call, resumed) => {
        if (resumed) awaitAnswer(call, frame.history[call.seq]?.wakeAt ?? null);
        else void ask(call, question);
      },
      undefined,
      ({ detail }) => {
        const asked = approvalDetail(detail);
        if (asked === undefined || asked.binding === question.binding) return undefined;
        return `the code now asks about something else than approval ${asked.approval_id}: tool, args and gate must be the same on every replay`;
      },
    );
  }

  async function ask(call: Call, question: CheckedQuestion): Promise<void> {
    frame.executing += 1;
    try {
      const doubt = host.leaseInDoubt();
      if (doubt !== undefined) await doubt;
      if (frame.closed) return await never();
      const asked = await host.ask(frame, call, question);
      if (asked === undefined || frame.closed) return await never();
      call.stored = true;
      call.detail = asked.detail;
      awaitAnswer(call, asked.expiresAt);
    } catch (error) {
      if (!frame.closed) frame.settle(call, { status: 'e', outcome: JSON.stringify(describeError(error)), attempts: 1 });
    } finally {
      frame.executing -= 1;
      frame.check();
    }
  }

  function awaitAnswer(call: Call, until: number | null): void {
    const asked = approvalDetail(call.detail) as ApprovalDetail;
    awaitDecision(call, asked.approval_id, until, (event) => void answer(call, asked, event));
  }

  /** What was approved is used before the run goes on with it: whoever looks sees that it was. */
  async function answer(call: Call, asked: ApprovalDetail, event: ApprovalEvent): Promise<void> {
    frame.executing += 1;
    try {
      const { edited, edited_by = null, reason, voters } = event;
      const { approval_id } = asked;
      const args = edited ? event.args : asked.args;
      const isOver = event.verdict === 'approved' && !(await host.useApproval(frame, approval_id, args));
      const verdict = isOver ? 'expired' : event.verdict;
      const told: ApprovalAnswer = { verdict, args, asked: asked.args, edited, edited_by, reason, voters, approval_id };
      frame.settle(call, { status: 'o', outcome: toJson(told, `answer to approval "${call.name}"`), attempts: 1, detail: call.detail });
    } catch (error) {
      if (!frame.closed)
        frame.settle(call, { status: 'e', outcome: JSON.stringify(describeError(error)), attempts: 1, detail: call.detail });
    } finally {
      frame.executing -= 1;
      frame.check();
    }
  }

  function sleepUntilMs(name: string, wakeAt: () => number): Promise<void> {
    return open<void>(
      'z',
      name,
      () => undefined,
      (call, resumed) => {
        if (resumed) {
          call.waiting = true;
          call.wakeAt = frame.history[call.seq]?.wakeAt ?? host.now();
        } else frame.park(call, { wakeAt: wakeAt(), detail: null }, undefined, undefined);
      },
    );
  }

  function waitFor<T>(
    kind: 'e' | 'w',
    name: string,
    awaits: NonNullable<Call['awaits']>,
    detail: object,
    timeout: Duration | undefined,
    read: (outcome: Outcome, call: Call) => T,
  ): Promise<T> {
    const timeoutMs = timeout === undefined ? null : toMilliseconds(timeout, `timeout of "${name}"`);
    frame.hadWaits = true;
    return open(
      kind,
      name,
      (outcome, call) => {
        if (outcome.status === 't') throw new WaitTimeoutError(call.name, `"${call.name}" waited longer than its timeout`);
        return read(outcome, call);
      },
      (call, resumed) => {
        call.awaits = awaits;
        call.onDue = () => frame.settle(call, { status: 't', outcome: null, attempts: 1, detail: call.detail });
        const registered = () => {
          call.registered = true;
          host.checkWait(frame, call);
        };
        if (resumed) {
          call.waiting = true;
          call.wakeAt = frame.history[call.seq]?.wakeAt ?? null;
          registered();
          return;
        }
        const register = () => {
          if (awaits.eventType === '$run') frame.write({ type: 'watch', runId: awaits.correlationId });
          frame.write({ type: 'wait', runId: run.runId, seq: call.seq, ...awaits }, registered);
        };
        frame.park(
          call,
          { wakeAt: timeoutMs === null ? null : host.now() + timeoutMs, detail: JSON.stringify(detail) },
          register,
          undefined,
        );
      },
      detail,
    );
  }

  function startChild(name: string, options: Parameters<WorkflowContext['startWorkflow']>[1]) {
    const workflow = typeof options.workflow === 'string' ? options.workflow : options.workflow.name;
    return open(
      'c',
      name,
      (outcome, call) => readStep(outcome, call) as { run_id: string; workflow_name: string },
      (call) => {
        frame.executing += 1;
        const request: StartRequest = {
          workflow_name: workflow,
          input: options.input,
          queue: options.queue,
          priority: options.priority,
          concurrency_key: options.concurrencyKey,
          run_at: options.runAt instanceof Date ? options.runAt.toISOString() : options.runAt,
        };
        host
          .prepareStart(request, { runId: run.runId, traceId: run.traceId })
          .then((row) => {
            if (frame.closed) return;
            // the child's row and the step that names it commit in one statement: started exactly once
            frame.whenOpen(() => {
              frame.write({ type: 'start', row }, (write) => {
                if (write.type === 'start' && write.refused !== true) host.onStarted(row);
              });
              frame.settle(call, { status: 'o', outcome: JSON.stringify({ run_id: row.runId, workflow_name: workflow }), attempts: 1 });
            });
          })
          .catch((error: unknown) => frame.settle(call, { status: 'e', outcome: JSON.stringify(describeError(error)), attempts: 1 }))
          .finally(() => {
            frame.executing -= 1;
            frame.check();
          });
      },
      { workflow_name: workflow, input: options.input },
    );
  }

  /** What a step's function gets; the signal is made only for those who look at it. */
  const infoFor = (attempt: number) => ({
    attempt,
    get signal() {
      return frame.signal;
    },
  });

  const context: Omit<WorkflowContext, keyof ReturnType<typeof agentCalls> | keyof ReturnType<typeof outsideCalls>> = {
    runId: run.runId,
    workflowName: run.workflow,
    attempt: run.attempt,
    get signal() {
      return frame.signal;
    },
    log: {
      debug: (message, fields) => log('debug', message, fields),
      info: (message, fields) => log('info', message, fields),
      warn: (message, fields) => log('warn', message, fields),
      error: (message, fields) => log('error', message, fields),
    },

    step: ((name: string, fn: (step: { attempt: number; signal: AbortSignal }) => unknown, options: StepOptions = {}) => {
      const { retry, timeoutMs } = stepLimits(name, fn, options);
      return open('s', name, readStep, (call, resumed) => {
        const body = async (attempt: number) => {
          const value = timeoutMs === null ? fn(infoFor(attempt)) : withTimeout(call.name, fn, attempt, frame.signal, timeoutMs);
          return toJson(isThenable(value) ? await value : value, `step "${call.name}"`);
        };
        startOrResume(call, resumed, retry, body);
      });
    }) as WorkflowContext['step'],

    transaction: ((name: string, fn: (tx: TransactionClient) => Promise<unknown>, options: StepOptions = {}) => {
      const { retry, timeoutMs } = stepLimits(name, fn, options);
      return open('t', name, readStep, (call, resumed) => {
        const body = async (attempt: number) => {
          call.attempts = attempt - 1;
          await host.transactionStep(frame, call, async (tx) => {
            const value = timeoutMs === null ? await fn(tx) : await withTimeout(call.name, () => fn(tx), attempt, frame.signal, timeoutMs);
            return toJson(value, `transaction "${call.name}"`);
          });
          return undefined;
        };
        startOrResume(call, resumed, retry, body);
      });
    }) as WorkflowContext['transaction'],

    sleep: (name, duration) => {
      const ms = toMilliseconds(duration, `duration of sleep "${name}"`);
      return sleepUntilMs(name, () => host.now() + ms);
    },
    sleepUntil: (name, when) => {
      const at = when instanceof Date ? when.getTime() : Date.parse(when);
      if (!Number.isFinite(at) || at > LATEST_MS)
        throw new EngineError('INVALID_REQUEST', `sleepUntil "${name}": ${String(when)} is not a time before the year 10000`);
      return sleepUntilMs(name, () => at);
    },

    waitForEvent: ((name: string, options: { eventType: string; correlationId?: string; timeout?: Duration }) => {
      const awaits = { eventType: options.eventType, correlationId: options.correlationId ?? run.runId };
      checkEventName(awaits.eventType, awaits.correlationId);
      const detail = { event_type: awaits.eventType, correlation_id: awaits.correlationId };
      return waitFor('e', name, awaits, detail, options.timeout, (outcome) => fromJson(outcome.outcome));
    }) as WorkflowContext['waitForEvent'],

    startWorkflow: ((name: string, options: Parameters<WorkflowContext['startWorkflow']>[1]) =>
      startChild(name, options)) as WorkflowContext['startWorkflow'],

    waitForWorkflow: ((name: string, options: { runId: string; timeout?: Duration }) =>
      waitFor('w', name, { eventType: '$run', correlationId: options.runId }, { run_id: options.runId }, options.timeout, (outcome) => {
        if (outcome.status === 'o') return fromJson(outcome.outcome);
        const error = fromJson(outcome.outcome) as StoredError & { child: StoredError | null };
        throw new ChildRunError({ code: error.code, message: error.message, childRunId: options.runId, childError: error.child });
      })) as WorkflowContext['waitForWorkflow'],

    runWorkflow: (async (name: string, options: Parameters<WorkflowContext['startWorkflow']>[1] & { timeout?: Duration }) => {
      const child = await startChild(`${name}.start`, options);
      return context.waitForWorkflow(`${name}.wait`, {
        runId: child.run_id,
        ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
      });
    }) as WorkflowContext['runWorkflow'],

    approval: approval as WorkflowContext['approval'],

    patched: (id) => frame.mark(id),
    now: () => new Date(frame.time),
    random: () => draw().readUIntBE(0, 6) / 2 ** 48,
    uuid: () => {
      const bytes = draw();
      bytes[6] = 0x40 | ((bytes[6] ?? 0) & 0x0f);
      bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
      const hex = bytes.toString('hex', 0, 16);
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    },
  };

  /** The n-th draw of a run is the same on every replay: its seed and n decide. */
  function draw(): Buffer {
    return createHash('sha256').update(`${run.seed}:${drawn++}`).digest();
  }

  function log(level: 'debug' | 'info' | 'warn' | 'error', message: string, fields?: Readonly<Record<string, unknown>>): void {
    if (frame.replaying || frame.closed) return;
    host.log({ ...fields, level, message, run_id: run.runId, workflow_name: run.workflow });
  }

  const asked = { runId: run.runId, workflow: run.workflow, traceId: run.traceId, attempt: run.attempt };
  return Object.assign(context, agentCalls(asked, context, host.startAgent), outsideCalls(asked, context.step, host.outside));
}

/** Stays with a step whose wait is stored, so that its row of waits is looked for when the run ends. */
function waitedFor({ detail }: Call): string | null {
  return approvalDetail(detail) === undefined ? null : detail;
}

function stepLimits(name: string, fn: unknown, options: StepOptions): { retry: ResolvedRetry; timeoutMs: number | null } {
  if (typeof fn !== 'function') throw new EngineError('INVALID_REQUEST', `step "${name}": the second argument must be a function`);
  for (const key of Object.keys(options)) {
    if (key !== 'retry' && key !== 'timeout')
      throw new EngineError('INVALID_REQUEST', `step "${name}": unknown option "${key}"; use retry and timeout`);
  }
  return {
    retry: options.retry === undefined ? NO_RETRY : resolveRetry(options.retry, `retry of step "${name}"`),
    timeoutMs: options.timeout === undefined ? null : toMilliseconds(options.timeout, `timeout of step "${name}"`),
  };
}

export function checkEventName(eventType: unknown, correlationId: unknown): void {
  for (const [field, value] of [
    ['event_type', eventType],
    ['correlation_id', correlationId],
  ] as const) {
    if (typeof value !== 'string' || value === '' || value.length > 512 || value.includes('\0')) {
      throw new EngineError('INVALID_REQUEST', `${field}: expected 1 to 512 characters`);
    }
  }
  if ((eventType as string).startsWith('$')) throw new EngineError('INVALID_REQUEST', 'event_type: names that begin with $ are reserved');
}

async function withTimeout(
  name: string,
  fn: (step: { attempt: number; signal: AbortSignal }) => unknown,
  attempt: number,
  run: AbortSignal,
  ms: number,
): Promise<unknown> {
  const expired = new AbortController();
  const timer = setTimeout(
    () =>
      expired.abort(
        Object.assign(new Error(`step "${name}" took longer than ${ms} ms`), { name: 'StepTimeoutError', code: 'STEP_TIMEOUT' }),
      ),
    ms,
  );
  try {
    return await Promise.race([
      fn({ attempt, signal: AbortSignal.any([run, expired.signal]) }),
      new Promise((_, reject) => expired.signal.addEventListener('abort', () => reject(expired.signal.reason as Error))),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null)?.then === 'function';
}

/** A fresh one each time: a shared promise would keep every abandoned frame alive. */
export function never(): Promise<never> {
  return new Promise<never>(() => {});
}
