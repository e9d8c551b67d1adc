/**
 * Showing turns while they run: each is claimed from its acceptance to its last word, followed by its events, and handed to
 * whoever draws it. One process at a time has a turn. When it dies another one claims it, with what was noted as progress;
 * what was drawn between the last note and the death is found in the channel itself, by whoever draws.
 */
import { CentaurApiError, type DeliveriesClient, type LiveDelivery, type ThreadsClient } from '@centaur/sdk';
import { ending, pause, within } from './pause.ts';
import { isCode } from './platform.ts';
import { describeProblem } from './problem.ts';
import { isOver, startTurn, takeEvent, type Turn } from './turn.ts';

export interface LiveOptions {
  readonly deliveries: DeliveriesClient;
  readonly threads: ThreadsClient;
  readonly platform: string;
  /** Names this process. */
  readonly consumerId: string;
  /** Turns at a time. */
  readonly most: number;
  /** Ends it: claims are left to their leases, and the next process goes on. */
  readonly signal: AbortSignal;
  /** Draws a turn to its end. Anything thrown: the delivery failed, and is due again after a while; `Undeliverable`: never. */
  show(live: LiveTurn): Promise<void>;
  onTrouble(error: Error, delivery?: LiveDelivery): void;
  readonly timing?: Partial<LiveTiming>;
}

/** In milliseconds. */
export interface LiveTiming {
  /** What a claim may take, its waiting included: no answer to it must not be the end of claiming. */
  readonly claimMs: number;
  readonly heartbeatMs: number;
  /** So long after a claim or heartbeat was sent that was answered, the turn is ours to draw. */
  readonly oursMs: number;
}

export interface LiveTurn {
  readonly delivery: LiveDelivery;
  /** As it stands. */
  turn(): Turn;
  /** Resolves at the next change after this call; at the latest with the end of the claim. */
  changed(): Promise<void>;
  /** Kept for whoever takes over: at most 8 KiB of JSON. @throws when it could not be kept: then nothing may be drawn that relies on it */
  note(progress: unknown): Promise<void>;
  /** Aborts when the claim is lost or the process stops: nothing more may be drawn. */
  readonly signal: AbortSignal;
  /**
   * Asked right before each call that draws, with nothing awaited in between: a process that was held up has heard of nothing yet,
   * and its timers neither. Such a call takes at most `LONGEST_DRAW_MS`.
   *
   * @throws when the claim is lost, or may be by now; the signal's reason
   */
  throwIfLost(): void;
}

/** There is no place where it could be shown: the channel is gone, or we are not in it. */
export class Undeliverable extends Error {
  override readonly name = 'Undeliverable';
}

/** What a call that draws may take: then it has ended before another process draws. */
export const LONGEST_DRAW_MS = 10_000;

const LEASE_SECONDS = 30;
const BEAT_MS = (LEASE_SECONDS * 1000) / 5;
const CLAIM_WAIT_MS = 20_000;
/** A claim that took longer is kept before anything is drawn: it may be that old. */
const FRESH_MS = 2_000;
const TIMING: LiveTiming = {
  claimMs: CLAIM_WAIT_MS + 10_000,
  heartbeatMs: 8_000,
  // a draw that begins in the last moment ends with a moment to spare
  oursMs: LEASE_SECONDS * 1000 - LONGEST_DRAW_MS - 2_000,
};
const CLAIMED_AT_ONCE = 20;
const LONGEST_PAUSE_MS = 5_000;
const ERROR_LONGEST = 500;

/** Resolves when the signal has aborted and nothing is drawn any more. */
export async function showLive(options: LiveOptions): Promise<void> {
  const { deliveries, platform, consumerId, most, signal, onTrouble } = options;
  const { claimMs } = { ...TIMING, ...options.timing };
  const running = new Set<Promise<void>>();
  const stopped = ending(signal);
  let failures = 0;
  while (!signal.aborted) {
    try {
      const limit = Math.min(CLAIMED_AT_ONCE, most - running.size);
      const sentAt = performance.now();
      const claimed = await deliveries.claimLive({
        consumerId,
        platform,
        limit,
        leaseSeconds: LEASE_SECONDS,
        waitMs: CLAIM_WAIT_MS,
        signal: AbortSignal.any([signal, AbortSignal.timeout(claimMs)]),
      });
      failures = 0;
      for (const delivery of claimed) {
        const one = showOne(delivery, sentAt, options).finally(() => running.delete(one));
        running.add(one);
      }
    } catch (error) {
      if (signal.aborted) break;
      onTrouble(error as Error);
      await pause(Math.min(LONGEST_PAUSE_MS, 100 * 2 ** failures++), signal);
    }
    if (running.size >= most) await Promise.race([...running, stopped]);
  }
  await Promise.all(running);
}

