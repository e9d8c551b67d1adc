/** What the platform refuses, as one sentence for whoever asked; and whether trying again could help. */
import { CentaurApiError } from '@centaur/sdk';
import { Hopeless } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import { escapeSlack } from '../render/text.ts';
import { type Listener, tell, tellOnce } from './tell.ts';

export interface Refusal {
  readonly words: string;
  /** `asker`: they can mend it, and know how. `operator`: nobody who asks can. `again`: it may succeed later by itself. */
  readonly whose: 'asker' | 'operator' | 'again';
}

/** Undefined: nobody was asked, or nobody answered; that is no refusal. */
export function readRefusal(error: unknown): Refusal | undefined {
  if (!(error instanceof CentaurApiError)) return undefined;
  const { status, code, message, details } = error;
  if (status === 0 || status === 408 || status === 425 || status === 429 || status >= 500) return undefined;
  switch (code) {
    case 'ACTIVE_ASSIGNMENT_PROMPT_MISMATCH':
      return { whose: 'asker', words: 'This thread has another agent already. Say `release` first, or ask in a new thread.' };
    case 'UNKNOWN_HARNESS':
      return { whose: 'asker', words: `There is no such agent here. ${sentence(message.replace(/^harness: /, ''))}` };
    case 'UNKNOWN_PERSONA_ID':
      return { whose: 'asker', words: `There is no such persona here. ${sentence(message.replace(/^persona_id: /, ''))}` };
    case 'TOO_LARGE':
      return { whose: 'asker', words: 'That is too large: send less of it, or smaller files.' };
    case 'UNAUTHENTICATED':
    case 'FORBIDDEN':
      return {
        whose: 'again',
        words: `I am not allowed to do that: an operator has to look at my key (${code}). I keep trying for a while.`,
      };
    default: {
      const fields = (details as { issues?: readonly { path?: unknown }[] } | undefined)?.issues?.map(({ path }) => String(path)) ?? [];
      return {
        whose: 'operator',
        words: `The platform did not accept this (${code}${fields.length === 0 ? '' : `: ${fields.join(', ')}`}). An operator can find out more by it.`,
      };
    }
  }
}

/**
 * Tells whoever asked, when it is a refusal.
 *
 * @param reference by which an operator finds it
 * @throws Hopeless where nothing will change it; the error itself where trying again may help
 */
export async function tellRefusal(context: SlackContext, to: Listener, error: unknown, reference: string): Promise<void> {
  const refusal = readRefusal(error);
  if (refusal === undefined) throw error;
  const markup = `${escapeSlack(refusal.words)}\n_${escapeSlack(reference)}_`;
  if (refusal.whose === 'again') {
    await tellOnce(context, to, reference, markup);
    throw error;
  }
  await tell(context, to, markup);
  if (refusal.whose === 'operator') throw new Hopeless((error as Error).message, { cause: error });
}

function sentence(text: string): string {
  const words = text.trim().slice(0, 300);
  return /[.!?]$/.test(words) ? words : `${words}.`;
}
