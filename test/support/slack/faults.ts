/** What goes wrong on demand: the next calls of a method meet it, in the order they were planned. */
import type { Json } from './world.ts';

export type Fault =
  /** The effect happens; the connection is cut before the answer. */
  | { readonly kind: 'answer lost' }
  /** The connection is cut before anything happens. */
  | { readonly kind: 'call lost' }
  /** An HTTP status other than 200, and no effect. */
  | { readonly kind: 'status'; readonly status: number }
  /** The answer takes so long; the effect is there at once. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** 429, and the method is refused until the time is over. */
  | { readonly kind: 'ratelimited'; readonly retryAfter: number }
  /** `{ok: false, error}`. Of fatal_error Slack says that "some aspect of the operation" may have succeeded. */
  | { readonly kind: 'error'; readonly error: string; readonly effect: 'done' | 'none' }
  /** The message is there for its writer; readers see it later. */
  | { readonly kind: 'seen late'; readonly ms: number };

export interface Faults {
  /** The next `times` calls of the method that fit meet the fault. */
  plan(method: string, fault: Fault, options?: { readonly times?: number; readonly when?: (args: Json) => boolean }): void;
  /** Of the call that is made now, if one was planned. */
  next(method: string, args: Json): Fault | undefined;
  /** How many planned ones nobody has met yet. */
  readonly left: number;
}

export function createFaults(): Faults {
  const planned: { readonly method: string; readonly fault: Fault; left: number; readonly when: (args: Json) => boolean }[] = [];
  return {
    plan: (method, fault, { times = 1, when = () => true } = {}) => void planned.push({ method, fault, left: times, when }),
    next(method, args) {
      const found = planned.find((one) => one.method === method && one.left > 0 && one.when(args));
      if (found === undefined) return undefined;
      found.left -= 1;
      return found.fault;
    },
    get left() {
      return planned.reduce((sum, { left }) => sum + left, 0);
    },
  };
}
