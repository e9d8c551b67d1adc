/** Calls under an idempotency key: one of many at once makes the call, here or in another process, and the others get its answer. */
import { type Edited, editOf } from './edited.ts';
import type { KnownCall, Ledger } from './ledger.ts';
import { type CallAnswer, gone, isRepeatable, mismatch, readError, unknown } from './outcome.ts';
import type { CallRequest, Prepared } from './prepare.ts';

/** See `calls.ts`. */
type Make = (call: Prepared, waiting: AbortSignal, signal: AbortSignal, row?: KnownCall) => Promise<CallAnswer>;

interface Open {
  readonly digest: Buffer;
  readonly answer: Promise<CallAnswer>;
  /** How many wait for it. */
  waiting: number;
  readonly left: AbortController;
  readonly listeners: Set<Pick<CallRequest, 'onProgress' | 'onWaits'>>;
}

export function createKeyed(ledger: Ledger, make: Make) {
  /** Calls under a key that this process makes. */
  const open = new Map<string, Open>();

  return { join };

  /** @param signal aborts when this caller has gone */
  async function join(call: Prepared, key: string, request: CallRequest, signal: AbortSignal): Promise<CallAnswer> {
    const place = `${call.keysOf}\0${key}`;
    let known = open.get(place);
    // all who waited for it have left, and it is being given up: this caller's call is one of its own, after it
    while (known?.left.signal.aborted === true) {
      await known.answer.catch(() => {});
      known = open.get(place) === known ? undefined : open.get(place);
    }
    const isFirst = known === undefined;
    if (known !== undefined && !known.digest.equals(call.digest)) throw mismatch();
    if (known === undefined) {
      const left = new AbortController();
      const listeners: Open['listeners'] = new Set();
      const heard: Prepared = {
        ...call,
        onProgress: (...progress) => listeners.forEach((each) => each.onProgress?.(...progress)),
        onWaits: (waiting) => listeners.forEach((each) => each.onWaits?.(waiting)),
      };
      const answer = onceUnder(heard, key, left.signal).finally(() => open.delete(place));
      // each of those who wait hears of it below
      answer.catch(() => {});
      open.set(place, (known = { digest: call.digest, answer, waiting: 0, left, listeners }));
    }
    const mine = known;
    mine.waiting += 1;
    mine.listeners.add(request);
    try {
      const answer = await orGone(mine.answer, signal);
      return isFirst ? answer : { ...answer, repeated: true };
    } finally {
      mine.waiting -= 1;
      mine.listeners.delete(request);
      if (mine.waiting === 0) mine.left.abort();
    }
  }

  async function onceUnder(call: Prepared, key: string, left: AbortSignal): Promise<CallAnswer> {
    const known: KnownCall = { principal: call.keysOf, key, callId: call.callId };
    for (;;) {
      if (left.aborted) throw gone();
      const begun = await ledger.begin({
        ...known,
        tool: call.tool.name,
        method: call.method.name,
        digest: call.digest,
        repeatable: isRepeatable(call.method),
        attempt: call.attempt,
      });
      if (begun.state === 'mine') break;
      if (begun.state === 'mismatch') throw mismatch();
      if (begun.state === 'completed')
        return { callId: begun.callId, result: begun.result, repeated: true, ...editOf(begun.edited as Edited | undefined) };
      if (begun.state === 'failed') throw readError(begun.error);
      if (begun.state === 'unknown') throw unknown(begun.callId);
      await ledger.changed(left);
    }
    // what was begun is not taken back by a caller that goes away: its answer is for whoever comes again
    return make(call, left, new AbortController().signal, known);
  }
}

/** Rejects when whoever waits has gone; the answer is for the others. */
async function orGone<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw gone();
  let leave = () => {};
  const left = new Promise<never>((_, reject) => signal.addEventListener('abort', (leave = () => reject(gone()))));
  try {
    return await Promise.race([answer, left]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
