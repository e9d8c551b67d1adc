/** Looks after rotations for as long as the server runs. */
import type { Engine } from '@centaur/kernel/engine';
import type { Installation } from '@centaur/kernel/vault';
import { lookAfterRotations } from '@centaur/runtime/rotation';
import type { Log } from '../log.ts';

const MINUTE_MS = 60_000;

export function startRotations(trust: Installation, engine: Engine, log: Log): () => void {
  const look = () =>
    void lookAfterRotations(trust, engine, log, new Date(trust.store.now())).catch((error: Error) =>
      log({ level: 'warn', message: 'rotating secrets failed; trying again later', error: error.message }),
    );
  const timer = setInterval(look, MINUTE_MS);
  look();
  return () => clearInterval(timer);
}
