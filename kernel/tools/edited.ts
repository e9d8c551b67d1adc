/** What a person changed in the arguments of a call that they approved, as whoever asked for it hears of it. */
import { type Given, valueAt } from '../policy/index.ts';
import { ToolError } from './errors.ts';

/** What a person put in place of arguments. */
export interface Edited {
  readonly approval_id: string;
  /** Name of the user. */
  readonly by: string;
  /** Values by their paths; null for what was taken out. */
  readonly changed: Readonly<Record<string, unknown>>;
}

export function editedBy({ approvalId, edited }: Given): Edited | undefined {
  if (edited === undefined) return undefined;
  const { args, by, changed } = edited;
  return { approval_id: approvalId, by, changed: Object.fromEntries(changed.map((path) => [path, valueAt(args, path) ?? null])) };
}

export const editOf = (edited: Edited | undefined): { readonly edited?: Edited } => (edited === undefined ? {} : { edited });

/** Whoever asked is told what was done in place of it, and what failed was not what they asked for. */
export function withEdit<Outcome extends { readonly ok: true } | { readonly ok: false; readonly error: ToolError }>(
  outcome: Outcome,
  edited: Edited | undefined,
): Outcome {
  if (outcome.ok || edited === undefined) return outcome;
  const { code, message, details, retryable } = outcome.error;
  return { ...outcome, error: new ToolError(code, message, { details: { ...details, edited }, retryable, cause: outcome.error }) };
}
