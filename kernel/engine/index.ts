/**
 * The engine: durable workflows on Postgres.
 *
 * It promises that an acknowledged start, step or event survives `kill -9` at any instant, that a completed step is
 * never executed again, and that a worker which lost its lease writes nothing more. It knows no HTTP, no files and no
 * agents; a host hands it workflows through a `WorkflowRegistry`. It never holds state that Postgres does not.
 *
 * Read `types.ts` for its door, `frame.ts` for how a run executes and replays, `flush.ts` for the one statement in
 * which its writes commit, and `worker.ts` for leases, fencing and recovery.
 */
export { type EngineOptions, createEngine } from './engine.ts';
export type { AgentRequest } from './agents.ts';
export { type ApprovalEvent, type ApprovalQuestion, type Approvals, APPROVAL_EVENT, WaitsForApprovalError } from './approvals.ts';
export type { Outside, OutsideCaller } from './outside.ts';
export { describeCron, nextTicks, parseSchedule } from './cron.ts';
export { type Difference, type Journal, readJournal, replayOver, type ReplayOptions, type ReplayReport, replayRun } from './replay.ts';
export { checkQueueName } from './queues.ts';
export { applyRetention, type PruneLog } from './retention.ts';
export { resolveRetry } from './retry.ts';
export { ENGINE_ERRORS, EngineError, type EngineErrorCode, HostCrashedError, HostUnavailableError } from './errors.ts';
export * from './types.ts';
