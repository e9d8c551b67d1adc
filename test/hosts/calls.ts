/** What a call is in the history: its kind, and the names of the checkpoints it makes. */
import type { HostRetry } from '../../runtime/hosts/protocol/messages.ts';
import type { Message } from './process.ts';

export interface Checkpoint {
  readonly kind: string;
  readonly name: string;
}

/** In the order in which they are numbered. Undefined for a message that makes none. */
export function checkpointsOf(message: Message): readonly Checkpoint[] | undefined {
  const { type } = message;
  switch (type) {
    case 'ctx.step.get':
    case 'ctx.step.put':
    case 'ctx.step.fail':
      return [{ kind: 'step', name: text(message.step) }];
    case 'ctx.workflow.start':
      return [{ kind: type, name: text(message.step ?? `start_${text(message.workflow_name)}`) }];
    case 'ctx.agent_turn': {
      const name = text(message.step ?? 'agent_turn');
      return [
        { kind: 'ctx.agent.start', name },
        { kind: 'ctx.agent.wait', name: `${name}.wait` },
      ];
    }
    case 'ctx.run_agents':
      return (message.agents as readonly { readonly name: string }[]).flatMap(({ name }) => [
        { kind: 'ctx.agent.start', name },
        { kind: 'ctx.agent.wait', name: `${name}.wait` },
      ]);
    case 'ctx.call_tool':
      return [{ kind: type, name: text(message.step ?? `tool_${text(message.tool)}_${text(message.method)}`) }];
    case 'ctx.post_to_slack':
      return [{ kind: type, name: text(message.step ?? `post_slack_${text(message.channel)}`) }];
    case 'ctx.update_slack':
      return [{ kind: type, name: text(message.step ?? `update_slack_${text((message.message as { channel?: unknown }).channel)}`) }];
    case 'ctx.tx.begin':
      return [{ kind: 'transaction', name: text(message.step) }];
    case 'ctx.sleep':
    case 'ctx.sleep_until':
    case 'ctx.event.wait':
    case 'ctx.approval':
    case 'ctx.workflow.wait':
    case 'ctx.agent.start':
    case 'ctx.agent.wait':
      return [{ kind: type, name: text(message.step) }];
    default:
      return undefined;
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

export interface StepFailure {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly non_retryable?: boolean;
}

/** How long until the next attempt; undefined when there is none. */
export function retryDelay(policy: HostRetry | undefined, attempt: number, error: StepFailure): number | undefined {
  const { max_attempts: most = policy === undefined ? 1 : 3, delay_ms: delay = 1000, backoff = 'exponential' } = policy ?? {};
  const final = error.non_retryable === true || (policy?.non_retryable ?? []).some((each) => each === error.name || each === error.code);
  if (final || attempt >= most) return undefined;
  const grown = backoff === 'fixed' ? delay : delay * (policy?.factor ?? 2) ** (attempt - 1);
  return Math.min(grown, policy?.max_delay_ms ?? 3_600_000);
}

/** What every message of a run must have. */
const NEEDED: Readonly<Record<string, readonly string[]>> = {
  'ctx.step.get': ['step'],
  'ctx.step.put': ['value'],
  'ctx.step.fail': ['error'],
  'ctx.tx.begin': ['step'],
  'ctx.tx.query': ['tx', 'sql'],
  'ctx.tx.commit': ['tx', 'value'],
  'ctx.tx.rollback': ['tx', 'error'],
  'ctx.sleep': ['step', 'duration_seconds'],
  'ctx.sleep_until': ['step', 'wake_at'],
  'ctx.event.wait': ['step', 'event_type'],
  'ctx.approval': ['step', 'summary'],
  'ctx.workflow.start': ['workflow_name'],
  'ctx.workflow.wait': ['step', 'child_run_id'],
  'ctx.agent.start': ['step', 'args'],
  'ctx.agent.wait': ['step', 'agent'],
  'ctx.agent_turn': ['args'],
  'ctx.run_agents': ['agents'],
  'ctx.call_tool': ['tool', 'method', 'args'],
  'ctx.post_to_slack': ['channel', 'text'],
  'ctx.update_slack': ['message'],
  'ctx.patch': ['id'],
  'ctx.log': ['message', 'fields'],
  'ctx.metric': ['kind', 'name', 'value', 'labels'],
  'ctx.rest': [],
  'workflow.result': ['workflow_run_id', 'workflow_task_id', 'task_id', 'workflow_name', 'result'],
  'workflow.error': ['workflow_run_id', 'workflow_task_id', 'task_id', 'workflow_name', 'message', 'traceback', 'error'],
};
const WITHOUT_REQUEST = /^(?:ctx\.(?:patch|log|metric|rest)|workflow\.(?:result|error))$/;

/** What is wrong with the form of a message; undefined when nothing is. */
export function formProblem(message: Message, lastRequest: number): string | undefined {
  const needed = NEEDED[message.type];
  if (needed === undefined) return `there is no message ${message.type}`;
  const missing = needed.filter((field) => message[field] === undefined);
  if (missing.length > 0) return `${message.type} has no ${missing.join(', ')}`;
  if (WITHOUT_REQUEST.test(message.type)) return undefined;
  const id = message.request_id;
  if (typeof id !== 'string' || !/^[1-9]\d*$/.test(id)) return `${message.type}: request_id is ${JSON.stringify(id)}`;
  return Number(id) === lastRequest + 1 ? undefined : `${message.type}: request_id ${id} follows ${lastRequest}`;
}
