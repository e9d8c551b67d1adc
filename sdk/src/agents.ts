/** Agent turns, as workflows ask for them and get them back. */
import type { Duration } from './duration.ts';

/** A content block of a message: text, an image or a document with base64 data, or anything else with a `type`. */
export interface AgentPart {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface AgentOptions {
  /** What the agent is told; or `parts`, for more than text. */
  readonly text?: string;
  readonly parts?: readonly AgentPart[];
  /** The conversation. Default: one of its own for each call. Turns of one thread run one after the other. */
  readonly threadKey?: string;
  /** `claude`, `codex`, `pi`, `amp` or `demo`; default: the installation's. */
  readonly harness?: string;
  readonly persona?: string;
  /** Added to the system prompt. */
  readonly agentsMd?: string;
  readonly model?: string;
  readonly effort?: 'low' | 'medium' | 'high' | 'max';
  /** Kept with the turn, as `metadata.user_id`. The turn is the run's: it is made with nobody's own accounts. */
  readonly userId?: string;
  /** Where the final answer is owed, beside this run: `{ platform: 'slack', channel: … }`. */
  readonly delivery?: Readonly<Record<string, unknown>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export interface StartedAgent {
  readonly execution_id: string;
  readonly thread_key: string;
  /** The turn's run: what `ctx.waitForWorkflow` takes. */
  readonly run_id: string;
}

/** How a turn ended. One that failed is returned, not thrown. */
export interface AgentResult {
  readonly execution_id: string;
  readonly thread_key: string;
  readonly status: 'completed' | 'failed_permanent' | 'cancelled';
  readonly terminal_reason: string | null;
  /** The agent's last message, at most 200,000 characters. */
  readonly result_text: string;
  readonly error_text: string | null;
  readonly usage: unknown;
}

export interface RunAgentOptions extends AgentOptions {
  /** How long the run waits. The turn goes on. @throws WaitTimeoutError */
  readonly timeout?: Duration;
}

/** Results in the order of the agents. */
export interface RunAgentsResult {
  readonly results: readonly ({ readonly index: number; readonly name: string; readonly ok: boolean } & AgentResult)[];
  readonly succeeded: number;
  readonly failed: number;
}
