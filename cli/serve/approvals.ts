/** What follows when nobody decides on an approval: see `sweepApprovals`. Any number of processes may do it. */
import { type Engine, EngineError } from '@centaur/kernel/engine';
import { type AskedBy, sweepApprovals } from '@centaur/kernel/policy';
import { ThreadError, type Threads } from '@centaur/kernel/threads';
import type { Installation } from '@centaur/kernel/vault';
import type { Log } from '../log.ts';

const LOOK_MS = 5000;

export function startApprovals(trust: Installation, engine: Engine, threads: Threads, log: Log): () => void {
  const { store, audit } = trust;
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    void sweepApprovals({ store, audit, cancelRun: (of) => cancelAsker(of, engine, threads) })
      .catch((error: Error) => log({ level: 'warn', message: 'looking after approvals failed; trying again', error: error.message }))
      .finally(() => (busy = false));
  }, LOOK_MS);
  return () => clearInterval(timer);
}

/** Of a thread, the turn that has asked, if it still runs, and no other; else the run. What has ended by itself is ended. */
export async function cancelAsker({ runId, threadKey, askedAt }: AskedBy, engine: Engine, threads: Threads): Promise<void> {
  if (threadKey !== null) {
    const turn = await threads.runningTurn(threadKey);
    // one that began later is another's, and may be another user's
    if (turn === undefined || (turn.runId !== runId && turn.startedAt > askedAt)) return;
    await threads.cancel(turn.executionId).catch((error: unknown) => {
      if (!(error instanceof ThreadError && error.code === 'EXECUTION_FINISHED')) throw error;
    });
    return;
  }
  if (runId === null) return;
  await engine.cancelRun(runId).catch((error: unknown) => {
    if (!(error instanceof EngineError && (error.code === 'RUN_FINISHED' || error.code === 'RUN_NOT_FOUND'))) throw error;
  });
}
