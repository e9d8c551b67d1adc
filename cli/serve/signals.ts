/** When to stop. */
import { EXIT } from '../exit.ts';

/** Resolves at the first SIGTERM or SIGINT; the second one ends the process at once. */
export function untilStopped(onFirst: (signal: NodeJS.Signals) => void): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(EXIT.interrupted);
        stopping = true;
        onFirst(signal);
        resolve();
      });
    }
  });
}
