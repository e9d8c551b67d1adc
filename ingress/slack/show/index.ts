/**
 * Turns as they go, in the threads of Slack that asked for them: claimed from the platform, drawn by one board for the workspace, and
 * said to be delivered when all of it is there.
 *
 * It promises one final answer for each turn, whichever process dies at whichever moment, and no call that Slack would refuse for its
 * pace as long as one process of it runs. What was shown is noted with the platform before and after every call that puts a message
 * into a thread; what is in doubt is looked up in the thread itself.
 */
import { showLive } from '../../chat/index.ts';
import { PLATFORM, type SlackContext } from '../context.ts';
import { createBoard } from './board.ts';
import { showTurn } from './turn.ts';

/** Each is a stream of events from the platform, and a message that Slack is asked to change now and then. */
const TURNS_AT_ONCE = 500;

/** Resolves when the signal has aborted and nothing is drawn any more. */
export async function showTurns(context: SlackContext, signal: AbortSignal): Promise<void> {
  const board = createBoard(context.slack, context.now, signal);
  await showLive({
    deliveries: context.api.deliveries,
    threads: context.api.threads,
    platform: PLATFORM,
    consumerId: context.consumerId,
    most: TURNS_AT_ONCE,
    signal,
    show: (live) => showTurn(context, board, live),
    onTrouble(error, delivery) {
      context.log({
        level: 'warn',
        message: 'a turn could not be shown',
        error: error.message,
        ...(delivery === undefined ? {} : { execution_id: delivery.execution_id, trace_id: delivery.trace_id }),
      });
    },
  });
}
