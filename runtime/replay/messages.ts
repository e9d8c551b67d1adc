/** Between a server and the process in which it replays. */
import type { EngineErrorCode, ReplayOptions, ReplayReport } from '@centaur/kernel/engine';

export interface ReplayRequest {
  readonly url: string;
  readonly dirs: readonly string[];
  readonly runId: string;
  readonly options: ReplayOptions;
}

export type ReplayAnswer =
  | { readonly report: ReplayReport }
  /** `code` is null where the failure is nothing that the engine knows. */
  | { readonly code: EngineErrorCode | null; readonly message: string };
