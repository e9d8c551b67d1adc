/**
 * Agent turns for workflows: made of steps and waits alone. A turn is asked for under an id that the run and the name of
 * the call give, so however often the step is executed, it is one turn.
 */
import {
  type AgentOptions,
  type AgentResult,
  ChildRunError,
  type RunAgentOptions,
  type RunAgentsResult,
  type StartedAgent,
  type WorkflowContext,
} from '@centaur/sdk';
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

type AgentCalls = Pick<WorkflowContext, 'startAgent' | 'waitForAgent' | 'runAgent' | 'agentTurn' | 'runAgents'>;

const AGENTS_MOST = 32;
const CONCURRENCY = 4;
const CONCURRENCY_MOST = 16;

export function agentCalls(
  { runId, traceId }: { readonly runId: string; readonly traceId: string | null },
  context: Pick<WorkflowContext, 'step' | 'waitForWorkflow'>,
  start: StartAgent | undefined,
): AgentCalls {
  const counts = new Map<string, number>();

  async function startAgent(name: string, options: AgentOptions): Promise<StartedAgent> {
    if (start === undefined) throw new EngineError('INVALID_REQUEST', `"${name}": this process runs no agents`);
    checkOptions(name, options);
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

  async function runAgent(name: string, { timeout, ...options }: RunAgentOptions): Promise<AgentResult> {
    const agent = await startAgent(name, options);
    return waitForAgent(`${name}.wait`, agent, timeout === undefined ? {} : { timeout });
  }

  async function runAgents(
    agents: readonly (RunAgentOptions & { readonly name: string })[],
    { maxConcurrency = CONCURRENCY }: { readonly maxConcurrency?: number } = {},
  ): Promise<RunAgentsResult> {
    if (agents.length > AGENTS_MOST)
      throw new EngineError('INVALID_REQUEST', `runAgents: ${AGENTS_MOST} are the most, got ${agents.length}`);
    if (!Number.isInteger(maxConcurrency) || maxConcurrency < 1 || maxConcurrency > CONCURRENCY_MOST)
      throw new EngineError('INVALID_REQUEST', `maxConcurrency: expected a whole number from 1 to ${CONCURRENCY_MOST}`);
    if (new Set(agents.map(({ name }) => name)).size < agents.length)
      throw new EngineError('INVALID_REQUEST', 'runAgents: two agents have the same name');
    const results: RunAgentsResult['results'][number][] = [];
    let next = 0;
    const work = async () => {
      while (next < agents.length) {
        const index = next++;
        const { name, ...options } = agents[index] as (typeof agents)[number];
        const result = await runAgent(name, options);
        results[index] = { index, name, ok: result.status === 'completed', ...result };
      }
    };
    await Promise.all(Array.from({ length: Math.min(maxConcurrency, agents.length) }, work));
    const succeeded = results.filter(({ ok }) => ok).length;
    return { results, succeeded, failed: results.length - succeeded };
  }

  return {
    startAgent,
    waitForAgent,
    runAgent,
    agentTurn: (text, { name = 'agent_turn', ...options } = {}) => runAgent(name, { threadKey: `workflow:${runId}`, ...options, text }),
    runAgents,
  };
}

function checkOptions(name: string, options: AgentOptions): void {
  const { text, parts } = options ?? {};
  if ((typeof text !== 'string' || text === '') && (parts === undefined || parts.length === 0))
    throw new EngineError('INVALID_REQUEST', `"${name}": expected text or parts`);
}
