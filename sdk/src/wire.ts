/** The shapes the API answers with, as they are on the wire. Times are RFC 3339 in UTC. */
import type { Jsonify } from './json.ts';
import type { Schedule } from './workflow.ts';

declare const result: unique symbol;
/** A run's id. It remembers, for the compiler only, what the run results in: `waitForRun(run.run_id)` is typed by it. */
export type RunId<Result = unknown> = string & { readonly [result]?: Result };

export type FinishedStatus = 'completed' | 'failed' | 'cancelled';
/** `stuck`: the workflow's code no longer matches what the run has done; `error` shows the difference. */
export type RunStatus = 'queued' | 'running' | 'sleeping' | 'waiting' | 'stuck' | FinishedStatus;

export interface StoredError {
  readonly code: string;
  readonly message: string;
  readonly name?: string;
  readonly details?: unknown;
}

export interface StartedRun<Result = unknown> {
  readonly run_id: RunId<Result>;
  readonly workflow_name: string;
  readonly status: RunStatus;
  /** False when the trigger key was known: then this is the first run. */
  readonly created: boolean;
  readonly idempotent: boolean;
}

export interface StepView {
  /** Position in the order in which the handler called, from 0. */
  readonly seq: number;
  readonly name: string;
  readonly kind: 'step' | 'transaction' | 'sleep' | 'event' | 'start_workflow' | 'wait_workflow' | 'patch' | 'approval';
  readonly status: 'pending' | 'completed' | 'failed' | 'timed_out';
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

export interface RunDetail<Result = unknown> extends RunSummary {
  readonly input: unknown;
  readonly result: Jsonify<Result> | null;
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

/** A run that has ended: compare `status` before reading `result`. */
export type FinishedRun<Result = unknown> = RunSummary &
  ({ readonly status: 'completed'; readonly result: Jsonify<Result> } | { readonly status: 'failed' | 'cancelled'; readonly result: null });

/** One line of a run's stream. Those with an id are durable: a reader that passes the last id it saw gets exactly what followed. */
export type RunEvent =
  | { readonly id: string; readonly event: 'step.completed' | 'step.failed' | 'step.timed_out'; readonly data: StepView }
  | {
      readonly id: string;
      readonly event: 'run.retrying';
      readonly data: { readonly attempt: number; readonly error: StoredError | null };
    }
  | {
      readonly id: string;
      readonly event: 'run.completed' | 'run.failed' | 'run.cancelled';
      readonly data: RunSummary & { readonly result: unknown };
    }
  | {
      readonly id: null;
      readonly event: 'run.status';
      readonly data: {
        readonly status: RunStatus;
        readonly waiting_on: readonly WaitingOn[];
        readonly error: StoredError | null;
      };
    };

export interface EmittedEvent {
  readonly event_id: string;
  readonly event_type: string;
  readonly correlation_id: string;
  readonly runs_woken: number;
  /** The event key was known: nothing was stored. */
  readonly idempotent: boolean;
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

/** A loaded workflow. */
export interface WorkflowView {
  readonly name: string;
  /** Identifies the code: it changes when the file, or one it imports, does. */
  readonly version: string;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Pass it as `after` to read on; null at the end. */
  readonly next: string | null;
}
