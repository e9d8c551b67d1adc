/** A turn as the comments that show it. The same turn makes the same text. */
import { answerOf, clip, clipLine, commentaryOf, dollars, plural, shownState, stepCount, type Turn, whyStill } from '../../chat/index.ts';
import { LONGEST_COMMENT, turnMarker } from '../places.ts';
import { quietMentions } from './mentions.ts';
import { splitMarkdown } from './split.ts';

export interface Look {
  readonly steps: 'shown' | 'hidden';
  /** Whom an answer may call, by the login in small letters. */
  readonly isPart: (login: string) => boolean;
}

/** Steps that are listed. */
const LISTED = 30;
const COMMENTARY_MOST = 1_500;
/** Beside the answer there are the marker, the steps and the footer. */
const ANSWER_MOST = LONGEST_COMMENT - 6_000;

/** While it runs. */
export function renderWorking(turn: Turn, look: Look): string {
  const said = commentaryOf(turn).at(-1);
  return [
    turnMarker(turn.executionId, 0),
    `**${headline(turn)}**`,
    ...(said === undefined ? [] : [quietMentions(clip(said, COMMENTARY_MOST), look.isPart)]),
    ...turn.approvals.map(({ what, approvalId, gate }) =>
      [
        `✋ ${code(what)} waits for a decision${gate === undefined ? '' : ` at the gate ${code(gate)}`}.`,
        ...(approvalId === undefined
          ? []
          : [` \`centaur approvals approve ${approvalId}\` lets it through, \`centaur approvals deny ${approvalId}\` does not.`]),
      ].join(''),
    ),
    ...listed(turn, look),
  ].join('\n\n');
}

/** When it is over: as many comments as it takes. */
export function renderEnd(turn: Turn, look: Look): string[] {
  const answer = answerOf(turn).trim();
  const parts = answer === '' ? [''] : quietParts(answer, look);
  const ending = [...verdict(turn, answer), ...listed(turn, look), ...footer(turn)];
  return parts.map((part, index) =>
    [
      turnMarker(turn.executionId, index),
      ...(parts.length === 1 ? [] : [`<sub>${index + 1} of ${parts.length}</sub>`]),
      ...(part === '' ? [] : [part]),
      ...(index === parts.length - 1 ? ending : []),
    ].join('\n\n'),
  );
}

/** Cut first: each comment is read by itself, by GitHub and by us, and none is longer than what may be parsed. */
function quietParts(answer: string, { isPart }: Look): string[] {
  return splitMarkdown(answer, ANSWER_MOST).flatMap((part) => {
    const quiet = quietMentions(part, isPart);
    if (quiet.length <= ANSWER_MOST) return [quiet];
    // a mention grows by no more than its length
    return splitMarkdown(part, ANSWER_MOST / 2).map((half) => quietMentions(half, isPart));
  });
}

function verdict(turn: Turn, answer: string): string[] {
  if (turn.status === 'completed') return answer === '' ? ['**Done**, and nothing was answered.'] : [];
  if (turn.status === 'cancelled') return ['**Stopped.**'];
  if (turn.status === 'interrupted') return ['**Interrupted**: the thread was released.'];
  const trace = turn.traceId === undefined ? '' : ` Trace: ${code(clipLine(turn.traceId, 80))}`;
  return [`**Failed.** ${turn.problem?.words ?? 'The turn failed. Ask again.'}${trace}`];
}

function footer(turn: Turn): string[] {
  const cost = turn.usage.cost_usd;
  const made = [...(turn.model === undefined ? [] : [code(clipLine(turn.model, 60))]), ...(cost === undefined ? [] : [dollars(cost)])];
  return made.length === 0 ? [] : [`<sub>${made.join(' · ')}</sub>`];
}

function headline(turn: Turn): string {
  return whyStill(turn) ?? (turn.status === 'queued' ? 'Waiting for its turn' : 'Working');
}

function listed(turn: Turn, { steps: shown }: Look): string[] {
  const count = stepCount(turn);
  if (count === 0 && turn.plan.length === 0) return [];
  const summary = count === 0 ? 'Plan' : plural(count, 'step');
  if (shown === 'hidden') return count === 0 ? [] : [`<sub>${summary}</sub>`];
  const steps = turn.steps.slice(-LISTED);
  const hidden = count - steps.length;
  const lines = [
    ...turn.plan.slice(0, LISTED).map(({ state, title }) => `- [${state === 'done' ? 'x' : ' '}] ${code(title)}`),
    ...(turn.plan.length > 0 && count > 0 ? [''] : []),
    ...(hidden > 0 ? [`- … ${hidden} before`] : []),
    ...steps.map((step) => `- ${MARKS[shownState(turn, step)]} ${code(step.title)}`),
  ];
  return [`<details><summary>${summary}</summary>\n\n${lines.join('\n')}\n\n</details>`];
}

const MARKS = { running: '⏳', waiting: '✋', done: '✅', failed: '❌' } as const;

/** In code nothing is a mention, a reference to an issue, or HTML. */
function code(text: string): string {
  const line = clipLine(text, 200);
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return longest === 0 ? `\`${line}\`` : `${fence} ${line} ${fence}`;
}
