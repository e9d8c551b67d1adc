/** What stands around an answer, in few words: how the turn stands, what it does, what it was made with. */
import { clipLine, dollars, isOver, plural, shownState, stepCount, type Turn, whyStill } from '../../chat/index.ts';
import { mrkdwnText } from './mrkdwn.ts';

/** What the platform knows of a turn and its events do not tell. */
export interface Facts {
  readonly harness: string;
  readonly model?: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly endedAt?: number;
}

/** Steps that are listed in a message that is edited. */
const LISTED = 8;

export function headline(turn: Turn): string {
  const count = stepCount(turn);
  const steps = count === 0 ? '' : ` · ${plural(count, 'step')}`;
  if (isOver(turn)) return `${ENDED[turn.status as keyof typeof ENDED]}${steps}`;
  const still = whyStill(turn);
  if (still !== undefined) return `${still}${steps}`;
  const plan = turn.plan.find((item) => item.state === 'running');
  if (plan !== undefined) return `${plan.title} (${turn.plan.filter((item) => item.state === 'done').length + 1} of ${turn.plan.length})`;
  return turn.status === 'queued' ? 'Starting' : `Working${steps}`;
}

/** For where one line is all there is. */
export function title(turn: Turn): string {
  return [headline(turn), ...waiting(turn)].join(' · ');
}

const ENDED = { completed: 'Done', failed: 'Failed', cancelled: 'Stopped', interrupted: 'Interrupted' } as const;
/** The live block of a message that is edited: mrkdwn of a few lines. */
export function progress(turn: Turn): string {
  // beside a plan the step at hand is enough
  const steps = turn.steps.slice(turn.plan.length > 0 ? -1 : -LISTED);
  const hidden = stepCount(turn) - steps.length;
  const lines = [
    `*${mrkdwnText(headline(turn))}*`,
    ...turn.plan.slice(0, LISTED).map((item) => `${item.state === 'pending' ? '○' : MARKS[item.state]} ${mrkdwnText(item.title)}`),
    ...(hidden > 0 && turn.plan.length === 0 ? [`… ${plural(hidden, 'step')} before`] : []),
    ...steps.map((step) => `${MARKS[shownState(turn, step)]} ${mrkdwnText(step.title)}`),
    ...turn.approvals
      .slice(0, LISTED)
      .map(
        (approval) =>
          `✋ ${mrkdwnText(approval.what)}${approval.gate === undefined ? '' : ` · gate ${mrkdwnText(clipLine(approval.gate, 60))}`}`,
      ),
    ...waiting(turn),
  ];
  return lines.join('\n');
}

const MARKS = { running: '▸', waiting: '✋', done: '✓', failed: '✗' } as const;

function waiting(turn: Turn): string[] {
  const queued = turn.arrived.filter((each) => each.state === 'queued').length;
  return queued === 0 ? [] : [`${plural(queued, 'message')} for the next turn`];
}

/** Below the answer of a turn that is over: why it failed, and what it was made with. */
export function footer(turn: Turn, facts: Facts): string[] {
  const trace = turn.traceId === undefined ? '' : ` · trace ${mrkdwnText(clipLine(turn.traceId, 80))}`;
  const problem = turn.problem === undefined ? [] : [`✗ ${mrkdwnText(turn.problem.words)}${trace}`];
  const ended = turn.status === 'completed' || turn.problem !== undefined ? [] : [headline(turn)];
  const model = turn.model ?? facts.model;
  const cost = turn.usage.cost_usd;
  const made = [
    mrkdwnText(clipLine(facts.harness, 40)),
    ...(model === undefined ? [] : [mrkdwnText(clipLine(model, 60))]),
    ...(facts.endedAt === undefined ? [] : [duration(facts.endedAt - facts.startedAt)]),
    ...(cost === undefined ? [] : [dollars(cost)]),
  ];
  return [...problem, ...ended, ...waiting(turn), made.join(' · ')];
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
