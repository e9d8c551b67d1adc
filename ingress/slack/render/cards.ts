/** The steps of a turn as the cards of one stream: few, small, and never more than Slack takes. */
import { clipLine, isOver, shownState, type Step, type Turn, utf8Length } from '../../chat/index.ts';
import { LIMITS } from './limits.ts';
import { cardId, type ShownCard } from './shown.ts';
import { headline, title } from './words.ts';

export type Chunk =
  | { readonly type: 'markdown_text'; readonly text: string }
  | { readonly type: 'plan_update'; readonly title: string }
  | {
      readonly type: 'task_update';
      readonly id: string;
      readonly title: string;
      readonly status: ShownCard['status'];
      readonly details?: string;
    };

/** Kept for the card that stands for all that have no room. */
const LAST_CARD_BYTES = 700;

export function streamTitle(turn: Turn): string {
  return clipLine(title(turn), LIMITS.chunkField);
}

/** The cards of a stream that began after `before` steps of the turn: those since, those at work, and those that it shows already. */
export function drawCards(turn: Turn, segment: number, before: number, shown: readonly ShownCard[]): ShownCard[] {
  const id = (step: string): string => cardId(turn.executionId, segment, step);
  const known = new Set(shown.map((card) => card.id));
  const isAtWork = (step: Step): boolean => step.state === 'running' || step.state === 'waiting';
  const steps = turn.steps.filter((step, index) => turn.earlierSteps + index >= before || isAtWork(step) || known.has(id(step.id)));
  // seen at once, before anything is known; it has the execution in its id, by which the stream is found again
  const isThinking = steps.length === 0 && turn.messages.length === 0 && !isOver(turn);
  const first: ShownCard = {
    id: id('start'),
    title: isThinking ? headline(turn) : 'Thinking',
    status: isThinking ? 'in_progress' : 'complete',
    details: '',
  };
  const cards = [first];
  let bytes = sizeOfCard(first);
  for (const [index, step] of steps.entries()) {
    const card = drawCard(turn, step, id(step.id));
    bytes += sizeOfCard(card);
    if (cards.length >= LIMITS.cards - 1 || bytes > LIMITS.cardBytes - LAST_CARD_BYTES) {
      const last = steps.at(-1) as Step;
      const rest = steps.length - index;
      cards.push({
        ...drawCard(turn, last, id('last')),
        details: '',
        title: clipLine(`${rest > 1 ? `${rest - 1} more, then ` : ''}${last.title}`, LIMITS.chunkField),
      });
      break;
    }
    cards.push(card);
  }
  return cards;
}

function drawCard(turn: Turn, step: Step, id: string): ShownCard {
  const state = shownState(turn, step);
  const name = clipLine(state === 'waiting' ? `Waiting for approval: ${step.title}` : step.title, LIMITS.chunkField);
  const details = clipLine(step.details, LIMITS.chunkField);
  return { id, title: name, status: STATUS[state], details: step.title.endsWith(details) ? '' : details };
}

const STATUS = { running: 'in_progress', waiting: 'in_progress', done: 'complete', failed: 'error' } as const;

/** What has changed since: one chunk a card, however often it changed. Details are said once, since Slack adds them up. */
export function cardChunks(cards: readonly ShownCard[], shown: readonly ShownCard[]): Chunk[] {
  return cards.flatMap((card): Chunk[] => {
    const before = shown.find((each) => each.id === card.id);
    if (before !== undefined && before.title === card.title && before.status === card.status) return [];
    const { id, title: name, status, details } = card;
    return [{ type: 'task_update', id, title: name, status, ...(details === '' || before !== undefined ? {} : { details }) }];
  });
}

/** At the end of a stream nothing in it is at work any more: what is goes on in the next one. */
export function closeCards(cards: readonly ShownCard[]): ShownCard[] {
  return cards.map((card) => (card.status === 'in_progress' || card.status === 'pending' ? { ...card, status: 'complete' } : card));
}

/** As Slack counts: details come twice. */
export const sizeOfCards = (cards: readonly ShownCard[]): number => cards.reduce((sum, card) => sum + sizeOfCard(card), 0);
const sizeOfCard = (card: ShownCard): number => utf8Length(card.title) + 2 * utf8Length(card.details);
