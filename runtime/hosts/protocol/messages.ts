/** The messages between a worker and a host of workflows or tools; what they mean is in `docs/reference/host-protocol.md`. Types and sizes only. */

export const PROTOCOL = 1;
/** Bytes of one line. */
export const LINE_MOST = 16 * 1024 * 1024;
/** Of a line between a tool's process and its runner, in either direction. */
export const TOOL_LINE_MOST = 16 * 1024 * 1024;
/** Of a result's JSON. */
export const RESULT_BYTES_MOST = 8 * 1024 * 1024;
/** Of a file beside a result. */
export const ATTACHED_BYTES_MOST = 10 * 1024 * 1024;

export interface HostWorkflow {
  readonly workflow_name: string;
  readonly source_path: string;
  readonly webhooks: readonly { readonly workflow_name: string; readonly source_path: string; readonly spec: unknown }[];
  readonly schedule: unknown;
  readonly principal: unknown;
  readonly agent_defaults: Readonly<Record<string, unknown>> | null;
  readonly queue: unknown;
  readonly retry: unknown;
  readonly has_input: boolean;
  readonly has_concurrency_key: boolean;
}

export interface HostProblem {
  readonly source_path: string;
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
  readonly field?: string;
}

export interface Discovery {
  readonly type: 'workflow.discovery';
  readonly protocol: number;
  readonly language: string;
  readonly workflows: readonly HostWorkflow[];
  readonly problems: readonly HostProblem[];
}

/** What a handler, or a step's function, threw. */
export interface HostErrorInfo {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly non_retryable?: boolean;
  /** The call whose failure this is, or which it was raised from. */
  readonly request_id?: string;
}

export interface HostRetry {
  readonly max_attempts?: number;
  readonly delay_ms?: number;
  readonly backoff?: 'fixed' | 'exponential';
  readonly factor?: number;
  readonly jitter?: number;
  readonly max_delay_ms?: number;
  readonly non_retryable?: readonly string[];
}

export interface StartMessage {
  readonly type: 'workflow.start';
  readonly run_id: string;
  readonly task_id: string;
  readonly workflow_name: string;
  readonly input: unknown;
  readonly attempt: number;
  readonly trace_id: string;
  /** Headers for the requests of the run, as in W3C Trace Context. */
  readonly traceparent?: string;
  readonly tracestate?: string;
  readonly seed: string;
  readonly now: number;
  readonly live: boolean;
  readonly history_length: number;
  readonly patches: readonly { readonly seq: number; readonly id: string }[];
  readonly lease_until: number | null;
}

export type CancelReason = 'cancelled' | 'timeout' | 'suspended' | 'shutdown';

export type ToHost =
  | { readonly type: 'workflow.discover' | 'discover' }
  | {
      readonly type: 'workflow.input';
      readonly run_id: string;
      readonly request_id: string;
      readonly workflow_name: string;
      readonly input: unknown;
    }
  | StartMessage
  | { readonly type: 'workflow.cancel'; readonly run_id: string; readonly reason: CancelReason }
  | {
      readonly type: 'ctx.response';
      readonly run_id: string;
      readonly request_id: string;
      readonly ok: true;
      readonly value: unknown;
      readonly now: number;
      readonly live: boolean;
    }
  | {
      readonly type: 'ctx.response';
      readonly run_id: string;
      readonly request_id: string;
      readonly ok: false;
      readonly error: string;
      readonly error_info: ResponseError;
      readonly now: number;
      readonly live: boolean;
    }
  | { readonly type: 'host.lease'; readonly until: number | null }
  | { readonly type: 'host.ping'; readonly id: string }
  | ToToolHost;

export interface ResponseError {
  readonly name: 'StepError' | 'WaitTimeoutError' | 'ChildRunError' | 'RunCancelledError' | 'WorkflowError';
  readonly code: string;
  readonly message: string;
  readonly step_name?: string;
  readonly attempts?: number;
  readonly cause_name?: string;
  readonly child_run_id?: string;
}

/** One message of a burst; the last has `rest`, and how many messages of the run (start and answers) were taken until then. */
type FromRun<Type extends string, Fields> = Fields & {
  readonly type: Type;
  readonly run_id: string;
  readonly rest?: boolean;
  readonly taken?: number;
};
type CallOf<Type extends string, Fields> = FromRun<Type, Fields & { readonly request_id: string }>;
type StepLimits = { readonly retry?: HostRetry; readonly timeout_ms?: number };

