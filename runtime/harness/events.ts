/**
 * What every harness says, whichever CLI it is: the normalised events of a turn. Content blocks have the shapes of
 * Anthropic's Messages API. Whoever stores an event adds its number, thread, execution and time.
 */

export type ContentBlock =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'thinking'; readonly thinking: string }
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly input: unknown }
  | { readonly type: 'tool_result'; readonly tool_use_id: string; readonly content: readonly ContentBlock[]; readonly is_error: boolean }
  | { readonly type: 'image' | 'document'; readonly source: BlockSource };

export type BlockSource =
  | { readonly type: 'base64'; readonly media_type: string; readonly data: string }
  | { readonly type: 'url'; readonly url: string };

/** Tokens of one turn. `input` does not count what was read from or written to a cache. */
export interface Usage {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
  readonly reasoning?: number;
  /** An estimate of the harness, in US dollars. */
  readonly cost_usd?: number;
}

export type ErrorClass = 'auth' | 'rate_limit' | 'overloaded' | 'network' | 'policy' | 'invalid_request' | 'harness' | 'protocol';

export type TurnStatus = 'completed' | 'failed' | 'interrupted' | 'crashed';

/** Ids are unique within a turn. An event of a sub-agent names the tool call that runs it in `parent_id`. */
export type HarnessEvent = { readonly parent_id?: string } & (
  | { readonly type: 'session'; readonly native_id: string; readonly model?: string; readonly cwd?: string }
  | { readonly type: 'turn.started' }
  | { readonly type: 'message.start'; readonly message_id: string }
  | { readonly type: 'text.delta'; readonly message_id: string; readonly text: string }
  | { readonly type: 'thinking.delta'; readonly message_id: string; readonly text: string }
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
    }
  | {
      readonly type: 'approval.request';
      readonly id: string;
      readonly tool_use_id?: string;
      readonly tool: string;
      readonly input: unknown;
    }
  | { readonly type: 'approval.resolved'; readonly id: string; readonly allowed: boolean }
  | { readonly type: 'usage'; readonly usage: Usage; readonly model?: string }
  | {
      readonly type: 'status';
      readonly status: 'requesting' | 'retrying' | 'waiting_approval' | 'compacting' | 'queued';
      readonly attempt?: number;
      readonly delay_ms?: number;
      readonly http?: number;
    }
  | { readonly type: 'error'; readonly class: ErrorClass; readonly message: string; readonly http?: number; readonly fatal: boolean }
  | { readonly type: 'notice'; readonly text: string }
  /** The last event of a turn, exactly once. */
  | { readonly type: 'turn.completed'; readonly status: TurnStatus; readonly result_text: string; readonly error?: string }
);

export type HarnessEventType = HarnessEvent['type'];
