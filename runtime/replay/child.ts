/** The process of one replay, for code that runs in no host. It is told what to do, answers once, and is ended. */
import { EngineError, replayRun } from '@centaur/kernel/engine';
import { connectStore } from '@centaur/kernel/store';
import { createNodeHost } from '../hosts/node/index.ts';
import type { ReplayAnswer, ReplayRequest } from './messages.ts';

// a handler that forgot a promise is no reason to end
process.on('unhandledRejection', () => undefined);
process.once('message', (message) => void answer(message as ReplayRequest));
// whoever asked is gone
process.once('disconnect', () => process.exit(1));

async function answer({ url, dirs, runId, options }: ReplayRequest): Promise<void> {
  const send = (said: ReplayAnswer) => process.send?.(said);
  try {
    const store = await connectStore({ url, poolSize: 1 });
    const host = await createNodeHost({ dirs, mayLack: dirs, watch: false });
    send({ report: await replayRun({ store, registry: host.registry }, runId, options) });
  } catch (error) {
    send({ code: error instanceof EngineError ? error.code : null, message: (error as Error).message });
  }
}
