/** What all chats ask of the platform, beside what its client does. */
import { CentaurApiError, type ExecutionView, type MessageView, type ThreadsClient } from '@centaur/sdk';

/** Whether the platform has refused, and with this code. */
export function isCode(error: unknown, code: string): boolean {
  return error instanceof CentaurApiError && error.code === code;
}

export function hasEnded({ status }: Pick<ExecutionView, 'status'>): boolean {
  return status === 'completed' || status === 'failed_permanent' || status === 'cancelled';
}

const PAGE = 200;
const MOST_PAGES = 50;

/** All messages of a thread, oldest first; of one that is very long the first ones. */
export async function* messagesOf(threads: ThreadsClient, threadKey: string): AsyncGenerator<MessageView> {
  let after: string | undefined;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const page = await threads.messages(threadKey, { limit: PAGE, ...(after === undefined ? {} : { after }) });
    yield* page.items;
    if (page.next === null) return;
    after = page.next;
  }
}
