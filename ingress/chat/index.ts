/**
 * What all chats have in common: a turn of an agent as people should see it, whichever service shows it.
 *
 * It promises that the same events make the same turn, however often they came and in whichever order; that what was heard is
 * acted on until that succeeds, and a turn shown until all of it is, whichever processes die meanwhile. It knows nothing of
 * any one chat, reaches nothing but the platform's API, and keeps nothing.
 */
export { type BodyLimits, type BodyReader, createBodyReader } from './bodies.ts';
export { consume, Hopeless, type ConsumeOptions, type Trouble } from './consume.ts';
export { type Control, type Flagged, type Flags, mapProse, readControl, readFlags } from './flags.ts';
export { createGate, type Gate } from './gate.ts';
export { LONGEST_DRAW_MS, showLive, type LiveOptions, type LiveTurn, Undeliverable } from './live.ts';
export { ending, pause, within } from './pause.ts';
export { answerUnheard, type AskFor } from './unheard.ts';
export { clean, clip, clipLine, cutAt, utf8Length } from './text.ts';
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
