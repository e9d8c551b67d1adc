/**
 * Sandboxes that are made ahead: to make one takes longer than to start a host in it, and until then it is nobody's. Each is used
 * once, by one workflow.
 */
import type { LaunchOptions } from './launch.ts';

export interface SparesOptions<Shape, Spare> {
  prepare(shape: Shape): Promise<Spare>;
  keyOf(shape: Shape): string;
  /** Whether one of this shape is made ahead at all. */
  isKept(shape: Shape): boolean;
  readonly log: LaunchOptions['log'];
}

export interface Spares<Shape, Spare> {
  /** One that is there, or a new one. */
  take(shape: Shape): Promise<Spare>;
  close(): Promise<void>;
}

/** Who starts gets the machine first. */
const PAUSE_MS = 500;
/** A shape that nobody has asked for has no spare any more. */
const KEPT_MS = 15 * 60_000;

interface Kept<Spare> {
  readonly spare: Promise<Spare | undefined>;
  readonly end: NodeJS.Timeout;
}

export function createSpares<Shape, Spare extends { stop(): Promise<void>; isAlive(): Promise<boolean> }>({
  prepare,
  keyOf,
  isKept,
  log,
}: SparesOptions<Shape, Spare>): Spares<Shape, Spare> {
  const kept = new Map<string, Kept<Spare>>();
  const planned = new Map<string, NodeJS.Timeout>();
  let closed = false;

  function plan(key: string, shape: Shape): void {
    clearTimeout(planned.get(key));
    planned.set(
      key,
      setTimeout(() => {
        planned.delete(key);
        if (!closed && !kept.has(key)) keep(key, shape);
      }, PAUSE_MS).unref(),
    );
  }

  function keep(key: string, shape: Shape): void {
    const spare = prepare(shape).catch((error: Error) => {
      log({ level: 'warn', message: 'a sandbox could not be made ahead; it is made when it is needed', error: error.message });
      clearTimeout(end);
      // somebody may have taken it already, and another may stand here
      if (kept.get(key)?.spare === spare) kept.delete(key);
      return undefined;
    });
    const end = setTimeout(() => void discard(key), KEPT_MS).unref();
    kept.set(key, { spare, end });
  }

  async function discard(key: string): Promise<void> {
    const there = kept.get(key);
    if (there === undefined) return;
    clearTimeout(there.end);
    kept.delete(key);
    await (await there.spare)?.stop();
  }

  return {
    async take(shape) {
      if (!isKept(shape)) return prepare(shape);
      const key = keyOf(shape);
      const there = kept.get(key);
      kept.delete(key);
      clearTimeout(there?.end);
      plan(key, shape);
      const spare = await there?.spare;
      if (spare === undefined) return prepare(shape);
      if (await spare.isAlive().catch(() => false)) return spare;
      await spare.stop();
      return prepare(shape);
    },
    async close() {
      closed = true;
      for (const timer of planned.values()) clearTimeout(timer);
      await Promise.all([...kept.keys()].map(discard));
    },
  };
}