export type CallMessage =
  | CallOf<'ctx.step.get', { readonly step: string; readonly step_kind?: string } & StepLimits>
  | CallOf<
      'ctx.step.put',
      {
        readonly checkpoint_name?: string;
        readonly step?: string;
        readonly attempt?: number;
        readonly value: unknown;
        readonly echo?: boolean;
      } & StepLimits
    >
  | CallOf<
      'ctx.step.fail',
      { readonly checkpoint_name?: string; readonly step?: string; readonly attempt?: number; readonly error: HostErrorInfo } & StepLimits
    >
  | CallOf<'ctx.sleep', { readonly step: string; readonly duration_seconds: number }>
  | CallOf<'ctx.sleep_until', { readonly step: string; readonly wake_at: string }>
  | CallOf<
      'ctx.event.wait',
      { readonly step: string; readonly event_type: string; readonly correlation_id?: string; readonly timeout_seconds?: number }
    >
  | CallOf<
      'ctx.workflow.start',
      {
        readonly step?: string;
        readonly workflow_name: string;
        readonly input?: unknown;
        readonly idempotency_key?: string;
        readonly queue?: string;
        readonly priority?: number;
        readonly concurrency_key?: string;
        readonly run_at?: string;
      }
    >
  | CallOf<'ctx.workflow.wait', { readonly step: string; readonly child_run_id: string; readonly timeout_seconds?: number }>
  | CallOf<'ctx.agent.start', { readonly step: string; readonly args: Readonly<Record<string, unknown>> }>
  | CallOf<'ctx.agent.wait', { readonly step: string; readonly agent: unknown; readonly timeout_seconds?: number }>
  | CallOf<'ctx.agent_turn', { readonly step?: string; readonly args: Readonly<Record<string, unknown>> }>
  | CallOf<'ctx.run_agents', { readonly agents: readonly Readonly<Record<string, unknown>>[]; readonly max_concurrency?: number }>
  | CallOf<
      'ctx.approval',
      {
        readonly step: string;
        readonly summary: string;
        readonly gate?: string;
        readonly tool?: string;
        readonly args?: unknown;
        readonly editable?: readonly string[];
        readonly schema?: Readonly<Record<string, unknown>>;
        readonly expires_seconds?: number;
      }
    >
  | CallOf<
      'ctx.call_tool',
      { readonly step?: string; readonly tool: string; readonly method: string; readonly args: unknown; readonly edits?: 'tell' }
    >
  | CallOf<
      'ctx.post_to_slack',
      { readonly step?: string; readonly channel: string; readonly text: string; readonly args?: Readonly<Record<string, unknown>> }
    >
  | CallOf<'ctx.update_slack', { readonly step?: string; readonly message: Readonly<Record<string, unknown>> }>;

export type TransactionMessage =
  | CallOf<'ctx.tx.begin', { readonly step: string } & StepLimits>
  | CallOf<'ctx.tx.query', { readonly tx: string; readonly sql: string; readonly params?: readonly unknown[] }>
  | CallOf<'ctx.tx.commit', { readonly tx: string; readonly value: unknown }>
  | CallOf<'ctx.tx.rollback', { readonly tx: string; readonly error: HostErrorInfo }>;

/** What is told to a host of tools. */
export type ToToolHost =
  /** Paths of the tools' files, relative to the folder that the host sees: each is loaded and told about. */
  | { readonly type: 'tool.discover'; readonly run_id: string; readonly files: readonly string[] }
  | ToolCallMessage
  | { readonly type: 'tool.cancel'; readonly run_id: string }
  | {
      readonly type: 'tool.attached';
      readonly run_id: string;
      readonly request_id: string;
      readonly ok: true;
      readonly file: { readonly attachment_id: string; readonly name: string; readonly mime_type: string; readonly size: number };
    }
  | { readonly type: 'tool.attached'; readonly run_id: string; readonly request_id: string; readonly ok: false; readonly message: string };

export interface ToolCallMessage {
  readonly type: 'tool.call';
  readonly run_id: string;
  readonly tool: string;
  readonly method: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly context: {
    readonly thread_key?: string;
    readonly workflow_run_id?: string;
    readonly trace_id?: string;
    /** Headers for the requests of the call, as in W3C Trace Context. */
    readonly traceparent?: string;
    readonly tracestate?: string;
    /** Opaque: the same for all calls of one caller. */
    readonly caller: string;
    readonly idempotency_key: string;
    readonly timeout_ms: number;
  };
}

/** A tool as its files declare it, not yet checked: the fields of the SDK's `ToolDefinition`, with JSON Schemas for schemas. */
export interface HostTool {
  /** The file that was asked about. */
  readonly source_path: string;
  readonly language: 'node' | 'python';
  readonly declared: unknown;
  /** Methods whose risk nobody has written down: it is what their names suggest. */
  readonly guessed_risks?: readonly string[];
}

/** Some of what was asked: each file is in one answer, as a tool or as a problem. The last one is `done`. */
export interface ToolDiscovery {
  readonly type: 'tool.discovery';
  readonly run_id: string;
  readonly protocol: number;
  readonly tools: readonly HostTool[];
  readonly problems: readonly (HostProblem & { readonly asked: string })[];
  readonly done: boolean;
}

export type FromToolHost =
  | ToolDiscovery
  | FromRun<'tool.progress', { readonly message: string; readonly done?: number; readonly total?: number }>
  | CallOf<'tool.attach', { readonly name: string; readonly mime_type: string; readonly data: string }>
  | FromRun<'tool.log', { readonly message: string; readonly fields?: Readonly<Record<string, unknown>> }>
  | FromRun<'tool.result', { readonly ok: true; readonly value: unknown }>
  | FromRun<'tool.result', { readonly ok: false; readonly code: string; readonly message: string; readonly retryable: boolean }>;

export type FromHost =
  | Discovery
  | FromToolHost
  | {
      readonly type: 'workflow.input';
      readonly run_id: string;
      readonly request_id: string;
      readonly ok: boolean;
      readonly concurrency_key?: string | null;
      readonly error?: string;
      readonly issues?: readonly { readonly path: string; readonly message: string }[];
      readonly warnings?: readonly string[];
    }
  | CallMessage
  | TransactionMessage
  | FromRun<'ctx.patch', { readonly id: string }>
  | FromRun<'ctx.log', { readonly level?: string; readonly message: string; readonly fields?: Readonly<Record<string, unknown>> }>
  | FromRun<
      'ctx.metric',
      { readonly kind: string; readonly name: string; readonly value: number; readonly labels?: Readonly<Record<string, string>> }
    >
  | FromRun<'ctx.rest', object>
  | FromRun<'workflow.result', { readonly result: unknown }>
  | FromRun<'workflow.error', { readonly message: string; readonly traceback?: string; readonly error?: HostErrorInfo }>
  | { readonly type: 'host.pong'; readonly id: string }
  | { readonly type: 'host.error'; readonly message: string; readonly traceback?: string };
