/** What the routes work with, handed to each of them. */
import type { Engine, WorkflowRegistry } from '../engine/index.ts';
import type { Store, StoreLogEntry } from '../store/index.ts';
import type { ApiKeys } from './keys.ts';
import type { Metrics } from './metrics.ts';

export type Log = (entry: StoreLogEntry) => void;

/** What is wrong with a workflow file, as a host reports it. */
export interface FileProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}

export interface Services {
  readonly engine: Engine;
  readonly registry: WorkflowRegistry;
  readonly store: Store;
  readonly keys: ApiKeys;
  readonly metrics: Metrics;
  readonly version: string;
  readonly log: Log;
  problems(): readonly FileProblem[];
  isDraining(): boolean;
  /** Aborts when the server closes: streams end then. */
  readonly closing: AbortSignal;
  openapi(): object;
}
