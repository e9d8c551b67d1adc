/** From a mention to the first thing that a person sees of it, as they would: each in a channel of its own, one after the other. */
import type { Slack } from '../../test/support/slack/index.ts';
import { eventually } from '../../test/support/wait.ts';

export interface FirstSigns {
  /** Milliseconds from the mention until the bot's message or status is there. */
  readonly delays: readonly number[];
  /** Of that, without what Slack took for its own answers. */
  readonly own: readonly number[];
}

const SIGNS = ['chat.startStream', 'chat.postMessage', 'assistant.threads.setStatus', 'reactions.add'];
const BETWEEN_MS = 700;

export async function firstSigns(slack: Slack, count: number): Promise<FirstSigns> {
  const delays: number[] = [];
  const own: number[] = [];
  const ada = slack.person('ada');
  for (let index = 0; index < count; index++) {
    const channel = slack.addChannel(`sign-${count}-${index}`);
    const before = slack.calls.length;
    const began = performance.timeOrigin + performance.now();
    const { ts } = ada.mention(channel, 'say: hello');
    const isSign = ({ method, args }: Slack['calls'][number]): boolean =>
      SIGNS.includes(method) && (args['thread_ts'] === ts || args['timestamp'] === ts);
    const call = await eventually(() => slack.calls.slice(before).find(isSign), { timeoutMs: 300_000, what: 'the first sign' });
    const delay = call.at + call.ms - began;
    const others = slack.calls.slice(before).filter(({ at }) => at <= call.at);
    delays.push(delay);
    own.push(delay - others.reduce((sum, { ms }) => sum + ms, 0));
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
  }
  return { delays, own };
}
