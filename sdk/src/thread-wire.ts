/** The shapes of threads and deliveries, as they are on the wire. Times are RFC 3339 in UTC. */

/** What a client says: a content block of the Messages API. Base64 data above 2 KiB is kept as an attachment. */
export type InputPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image' | 'document'; readonly source: PartSource; readonly name?: string };

export type PartSource =
  | { readonly type: 'base64'; readonly media_type: string; readonly data: string }
  | { readonly type: 'url'; readonly url: string };

/** A part as it is stored: data that was large has made room for `{ source: { type: 'attachment_ref', attachment_id, … } }`. */
export type MessagePart = { readonly type: string; readonly [field: string]: unknown };

export interface Assignment {
  readonly thread_key: string;
  /** Counts the assignments of the thread, from 1. Requests that name an earlier one are refused. */
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
  readonly assignment_state: string;
  readonly trace_id: string;
  /** True when the request was known by its id: then this is what the first one was answered. */
  readonly idempotent: boolean;
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
  /** Somebody answered for who the user is: their own session, or the bot of the chat. */
  readonly vouched: boolean;
  readonly metadata: Readonly<Record<string, unknown>> | null;
  /** The turn that took it; null while it waits for one. */
  readonly delivered_execution_id: string | null;
  readonly created_at: string;
}

export type FinishedExecutionStatus = 'completed' | 'failed_permanent' | 'cancelled';
export type ExecutionStatus = 'queued' | 'running' | 'cancel_requested' | FinishedExecutionStatus;

export interface AcceptedExecution {
  readonly execution_id: string;
  readonly execute_id: string;
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly status: ExecutionStatus;
  readonly final_key: string;
  readonly delivery_token: string;
  readonly idempotent: boolean;
}

/** One turn of an agent. */
export interface ExecutionView {
  readonly execution_id: string;
  readonly execute_id: string;
  readonly thread_key: string;
  readonly assignment_generation: number;
  /** The run of the engine that runs the turn. */
  readonly run_id: string | null;
  readonly harness: string;
  readonly persona_id: string | null;
  readonly model: string | null;
  readonly status: ExecutionStatus;
  /** How it ended, in a word, such as `completed`, `released` or `harness_error`. */
  readonly terminal_reason: string | null;
  readonly result_text: string | null;
  readonly result_json?: unknown;
  readonly error_text: string | null;
  readonly usage?: unknown;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly agent_thread_id: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly completed_at: string | null;
  readonly updated_at: string;
}

export interface ExecutionChange {
  readonly execution_id: string;
  readonly thread_key: string;
  /** `cancelled`, `cancel_requested` while a running turn ends, or `steered`. */
  readonly status: string;
  readonly idempotent: boolean;
}

export interface ReleasedThread {
  readonly thread_key: string;
  /** False when nothing was assigned. */
  readonly released: boolean;
  readonly assignment_generation?: number | undefined;
  readonly runtime_id?: string | undefined;
  readonly reason?: string | undefined;
  readonly idempotent: boolean;
}

export interface ThreadView {
  readonly thread_key: string;
  readonly title: string | null;
  readonly state: string;
  /** Of the present assignment; null without one. */
  readonly harness: string | null;
  readonly assignment_generation: number | null;
  readonly persona_id: string | null;
  /** Of its file, as it was when the thread was given it; in hex. */
  readonly persona_sha256: string | null;
  readonly last_event_id: number;
  /** Messages that no turn has taken. */
  readonly pending_messages: number;
  /** The turn that runs; null when none does. */
  readonly active_execution_id: string | null;
  readonly trace_id: string;
  readonly created_at: string;
  readonly last_used_at: string;
}

export interface Attachment {
  readonly id: string;
  readonly thread_key: string;
  readonly name: string;
  readonly mime_type: string;
  /** Bytes. */
  readonly size: number;
  readonly message_id: string | null;
  readonly execution_id: string | null;
  readonly created_at: string;
  readonly download_url: string;
}

// ---- the stream

/** One event of a thread. Ids count from 1 without gaps. */
export interface ThreadEvent {
  readonly id: number;
  /** The event's kind. */
  readonly event: string;
  readonly data: ThreadEventData;
}

/** By `type`. A newer server may send types that are not listed here: pass over what is not known. */
export type ThreadEventData =
  | {
      readonly type: 'message.stored';
      readonly message_id: string;
      readonly role: string;
      readonly parts: readonly MessagePart[];
      readonly user_id: string | null;
    }
  /** Where a turn stands. With a status that is final it is the turn's last event. */
  | {
      readonly type: 'execution.state';
      readonly execution_id: string;
      readonly thread_key: string;
      readonly status: ExecutionStatus;
      readonly terminal_reason?: string;
      readonly result_text?: string;
      readonly error_text?: string;
    }
  | {
      readonly type: 'execution.steered';
      readonly message_id: string;
      readonly content: readonly MessagePart[];
      readonly user_id: string | null;
    }
  /** A person has to decide before the tool runs. */
  | {
      readonly type: 'approval.pending';
      readonly execution_id: string;
      /** Of the harness's question: see `approval.request`. */
      readonly id: string;
      readonly approval_id: string;
      readonly gate: string;
      readonly expires_at: string;
    }
  | { readonly type: 'assignment.released'; readonly assignment_generation: number }
  | ({ readonly type: 'final_delivery.ready' } & FinalPayload)
  | { readonly type: 'final_delivery.delivered'; readonly execution_id: string; readonly thread_key: string }
  | AgentEventData;

