/**
 * Who calls Slack next. All turns that are shown wait here for their next call, and one plan for the workspace hands the calls out:
 * those of one turn after each other, those of different turns side by side.
 */
import { isOver, type Turn } from '../../chat/index.ts';
import type { DrawingMethod, Reserved, SlackCalls } from '../calls.ts';
import { type Next, planWorkspace, type Scene } from '../render/stream.ts';

type Call = Extract<Next, { do: 'call' }>;

export type Step =
  | { readonly do: 'call'; readonly call: Call; readonly reserved: Reserved }
  /** The calls of an upload keep to the pace by themselves. */
  | { readonly do: 'upload'; readonly call: Call }
  | { readonly do: 'recover' }
  | { readonly do: 'done' };

export interface Board {
  /** What this turn does next, once it is its time. @throws the signal's reason; what kept it from being planned */
  next(scene: () => Scene, signal: AbortSignal): Promise<Step>;
  /** Some turn has gone on. */
  wake(): void;
}

interface Waiting {
  readonly scene: () => Scene;
  readonly take: (step: Step) => void;
  readonly fail: (error: unknown) => void;
  /** What was planned for it when it was last looked at, when that was, and for which state of it. */
  rest?: { readonly next: Next; readonly turn: Turn; readonly at: number };
}

/** A turn that goes on and on is looked at no sooner: planning costs more than looking, and Slack takes no more. */
const LOOK_EVERY_MS = 200;

export function createBoard(slack: SlackCalls, now: () => number, signal: AbortSignal): Board {
  const waiting = new Set<Waiting>();
  let isWoken = false;
  let timer = new AbortController();

  function wake(): void {
    if (isWoken) return;
    isWoken = true;
    // of many changes at once, only their sum is looked at
    setImmediate(() => {
      isWoken = false;
      look();
    });
  }

  function look(): void {
    timer.abort();
    if (signal.aborted) return;
    for (;;) {
      const due = [...waiting]
        .map((each) => ({ each, scene: each.scene() }))
        .filter(({ each, scene }) => dueAt(each, scene.turn) <= scene.now);
      if (due.length === 0) break;
      const { key, next, rests, failures } = planWorkspace(
        due.map(({ each, scene }) => ({ ...scene, key: each })),
        slack.pace(),
      );
      for (const rest of rests) {
        if (rest.next.do === 'done') give(rest.key, { do: 'done' });
        else rest.key.rest = { next: rest.next, turn: rest.key.scene().turn, at: now() };
      }
      for (const { key: failed, error } of failures) {
        waiting.delete(failed);
        failed.fail(error);
      }
      // all were looked at; what is held back by an answer is looked at again when that could have been heard
      if (key === null) break;
      if (next.do === 'recover') give(key, { do: 'recover' });
      else if (next.do === 'call') give(key, stepOf(next, key.scene().place.channel));
    }
    const until = [...waiting].reduce((least, each) => Math.min(least, dueAt(each, each.scene().turn)), Infinity);
    if (until === Infinity) return;
    const own = (timer = new AbortController());
    void slack.until(until, own.signal).then(() => {
      if (!own.signal.aborted) wake();
    });
  }

  function stepOf(call: Call, channel: string): Step {
    if (call.method === 'files.upload') return { do: 'upload', call };
    return { do: 'call', call, reserved: slack.reserve(call.method satisfies DrawingMethod, channel) };
  }

  function give(each: Waiting, step: Step): void {
    waiting.delete(each);
    each.take(step);
  }

  signal.addEventListener('abort', () => timer.abort(), { once: true });

  return {
    wake,
    async next(scene, own) {
      own.throwIfAborted();
      const { promise, resolve: take, reject } = Promise.withResolvers<Step>();
      const each: Waiting = { scene, take, fail: reject };
      const leave = (): void => reject(own.reason);
      own.addEventListener('abort', leave, { once: true });
      waiting.add(each);
      wake();
      try {
        return await promise;
      } finally {
        waiting.delete(each);
        own.removeEventListener('abort', leave);
      }
    },
  };
}

/** When it could have something to call. */
function dueAt({ rest }: Waiting, turn: Turn): number {
  if (rest === undefined) return -Infinity;
  const planned = rest.next.do === 'wait' ? rest.next.until : Infinity;
  if (turn === rest.turn) return planned;
  return isOver(turn) && !isOver(rest.turn) ? -Infinity : Math.min(planned, rest.at + LOOK_EVERY_MS);
}
