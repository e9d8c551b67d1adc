/**
 * A codec speaks one CLI's protocol: what to write to it, and what its lines mean. It does no I/O and reads no clock, so
 * that a recorded session replays through it in milliseconds, and a process that takes a turn over from another arrives
 * at the same state by reading the same lines.
 */
import type { ContentBlock, HarnessEvent } from './events.ts';

export interface CodecOutput {
  readonly events: readonly HarnessEvent[];
  /** Lines for the CLI's standard input, without their ends. */
  readonly send: readonly string[];
}

export interface OpenOptions {
  /** The native id of a session that was restored. */
  readonly resume?: string;
  readonly cwd: string;
  readonly model?: string;
  /** As in the launch: Codex is told by the handshake, the others by their arguments. */
  readonly approvals?: 'ask' | 'none';
}

export interface TurnInput {
  readonly content: readonly ContentBlock[];
  readonly model?: string;
  readonly effort?: 'low' | 'medium' | 'high' | 'max';
}

export type ApprovalAnswer = { readonly allow: true; readonly input?: unknown } | { readonly allow: false; readonly message: string };

export interface Codec {
  /** When the process has started: the handshake. */
  open(options: OpenOptions): CodecOutput;
  /** Whether a turn may be given: the handshake is over and no turn is running. */
  readonly ready: boolean;
  /** The turn that is running; it ends with exactly one `turn.completed`. */
  readonly busy: boolean;
  turn(input: TurnInput): CodecOutput;
  /** Adds to the running turn, as far as the CLI can. */
  steer(content: readonly ContentBlock[]): CodecOutput;
  interrupt(): CodecOutput;
  answer(approvalId: string, answer: ApprovalAnswer): CodecOutput;
  /** One line of its standard output. What is not understood is a `notice`, never an exception. */
  line(text: string): CodecOutput;
  /** The process has ended: what is open is closed, and a running turn ends as crashed or interrupted. */
  exit(how: { readonly code: number | null; readonly signal: string | null; readonly stderr: string }): CodecOutput;
}

export interface HarnessCapabilities {
  readonly resume: boolean;
  readonly interrupt: 'inband' | 'signal';
  readonly steer: 'merge' | 'queue' | 'none';
  readonly approvals: boolean;
  readonly images: boolean;
  readonly deltas: boolean;
}
