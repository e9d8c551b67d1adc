/** What the platform knows of a thread. */
import { CentaurApiError, type Client, type ExecutionView, type ThreadView } from '@centaur/sdk';

export async function knownThread(api: Client, threadKey: string): Promise<ThreadView | undefined> {
  return orUnknown(api.threads.get(threadKey));
}

/** Turns that have not ended, oldest first. */
export async function openExecutions(api: Client, threadKey: string): Promise<ExecutionView[]> {
  const page = await orUnknown(api.threads.executions(threadKey, { limit: LOOKED_AT }));
  return (page?.items ?? []).filter(({ status }) => OPEN.has(status)).toReversed();
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

/** The text of a message that was sent to be answered. */
export async function findMessage(api: Client, threadKey: string, messageId: string): Promise<string | undefined> {
  let after: string | undefined;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const page = await api.threads.messages(threadKey, { limit: LOOKED_AT, ...(after === undefined ? {} : { after }) });
    const found = page.items.find(({ id }) => id === messageId);
    if (found !== undefined) return found.parts.flatMap((part) => (typeof part['text'] === 'string' ? [part['text']] : [])).join('\n');
    if (page.next === null) return undefined;
    after = page.next;
  }
  return undefined;
}

const LOOKED_AT = 200;
const MOST_PAGES = 20;
const OPEN: ReadonlySet<string> = new Set(['queued', 'running', 'cancel_requested']);

async function orUnknown<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof CentaurApiError && error.code === 'THREAD_NOT_FOUND') return undefined;
    throw error;
  }
}
