/** Agent turns: a start and a wait, each one message, and the calls that are made of the two. */
import type { AgentOptions, AgentResult, RunAgentOptions, RunAgentsResult, StartedAgent } from '../../../sdk/src/agents.ts';
import type { WorkflowContext } from '../../../sdk/src/context.ts';
import { checkName, type Run, timeoutOf } from './run.ts';
import { EngineError, toJson } from './values.ts';

type AgentCalls = Pick<WorkflowContext, 'startAgent' | 'waitForAgent' | 'runAgent' | 'agentTurn' | 'runAgents'>;

const AGENTS_MOST = 32;
const CONCURRENCY = 4;
const CONCURRENCY_MOST = 16;

export function agentCalls(run: Run): AgentCalls {
  async function startAgent(name: string, options: AgentOptions): Promise<StartedAgent> {
    checkName(name);
    const args = toArgs(name, options);
    return run.call('ctx.agent.start', { step: name, args }, (agent: StartedAgent) => agent);
  }

  async function waitForAgent(
    name: string,
    agent: StartedAgent,
    { timeout }: { readonly timeout?: RunAgentOptions['timeout'] } = {},
  ): Promise<AgentResult> {
    checkName(name);
    const fields = { step: name, agent, timeout_seconds: timeoutOf(name, timeout) };
    return run.call('ctx.agent.wait', fields, (result: AgentResult) => result);
  }

  async function runAgent(name: string, { timeout, ...options }: RunAgentOptions): Promise<AgentResult> {
    const agent = await startAgent(name, options);
    return waitForAgent(`${name}.wait`, agent, timeout === undefined ? {} : { timeout });
  }

  async function runAgents(
    agents: readonly (RunAgentOptions & { readonly name: string })[],
    { maxConcurrency = CONCURRENCY }: { readonly maxConcurrency?: number } = {},
  ): Promise<RunAgentsResult> {
    checkAgents(agents, maxConcurrency);
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
    agentTurn: (text, { name = 'agent_turn', ...options } = {}) =>
      runAgent(name, { threadKey: `workflow:${run.start.run_id}`, ...options, text }),
    runAgents,
  };
}

function checkAgents(agents: readonly { readonly name: string }[], maxConcurrency: number): void {
  if (agents.length > AGENTS_MOST) throw new EngineError('INVALID_REQUEST', `runAgents: ${AGENTS_MOST} are the most, got ${agents.length}`);
  if (!Number.isInteger(maxConcurrency) || maxConcurrency < 1 || maxConcurrency > CONCURRENCY_MOST)
    throw new EngineError('INVALID_REQUEST', `maxConcurrency: expected a whole number from 1 to ${CONCURRENCY_MOST}`);
  if (new Set(agents.map(({ name }) => name)).size < agents.length)
    throw new EngineError('INVALID_REQUEST', 'runAgents: two agents have the same name');
}

function toArgs(name: string, options: AgentOptions): object {
  const { text, parts, threadKey, harness, persona, agentsMd, model, effort, userId, delivery, metadata } = options ?? {};
  if ((typeof text !== 'string' || text === '') && (parts === undefined || parts.length === 0))
    throw new EngineError('INVALID_REQUEST', `"${name}": expected text or parts`);
  const args = {
    text,
    parts,
    thread_key: threadKey,
    harness,
    persona,
    agents_md: agentsMd,
    model,
    effort,
    user_id: userId,
    delivery,
    metadata,
  };
  toJson(args, `"${name}"`);
  return args;
}
