/** The shapes that cross the engine's door: what callers pass in and what they read back (snake_case, as on the wire). */
import type { Queryable } from '../store/index.ts';
import type { QueueOptions, RetryPolicy, Schedule, WorkflowContext } from '@centaur/sdk';
import type { Family } from '../telemetry/index.ts';

declare const brand: unique symbol;
/** A run's id: a UUIDv7, so that ids sort by creation time. Parse one with `parseRunId`. */
export type RunId = string & { readonly [brand]: 'RunId' };

export type RunStatus = 'queued' | 'running' | 'sleeping' | 'waiting' | 'completed' | 'failed' | 'cancelled' | 'stuck';
export const RUN_STATUSES: readonly RunStatus[] = ['queued', 'running', 'sleeping', 'waiting', 'completed', 'failed', 'cancelled', 'stuck'];

/** An error as it is stored and shown: never a stack, never a time, so that a replay sees the same value. */
export interface StoredError {
  readonly code: string;
  readonly message: string;
  readonly name?: string;
  readonly details?: unknown;
}

/** A workflow as a host offers it to the engine. */
export interface RegisteredWorkflow {
  readonly name: string;
  /** Identifies the code: a hash of the file and what it imports. A run keeps the version that it began with while a worker still has it. */
  readonly version: string;
  /** Where it was loaded from, for people. */
  readonly source?: string;
  readonly queue?: string | QueueOptions | undefined;
  readonly retry?: RetryPolicy | undefined;
  readonly schedules?: readonly Schedule[] | undefined;
  /** Turns a stored input into what the handler gets. @throws EngineError INVALID_INPUT naming the field */
  readonly parseInput?: ((input: unknown) => unknown | Promise<unknown>) | undefined;
  /** Key of a run, from its parsed input. */
  readonly concurrencyKey?: ((input: never) => string | undefined) | undefined;
  /** Instead of the two above where the code is in another process: checks an input and derives the key. @throws EngineError INVALID_INPUT */
  readonly checkInput?: ((input: unknown) => Promise<{ readonly concurrencyKey: string | null }>) | undefined;
  /** As its file declares them: who serves them checks them. */
  readonly webhooks?: readonly unknown[] | undefined;
  readonly handler: (input: never, ctx: WorkflowContext) => unknown;
  /** Instead of `handler` where the code is in another process. */
  readonly hosted?: ((input: unknown, ctx: WorkflowContext, run: HostedRun) => Promise<unknown>) | undefined;
}

/** A run as seen by whoever passes its calls on to another process. */
export interface HostedRun {
  readonly traceId: string;
  /** What `ctx.random` and `ctx.uuid` are drawn from. */
  readonly seed: string;
  /** How often a process ended under it since it last got further. */
  readonly crashes: number;
  /** Its history is behind it: from here on it makes history. Once true, it stays so. */
  readonly live: boolean;
  readonly historyLength: number;
  /** The next call has an outcome in the history: what it asks for does not matter. */
  readonly nextIsSettled: boolean;
  readonly patches: readonly { readonly seq: number; readonly id: string }[];
  /** It is only looked at: in a process of its own, which may use nothing, and what it says counts for nothing. */
  readonly replay?: true;
  /** Until when, by `performance.now()`, this worker surely owns the run. */
  readonly leaseHeldUntil: number;
  /** `rest` is called after each outcome; the next one is handed out when it calls back. Calls that come of an outcome are made before that. */
  onOutcome(rest: (done: () => void) => void, isAtRest: () => boolean): void;
  /** Called once, when the run has left this process's memory before its end. `reason` tells more than that, if there is more. */
  onClose(listener: (reason: Error | undefined) => void): void;
}

/** Where the engine finds workflows. The host owns it; `get` must answer at once. */
export interface WorkflowRegistry {
  /** The version asked for while it is still loaded, else the newest; undefined when the name is unknown. */
  get(name: string, version?: string): RegisteredWorkflow | undefined;
  /** The newest version of each, by name. */
  list(): readonly RegisteredWorkflow[];
  /** Calls `listener` after workflows were added, changed or removed. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

export interface StartRequest {
  readonly workflow_name: string;
  readonly input?: unknown;
  /** Start in this process at once when it is a worker with room, without passing through the queue. Default true; a limited queue ignores it. */
  readonly eager_start?: boolean | undefined;
  /** The idempotency key: a second start with the same key and input answers with the first run. At most 512 characters. */
  readonly trigger_key?: string | undefined;
  /** What a second start with the same key must share with the first. Default: the input. */
  readonly trigger_identity?: string | undefined;
  readonly queue?: string | undefined;
  /** -100 to 100, higher first. Default 0. */
  readonly priority?: number | undefined;
  readonly concurrency_key?: string | undefined;
  /** RFC 3339. The run starts no sooner. */
  readonly run_at?: string | undefined;
  /** 32 hex digits; default: the run's own. */
  readonly trace_id?: string | undefined;
}

