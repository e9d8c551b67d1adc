/** What a thread's next turn would be told: its assignment is known here, and what comes of that by whoever runs turns. */
import type { Store } from '../store/index.ts';
import { ThreadError } from './errors.ts';
import { type Assigned, parsePersona } from './personas.ts';
import { getThread, userOfTurn } from './reads.ts';
import type { Catalogue } from './requests.ts';
import type { PromptView } from './types.ts';

/** @throws ThreadError THREAD_NOT_FOUND, PROMPT_UNAVAILABLE */
export async function readPrompt(
  store: Store,
  catalogue: Pick<Catalogue, 'defaultHarness' | 'describePrompt'>,
  threadKey: string,
): Promise<PromptView> {
  await getThread(store, threadKey);
  if (catalogue.describePrompt === undefined)
    throw new ThreadError('PROMPT_UNAVAILABLE', 'this process does not know what agents are told');
  const { rows } = await store.query<{ harness: string; persona: string | null; agents_md_override: string | null }>(
    `select harness, persona, agents_md_override from agent_runtime_assignments where thread_key = $1 and state = 'active'`,
    [threadKey],
  );
  const [row] = rows;
  const assigned: Assigned =
    row === undefined
      ? { harness: catalogue.defaultHarness, persona: null, override: null }
      : { harness: row.harness, persona: parsePersona(row.persona), override: row.agents_md_override };
  // as the turn that runs, if one does: whose the next one will be is not known
  return { thread_key: threadKey, ...(await catalogue.describePrompt(assigned, await userOfTurn(store, threadKey))) };
}
