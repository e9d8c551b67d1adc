/** What a person can press on a turn that is shown: whoever hears of it finds the turn by its value. */
import { isOver, type Turn } from '../../chat/index.ts';
import type { Block } from './blocks.ts';

export const TURN_ACTIONS = { stop: 'centaur_turn:stop', retry: 'centaur_turn:retry' } as const;

/** None where there is nothing to press. */
export function turnButtons(turn: Turn): Block[] {
  if (turn.status === 'failed') return [buttons('Try again', TURN_ACTIONS.retry, turn)];
  return isOver(turn) || turn.status === 'stopping' ? [] : [buttons('Stop', TURN_ACTIONS.stop, turn)];
}

function buttons(label: string, actionId: string, { executionId }: Turn): Block {
  const text = { type: 'plain_text', text: label, emoji: false } as const;
  return { type: 'actions', elements: [{ type: 'button', text, action_id: actionId, value: executionId }] };
}
