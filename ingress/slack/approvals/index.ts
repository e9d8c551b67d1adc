/** Approvals as people see them in Slack. */
import { ending } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import type { Heard, Raw } from '../heard.ts';

/** Resolves when the signal has aborted. */
export async function showApprovals(_context: SlackContext, signal: AbortSignal): Promise<void> {
  await ending(signal);
}

export async function actOnInteraction(_context: SlackContext, _heard: Extract<Heard, { kind: 'interaction' }>): Promise<void> {}

/** What must be done before Slack's trigger dies. @returns the body of the answer, where there is one */
export async function openAtOnce(_context: SlackContext, _payload: Raw): Promise<Raw | undefined> {
  return undefined;
}
