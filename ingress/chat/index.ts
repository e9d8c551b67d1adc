/**
 * What all chats have in common: a turn of an agent as people should see it, whichever service shows it.
 *
 * It promises that the same events make the same turn, however often they came and in whichever order; that what was heard is
 * acted on until that succeeds, and a turn shown until all of it is, whichever processes die meanwhile. It knows nothing of
 * any one chat, reaches nothing but the platform's API, and keeps nothing.
 */
export { createApi } from './api.ts';
export { type BodyLimits, type BodyReader, createBodyReader } from './bodies.ts';
export { consume, Hopeless, type ConsumeOptions, type Trouble } from './consume.ts';
export { type Control, type Effort, EFFORTS, type Flagged, type Flags, mapProse, readControl, readFlags } from './flags.ts';
export { createGate } from './gate.ts';
export { type Log } from './log.ts';
export { LONGEST_DRAW_MS, showLive, type LiveTurn, Undeliverable } from './live.ts';
export { ending, pause, within } from './pause.ts';
export { hasEnded, isCode, messagesOf } from './platform.ts';
export { createSettingsReader, type Environment, SettingsError } from './settings.ts';
export { answerUnheard, type AskFor } from './unheard.ts';
export { clean, clip, clipLine, cutAt, utf8Length } from './text.ts';
export { type Step } from './steps.ts';
export { dollars, plural, shownState, stepCount, whyStill } from './words.ts';
export { answerOf, commentaryOf, isOver, startTurn, takeEvent, transcriptOf, type Turn } from './turn.ts';
