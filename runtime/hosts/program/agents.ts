/** Agent turns: a start and a wait, each one message. */
import { type AgentCalls, checkAgentOptions, composeAgentCalls } from '../../../sdk/src/agent-calls.ts';
import type { AgentOptions, AgentResult, RunAgentOptions, StartedAgent } from '../../../sdk/src/agents.ts';
import { checkName, type Run, timeoutOf } from './run.ts';
import { EngineError, toJson } from './values.ts';

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

  return composeAgentCalls(run.start.run_id, { startAgent, waitForAgent }, EngineError);
}

function toArgs(name: string, options: AgentOptions): object {
  checkAgentOptions(name, options, EngineError);
  const { text, parts, threadKey, harness, persona, agentsMd, model, effort, userId, delivery, metadata } = options;
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
