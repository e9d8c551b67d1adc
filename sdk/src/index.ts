/**
 * The SDK: what authors of workflows and clients of the API import.
 *
 * It promises names and types that stay put, and it imports nothing of the platform, so that a workflow file
 * type-checks and its pure parts run on Node 20, Node 24 and Deno alike. It never talks to Postgres.
 *
 * Two files are not for authors, and have paths of their own: `values.ts` and `agent-calls.ts` are what the engine and the
 * host program, which may import nothing else of ours, have in common. `chat-names.ts` has one for what must stay small.
 */
export { CentaurApiError, createClient } from './client.ts';
export type * from './agents.ts';
export { ApprovalRefusedError, requireApproved } from './approvals.ts';
export type * from './approvals.ts';
export { channelOfThread, CHAT_PLATFORMS, externalId, readExternalId } from './chat-names.ts';
export type * from './chat-names.ts';
export {
  APPROVAL_ACTIONS,
  APPROVAL_CALLBACK,
  approvalValue,
  approvalViewMetadata,
  editBlock,
  readApprovalValue,
  readApprovalViewMetadata,
  REASON_BLOCK,
  VALUE_ACTION,
} from './chats.ts';
export type * from './chats.ts';
export type * from './client.ts';
export type * from './context.ts';
export { type Duration, toMilliseconds } from './duration.ts';
export * from './errors.ts';
export type { StandardSchemaV1 } from '@standard-schema/spec';
export type { Jsonify } from './json.ts';
export type * from './known-tools.ts';
export type * from './deliveries.ts';
export type * from './inbox.ts';
export type * from './slack.ts';
export type * from './thread-wire.ts';
export type * from './threads.ts';
export { defineTool, isToolDefinition, method, secret, ToolFailure } from './tool.ts';
export type * from './tool.ts';
export type * from './wire.ts';
export { defineWorkflow, isWorkflowDefinition } from './workflow.ts';
export type * from './workflow.ts';
