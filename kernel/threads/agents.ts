/** A turn for a workflow: spawn, message and execution under ids that its caller gives, so that asking twice is asking once. */
import type { AgentRequest } from '../engine/index.ts';
import type { Store } from '../store/index.ts';
import { userOfRun } from '../vault/index.ts';
import { ThreadError } from './errors.ts';
import type { Threads } from './threads.ts';
import type { AcceptedExecution, ExecuteRequest, MessagePart } from './types.ts';

export async function startAgent(
  store: Store,
  threads: Pick<Threads, 'spawn' | 'message' | 'execute' | 'getExecution'>,
  startTurn: (turn: { readonly threadKey: string; readonly executionId: string }) => Promise<string>,
  request: AgentRequest,
): Promise<{ readonly execution_id: string; readonly thread_key: string; readonly run_id: string }> {
  const { id, threadKey, harness, persona, agentsMd } = request;
  // whose words these are is what the workflow's code says: it is kept with the turn, and opens nobody's account
  const user_id = userOfRun(request.runId);
  const metadata = request.userId === undefined ? request.metadata : { ...request.metadata, user_id: request.userId };
  const { assignment_generation } = await threads.spawn({
    thread_key: threadKey,
    spawn_id: `${id}:spawn`,
    harness,
    persona_id: persona,
    agents_md_override: agentsMd,
  });
  const parts: MessagePart[] = [...((request.parts ?? []) as readonly MessagePart[])];
  if (request.text !== undefined) parts.unshift({ type: 'text', text: request.text });
  await threads.message({
    thread_key: threadKey,
    assignment_generation,
    message_id: id,
    parts,
    user_id,
    metadata,
  });
  const { execution_id } = await executeFor(store, threads, id, {
    thread_key: threadKey,
    assignment_generation,
    execute_id: id,
    model: request.model,
    effort: request.effort,
    delivery: request.delivery,
    user_id,
    metadata,
    asked_by: request.runId,
    trace_id: request.traceId ?? request.runId,
  });
  // answers with the run that is there
  const run_id = await startTurn({ threadKey, executionId: execution_id });
  return { execution_id, thread_key: threadKey, run_id };
}

/** An execution that answers a message: its own, or the one of somebody else's that has taken the message along. */
export async function executeFor(
  store: Store,
  threads: Pick<Threads, 'execute' | 'getExecution'>,
  messageId: string,
  request: ExecuteRequest,
): Promise<AcceptedExecution> {
  try {
    return await threads.execute(request);
  } catch (error) {
    if (!(error instanceof ThreadError) || error.code !== 'NO_INPUT') throw error;
    const { rows } = await store.query<{ id: string | null }>(
      'select delivered_execution_id as id from agent_message_requests where thread_key = $1 and message_id = $2',
      [request.thread_key, messageId],
    );
    const id = rows[0]?.id ?? undefined;
    if (id === undefined) throw error;
    const { execution_id, execute_id, thread_key, assignment_generation, status } = await threads.getExecution(id);
    return { execution_id, execute_id, thread_key, assignment_generation, status, idempotent: true };
  }
}