/** What the agent does in a turn, whichever harness it is. An event of a sub-agent names in `parent_id` the tool call that runs it. */
export type AgentEventData = { readonly execution_id?: string; readonly parent_id?: string } & (
  | { readonly type: 'session'; readonly native_id: string; readonly model?: string; readonly cwd?: string }
  | { readonly type: 'turn.started' }
  | { readonly type: 'message.start'; readonly message_id: string }
  | { readonly type: 'text.delta' | 'thinking.delta'; readonly message_id: string; readonly text: string }
  | {
      readonly type: 'message';
      readonly message_id: string;
      readonly content: readonly ContentBlock[];
      readonly stop_reason?: string;
      /** A message after which the turn goes on, or the turn's answer. */
      readonly phase: 'commentary' | 'final';
    }
  /** What was streamed of it does not count: it was tried again. */
  | { readonly type: 'message.discarded'; readonly message_id: string; readonly reason: string }
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly input: unknown }
  | { readonly type: 'tool_output.delta'; readonly id: string; readonly text: string }
  | {
      readonly type: 'tool_result';
      readonly id: string;
      readonly content: readonly ContentBlock[];
      readonly is_error: boolean;
      readonly exit_code?: number;
      /** Has all of it, when it was too large for the event. */
      readonly attachment_id?: string;
    }
  | {
      readonly type: 'approval.request';
      readonly id: string;
      readonly tool_use_id?: string;
      readonly tool: string;
      readonly input: unknown;
    }
  | { readonly type: 'approval.resolved'; readonly id: string; readonly allowed: boolean }
  | { readonly type: 'usage'; readonly usage: TokenUsage; readonly model?: string }
  | {
      readonly type: 'status';
      /** `queued` while there is no sandbox for it, `requesting`, `retrying`, `compacting` or `waiting_approval`. */
      readonly status: string;
      readonly reason?: string;
      readonly attempt?: number;
      readonly delay_ms?: number;
      readonly http?: number;
    }
  | { readonly type: 'error'; readonly class: string; readonly message: string; readonly http?: number; readonly fatal: boolean }
  | { readonly type: 'notice'; readonly text: string }
  | { readonly type: 'turn.completed'; readonly status: string; readonly result_text: string; readonly error?: string }
);

export type ContentBlock =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'thinking'; readonly thinking: string }
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly input: unknown }
  | { readonly type: 'tool_result'; readonly tool_use_id: string; readonly content: readonly ContentBlock[]; readonly is_error: boolean }
  | { readonly type: 'image' | 'document'; readonly source: PartSource };

/** Of one turn. `input` does not count what was read from or written to a cache. */
export interface TokenUsage {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
  readonly reasoning?: number;
  /** An estimate of the harness, in US dollars. */
  readonly cost_usd?: number;
}

/** What a thread's next turn would be told besides the harness's own instructions, and what it would be given. */
export interface PromptView {
  readonly thread_key: string;
  readonly harness: string;
  /** Null: that of the harness. */
  readonly model: string | null;
  readonly effort: string | null;
  readonly persona: { readonly name: string; readonly sha256: string } | null;
  /** Of all parts together; null when there is nothing to say. */
  readonly sha256: string | null;
  readonly bytes: number;
  /** In the order in which they are told, with an empty line between them. */
  readonly parts: readonly {
    readonly kind: 'system' | 'persona' | 'thread' | 'tools' | 'skills';
    /** Who says so. */
    readonly source: string;
    readonly bytes: number;
    readonly text: string;
  }[];
  /** Names of those that the agent may call. */
  readonly tools: readonly string[];
  /** Those whose files are in the sandbox. */
  readonly skills: readonly {
    readonly name: string;
    readonly description: string;
    /** Its folder on the server. */
    readonly source: string;
    readonly version: string;
    /** Of all its files. */
    readonly bytes: number;
  }[];
  /** What the persona names, and is not there. */
  readonly missing: { readonly tools: readonly string[]; readonly skills: readonly string[] };
}

// ---- deliveries

/** A final answer that is owed to a channel, and this consumer's until the lease ends. */
export interface Delivery {
  readonly execution_id: string;
  readonly thread_key: string;
  readonly trace_id: string;
  readonly platform: string;
  readonly attempt_count: number;
  /** As the turn's request gave it: where the answer is to go. */
  readonly delivery?: unknown;
  readonly final_payload: FinalPayload;
  /** What the consumer before has noted with its heartbeats. */
  readonly progress?: unknown;
  readonly lease_expires_at: string;
}

/** Its turn may not have ended yet: then there is no payload. */
export interface LiveDelivery extends Omit<Delivery, 'final_payload'> {
  readonly final_payload: FinalPayload | null;
}

export interface FinalPayload {
  readonly execution_id: string;
  readonly thread_key: string;
  readonly status: FinishedExecutionStatus;
  readonly terminal_reason: string;
  readonly result_text: string;
  readonly error_text?: string;
}

export interface DeliveryChange {
  readonly execution_id: string;
  /** `live` while its turn runs, `sending`, `delivered`, `retry_wait`, or `dead_letter` for one that is never tried again. */
  readonly state: string;
  readonly idempotent?: boolean | undefined;
}

// ---- the inbox

/** What a chat service said, and this consumer's to act on until the lease ends. */
export interface InboxEvent {
  readonly platform: string;
  readonly event_id: string;
  readonly conversation: string;
  readonly body: unknown;
  readonly attempt_count: number;
  readonly received_at: string;
  readonly lease_expires_at: string;
}

export interface InboxChange {
  readonly platform: string;
  readonly event_id: string;
  /** `pending`, `claimed`, `retry_wait`, `done`, or `dead_letter` for one that was given up. */
  readonly state: string;
  readonly created?: boolean | undefined;
  readonly idempotent?: boolean | undefined;
}
