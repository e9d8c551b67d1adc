/** Questions to people: what a workflow asks, and what it hears. */
import type { Duration } from './duration.ts';
import { NonRetryableError } from './errors.ts';
import type { Jsonify } from './json.ts';

export interface ApprovalOptions<Args = unknown> {
  /** What people are asked, in a sentence or two. At most 2000 characters, and no secrets: it is shown and kept. */
  readonly summary: string;
  /** Of the policy in force: who may decide, and by when. Default: the gate `default`. */
  readonly gate?: string;
  /** What is going to be done, such as `stripe.refund`. */
  readonly tool?: string;
  /** With what: shown to whoever decides, who may change what is `editable`. At most 32 KiB of JSON. */
  readonly args?: Args;
  /**
   * Paths in `args` that whoever decides may change: `amount`, `customer.email`, `items.*.price`. Default: none. Where the gate names
   * paths, too, only those that are under both.
   */
  readonly editable?: readonly string[];
  /** What edited `args` have to fit: a JSON Schema of an object, at most 16 KiB. Without it a value is replaced by one of its type. */
  readonly schema?: Readonly<Record<string, unknown>>;
  /** Shortens the time that the gate gives; it cannot lengthen it. */
  readonly expires?: Duration;
}

export type ApprovalVerdict = 'approved' | 'denied' | 'expired' | 'cancelled';

export interface ApprovalAnswer<Args = unknown> {
  readonly verdict: ApprovalVerdict;
  /** What was decided about: as it was asked, or as somebody edited it. Use these, not your own. */
  readonly args: Jsonify<Args>;
  /** As it was asked. */
  readonly asked: Jsonify<Args>;
  readonly edited: boolean;
  /** Name of the user who edited it last; null when nobody did. */
  readonly edited_by: string | null;
  readonly reason: string | null;
  readonly voters: readonly { readonly name: string; readonly verdict: string }[];
  readonly approval_id: string;
}

/** What `requireApproved` throws. `code` is `"APPROVAL_DENIED"`, `"APPROVAL_EXPIRED"` or `"APPROVAL_CANCELLED"`. */
export class ApprovalRefusedError extends NonRetryableError {
  readonly answer: ApprovalAnswer;
  constructor(answer: ApprovalAnswer) {
    const why = answer.reason === null ? '' : `: ${answer.reason}`;
    super(`approval ${answer.approval_id} was not given (${answer.verdict})${why}`, { code: `APPROVAL_${answer.verdict.toUpperCase()}` });
    this.name = 'ApprovalRefusedError';
    this.answer = answer;
  }
}

/** The arguments that were approved. @throws ApprovalRefusedError for any other verdict */
export function requireApproved<Args>(answer: ApprovalAnswer<Args>): Jsonify<Args> {
  if (answer.verdict !== 'approved') throw new ApprovalRefusedError(answer as ApprovalAnswer);
  return answer.args;
}
