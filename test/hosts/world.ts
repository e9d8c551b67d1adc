/** What the outside world answers in the tests: the same every time, from the words of the call alone. */
import type { Message } from './process.ts';
import type { Outcome } from './story.ts';

/** Undefined: nothing comes of it by itself. */
export type World = (message: Message, name: string) => Outcome | undefined;

export const world: World = (message, name) => {
  switch (message.type) {
    case 'ctx.event.wait':
      return eventFor(message);
    case 'ctx.workflow.start':
      return done({ workflow_name: message.workflow_name, run_id: `child:${name}`, task_id: `child:${name}`, created: true });
    case 'ctx.workflow.wait':
      return childEnd(String(message.child_run_id));
    case 'ctx.agent.start':
      return done(startedAgent(name));
    case 'ctx.agent.wait':
      return done(turnEnd(String((message.agent as { execution_id?: unknown }).execution_id).replace('execution:', '')));
    case 'ctx.agent_turn':
      return done(turnEnd(name));
    case 'ctx.run_agents':
      return done(manyTurns(message.agents as readonly { readonly name: string }[]));
    case 'ctx.approval':
      return done(answerFor(message));
    case 'ctx.call_tool':
      return toolAnswer(message);
    case 'ctx.post_to_slack':
      return done({ channel: message.channel, ts: `1.${name.length}` });
    case 'ctx.update_slack':
      return done({ channel: (message.message as { channel?: unknown }).channel, ts: (message.message as { ts?: unknown }).ts });
    default:
      return undefined;
  }
};

const done = (value: unknown): Outcome => ({ ok: true, value });

function eventFor({ event_type: type, correlation_id: about }: Message): Outcome | undefined {
  return String(type).startsWith('never') ? undefined : done({ type, about: about ?? null });
}

/** Somebody halved the amount; what is asked at the gate `never` is denied. */
function answerFor({ step, gate, args }: Message) {
  const verdict = gate === 'never' ? 'denied' : 'approved';
  const asked = args as { readonly amount?: number } | undefined;
  const edited = typeof asked?.amount === 'number';
  return {
    verdict,
    args: edited ? { ...asked, amount: asked.amount / 2 } : (args ?? null),
    edited,
    reason: verdict === 'denied' ? 'not today' : null,
    voters: [{ name: 'user:ann', verdict }],
    approval_id: `approval:${String(step)}`,
  };
}

/** Children are told apart by the name of the call that started them. */
function childEnd(id: string): Outcome {
  const run = { run_id: id, status: 'completed', result: { of: id }, output_json: { of: id }, error: null };
  if (!id.includes('fails')) return done(run);
  return done({ ...run, status: 'failed', result: null, output_json: null, error: { code: 'BOOM', message: 'it broke' } });
}

const startedAgent = (name: string) => ({ execution_id: `execution:${name}`, thread_key: `thread:${name}`, run_id: `turn:${name}` });

const turnEnd = (name: string) => ({
  execution_id: `execution:${name}`,
  thread_key: `thread:${name}`,
  status: 'completed',
  terminal_reason: null,
  result_text: `done: ${name}`,
  error_text: null,
  usage: null,
});

function manyTurns(agents: readonly { readonly name: string }[]) {
  const results = agents.map(({ name }, index) => ({ index, name, ok: true, ...turnEnd(name) }));
  return { results, succeeded: results.length, failed: 0 };
}

function toolAnswer({ tool, method, args }: Message): Outcome {
  if (tool !== 'broken') return done({ tool, method, args });
  return { ok: false, error: { name: 'WorkflowError', code: 'TOOL_FAILED', message: 'the tool broke' } };
}
