/**
 * What is made of the start of an agent's turn and the wait for it. For the engine and the host program alone, which each
 * have a start and a wait of their own; `index.ts` does not export it.
 */
import type { AgentOptions, AgentResult, RunAgentOptions, RunAgentsResult } from './agents.ts';
import type { WorkflowContext } from './context.ts';

export type AgentCalls = Pick<WorkflowContext, 'startAgent' | 'waitForAgent' | 'runAgent' | 'agentTurn' | 'runAgents'>;

/** What a caller throws for a call that is refused. */
export type CallError = new (code: 'INVALID_REQUEST', message: string) => Error;

const AGENTS_MOST = 32;
const CONCURRENCY = 4;
const CONCURRENCY_MOST = 16;

/** @throws Refused INVALID_REQUEST, from `runAgents` */
export function composeAgentCalls(
  runId: string,
  { startAgent, waitForAgent }: Pick<AgentCalls, 'startAgent' | 'waitForAgent'>,
  Refused: CallError,
): AgentCalls {
  async function runAgent(name: string, { timeout, ...options }: RunAgentOptions): Promise<AgentResult> {
    const agent = await startAgent(name, options);
    return waitForAgent(`${name}.wait`, agent, timeout === undefined ? {} : { timeout });
  }

  async function runAgents(
    agents: readonly (RunAgentOptions & { readonly name: string })[],
    { maxConcurrency = CONCURRENCY }: { readonly maxConcurrency?: number } = {},
  ): Promise<RunAgentsResult> {
    checkAgents(agents, maxConcurrency, Refused);
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

function checkAgents(agents: readonly { readonly name: string }[], maxConcurrency: number, Refused: CallError): void {
  if (agents.length > AGENTS_MOST) throw new Refused('INVALID_REQUEST', `runAgents: ${AGENTS_MOST} are the most, got ${agents.length}`);
  if (!Number.isInteger(maxConcurrency) || maxConcurrency < 1 || maxConcurrency > CONCURRENCY_MOST)
    throw new Refused('INVALID_REQUEST', `maxConcurrency: expected a whole number from 1 to ${CONCURRENCY_MOST}`);
  if (new Set(agents.map(({ name }) => name)).size < agents.length)
    throw new Refused('INVALID_REQUEST', 'runAgents: two agents have the same name');
}

/** @throws Refused INVALID_REQUEST */
export function checkAgentOptions(name: string, options: AgentOptions, Refused: CallError): void {
  const { text, parts } = options ?? {};
  if ((typeof text !== 'string' || text === '') && (parts === undefined || parts.length === 0))
    throw new Refused('INVALID_REQUEST', `"${name}": expected text or parts`);
}
