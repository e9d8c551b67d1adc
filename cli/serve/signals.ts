/** When to stop. */
import { EXIT } from '../exit.ts';

/**
 * Resolves at the first SIGTERM or SIGINT; a second one of the same kind ends the process at once. Of two kinds none is impatience: Ctrl-C
 * reaches every process of a terminal, and `centaur up` then tells its firewall, too.
 */
export function untilStopped(onFirst: (signal: NodeJS.Signals) => void): Promise<void> {
  return new Promise((resolve) => {
    const seen = new Set<NodeJS.Signals>();
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (seen.has(signal)) process.exit(EXIT.interrupted);
        seen.add(signal);
        if (seen.size > 1) return;
        onFirst(signal);
        resolve();
      });
    }
  });
}