/** Rows of somebody else that are written with the runs that they are about, in the same statement. */
export interface Companion<Row = unknown> {
  /**
   * A CTE that writes, from arrays: `name as (insert …)`. `$` stands for the next parameter; `started (run_id)` has the runs that this
   * statement starts: of a run that its trigger key knows already, nothing is to be written.
   */
  readonly sql: string;
  // a method and not a property: the rows of one companion are of one kind, which the engine does not know
  params(rows: readonly { readonly runId: string; readonly row: Row }[]): readonly unknown[];
}

/** A row of a companion. */
export interface Beside {
  readonly companion: Companion;
  readonly row: unknown;
}

export interface StartedRun {
  readonly run_id: RunId;
  readonly workflow_name: string;
  readonly status: RunStatus;
  readonly created: boolean;
  readonly idempotent: boolean;
}

export type StepKind = 'step' | 'transaction' | 'sleep' | 'event' | 'start_workflow' | 'wait_workflow' | 'patch' | 'approval';
export type StepStatus = 'pending' | 'completed' | 'failed' | 'timed_out';

export interface StepView {
  readonly seq: number;
  readonly name: string;
  readonly kind: StepKind;
  readonly status: StepStatus;
  readonly result: unknown;
  readonly error: StoredError | null;
  readonly started_at: string;
  readonly ended_at: string | null;
  readonly attempts: number;
}

export type WaitingOn =
  | { readonly type: 'sleep'; readonly name: string; readonly until: string }
  | {
      readonly type: 'event';
      readonly name: string;
      readonly event_type: string;
      readonly correlation_id: string;
      readonly deadline: string | null;
    }
  | { readonly type: 'workflow'; readonly name: string; readonly run_id: string; readonly deadline: string | null }
  | {
      readonly type: 'approval';
      readonly name: string;
      readonly approval_id: string;
      readonly gate: string;
      readonly deadline: string | null;
    }
  | {
      readonly type: 'retry';
      readonly name: string;
      readonly until: string;
      readonly attempts: number;
      readonly error: StoredError | null;
    };

export interface RunSummary {
  readonly run_id: RunId;
  readonly workflow_name: string;
  readonly workflow_version: string | null;
  readonly status: RunStatus;
  readonly queue: string;
  readonly priority: number;
  readonly concurrency_key: string | null;
  readonly attempt: number;
  readonly parent_run_id: string | null;
  readonly trace_id: string;
  readonly trigger_key: string | null;
  /** Who asked for it: `user:ann`, `key:ck_…`, `webhook:github`. Of a child: who asked for the run that started it. Null: a schedule or the platform. */
  readonly started_by: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  /** When a delayed or sleeping run continues. */
  readonly run_at: string | null;
  readonly error: StoredError | null;
}

export interface RunDetail extends RunSummary {
  readonly input: unknown;
  readonly result: unknown;
  readonly waiting_on: readonly WaitingOn[];
  readonly steps: readonly StepView[];
  /** Earlier attempts of a retried run. */
  readonly attempts: readonly {
    readonly attempt: number;
    readonly error: StoredError | null;
    readonly started_at: string | null;
    readonly ended_at: string;
  }[];
  readonly children: readonly { readonly run_id: string; readonly workflow_name: string; readonly status: RunStatus }[];
}

