/**
 * What all chats have in common: a turn of an agent as people should see it, whichever service shows it.
 *
 * It promises that the same events make the same turn, however often they came and in whichever order. It knows nothing of
 * any one chat, reaches nobody, and keeps nothing.
 */
export { clean, clipLine, utf8Length } from './text.ts';
export { type Problem } from './problem.ts';
export { type PlanItem, type Step } from './steps.ts';
export {
  answerOf,
  type Arrived,
  commentaryOf,
  isOver,
  type Said,
  startTurn,
  takeEvent,
  transcriptOf,
  type Turn,
  type TurnStatus,
  type WaitingApproval,
} from './turn.ts';
