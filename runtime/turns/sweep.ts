/** Sandboxes that nobody needs any more: idle ones, those of released threads, and those that no thread knows. */
import type { StoreLogEntry } from '@centaur/kernel/store';
import type { Threads } from '@centaur/kernel/threads';
import type { SandboxBackend, SandboxView } from '../sandbox/types.ts';
import { parse, type Places } from './place.ts';

export interface SweepOptions {
  readonly threads: Threads;
  readonly sandboxes: SandboxBackend;
  readonly places: Places;
  /** After the last turn. */
  readonly idleMs: number;
  readonly log: (entry: StoreLogEntry) => void;
}

/** A sandbox is made before its thread knows it. */
const YOUNG_MS = 60_000;

/** One look over this machine's sandboxes. Returns how many it ended. */
export async function sweepSandboxes({ threads, sandboxes, places, idleMs, log }: SweepOptions): Promise<number> {
  const views = (await sandboxes.list()).filter(({ labels }) => labels['thread_key'] !== undefined);
  if (views.length === 0) return 0;
  const keys = [...new Set(views.map(({ labels }) => labels['thread_key'] as string))];
  const uses = new Map((await threads.turns.sandboxUse(keys)).map((use) => [use.threadKey, use]));
  let ended = 0;
  for (const view of views) {
    const threadKey = view.labels['thread_key'] as string;
    const reason = why(view, uses.get(threadKey));
    if (reason === undefined) continue;
    const sandboxId = uses.get(threadKey)?.sandboxId;
    try {
      if (reason === 'orphaned') await places.close(threadKey, view.id, view.source, 'nobody knows the sandbox');
      else {
        // first parted from, so that a turn which begins now makes another one; and not, when one has begun
        if (!(await threads.turns.forgetSandbox(threadKey, sandboxId as string))) continue;
        await places.close(threadKey, sandboxId as string, view.source, `the sandbox is ${reason}`);
      }
      ended += 1;
      log({ level: 'info', message: 'ended a sandbox', sandbox: view.id, thread_key: threadKey, reason });
    } catch (error) {
      log({ level: 'warn', message: 'a sandbox could not be ended; trying again', sandbox: view.id, error: (error as Error).message });
    }
  }
  return ended;

  function why(
    view: SandboxView,
    use: Awaited<ReturnType<Threads['turns']['sandboxUse']>>[number] | undefined,
  ): 'orphaned' | 'idle' | 'released' | undefined {
    if (use?.sandboxId == null || parse(use.sandboxId).sandbox !== view.id)
      return Date.now() - view.createdAt > YOUNG_MS ? 'orphaned' : undefined;
    if (use.busy) return undefined;
    if (use.released) return 'released';
    return use.idleMs > idleMs || view.state === 'dead' ? 'idle' : undefined;
  }
}
