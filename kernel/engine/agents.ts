/**
 * Agent turns for workflows: made of steps and waits alone. A turn is asked for under an id that the run and the name of
 * the call give, so however often the step is executed, it is one turn.
 */
import {
  type AgentOptions,
  type AgentResult,
  ChildRunError,
  type RunAgentOptions,
  type StartedAgent,
  type WorkflowContext,
} from '@centaur/sdk';
import { type AgentCalls, checkAgentOptions, composeAgentCalls } from '@centaur/sdk/agent-calls';
import { EngineError } from './errors.ts';

/** What the platform's threads are asked for. */
export interface AgentRequest extends AgentOptions {
  /** Two requests with one id are one turn. */
  readonly id: string;
  /** Of the workflow. Cancelled, it takes the turn with it. */
  readonly runId: string;
  readonly threadKey: string;
  readonly traceId: string | null;
}

export type StartAgent = (request: AgentRequest) => Promise<StartedAgent>;

export function agentCalls(
  { runId, traceId }: { readonly runId: string; readonly traceId: string | null },
  context: Pick<WorkflowContext, 'step' | 'waitForWorkflow'>,
  start: StartAgent | undefined,
): AgentCalls {
  const counts = new Map<string, number>();

  async function startAgent(name: string, options: AgentOptions): Promise<StartedAgent> {
    if (start === undefined) throw new EngineError('INVALID_REQUEST', `"${name}": this process runs no agents`);
    checkAgentOptions(name, options, EngineError);
    const n = (counts.get(name) ?? 0) + 1;
    counts.set(name, n);
    const numbered = n === 1 ? name : `${name}#${n}`;
    const request: AgentRequest = {
      ...options,
      id: `wf:${runId}:${numbered}`,
      runId,
      threadKey: options.threadKey ?? `workflow:${runId}:${numbered}`,
      traceId,
    };
    return context.step(name, () => start(request), { retry: { maxAttempts: 5, delay: 200 } });
  }

  async function waitForAgent(
    name: string,
    agent: StartedAgent,
    options: { readonly timeout?: RunAgentOptions['timeout'] } = {},
  ): Promise<AgentResult> {
    try {
      return await context.waitForWorkflow<AgentResult>(name, {
        runId: agent.run_id,
        ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
      });
    } catch (error) {
      if (!(error instanceof ChildRunError)) throw error;
      // the run of the turn ended without the turn's own word: it was cancelled, or the platform failed at it
      const cancelled = error.code === 'CHILD_CANCELLED';
      return {
        execution_id: agent.execution_id,
        thread_key: agent.thread_key,
        status: cancelled ? 'cancelled' : 'failed_permanent',
        terminal_reason: cancelled ? 'cancelled' : 'execution_error',
        result_text: '',
        error_text: error.message,
        usage: null,
      };
    }
  }

  return composeAgentCalls(runId, { startAgent, waitForAgent }, EngineError);
}
