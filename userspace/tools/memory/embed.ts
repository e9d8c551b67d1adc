/**
 * What a text means, as numbers: by a service that speaks OpenAI's embeddings API. Only where the database has pgvector and there is a
 * key; without either, notes are found by their words.
 */
import { secret, type ToolContext } from '@centaur/sdk';
import { apiBase, createRest } from '../_shared/rest.ts';
import { DIMENSIONS } from './schema.ts';

export const KEY = 'MEMORY_EMBEDDINGS_KEY';
export const API = apiBase('MEMORY_EMBEDDINGS_URL', 'https://api.openai.com/v1');
const MODEL = process.env['MEMORY_EMBEDDINGS_MODEL'] || 'text-embedding-3-small';
/** Of one text; what is beyond has little to say to one vector. */
const MOST_CHARACTERS = 16_000;

const send = createRest({
  name: 'The embeddings service',
  base: API,
  headers: () => ({ authorization: `Bearer ${secret(KEY)}` }),
  explain: (_status, data) => {
    const message = (data as { error?: { message?: string } } | undefined)?.error?.message;
    return message === undefined ? undefined : { message };
  },
});

export function canEmbed(): boolean {
  return (process.env[KEY] ?? '') !== '';
}

/** As pgvector reads it; undefined when the service fails: a note that is found by its words only is better than none. */
export async function embed(ctx: ToolContext, text: string): Promise<string | undefined> {
  try {
    const { data } = await send<{ readonly data: readonly { readonly embedding: readonly number[] }[] }>(ctx, {
      method: 'POST',
      path: '/embeddings',
      json: { model: MODEL, input: text.slice(0, MOST_CHARACTERS), dimensions: DIMENSIONS },
      repeatable: true,
    });
    const numbers = data.data[0]?.embedding;
    if (numbers?.length !== DIMENSIONS) throw new Error(`${DIMENSIONS} numbers were asked for, and ${numbers?.length ?? 0} came`);
    return `[${numbers.join(',')}]`;
  } catch (error) {
    ctx.signal.throwIfAborted();
    ctx.log('a text has no vector, and is found by its words only', { error: (error as Error).message });
    return undefined;
  }
}
