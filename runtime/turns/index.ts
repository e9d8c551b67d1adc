/**
 * Turns: a thread's words go into a harness in the thread's sandbox, and what it says becomes the thread's events.
 *
 * It promises that a turn is given to a harness once, however often its worker changes; that each of its events is stored
 * once, in order; that a turn which began ends with exactly one terminal event; and that a sandbox gets placeholders and no
 * key. Read `turn.ts` for the course of one, `conversation.ts` for how a harness is spoken with across processes, `place.ts`
 * for sandboxes and processes, `access.ts` for what they may use, `permissions.ts` for what a harness asks before it does it.
 */
import type { RegisteredWorkflow } from '@centaur/kernel/engine';
import type { StoreLogEntry } from '@centaur/kernel/store';
import type { SandboxBackend } from '../sandbox/types.ts';
import { createPermissions } from './permissions.ts';
import { createPlaces, type PlaceOptions } from './place.ts';
import { sweepSandboxes } from './sweep.ts';
import type { Deadlines } from './turn.ts';
import { turnWorkflow } from './workflow.ts';

export { type ShapeOptions, sandboxShape } from './place.ts';
export { type AgentResources, type AvailableTool, describePrompt } from './prompt.ts';
export { DEFAULT_SETTINGS, type HarnessSetting } from './settings.ts';
export { standIn, TURN_WORKFLOW, withBuiltIn } from './workflow.ts';

export interface TurnsOptions extends PlaceOptions {
  readonly sandboxes: SandboxBackend;
  readonly deadlines?: Partial<Deadlines>;
  /** How long a sandbox stays after its last turn. */
  readonly idleMs?: number;
  /** Turns at a time, over all workers. */
  readonly concurrency?: number;
  readonly log: (entry: StoreLogEntry) => void;
}

export interface Turns {
  readonly workflow: RegisteredWorkflow;
  /** Ends what is idle, now; it is done every half minute too. */
  sweep(): Promise<number>;
  /** Lets go of all turns; they go on elsewhere. Before the engine is drained, which waits for steps. */
  detach(): void;
  close(): Promise<void>;
}

const DEADLINES: Deadlines = { silenceMs: 15 * 60_000, hardMs: 4 * 3_600_000, graceMs: 10_000 };
const IDLE_MS = 15 * 60_000;
const CONCURRENCY = 64;
const SWEEP_MS = 30_000;

export function createTurns(options: TurnsOptions): Turns {
  const { threads, sandboxes, log } = options;
  const places = createPlaces(options);
  const detaching = new AbortController();
  const permissions = createPermissions(options.installation, log);
  const parts = { threads, places, permissions, deadlines: { ...DEADLINES, ...options.deadlines }, detached: detaching.signal, log };
  const sweep = () => sweepSandboxes({ threads, sandboxes, places, idleMs: options.idleMs ?? IDLE_MS, log });
  const timer = setInterval(
    () =>
      void sweep().catch((error: Error) =>
        log({ level: 'warn', message: 'looking for idle sandboxes failed; trying again', error: error.message }),
      ),
    SWEEP_MS,
  );
  timer.unref();
  return {
    workflow: turnWorkflow(parts, options.concurrency ?? CONCURRENCY),
    sweep,
    detach: () => detaching.abort(new Error('this process stops; the turn goes on in another one')),
    async close() {
      clearInterval(timer);
      await sandboxes.close();
    },
  };
}
