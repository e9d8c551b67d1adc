/** The Slack of the fault test, in a process that nobody kills. Asked by messages; its clock runs faster than the day. */
import { type Slack, startSlack } from '../../support/slack/index.ts';
import type { Fault } from '../../support/slack/faults.ts';

export const SPEED = 20;
const begun = Date.now();
/** So that kills, which let a new process forget how often Slack was called, are no more in a minute than on a bad day. */
const now = (): number => begun + (Date.now() - begun) * SPEED;

export interface Where {
  readonly channel: string;
  readonly threadTs: string;
}

export interface SeenPart {
  readonly text: string;
  readonly segment: number | null;
  readonly executionId: string | null;
  readonly isFinal: boolean;
  readonly isOpen: boolean;
}

const slack: Slack = await startSlack({
  clock: { now },
  channels: ['one', 'two', 'three', 'four', 'five'],
  // the front is dead for a while again and again: Slack comes again until it lives
  retryMs: Array.from({ length: 200 }, () => 500),
});

const asks = {
  /** In a thread, or as the first message of one. */
  mention(channel: string, text: string, threadTs: string | null): Where & { ts: string } {
    const posted = slack.person('ada').mention(channel, text, threadTs === null ? {} : { threadTs });
    return { channel: posted.channel, threadTs: posted.threadTs, ts: posted.ts };
  },
  point: (url: string) => slack.pointAt(url),
  /** Says when a call has met it. */
  plan: (method: string, fault: Fault) =>
    slack.faults.plan(method, fault, {
      when() {
        process.send?.({ met: method });
        return true;
      },
    }),
  left: () => slack.faults.left,
  violations: () => slack.violations,
  calls: () => Object.entries(Object.groupBy(slack.calls, ({ method }) => method)).map(([method, calls = []]) => [method, calls.length]),
  busiest: () => busiest(),
  thread: (channel: string, ts: string) => see(channel, ts),
  transcript: (channel: string, ts: string) => slack.see.transcript(channel, ts),
  unheard: () => slack.delivery.all.filter(({ state }) => state !== 'acknowledged').length,
};

/** The most calls of each method within a minute of Slack's clock. */
function busiest(): [method: string, calls: number][] {
  return Object.entries(Object.groupBy(slack.calls, ({ method }) => method)).map(([method, calls = []]) => {
    const times = calls.map(({ at }) => at);
    return [method, Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 60_000).length))];
  });
}

/** The bot's messages, as a person reads them: a stream that was edited shows its blocks, one that was not its text. */
function see(channel: string, ts: string): SeenPart[] {
  return slack.see
    .thread(channel, ts)
    .filter((message) => message.by === slack.app.userId)
    .map(({ text, blocks, metadata, stream, edits }) => {
      const payload = (metadata as { event_payload?: { execution_id: string; segment: number; final: boolean } } | undefined)
        ?.event_payload;
      return {
        text: stream !== undefined && edits === 0 ? text : JSON.stringify(blocks),
        segment: payload?.segment ?? null,
        executionId: payload?.execution_id ?? null,
        isFinal: payload?.final === true,
        isOpen: stream !== undefined && edits === 0 && stream.state !== 'stopped',
      };
    });
}

process.on('message', ({ id, what, args }: { id: number; what: keyof typeof asks; args: never[] }) => {
  const act = asks[what] as (...args: never[]) => unknown;
  try {
    process.send?.({ id, answer: act(...args) ?? null });
  } catch (error) {
    process.send?.({ id, error: (error as Error).message });
  }
});
process.on('disconnect', () => process.exit(0));
process.send?.({ up: { apiUrl: slack.apiUrl, botToken: slack.botToken, signingSecret: slack.signingSecret } });
