/** What a handler gets as `ctx`. Every method that returns a promise is a checkpoint: its outcome is stored once. */
import type { AgentOptions, AgentResult, RunAgentOptions, RunAgentsResult, StartedAgent } from './agents.ts';
import type { ApprovalAnswer, ApprovalOptions } from './approvals.ts';
import type { Duration } from './duration.ts';
import type { Jsonify } from './json.ts';
import type { KnownTools, ToolArguments, ToolCall, ToolResult, UnlistedTool } from './known-tools.ts';
import type { RunId } from './wire.ts';
import type { PostToSlackOptions, SlackMessage, SlackPost } from './slack.ts';
import type { WorkflowRef } from './workflow.ts';

/** How often and how soon something that failed is tried again. */
export interface RetryPolicy {
  /** Attempts in all, the first one included. Default 1 (no retry), or 3 when any other field is given. At most 1000. */
  readonly maxAttempts?: number;
  /** `exponential` (default) multiplies the delay by `factor` after each attempt; `fixed` keeps it. */
  readonly backoff?: 'fixed' | 'exponential';
  /** Delay before the second attempt. Default one second. */
  readonly delay?: Duration;
  /** Growth of the exponential delay. Default 2. */
  readonly factor?: number;
  /** Longest delay. Default one hour. */
  readonly maxDelay?: Duration;
  /** Share of the delay that is random, 0 to 1. Default 0. */
  readonly jitter?: number;
  /** Error names or codes that end the attempts at once, beside `NonRetryableError`. */
  readonly nonRetryable?: readonly string[];
}

export interface StepOptions {
  readonly retry?: RetryPolicy;
  /** Longest time of one attempt. When it passes, the attempt fails with code `STEP_TIMEOUT` and its signal aborts. */
  readonly timeout?: Duration;
}

/** What a step's function is called with. */
export interface StepInfo {
  /** 1 on the first try of this step. */
  readonly attempt: number;
  /** Aborts when the run is cancelled, the attempt times out, or this worker loses its lease. */
  readonly signal: AbortSignal;
}

/** A Postgres client inside an open transaction; `$1` parameters. */
export interface TransactionClient {
  query<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: readonly unknown[],
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number }>;
}

export interface WaitForEventOptions {
  readonly eventType: string;
  /** Default: the run's own id, so that an event can be addressed to this run. */
  readonly correlationId?: string;
  /** Without it the run waits as long as it takes. */
  readonly timeout?: Duration;
}

/** How a child run is started. Its input is required as soon as the child's definition asks for one. */
export type StartWorkflowOptions<Input = unknown, Result = unknown> = {
  /** The child's definition, or its name. */
  readonly workflow: WorkflowRef<Input, Result> | string;
  readonly queue?: string;
  /** -100 to 100; higher goes first. */
  readonly priority?: number;
  /** Runs of a queue that share a key take turns and count against its limit per key. */
  readonly concurrencyKey?: string;
  readonly runAt?: Date | string;
} & InputField<NoInfer<Input>>;

/** `input`, optional only where leaving it out is a valid input. */
export type InputField<Input> = undefined extends Input ? { readonly input?: Input } : { readonly input: Input };

export interface ChildRun<Result = unknown> {
  readonly run_id: RunId<Result>;
  readonly workflow_name: string;
}

export interface WorkflowLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What a tool gave, and what it was asked. */
export interface ToldCall<Result> {
  readonly result: Result;
  /** Null: it was made as it was asked for. */
  readonly edited: {
    readonly approval_id: string;
    /** Name of the user. */
    readonly by: string;
    /** Values by their paths in the arguments; null for what was taken out. */
    readonly changed: Readonly<Record<string, unknown>>;
  } | null;
}

/**
 * @typeParam Step the names of the workflow's steps; any text when the definition does not list them
 */
export interface WorkflowContext<Step extends string = string> {
  readonly runId: string;
  readonly workflowName: string;
  /** 1 on the run's first attempt; grows when a failed run is retried, not when it resumes after a crash. */
  readonly attempt: number;
  /** Aborts when the run is cancelled or its worker loses its lease. */
  readonly signal: AbortSignal;
  /** Written once: silent while the run replays what it already did. */
  readonly log: WorkflowLog;

