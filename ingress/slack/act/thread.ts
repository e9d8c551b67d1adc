/** What the platform knows of a thread: read anew for each message, since nothing of it is kept here. */
import type { ExecutionView } from '@centaur/sdk';
import { type Effort, EFFORTS, isCode } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import type { KnownThread } from './rules.ts';
import { listOf, objectOf, tsOf } from '../shapes.ts';

export interface Thread extends KnownThread {
  readonly key: string;
  /** What it is assigned to; null: the next turn begins anew. */
  readonly harness: string | null;
  readonly persona: string | null;
  /** Of the assignment. */
  readonly generation: number | null;
  /** Newest first; not all of a long thread. */
  readonly turns: readonly ExecutionView[];
  /** Messages that no turn has taken. */
  readonly waiting: number;
}

/** Enough to find the turn of a message that is edited, and whose turns the last ones were. */
const TURNS = 100;

export async function readThread({ api }: SlackContext, key: string): Promise<Thread> {
  try {
    // most of what is said is in threads that have none here: the first question says so, and the second one is spared
    const thread = await api.threads.get(key);
    const { items: turns } = await api.threads.executions(key, { limit: TURNS });
    const person = turns.findIndex((turn) => noteOf(turn)?.by !== 'bot');
    return {
      key,
      isKnown: true,
      isRunning: turns.some((turn) => turn.status === 'running'),
      turnsByBots: person < 0 ? turns.length : person,
      harness: thread.harness,
      persona: thread.persona_id,
      generation: thread.assignment_generation,
      turns,
      waiting: thread.pending_messages,
    };
  } catch (error) {
    if (!isCode(error, 'THREAD_NOT_FOUND')) throw error;
    return { key, isKnown: false, isRunning: false, turnsByBots: 0, harness: null, persona: null, generation: null, turns: [], waiting: 0 };
  }
}

/** Kept with each turn that was asked for here, in its metadata under `slack`: so it is known again by whoever acts next. */
export interface TurnNote {
  /** Of the message that asked. */
  readonly ts: string;
  readonly by: 'person' | 'bot';
  readonly user: string | null;
  /** When the text was edited that the turn was given; null: as it was written. */
  readonly edited: string | null;
  /** Of the files that came with it, taken or refused. */
  readonly files: readonly string[];
  readonly effort: Effort | null;
  /** Somebody chose the harness or the persona: the channel's model is not meant for it. */
  readonly chosen: boolean;
}

/** Undefined of a turn that somebody asked for elsewhere. */
export function noteOf(turn: Pick<ExecutionView, 'metadata'>): TurnNote | undefined {
  const note = objectOf(turn.metadata['slack']);
  const ts = tsOf(note?.['ts']);
  if (note === undefined || ts === undefined) return undefined;
  const effort = EFFORTS.find((each) => each === note['effort']);
  return {
    ts,
    by: note['by'] === 'bot' ? 'bot' : 'person',
    user: typeof note['user'] === 'string' ? note['user'] : null,
    edited: tsOf(note['edited']) ?? null,
    files: listOf(note['files']).filter((id) => typeof id === 'string'),
    effort: effort ?? null,
    chosen: note['chosen'] === true,
  };
}

/** Those that a message has asked for: newest first. */
export function turnsOf({ turns }: Thread, ts: string): readonly ExecutionView[] {
  return turns.filter((turn) => noteOf(turn)?.ts === ts);
}

/** Somebody has chosen the agent that the thread has. */
export function isChosen({ turns, generation }: Thread): boolean {
  return turns.some((turn) => turn.assignment_generation === generation && noteOf(turn)?.chosen === true);
}
