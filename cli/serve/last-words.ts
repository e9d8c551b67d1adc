/** What nobody caught is told by the log, whose lines have passed the scrubber: what Node itself prints of it has not. */
import { EXIT } from '../exit.ts';
import type { Log } from '../log.ts';

export function tellLastWords(log: Log): void {
  const textOf = (reason: unknown) => (reason instanceof Error ? reason.stack : String(reason));
  // a promise that a workflow forgot must not end the runs of all the others
  process.on('unhandledRejection', (reason) =>
    log({ level: 'error', message: 'a promise was rejected that nobody waits for', error: textOf(reason) }),
  );
  // after this nobody knows what state the process is in
  process.on('uncaughtException', (error) => {
    log({ level: 'error', message: 'an error was caught by nobody; the process ends', error: textOf(error) });
    process.exit(EXIT.failed);
  });
}
