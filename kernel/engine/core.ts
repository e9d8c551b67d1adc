/** What the engine's parts share: one object per engine, handed to each part, never global. */
import type { Store, StoreLogEntry, Writer } from '../store/index.ts';
import type { Histogram } from '../telemetry/index.ts';
import type { Frame } from './frame.ts';
import type { Write } from './flush.ts';
import type { RegisteredWorkflow, WorkflowRegistry } from './types.ts';
import type { ChangedQueues } from './queues.ts';
import type { StartAgent } from './agents.ts';
import type { Approvals } from './approvals.ts';
import type { Outside } from './outside.ts';
import type { PruneLog } from './retention.ts';

export interface EngineOptions {
  readonly store: Store;
  readonly registry: WorkflowRegistry;
  readonly log?: (entry: StoreLogEntry) => void;
  /** How long a worker that stopped renewing keeps its runs. Default 10,000. */
  readonly leaseMs?: number;
  /** Queues this worker serves. Default: all. */
  readonly queues?: readonly string[] | undefined;
  /** Most runs in memory at once. Default 2,000. */
  readonly maxResidentRuns?: number;
  /** How long a run that waits stays in memory before it is evicted. Default 1,000. */
  readonly residentMs?: number;
  /** How long finished runs are kept. Default 30. */
  readonly retentionDays?: number;
  /** Hears what retention deletes. */
  readonly audit?: PruneLog | undefined;
  /** Asks the threads for an agent's turn; called with an id that makes repeats one. */
  readonly startAgent?: StartAgent | undefined;
  /** Serves what else runs ask for. */
  readonly outside?: Outside | undefined;
  /** Puts questions of runs to people. */
  readonly approvals?: Approvals | undefined;
}

/** Lock class of the session locks by which a dead worker is told from a live one. */
export const WORKER_LOCKS = 7226;

export interface Core {
  readonly store: Store;
  readonly registry: WorkflowRegistry;
  readonly options: Required<Omit<EngineOptions, 'queues' | 'startAgent' | 'approvals' | 'audit'>> &
    Pick<EngineOptions, 'startAgent' | 'approvals' | 'audit'> & { readonly queues: readonly string[] | undefined };
  readonly log: (entry: StoreLogEntry) => void;
  readonly frames: Map<string, Frame>;
  /** Runs that begin here once their start has committed. */
  readonly starting: Set<string>;
  readonly counters: {
    fenced: number;
    started: number;
    completed: number;
    failed: number;
    cancelled: number;
    executed: number;
    replayed: number;
  };
  readonly stepSeconds: Histogram;
  readonly queues: ChangedQueues;
  /** Set while this process is a worker with a live lease. */
  workerId: number | null;
  /** Of the present life of the worker: once it is fenced, a writer refuses everything. */
  writer: Writer<Write>;
  /** Starts asked for from outside commit beside what runs write, so that neither waits for the other. */
  starts: Writer<Write>;
  /** A new life has begun: its writes carry its id. */
  openWriters(): void;
  /** Grows each time this worker finds itself declared dead: what was begun in an earlier life is no longer its own. */
  life: number;
  /** Rows may be ours that nobody here holds: the claim loop looks before its next claim. */
  strays: boolean;
  draining: boolean;
  closed: boolean;
  /** Until when, on the monotonic clock, the lease surely holds: no user code begins after it without a renewal. */
  leaseHeldUntil: number;
  /** Resolves with the next renewal of the lease; never, when the worker was declared dead meanwhile. */
  renewal(): Promise<void>;
  /** Look for runs to claim, soon. */
  kick(): void;
  /** This worker's row is dead: drop everything and begin again as a new worker. Of an earlier life that is known already. */
  onFenced(life?: number): void;
  /** Someone watches the run's events in this process: tell them to look. */
  touched(runId: string): void;
}

export function workflowFor(core: Core, name: string, version: string | null): RegisteredWorkflow | undefined {
  return core.registry.get(name, version ?? undefined);
}

/** Pushes what a run writes; a start in this process counts as held until it is settled. */
export function pushWrite(core: Core, write: Write): void {
  if (write.type === 'start' && write.row.status === 'r') {
    const { runId } = write.row;
    const settle = write.settle.bind(write);
    core.starting.add(runId);
    write.settle = (error) => {
      settle(error);
      core.starting.delete(runId);
    };
  }
  core.writer.push(write);
}

export function roomForRuns(core: Core): number {
  return Math.max(0, core.options.maxResidentRuns - core.frames.size);
}
