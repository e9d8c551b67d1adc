/**
 * Socket Mode: we call Slack, and it sends over that line; for machines that Slack cannot reach. What is stored is acknowledged, and
 * what is not comes again. Two lines at a time: Slack closes each every few hours, and what it sends meanwhile comes by the other.
 */
import { SocketModeClient } from '@slack/socket-mode';
import { ending, pause, within } from '../../chat/index.ts';
import type { Log } from '../context.ts';
import type { Raw } from '../heard.ts';
import { objectOf } from '../shapes.ts';
import type { Told } from './classify.ts';
import type { Outcome } from './keep.ts';

const LINES = 2;
const LONGEST_PAUSE_MS = 30_000;
const CLOSE_MS = 2_000;

export interface SocketOptions {
  readonly appToken: string;
  readonly slackApiUrl: string;
  hear(told: Told): Promise<Outcome>;
  readonly log: Log;
  /** Ends it. */
  readonly signal: AbortSignal;
}

export interface Socket {
  /** Whether Slack has said hello on one of the lines. */
  isOpen(): boolean;
  /** Resolves when the signal has aborted and nothing is heard any more. */
  readonly ended: Promise<void>;
}

/** What the library tells of each envelope. */
interface Envelope {
  readonly type: string;
  readonly body: unknown;
  readonly accepts_response_payload?: boolean;
  ack(answer?: Raw): Promise<void>;
}

export function openSocket(options: SocketOptions): Socket {
  const open = new Set<number>();
  const lines = Array.from({ length: LINES }, (_, line) =>
    hold(
      options,
      () => open.add(line),
      () => open.delete(line),
    ),
  );
  return { isOpen: () => open.size > 0, ended: Promise.all(lines).then(() => undefined) };
}

/** One line, again whenever it ends. The library's own way of connecting again gives up where the network is away for a while. */
async function hold(options: SocketOptions, onOpen: () => void, onClosed: () => void): Promise<void> {
  const { signal, log } = options;
  const stopped = ending(signal);
  let failures = 0;
  while (!signal.aborted) {
    const client = createClient(options);
    const under = new Set<Promise<void>>();
    client.on('slack_event', (envelope: Envelope) => {
      const one = take(envelope, options).finally(() => under.delete(one));
      under.add(one);
    });
    try {
      const closed = new Promise<void>((resolve) => client.once('disconnected', () => resolve()));
      const started = client.start();
      // nobody waits for it where we are told to stop first
      started.catch(() => {});
      await Promise.race([started, stopped]);
      if (signal.aborted) break;
      failures = 0;
      onOpen();
      log({ level: 'info', message: 'a line to Slack is open' });
      await Promise.race([closed, stopped]);
    } catch (error) {
      log({ level: 'warn', message: 'no line to Slack; trying again', error: wordsOf(error) });
      await pause(Math.min(LONGEST_PAUSE_MS, 500 * 2 ** failures++), signal);
    } finally {
      onClosed();
      // what came is acknowledged over the line by which it came
      await Promise.all(under);
      await within(
        client.disconnect().catch(() => {}),
        CLOSE_MS,
      );
    }
  }
}

function createClient({ appToken, slackApiUrl }: SocketOptions): SocketModeClient {
  return new SocketModeClient({
    appToken,
    autoReconnectEnabled: false,
    clientOptions: { slackApiUrl, retryConfig: { retries: 0 }, timeout: 10_000 },
    // its own log would tell what people wrote
    logger: { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel: () => 'error' as never, setName() {} },
  });
}

const KINDS: Readonly<Record<string, Told['kind']>> = { events_api: 'event', interactive: 'interaction', slash_commands: 'command' };

/** Never rejects. */
async function take({ type, body, ack, accepts_response_payload: takesAnswer }: Envelope, { hear, log }: SocketOptions): Promise<void> {
  const kind = KINDS[type];
  const given = objectOf(body);
  try {
    if (kind === undefined || given === undefined) return await ack();
    const outcome = await hear({ kind, body: given, signed: undefined });
    // not acknowledged: it comes again
    if (outcome.kind === 'later') return;
    const answer = outcome.kind === 'acknowledged' && takesAnswer === true ? outcome.answer : undefined;
    await ack(answer);
  } catch (error) {
    log({ level: 'warn', message: 'could not be acknowledged; Slack sends it again', error: wordsOf(error) });
  }
}

const wordsOf = (error: unknown): string => {
  const { data, message } = error as { data?: { error?: string }; message?: string };
  return data?.error ?? message ?? 'it ended';
};
