/** What the platform knows of a thread. */
import type { Client, ExecutionView, MessageView, ThreadView } from '@centaur/sdk';
import { hasEnded, isCode, messagesOf } from '../../chat/index.ts';

export async function knownThread(api: Client, threadKey: string): Promise<ThreadView | undefined> {
  return orUnknown(api.threads.get(threadKey));
}

/** Turns that have not ended, oldest first. */
export async function openExecutions(api: Client, threadKey: string): Promise<ExecutionView[]> {
  const page = await orUnknown(api.threads.executions(threadKey, { limit: LOOKED_AT }));
  return (page?.items ?? []).filter((each) => !hasEnded(each)).toReversed();
}

/** Newest first: as many as may begin until something is heard once more. */
export async function lastExecutions(api: Client, threadKey: string): Promise<readonly ExecutionView[]> {
  return (await orUnknown(api.threads.executions(threadKey, { limit: 20 })))?.items ?? [];
}

export async function lastExecution(api: Client, threadKey: string): Promise<ExecutionView | undefined> {
  return (await orUnknown(api.threads.executions(threadKey, { limit: 1 })))?.items[0];
}

export async function findExecution(api: Client, threadKey: string, executeId: string): Promise<ExecutionView | undefined> {
  const page = await orUnknown(api.threads.executions(threadKey, { limit: LOOKED_AT }));
  return page?.items.find((each) => each.execute_id === executeId);
}

/** What was sent to be answered in a turn; of one that was asked again, what it was about. */
export async function findAsked(
  api: Client,
  threadKey: string,
  { execute_id: executeId }: ExecutionView,
): Promise<MessageView | undefined> {
  let sent: MessageView | undefined;
  for await (const message of messagesOf(api.threads, threadKey)) {
    if (message.id === againOf(executeId)) return message;
    if (message.id === `${executeId}:message`) sent = message;
  }
  return sent;
}

/** The message in which it is said once more. */
export const againOf = (executeId: string): string => `${executeId}:again`;

const LOOKED_AT = 200;

async function orUnknown<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isCode(error, 'THREAD_NOT_FOUND')) return undefined;
    throw error;
  }
}