/** Never rejects. @param claimedAt when the claim was sent */
async function showOne(delivery: LiveDelivery, claimedAt: number, options: LiveOptions): Promise<void> {
  const { deliveries, consumerId, show, onTrouble } = options;
  const { heartbeatMs, oursMs } = { ...TIMING, ...options.timing };
  const { execution_id: executionId } = delivery;
  const claim = new AbortController();
  const signal = AbortSignal.any([options.signal, claim.signal]);
  const following = follow(delivery, options.threads, signal);
  let oursUntil = claimedAt + oursMs;
  const keep = async (progress?: unknown): Promise<void> => {
    try {
      const body = { consumerId, leaseSeconds: LEASE_SECONDS, ...(progress === undefined ? {} : { progress }) };
      const sentAt = performance.now();
      const kept = await within(deliveries.heartbeat(executionId, body), heartbeatMs);
      if (kept === 'late') throw new CentaurApiError(0, 'NO_ANSWER', `the heartbeat was not answered within ${heartbeatMs} ms`);
      oursUntil = Math.max(oursUntil, sentAt + oursMs);
    } catch (error) {
      if (isCode(error, 'DELIVERY_NOT_CLAIMED')) claim.abort(error);
      throw error;
    }
  };
  let fence: NodeJS.Timeout | undefined;
  /** A timer alone would be late in a process that was held up. */
  const guard = (): void => {
    clearTimeout(fence);
    const left = oursUntil - performance.now();
    if (left <= 0) claim.abort(new Error('the claim could not be kept in time'));
    else fence = setTimeout(guard, left + 1).unref();
  };
  const throwIfLost = (): void => {
    guard();
    signal.throwIfAborted();
  };
  const beat = setInterval(() => keep().catch((error: Error) => onTrouble(error, delivery)), BEAT_MS);
  // nothing waits for it: what is shown keeps the process alive by itself
  beat.unref();
  try {
    if (performance.now() > claimedAt + FRESH_MS) await keep().catch((error: Error) => onTrouble(error, delivery));
    throwIfLost();
    await show({ delivery, turn: following.turn, changed: following.changed, note: keep, signal, throwIfLost });
    signal.throwIfAborted();
    // nothing is drawn any more: whether it is still ours is for the platform to say
    await whenItAnswers(() => deliveries.delivered(executionId, { consumerId }), options.signal);
  } catch (thrown) {
    if (options.signal.aborted || claim.signal.aborted) return;
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    onTrouble(error, delivery);
    await deliveries
      .failed(executionId, { consumerId, error: error.message.slice(0, ERROR_LONGEST), nonRetryable: error instanceof Undeliverable })
      // its lease ends by itself
      .catch((second: Error) => onTrouble(second, delivery));
  } finally {
    clearInterval(beat);
    clearTimeout(fence);
    claim.abort();
    await following.ended;
  }
}

/** All of it is shown: that the API is away for a while is no reason to have it shown again. */
async function whenItAnswers<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof CentaurApiError) || (error.status !== 0 && error.status < 500)) throw error;
      await pause(Math.min(LONGEST_PAUSE_MS, 100 * 2 ** tries), signal);
      signal.throwIfAborted();
    }
  }
}

function follow(delivery: LiveDelivery, threads: ThreadsClient, signal: AbortSignal) {
  const { execution_id: executionId, thread_key: threadKey, trace_id: traceId } = delivery;
  let turn = startTurn({ executionId, after: 0, traceId });
  let wake = Promise.withResolvers<void>();
  const take = (next: Turn): void => {
    turn = next;
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const read = async (): Promise<void> => {
    try {
      for await (const event of threads.events(threadKey, { executionId, signal })) {
        // of one turn the ids have gaps, and a stream has them in their order
        take(takeEvent({ ...turn, lastEventId: Math.max(turn.lastEventId, event.id - 1) }, event));
      }
      if (!isOver(turn)) take(await readEnd(turn, threads, executionId));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };
  let failure: Error | undefined;
  const stopped = ending(signal);
  const ended = read().catch((error: Error) => {
    failure = error;
    wake.reject(error);
    // nobody may be waiting at that moment
    wake.promise.catch(() => {});
  });
  const changed = (): Promise<void> => (failure === undefined ? Promise.race([wake.promise, stopped]) : Promise.reject(failure));
  return { turn: () => turn, changed, ended };
}

/** Its events are gone: erased, or older than what is kept. What is left of it is how it ended. */
async function readEnd(turn: Turn, threads: ThreadsClient, executionId: string): Promise<Turn> {
  const { status, terminal_reason: reason, result_text: result } = await threads.execution(executionId);
  return {
    ...turn,
    ...(status === 'failed_permanent' ? { problem: describeProblem(reason ?? 'unknown') } : {}),
    status:
      status === 'completed' ? 'completed' : status === 'cancelled' ? (reason === 'released' ? 'interrupted' : 'cancelled') : 'failed',
    ...(result === null || result === undefined ? {} : { result }),
  };
}
