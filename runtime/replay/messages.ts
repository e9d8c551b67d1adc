/** Between a server and the process in which it replays. */
import type { EngineErrorCode, Journal, ReplayOptions, ReplayReport } from '@centaur/kernel/engine';

export interface ReplayRequest {
  readonly dirs: readonly string[];
  /** Read for it: it knows of no database. */
  readonly journal: Journal;
  readonly options: ReplayOptions;
}

export type ReplayAnswer =
  | { readonly report: ReplayReport }
  /** `code` is null where the failure is nothing that the engine knows. */
  | { readonly code: EngineErrorCode | null; readonly message: string };
