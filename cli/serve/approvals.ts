/** What follows when nobody decides on an approval: see `sweepApprovals`. Any number of processes may do it. */
import { type Engine, EngineError } from '@centaur/kernel/engine';
import { type AskedBy, sweepApprovals } from '@centaur/kernel/policy';
import type { Threads } from '@centaur/kernel/threads';
import type { Installation } from '@centaur/kernel/vault';
import type { Log } from '../log.ts';

const LOOK_MS = 5000;
const RUNNING = 20;

export function startApprovals(trust: Installation, engine: Engine, threads: Threads, log: Log): () => void {
  const { store, audit } = trust;
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    void sweepApprovals({ store, audit, cancelRun: (of) => cancelRun(of, engine, threads) })
      .catch((error: Error) => log({ level: 'warn', message: 'looking after approvals failed; trying again', error: error.message }))
      .finally(() => (busy = false));
  }, LOOK_MS);
  return () => clearInterval(timer);
}

/** Of a thread, the turn that has asked, if it still runs; else the run. What has ended by itself is ended. */
async function cancelRun({ runId, threadKey, askedAt }: AskedBy, engine: Engine, threads: Threads): Promise<void> {
  if (threadKey !== null) {
    const { items } = await threads.listExecutions(threadKey, { limit: RUNNING });
    // one that began later is another's, and may be another user's
    const hasAsked = ({ run_id, started_at }: (typeof items)[number]) =>
      (runId !== null && run_id === runId) || (started_at !== null && Date.parse(started_at) <= askedAt);
    const turn = items.find((each) => each.status === 'running' && hasAsked(each));
    if (turn !== undefined) await threads.cancel(turn.execution_id);
    return;
  }
  if (runId === null) return;
  await engine.cancelRun(runId).catch((error: unknown) => {
    if (!(error instanceof EngineError && (error.code === 'RUN_FINISHED' || error.code === 'RUN_NOT_FOUND'))) throw error;
  });
}