export interface RunFilter {
  readonly workflow_name?: string | undefined;
  readonly status?: RunStatus | undefined;
  /** Cursor of an earlier answer; runs are listed newest first. */
  readonly after?: string | undefined;
  /** 1 to 200, default 50. */
  readonly limit?: number | undefined;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** One line of a run's replayable event stream. `id` is `attempt-position`; a reader that passes the last id it saw gets exactly what followed. */
export type RunEvent =
  | { readonly id: string; readonly event: 'step.completed' | 'step.failed' | 'step.timed_out'; readonly data: StepView }
  | { readonly id: string; readonly event: 'run.retrying'; readonly data: { readonly attempt: number; readonly error: StoredError | null } }
  | {
      readonly id: string;
      readonly event: 'run.completed' | 'run.failed' | 'run.cancelled';
      readonly data: RunSummary & { readonly result: unknown };
    }
  /** Not durable and without an id: the run's status or what it waits for changed. */
  | {
      readonly id: null;
      readonly event: 'run.status';
      readonly data: { readonly status: RunStatus; readonly waiting_on: readonly WaitingOn[]; readonly error: StoredError | null };
    };

export interface EmitRequest {
  readonly event_type: string;
  readonly correlation_id: string;
  readonly payload?: unknown;
  /** The idempotency key: a second one of this type with the same key, correlation id and payload answers with the first event. At most 512 characters. */
  readonly event_key?: string | undefined;
}

export interface EmittedEvent {
  readonly event_id: string;
  readonly event_type: string;
  readonly correlation_id: string;
  /** Parked runs woken by it; runs that wait in a worker's memory are told, not counted. */
  readonly runs_woken: number;
  /** The event key was known: this is the first event, and nothing was stored. */
  readonly idempotent: boolean;
}

export interface QueueView {
  readonly name: string;
  readonly concurrency: number | null;
  readonly concurrency_per_key: number | null;
  readonly rate_limit: { readonly limit: number; readonly period_ms: number } | null;
  readonly queued: number;
  readonly running: number;
}

export interface QueueLimits {
  readonly concurrency?: number | null;
  readonly concurrency_per_key?: number | null;
  readonly rate_limit?: { readonly limit: number; readonly period_ms: number } | null;
}

export interface ScheduleView {
  readonly schedule_id: string;
  readonly workflow_name: string;
  readonly spec: Schedule;
  readonly enabled: boolean;
  readonly next_at: string | null;
  readonly last_at: string | null;
  readonly last_run_id: string | null;
  readonly skipped: number;
}

/** Figures of this process and of the database, for metrics and health. */
export interface EngineStats {
  readonly worker_id: number | null;
  readonly resident_runs: number;
  readonly flushes: number;
  readonly flushed_ops: number;
  readonly queued_ops: number;
  readonly fenced: number;
  readonly runs_started: number;
  readonly runs_finished: Readonly<Record<'completed' | 'failed' | 'cancelled', number>>;
  readonly steps_executed: number;
  readonly steps_replayed: number;
  readonly step_seconds: Family;
}

/** The engine. `createEngine` in `index.ts` makes one; a process that only serves the API never calls `work`. */
export interface Engine {
  /** Starts working: claims runs, fires timers and schedules, reaps dead workers. */
  work(): Promise<void>;
  /** Stops claiming, lets running steps finish for up to `graceMs`, hands the rest back, and closes. */
  drain(graceMs?: number): Promise<void>;

  /**
   * @param beside is there exactly when the run was started just now
   * @param by who asks for it, as the audit log names them
   */
  start(request: StartRequest, beside?: Beside, by?: string): Promise<StartedRun>;
  /** One that belongs to no run, for the run that asks: it was started by whoever started that. */
  startFrom(runId: string, request: StartRequest): Promise<StartedRun>;
  /** Many starts in one call: one entry per request, in order. One bad request refuses all, naming its index. */
  startMany(requests: readonly StartRequest[], by?: string): Promise<StartedRun[]>;
  /** @throws EngineError RUN_NOT_FOUND */
  getRun(runId: string): Promise<RunDetail>;
  listRuns(filter: RunFilter): Promise<Page<RunSummary>>;
  /** Ends an unfinished run and its unfinished children as cancelled. @throws EngineError RUN_NOT_FOUND, RUN_FINISHED */
  cancelRun(runId: string): Promise<RunSummary>;
  /** Queues a failed, cancelled or stuck run again as its next attempt. @throws EngineError RUN_NOT_FOUND, RUN_NOT_RETRYABLE */
  retryRun(runId: string, by?: string): Promise<RunSummary>;
  /** Starts a new run with the history before `from_step` (a step's name, or its seq) copied. @throws EngineError RUN_NOT_FOUND, STEP_NOT_FOUND */
  forkRun(
    runId: string,
    fork: { readonly from_step: string | number; readonly input?: unknown },
    by?: string,
    /** In the transaction that makes the new run. */
    beside?: (tx: Queryable, forkId: string) => Promise<unknown>,
  ): Promise<StartedRun>;
  /** The run's events after `afterId`, then live ones, until the run's terminal event or the signal. */
  tailRun(runId: string, options?: { readonly afterId?: string | undefined; readonly signal?: AbortSignal }): AsyncIterable<RunEvent>;
  emitEvent(request: EmitRequest): Promise<EmittedEvent>;
  listQueues(): Promise<readonly QueueView[]>;
  setQueue(name: string, limits: QueueLimits): Promise<QueueView>;
  listSchedules(): Promise<readonly ScheduleView[]>;
  stats(): EngineStats;
}