  /** Runs `fn` once and checkpoints its result, which is returned as JSON gives it back. A second step of the same name becomes `name#2`. */
  step<T>(name: Step, fn: (step: StepInfo) => T | Promise<T>, options?: StepOptions): Promise<Jsonify<T>>;
  /** A step whose checkpoint commits in the same Postgres transaction as the work: both happen, or neither. */
  transaction<T>(name: Step, fn: (tx: TransactionClient) => Promise<T>, options?: StepOptions): Promise<Jsonify<T>>;
  sleep(name: Step, duration: Duration): Promise<void>;
  sleepUntil(name: Step, when: Date | string): Promise<void>;
  /** Parks until the event arrives. One sent before the wait still counts; the n-th wait for a pair gets its n-th event. @throws WaitTimeoutError */
  waitForEvent<Payload = unknown>(name: Step, options: WaitForEventOptions): Promise<Payload>;
  /** Starts a child run exactly once and goes on. */
  startWorkflow<Input = unknown, Result = unknown>(name: Step, options: StartWorkflowOptions<Input, Result>): Promise<ChildRun<Result>>;
  /** Waits for a run to end and returns its result. @throws ChildRunError, WaitTimeoutError */
  waitForWorkflow<Result = unknown>(
    name: Step,
    options: { readonly runId: RunId<Result> | string; readonly timeout?: Duration },
  ): Promise<Jsonify<Result>>;
  /** `startWorkflow` and `waitForWorkflow` in one call; its two checkpoints are `name.start` and `name.wait`. */
  runWorkflow<Input = unknown, Result = unknown>(
    name: Step,
    options: StartWorkflowOptions<Input, Result> & { readonly timeout?: Duration },
  ): Promise<Jsonify<Result>>;

  /** Starts an agent's turn exactly once and goes on. */
  startAgent(name: Step, options: AgentOptions): Promise<StartedAgent>;
  /** Waits for a turn that was started. @throws WaitTimeoutError */
  waitForAgent(name: Step, agent: StartedAgent, options?: { readonly timeout?: Duration }): Promise<AgentResult>;
  /** `startAgent` and `waitForAgent` in one call; its two checkpoints are `name` and `name.wait`. A turn that fails is returned. */
  runAgent(name: Step, options: RunAgentOptions): Promise<AgentResult>;
  /** A turn on the run's own thread, `workflow:{run id}`, or another one. */
  agentTurn(text: string, options?: RunAgentOptions & { readonly name?: Step }): Promise<AgentResult>;
  /** Several at a time, each on a thread of its own, at most 32. */
  runAgents(
    agents: readonly (RunAgentOptions & { readonly name: string })[],
    options?: { readonly maxConcurrency?: number },
  ): Promise<RunAgentsResult>;

  /** A tool's method, as a step. Its name is `tool_{tool}_{method}` unless another is given. Of a tool in `KnownTools`: with its types. */
  callTool<Tool extends keyof KnownTools & string, Method extends keyof KnownTools[Tool] & string>(
    tool: Tool,
    method: Method,
    ...call: ToolCall<ToolArguments<Tool, Method>, { readonly name?: Step }>
  ): Promise<ToolResult<Tool, Method>>;
  /** Of any other tool; and, for whoever says what comes back (`callTool<Result>`), of any. Nothing is checked then. */
  callTool<Result = unknown, Tool extends string = string>(
    tool: UnlistedTool<Tool>,
    method: string,
    args?: unknown,
    options?: { readonly name?: Step },
  ): Promise<Result>;
  /** The same, and whether a person who approved the call changed its arguments: then the result is not that of what was asked for. */
  callTool<Result = ToldCall<unknown>>(
    tool: string,
    method: string,
    args: unknown,
    options: { readonly name?: Step; readonly edits: 'tell' },
  ): Promise<Result>;
  /** Posts once: repeats after a crash have the same client message id. The step is `post_slack_{channel}` unless named. */
  postToSlack(channel: string, text: string, options?: PostToSlackOptions & { readonly name?: Step }): Promise<SlackPost>;
  updateSlack(message: SlackMessage, options?: { readonly name?: Step }): Promise<SlackPost>;

  /**
   * Asks people, and parks until they have decided or time is up. A question is asked once, however often the run is replayed; every
   * verdict is returned, `requireApproved` throws for those that are none. Arguments that differ on a replay make the run `stuck`.
   *
   * @throws StepError `UNKNOWN_GATE`, when the policy in force has no such gate: nobody was asked
   */
  approval<Args = null>(name: Step, options: ApprovalOptions<Args>): Promise<ApprovalAnswer<Args>>;

  /** True for runs that reach this line for the first time with this code; false for runs that passed it with the code before. */
  patched(id: string): boolean;
  /** The time of the latest checkpoint: the same on every replay. */
  now(): Date;
  /** 0 to 1, the same on every replay. Not for secrets. */
  random(): number;
  /** A version 4 UUID, the same on every replay. Not for secrets. */
  uuid(): string;
}
