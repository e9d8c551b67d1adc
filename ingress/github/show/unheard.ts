/** What was said to a turn too late for it waits in its thread, without a turn: whoever showed the turn has it answered in one of its own. */
import { CentaurApiError, type MessageView } from '@centaur/sdk';
import { type GitHubContext, type GitHubDelivery, type Kind, PLATFORM } from '../context.ts';
import { isOver, type LiveTurn } from '../../chat/index.ts';

/** As often as it is called it comes to one turn: it is asked for under the id of what was said. */
export async function answerUnheard({ api, log }: GitHubContext, live: LiveTurn, delivery: GitHubDelivery): Promise<void> {
  const { thread_key: threadKey, execution_id: executionId } = live.delivery;
  const { status } = live.turn();
  // who stopped it has stopped what was said to it
  if (!isOver(live.turn()) || status === 'cancelled' || status === 'interrupted') return;
  const { assignment_generation: assignmentGeneration, pending_messages: pending } = await api.threads.get(threadKey);
  if (assignmentGeneration === null || pending === 0) return;
  const last = (await unheardOf(api.threads, threadKey, executionId)).at(-1);
  if (last === undefined) return;
  const { executeId, kind, id, userId, login } = last;
  try {
    await api.threads.execute(threadKey, {
      executeId,
      assignmentGeneration,
      userId,
      delivery: { ...delivery, platform: PLATFORM, user: login, kind, id },
    });
  } catch (error) {
    // another turn has taken it, or the thread was released
    if (!(error instanceof CentaurApiError) || error.status < 400 || error.status >= 500) throw error;
    log({ level: 'info', message: 'what was said to a turn too late needs none', code: error.code, thread_key: threadKey });
  }
}

interface Unheard {
  readonly executeId: string;
  readonly kind: Kind;
  readonly id: number;
  readonly userId: string;
  readonly login: string;
}

const MOST_PAGES = 50;

async function unheardOf(threads: GitHubContext['api']['threads'], threadKey: string, executionId: string): Promise<Unheard[]> {
  const found: Unheard[] = [];
  let after: string | undefined;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const page = await threads.messages(threadKey, { limit: 200, ...(after === undefined ? {} : { after }) });
    found.push(...page.items.flatMap((message) => readUnheard(message, executionId)));
    if (page.next === null) break;
    after = page.next;
  }
  return found;
}

/** The platform names it after the turn, and after the id under which it was said. */
function readUnheard({ id: messageId, delivered_execution_id: taken, user_id: userId }: MessageView, executionId: string): Unheard[] {
  const said = `steer-${executionId}-`;
  if (taken !== null || userId === null || !messageId.startsWith(said)) return [];
  const [, executeId, kind, id] =
    /^(github:[^:]+:(comment|review-comment|review|body):(\d+)):message$/.exec(messageId.slice(said.length)) ?? [];
  if (executeId === undefined) return [];
  return [{ executeId, kind: kind as Kind, id: Number(id), userId, login: userId.slice(userId.lastIndexOf(':') + 1) }];
}
