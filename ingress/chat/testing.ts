/** What tests of chats share: dice, and turns by dice. */
import type { ThreadEvent, ThreadEventData } from '@centaur/sdk';

export type Dice = (sides: number) => number;

/** The same throws for the same seed (mulberry32). */
export function createDice(seed: number): Dice {
  let state = seed >>> 0;
  return (sides) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % sides;
  };
}

export const EXECUTION = 'exe_1';

/** Events of a thread, numbered from 1. */
export function numbered(data: readonly ThreadEventData[]): ThreadEvent[] {
  return data.map((each, index) => ({ id: index + 1, event: each.type, data: each }));
}

/** A whole turn: messages that are streamed, discarded and ended, tools, approvals, what people say meanwhile, and others' events. */
export function rollTurn(dice: Dice, length: number): ThreadEvent[] {
  const of = { execution_id: EXECUTION };
  const state = (status: 'queued' | 'running'): ThreadEventData => ({ type: 'execution.state', ...of, thread_key: 't', status });
  const events: ThreadEventData[] = [state('queued'), state('running'), { type: 'turn.started', ...of }];
  let count = 0;
  while (events.length < length) {
    count++;
    const id = `m${count}`;
    switch (dice(8)) {
      case 0: {
        events.push({ type: 'tool_use', ...of, id: `t${count}`, name: 'Bash', input: { command: `npm test ${count}` } });
        if (dice(3) === 0) {
          events.push({ type: 'approval.request', ...of, id: `q${count}`, tool_use_id: `t${count}`, tool: 'Bash', input: {} });
          events.push({ type: 'approval.pending', ...of, id: `q${count}`, approval_id: `a${count}`, gate: 'people', expires_at: '' });
          events.push({ type: 'approval.resolved', ...of, id: `q${count}`, allowed: true });
        }
        events.push({ type: 'tool_result', ...of, id: `t${count}`, content: [], is_error: dice(4) === 0 });
        break;
      }
      case 1:
        events.push({ type: 'message.stored', message_id: `s${count}`, role: 'user', parts: [], user_id: 'U1' });
        if (dice(2) === 0) events.push({ type: 'execution.steered', message_id: `s${count}`, content: [], user_id: 'U1' });
        break;
      case 2:
        events.push({ type: 'usage', ...of, usage: { input: 1, output: 2, cache_read: 0, cache_write: 0, cost_usd: 0.5 } });
        break;
      case 3:
        events.push({ type: 'text.delta', execution_id: 'exe_other', message_id: id, text: 'not ours' });
        events.push({ type: 'text.delta', ...of, parent_id: 't1', message_id: id, text: 'of a sub-agent' });
        break;
      default: {
        const pieces = Array.from({ length: 1 + dice(20) }, (_, index) => `${index === 0 ? '' : ' '}w${count}.${index}`);
        events.push({ type: 'message.start', ...of, message_id: id });
        for (const text of pieces) events.push({ type: 'text.delta', ...of, message_id: id, text });
        if (dice(6) === 0) events.push({ type: 'message.discarded', ...of, message_id: id, reason: 'x' });
        else
          events.push({ type: 'message', ...of, message_id: id, content: [{ type: 'text', text: pieces.join('') }], phase: 'commentary' });
      }
    }
  }
  const answer = `The answer ${dice(1000)}.`;
  events.push({ type: 'text.delta', ...of, message_id: 'last', text: answer });
  events.push({ type: 'message', ...of, message_id: 'last', content: [{ type: 'text', text: answer }], phase: 'final' });
  events.push({ type: 'turn.completed', ...of, status: 'completed', result_text: answer });
  events.push({ type: 'execution.state', ...of, thread_key: 't', status: 'completed', terminal_reason: 'completed', result_text: answer });
  return numbered(events);
}
