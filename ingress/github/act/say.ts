/** Answers of the bot itself, which no turn gives: one comment each. */
import { CentaurApiError } from '@centaur/sdk';
import type { GitHubContext } from '../context.ts';
import type { Heard } from '../heard.ts';
import { commentsSince, isMarked, isOwn, noteMarker, post, react } from '../places.ts';

export interface Circumstances {
  /** An attempt before may have done a part of it. */
  readonly isAgain: boolean;
  readonly signal: AbortSignal;
}

const LOOK_BACK_MS = 24 * 3_600_000;

export async function say(context: GitHubContext, heard: Heard, text: string, { isAgain, signal }: Circumstances): Promise<void> {
  const marker = noteMarker(`${heard.kind} ${heard.id}`);
  if (isAgain) {
    const since = await commentsSince(context, heard, context.now() - LOOK_BACK_MS, signal);
    if (since.some((each) => isOwn(context, each) && isMarked(each.body, marker))) return;
  }
  await post(context, heard, `${marker}\n${text}`, { signal });
}

/** False: it is no refusal that people can do something about. */
export async function sayRefusal(context: GitHubContext, heard: Heard, error: unknown, circumstances: Circumstances): Promise<boolean> {
  if (!(error instanceof CentaurApiError)) return false;
  const words = REFUSALS[error.code]?.(error.message, context.self.name);
  if (words === undefined) return false;
  await say(context, heard, words, circumstances);
  await react(context, heard, heard, 'confused', circumstances.signal);
  return true;
}

const REFUSALS: Readonly<Record<string, (message: string, name: string) => string>> = {
  UNKNOWN_HARNESS: (message) => `There is no such agent here: ${code(message)}`,
  UNKNOWN_PERSONA_ID: (message) => `There is no such persona here: ${code(message)}`,
  ACTIVE_ASSIGNMENT_PROMPT_MISMATCH: (_, name) =>
    `This thread goes on with the agent that it began with. To begin anew with another one, write \`@${name} release\`, and then ask again.`,
  TOO_LARGE: () => 'That is more than can be asked at once.',
  BUDGET_EXCEEDED: () => 'The budget for this is used up. An operator can raise it.',
};

const code = (text: string): string => `\`${text.replaceAll('`', "'").replaceAll(/\s+/g, ' ')}\``;
