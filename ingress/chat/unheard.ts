/**
 * What was said to a turn too late for it waits in its thread, without a turn: whoever showed the turn has it answered in one of its own. It
 * is done before the delivery is said to be done, so it does not depend on who lives meanwhile.
 */
import { CentaurApiError, type ExecuteOptions, type MessageView, type ThreadsClient } from '@centaur/sdk';
import type { LiveTurn } from './live.ts';
import { messagesOf } from './platform.ts';
import { isOver } from './turn.ts';

export interface Unheard {
  /** The id under which it was said: `messageId` of the steering. */
  readonly said: string;
  readonly userId: string;
}

/** The turn that answers it, under an id of what was said, so that it is one turn however often it is asked for; undefined: it is not ours. */
export type AskFor = (unheard: Unheard) => (Omit<ExecuteOptions, 'assignmentGeneration'> & { readonly executeId: string }) | undefined;

/** @returns the code with which the platform refused; undefined: it is asked for, or there was nothing */
export async function answerUnheard(threads: ThreadsClient, live: LiveTurn, askFor: AskFor): Promise<string | undefined> {
  const { thread_key: threadKey, execution_id: executionId } = live.delivery;
  const { status } = live.turn();
  // who stopped it has stopped what was said to it
  if (!isOver(live.turn()) || status === 'cancelled' || status === 'interrupted') return undefined;
  const { assignment_generation: assignmentGeneration, pending_messages: pending } = await threads.get(threadKey);
  if (assignmentGeneration === null || pending === 0) return undefined;
  const asked = (await unheardOf(threads, threadKey, executionId)).flatMap((each) => askFor(each) ?? []).at(-1);
  if (asked === undefined) return undefined;
  try {
    await threads.execute(threadKey, { ...asked, assignmentGeneration });
    return undefined;
  } catch (error) {
    // another turn has taken it, or the thread was released
    if (!(error instanceof CentaurApiError) || error.status < 400 || error.status >= 500) throw error;
    return error.code;
  }
}

async function unheardOf(threads: ThreadsClient, threadKey: string, executionId: string): Promise<Unheard[]> {
  const found: Unheard[] = [];
  for await (const message of messagesOf(threads, threadKey)) found.push(...readUnheard(message, executionId));
  return found;
}

/** The platform names it after the turn, and after the id under which it was said. Nobody is asked for whom no chat has answered. */
function readUnheard({ id, delivered_execution_id: taken, user_id: userId, vouched }: MessageView, executionId: string): Unheard[] {
  const prefix = `steer-${executionId}-`;
  return taken === null && userId !== null && vouched && id.startsWith(prefix) ? [{ said: id.slice(prefix.length), userId }] : [];
}
