/** Which agent answers, and how: by the flags of the message, by what its thread is assigned to, and by the channel's rules. */
import type { Effort, Flags } from '../../chat/index.ts';
import type { ChannelRules } from '../settings.ts';

/** Of `threads.send`; what is left out is the platform's to choose. */
export interface Choice {
  readonly harness?: string;
  readonly personaId?: string;
  readonly model?: string;
  readonly effort?: Effort;
}

export interface Assigned {
  readonly harness: string | null;
  readonly persona: string | null;
  /** Somebody chose one of them. */
  readonly chosen: boolean;
}

export type Chosen =
  | { readonly choice: Choice; readonly chosen: boolean }
  /** The thread has another agent: what it has. */
  | { readonly taken: 'harness' | 'persona'; readonly by: string };

/**
 * Harness and persona belong to the thread until it is released; model and effort to one turn. A channel's model is meant for the
 * channel's own agent, and not for one that somebody chose.
 */
export function choose(flags: Flags, defaults: ChannelRules, assigned: Assigned): Chosen {
  const { harness, persona } = assigned;
  const chosen = flags.harness !== undefined || flags.persona !== undefined || (harness !== null && assigned.chosen);
  const model = flags.model ?? (chosen ? undefined : defaults.model);
  const effort = flags.effort ?? defaults.effort;
  const turn = { ...(model === undefined ? {} : { model }), ...(effort === undefined ? {} : { effort }) };
  if (harness !== null) {
    if (flags.persona !== undefined && flags.persona !== persona) return { taken: 'persona', by: persona ?? harness };
    if (flags.harness !== undefined && flags.harness !== harness) return { taken: 'harness', by: harness };
    // named again, an assignment must be named whole; not named, it is what it is
    return { choice: turn, chosen };
  }
  const personaId = flags.persona ?? defaults.persona;
  // a persona that was asked for brings its own harness
  const wanted = flags.harness ?? (flags.persona === undefined ? defaults.harness : undefined);
  return {
    choice: { ...(wanted === undefined ? {} : { harness: wanted }), ...(personaId === undefined ? {} : { personaId }), ...turn },
    chosen,
  };
}
