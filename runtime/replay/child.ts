/** The process of one replay, for code that runs in no host. It is told what to do, answers once, and is ended. */
import { EngineError, replayOver } from '@centaur/kernel/engine';
import { createNodeHost } from '../hosts/node/index.ts';
import { closeWaysOut } from './closed.ts';
import type { ReplayAnswer, ReplayRequest } from './messages.ts';

// a handler that forgot a promise is no reason to end
process.on('unhandledRejection', () => undefined);
process.once('message', (message) => void answer(message as ReplayRequest));
// whoever asked is gone
process.once('disconnect', () => process.exit(1));

async function answer({ dirs, journal, options }: ReplayRequest): Promise<void> {
  const tell = process.send?.bind(process);
  const send = (said: ReplayAnswer) => tell?.(said);
  closeWaysOut();
  try {
    const host = await createNodeHost({ dirs, mayLack: dirs, watch: false });
    send({ report: await replayOver(host.registry, journal, options) });
  } catch (error) {
    send({ code: error instanceof EngineError ? error.code : null, message: (error as Error).message });
  }
}
