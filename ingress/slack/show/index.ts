/** Showing turns in Slack while they run. */
import { showLive } from '../../chat/index.ts';
import { PLATFORM, type SlackContext } from '../context.ts';
import { answerOf, isOver } from '../../chat/index.ts';

/** Resolves when the signal has aborted and nothing is drawn any more. */
export async function showTurns({ api, slack, consumerId, log }: SlackContext, signal: AbortSignal): Promise<void> {
  await showLive({
    deliveries: api.deliveries,
    threads: api.threads,
    platform: PLATFORM,
    consumerId,
    most: 100,
    signal,
    async show(live) {
      while (!isOver(live.turn()) && !live.signal.aborted) await live.changed();
      live.signal.throwIfAborted();
      const { channel, thread_ts } = live.delivery.delivery as { channel: string; thread_ts: string };
      await slack.call('chat.postMessage', { channel, thread_ts, text: answerOf(live.turn()) ?? 'It ended without an answer.' });
    },
    onTrouble: (error) => log({ level: 'warn', message: 'a turn could not be shown', error: error.message }),
  });
}
