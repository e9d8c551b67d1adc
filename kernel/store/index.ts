/**
 * The store: everything that talks to Postgres without knowing what the rows mean.
 *
 * It promises migrated tables, connections with the right settings, notifications that survive reconnects, and a
 * group-commit writer whose promise resolves only after the commit. It never interprets a row: statements live with
 * the code that owns the table.
 */
export { type AgainOptions, untilStored } from './again.ts';
export * as binary from './binary.ts';
export { canonicalJson } from './canonical.ts';
export { classifyFailure, isTransient, sqlState, StoreError, type StoreErrorCode } from './errors.ts';
export { isUuid, uuidv7 } from './ids.ts';
export type { Listener } from './listen.ts';
export { migrate, migrateUpTo, releaseSchema } from './migrate.ts';
export { nearNames } from './near.ts';
export {
  ensureWorkflowSchema,
  findWorkflowSchema,
  schemaNameOf,
  WORKFLOW_ROLE,
  type WorkflowSchema,
  type WorkflowSchemaResult,
} from './workflow-schema.ts';
export {
  contextOfCall,
  contextOfRun,
  newTraceId,
  readReference,
  spanIdOf,
  type TraceContext,
  traceHexOf,
  traceparentOf,
  type TraceReference,
  traceUuidOf,
} from './trace-ids.ts';
export { claimWaiting } from './wait.ts';
export { uuidAt } from './partitions.ts';
export { createWriter, type PendingWrite, type Writer } from './writer.ts';
export {
  connectStore,
  describeUrl,
  lookUp,
  type Queryable,
  type QueryResult,
  type Store,
  statementName,
  type StoreLogEntry,
  type StoreOptions,
} from './store.ts';
