/**
 * Loaded into each test file by `test/run.ts`: ends one that does not end by itself, so that the failure which keeps it
 * is told in minutes. Nothing waits for this clock.
 */
import { isMainThread } from 'node:worker_threads';

const LIMIT_MINUTES = 20;

/** The runner has loaded it, too. */
if (isMainThread && process.env.NODE_TEST_CONTEXT !== undefined) {
  const end = () => {
    console.error(`${process.argv[1]} has not ended after ${LIMIT_MINUTES} minutes: it is ended. What failed above is what keeps it.`);
    process.exit(1);
  };
  setTimeout(end, LIMIT_MINUTES * 60_000).unref();
}
