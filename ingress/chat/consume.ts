/**
 * Acting on what a chat service said: events come out of the inbox, and each is this process's until it was acted on. Where the
 * process dies, another one gets the event again: whoever acts on it must not mind.
 */
import { type InboxClient, type InboxEvent } from '@centaur/sdk';
import { pause } from './pause.ts';
import { isCode } from './platform.ts';

export interface ConsumeOptions {
  readonly inbox: InboxClient;
  readonly platform: string;
  /** Names this process. */
  readonly consumerId: string;
  /** Events at a time, each of another conversation. */
  readonly most: number;
  /** Ends it: nothing more is claimed, and what is under way comes to its end. */
  readonly signal: AbortSignal;
  /** @throws Hopeless when it can never succeed; anything else: it is tried again, later and later. */
  act(event: InboxEvent): Promise<void>;
  onTrouble(trouble: Trouble): void;
  /** What a claim may take, its waiting included: no answer to it must not be the end of claiming. */
  readonly claimMs?: number;
}

export type Trouble = {
  readonly error: Error;
  /** Of the event; undefined: the API could not be asked. */
  readonly event?: InboxEvent;
};

/** Trying again would change nothing: the event is given up, and its conversation goes on. */
export class Hopeless extends Error {
  override readonly name = 'Hopeless';
}

const LEASE_SECONDS = 60;
const CLAIM_WAIT_MS = 20_000;
const CLAIM_MS = CLAIM_WAIT_MS + 10_000;
/** So many at once are a crowd: the next are gathered for a moment and claimed together, rather than each with a question of its own. */
const CROWD = 4;
const GATHER_MS = 20;
const LONGEST_PAUSE_MS = 5_000;
const ERROR_LONGEST = 500;

/** Resolves when the signal has aborted and what was under way has ended. */
export async function consume(options: ConsumeOptions): Promise<void> {
  const { inbox, platform, consumerId, most, signal, onTrouble, claimMs = CLAIM_MS } = options;
  const running = new Set<Promise<void>>();
  /** One has ended, or all are to end. A race would stay with the longest-lived of its promises, each one of them. */
  let wake = () => {};
  signal.addEventListener('abort', () => wake(), { once: true });
  let failures = 0;
  while (!signal.aborted) {
    try {
      const events = await inbox.claim({
        consumerId,
        platform,
        limit: Math.min(50, most - running.size),
        leaseSeconds: LEASE_SECONDS,
        waitMs: CLAIM_WAIT_MS,
        signal: AbortSignal.any([signal, AbortSignal.timeout(claimMs)]),
      });
      failures = 0;
      for (const event of events) {
        const one = actOn(event, options).finally(() => {
          running.delete(one);
          wake();
        });
        running.add(one);
      }
    } catch (error) {
      if (signal.aborted) break;
      onTrouble({ error: error as Error });
      await pause(Math.min(LONGEST_PAUSE_MS, 100 * 2 ** failures++), signal);
    }
    if (running.size >= CROWD) await pause(GATHER_MS, signal);
    if (running.size >= most && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
  }
  await Promise.all(running);
}

/** Never rejects. */
async function actOn(event: InboxEvent, { inbox, consumerId, act, onTrouble }: ConsumeOptions): Promise<void> {
  const name = { platform: event.platform, eventId: event.event_id };
  const beat = setInterval(
    () => {
      // a lease that could not be renewed is another's one day: what is done twice is known by its ids
      inbox.heartbeat(name, { consumerId, leaseSeconds: LEASE_SECONDS }).catch((error: Error) => onTrouble({ error, event }));
    },
    (LEASE_SECONDS * 1000) / 3,
  );
  try {
    await act(event);
    await inbox.done(name, { consumerId });
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    onTrouble({ error, event });
    if (isCode(error, 'EVENT_NOT_CLAIMED')) return;
    await inbox
      .failed(name, { consumerId, error: error.message.slice(0, ERROR_LONGEST), nonRetryable: error instanceof Hopeless })
      // its lease ends by itself
      .catch((second: Error) => onTrouble({ error: second, event }));
  } finally {
    clearInterval(beat);
  }
}
