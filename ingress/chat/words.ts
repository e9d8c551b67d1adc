/** How a turn stands, in words that are the same wherever it is shown. */
import type { Step } from './steps.ts';
import { isOver, type Turn } from './turn.ts';

/** Why a turn that is not over says nothing for now; undefined: it works, or has not begun. */
export function whyStill({ status, approvals, waitsFor }: Turn): string | undefined {
  if (status === 'stopping') return 'Stopping';
  if (approvals.length > 0) return 'Waiting for approval';
  return waitsFor === null ? undefined : WAITING[waitsFor];
}

const WAITING = {
  room: 'Waiting for a free sandbox',
  retry: 'The model provider is busy, trying again',
  compaction: 'Making room for more',
} as const;

/** The last step counts as running until the end: the agent is at work, and what it does next is not known yet. */
export function shownState(turn: Turn, step: Step): Step['state'] {
  const isLast = step === turn.steps.at(-1);
  return isLast && !isOver(turn) && step.state === 'done' ? 'running' : step.state;
}

export const stepCount = (turn: Turn): number => turn.earlierSteps + turn.steps.length;
export const dollars = (amount: number): string => (amount < 0.01 ? 'under $0.01' : `$${amount.toFixed(2)}`);
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
