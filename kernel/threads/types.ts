/** The shapes of threads, as clients see them. Times are RFC 3339, UTC. */

export const EXECUTION_STATUSES = ['queued', 'running', 'cancel_requested', 'completed', 'failed_permanent', 'cancelled'] as const;
export type ExecutionStatus = (typeof EXECUTION_STATUSES)[number];
export const TERMINAL_STATUSES: readonly ExecutionStatus[] = ['completed', 'failed_permanent', 'cancelled'];

/** How a turn ended, in a word. */
export type TerminalReason =
  | 'completed'
  | 'cancelled'
  | 'released'
  | 'harness_error'
  | 'harness_missing'
  | 'harness_auth_failed'
  | 'harness_crashed'
  | 'sandbox_unavailable'
  | 'sandbox_lost'
  | 'silence_deadline_exceeded'
  | 'hard_deadline_exceeded'
  | 'budget_exceeded'
  | 'execution_error';

/** A part of a message: a content block, with `attachment_ref` in the place of data that was large. */
export type MessagePart = { readonly type: string; readonly [field: string]: unknown };

export interface SpawnRequest {
  readonly thread_key: string;
  readonly spawn_id?: string | undefined;
  readonly harness?: string | undefined;
  readonly persona_id?: string | undefined;
  readonly agents_md_override?: string | undefined;
}

export interface Assignment {
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly runtime_id: string;
  readonly harness: string;
  readonly engine: string | null;
  readonly persona_id: string | null;
  /** Of the persona's file, as it was when the thread was given it; in hex. */
  readonly persona_sha256: string | null;
  readonly prompt_ref: string;
  readonly effective_agents_md_sha256: string | null;
  readonly state: 'active' | 'released';
  /** `assigned_idle`, as clients of the original expect it. */
  readonly assignment_state: string;
  readonly trace_id: string;
}

export interface MessageRequest {
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly message_id?: string | undefined;
  readonly role?: 'user' | 'assistant' | 'system' | undefined;
  readonly parts: readonly MessagePart[];
  readonly user_id?: string | undefined;
  /** Whoever sends it answers for whose words it has; no client says this. */
  readonly vouched?: boolean | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

export interface StoredMessage {
  readonly message_id: string;
  readonly stored_event_id: string;
  readonly attachment_ids: readonly string[];
  readonly idempotent: boolean;
}

export interface MessageView {
  readonly id: string;
  readonly role: string;
  readonly parts: readonly MessagePart[];
  readonly user_id: string | null;
  /** Whoever brought it answered for who the user is. */
  readonly vouched: boolean;
  readonly metadata: Readonly<Record<string, unknown>> | null;
  readonly delivered_execution_id: string | null;
  readonly created_at: string;
}

export interface ExecuteRequest {
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly execute_id?: string | undefined;
  readonly harness?: string | undefined;
  readonly model?: string | undefined;
  readonly effort?: string | undefined;
  readonly delivery?: Readonly<Record<string, unknown>> | undefined;
  readonly platform?: string | undefined;
  readonly user_id?: string | undefined;
  /** Whoever asks answers for who the user is; no client says this. */
  readonly vouched?: boolean | undefined;
  /** The principal of the channel that it is asked for in; no client says this. */
  readonly channel?: string | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** The run of the workflow that asks; no client says this. */
  readonly asked_by?: string | undefined;
  /** The task that it is part of. Default: its own. */
  readonly trace_id?: string | undefined;
}

export interface AcceptedExecution {
  readonly execution_id: string;
  readonly execute_id: string;
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly status: ExecutionStatus;
  readonly idempotent: boolean;
}

export interface ExecutionView {
  readonly execution_id: string;
  readonly execute_id: string;
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly run_id: string | null;
  readonly harness: string;
  readonly persona_id: string | null;
  readonly model: string | null;
  readonly status: ExecutionStatus;
  readonly terminal_reason: TerminalReason | null;
  readonly result_text: string | null;
  readonly result_json: unknown;
  readonly error_text: string | null;
  readonly usage: unknown;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly agent_thread_id: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly completed_at: string | null;
  readonly updated_at: string;
}

export interface ThreadView {
  readonly thread_key: string;
  readonly title: string | null;
  readonly state: string;
  readonly harness: string | null;
  readonly assignment_generation: number | null;
  readonly persona_id: string | null;
  /** Of its file, as it was when the thread was given it; in hex. */
  readonly persona_sha256: string | null;
  readonly last_event_id: number;
  readonly pending_messages: number;
  readonly active_execution_id: string | null;
  readonly trace_id: string;
  readonly created_at: string;
  readonly last_used_at: string;
}

export const PROMPT_PARTS = ['system', 'persona', 'thread', 'tools', 'skills'] as const;

/** What an agent is told besides its own instructions, and what it is given, in the next turn of a thread. */
export interface PromptView {
  readonly thread_key: string;
  readonly harness: string;
  readonly model: string | null;
  readonly effort: string | null;
  readonly persona: { readonly name: string; readonly sha256: string } | null;
  /** Of all parts together; null when there is nothing to say. */
  readonly sha256: string | null;
  readonly bytes: number;
  /** In the order in which they are told, with an empty line between them. */
  readonly parts: readonly {
    readonly kind: (typeof PROMPT_PARTS)[number];
    /** Who says so: a layer, a file, the thread, or the platform. */
    readonly source: string;
    readonly bytes: number;
    readonly text: string;
  }[];
  readonly tools: readonly string[];
  readonly skills: readonly {
    readonly name: string;
    readonly description: string;
    readonly source: string;
    readonly version: string;
    /** Of all its files. */
    readonly bytes: number;
  }[];
  /** What the persona names, and is not there. */
  readonly missing: { readonly tools: readonly string[]; readonly skills: readonly string[] };
}

/** What is appended: numbered when it commits. */
export interface NewEvent {
  readonly kind: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Attachment {
  readonly id: string;
  readonly thread_key: string;
  readonly name: string;
  readonly mime_type: string;
  readonly size: number;
  readonly message_id: string | null;
  readonly execution_id: string | null;
  readonly created_at: string;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}
