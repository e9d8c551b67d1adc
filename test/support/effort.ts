/** How long this thread computes, for tests that something is done at once: its processor's time, which a busy machine does not lengthen. */

/** Answers, when it is called, the milliseconds since. */
export function startEffort(): () => number {
  const before = process.threadCpuUsage();
  return () => {
    const { user, system } = process.threadCpuUsage(before);
    return (user + system) / 1000;
  };
}

export interface Standstill extends Disposable {
  /** The longest it computed without a look at what else there is, ms. */
  most(): number;
  reset(): void;
}

const LOOK_MS = 10;

export function watchStandstill(): Standstill {
  let most = 0;
  let effort = startEffort();
  const timer = setInterval(() => {
    most = Math.max(most, effort());
    effort = startEffort();
  }, LOOK_MS);
  timer.unref();
  return {
    most: () => Math.max(most, effort()),
    reset() {
      most = 0;
      effort = startEffort();
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
