/** What holds of every codec's events, whatever it has read. */
import type { HarnessEvent } from '../events.ts';

/** What is wrong, in the order of the events; nothing for well-formed ones. */
export function findFaults(events: readonly HarnessEvent[], turns: number): string[] {
  const faults: string[] = [];
  let ended = 0;
  let running: Running | undefined;
  for (const event of events) {
    if (event.type === 'turn.started') {
      if (running !== undefined) faults.push('a turn began in another');
      running = newTurn();
    } else if (running !== undefined) {
      faults.push(...judge(event, running));
      if (event.type === 'turn.completed') {
        running = undefined;
        ended += 1;
      }
    } else if (ended > 0 || !['session', 'notice', 'error'].includes(event.type)) faults.push(`${event.type} outside of a turn`);
  }
  if (running !== undefined) faults.push('the last turn did not complete');
  if (ended !== turns) faults.push(`${turns} turns were given and ${ended} completed`);
  return faults;
}

interface Running {
  readonly messages: Map<string, 'open' | 'closed'>;
  readonly tools: Map<string, 'open' | 'closed'>;
  readonly approvals: Map<string, 'open' | 'closed'>;
  finals: number;
  usages: number;
  fatal: number;
}

function newTurn(): Running {
  return { messages: new Map(), tools: new Map(), approvals: new Map(), finals: 0, usages: 0, fatal: 0 };
}

function judge(event: HarnessEvent, turn: Running): string[] {
  switch (event.type) {
    case 'message.start':
      return open(turn.messages, event.message_id, event.type);
    case 'text.delta':
    case 'thinking.delta':
      return turn.messages.get(event.message_id) === 'open' ? [] : [`${event.type} of a message that is not open: ${event.message_id}`];
    case 'message':
      if (event.phase === 'final') turn.finals += 1;
      return close(turn.messages, event.message_id, event.type);
    case 'message.discarded':
      return close(turn.messages, event.message_id, event.type);
    case 'tool_use':
      return open(turn.tools, event.id, event.type);
    case 'tool_output.delta':
      return turn.tools.get(event.id) === 'open' ? [] : [`output of a tool that is not open: ${event.id}`];
    case 'tool_result':
      return close(turn.tools, event.id, event.type);
    case 'approval.request':
      return open(turn.approvals, event.id, event.type);
    case 'approval.resolved':
      return close(turn.approvals, event.id, event.type);
    case 'usage':
      turn.usages += 1;
      return [];
    case 'error':
      if (event.fatal) turn.fatal += 1;
      return [];
    case 'turn.completed':
      return judgeEnd(event, turn);
    default:
      return [];
  }
}

function judgeEnd(event: Extract<HarnessEvent, { type: 'turn.completed' }>, turn: Running): string[] {
  const ill = event.status === 'failed' || event.status === 'crashed';
  const rules: (readonly [boolean, string])[] = [
    [![...turn.messages.values()].includes('open'), 'a message is left open'],
    [![...turn.tools.values()].includes('open'), 'a tool call is left open'],
    [![...turn.approvals.values()].includes('open'), 'an approval is left open'],
    [turn.finals <= (event.status === 'completed' ? 1 : 0), 'too many final messages'],
    [turn.usages <= 1, 'more than one usage'],
    [event.status === 'completed' || event.result_text === '', 'a result without completion'],
    [(event.error !== undefined) === ill, 'an error without failure, or the other way round'],
    [!ill || turn.fatal === 1, `${turn.fatal} fatal errors`],
  ];
  return rules.flatMap(([holds, fault]) => (holds ? [] : [fault]));
}

function open(all: Map<string, 'open' | 'closed'>, id: string, type: string): string[] {
  if (all.has(id)) return [`${type} twice: ${id}`];
  all.set(id, 'open');
  return [];
}

function close(all: Map<string, 'open' | 'closed'>, id: string, type: string): string[] {
  if (all.get(id) !== 'open') return [`${type} of what is not open: ${id}`];
  all.set(id, 'closed');
  return [];
}
