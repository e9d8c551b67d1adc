/** What comes to a running turn from outside: more input, a cancellation, or its time being over. */
import type { Threads } from '@centaur/kernel/threads';
import type { ContentBlock } from '../harness/index.ts';
import type { Conversation } from './conversation.ts';
import type { Deadlines, Owner } from './turn.ts';

export interface Control {
  /** The harness has said something. */
  heard(): void;
  /** Looks whether something was said to the turn. */
  look(): void;
  close(): void;
}

/** Looking without being told: notifications are hints and may be lost. */
const LOOK_MS = 5000;
const CLOCK_MS = 1000;

export function watchSignals(
  threads: Threads,
  owner: Owner,
  turn: {
    readonly conversation: Conversation;
    readonly deadlines: Deadlines;
    /** Whether the harness is at work on the turn, and can be told something. */
    isRunning(): boolean;
    /** Whether the harness waits for a person, and so cannot be heard. */
    waits(): boolean;
    stop(reason: 'cancelled' | 'silence_deadline_exceeded' | 'hard_deadline_exceeded'): Promise<void>;
    fail(error: unknown): void;
  },
): Control {
  const { conversation, deadlines } = turn;
  const began = performance.now();
  let lastHeard = began;
  let looking = false;
  /** Something may have come since the last look; at first, before there was one. */
  let told = true;
  let closed = false;

  const off = threads.turns.onSignal(owner.executionId, () => {
    told = true;
    look();
  });
  const poll = setInterval(() => {
    told = true;
    look();
  }, LOOK_MS);
  const clock = setInterval(() => {
    const now = performance.now();
    if (turn.waits()) lastHeard = now;
    if (now - began > deadlines.hardMs) guard(turn.stop('hard_deadline_exceeded'));
    else if (now - lastHeard > deadlines.silenceMs) guard(turn.stop('silence_deadline_exceeded'));
  }, CLOCK_MS);

  function guard(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!closed) turn.fail(error);
    });
  }

  function look(): void {
    if (!told || looking || closed) return;
    looking = true;
    guard(readAll().finally(() => (looking = false)));
  }

  async function readAll(): Promise<void> {
    while (told && !closed) {
      told = false;
      const { signals, cancelRequested } = await threads.turns.readSignals(owner, conversation.signalPosition);
      if (closed) return;
      if (cancelRequested) await turn.stop('cancelled');
      else if (!turn.isRunning()) {
        // the harness has not begun: what was said waits for it
        told = signals.length > 0;
        return;
      } else
        for (const { position, body } of signals) {
          // it was read before the journal had told that it was said; or the turn has ended meanwhile
          if (position <= conversation.signalPosition) continue;
          if (closed || !turn.isRunning()) return;
          await conversation.steer(position, body as readonly ContentBlock[]);
        }
    }
  }

  return {
    heard: () => (lastHeard = performance.now()),
    look,
    close() {
      closed = true;
      off();
      clearInterval(poll);
      clearInterval(clock);
    },
  };
}
