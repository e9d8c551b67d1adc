import { createHash } from 'node:crypto';
import { method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { compact } from '../_shared/results.ts';
import { canEmbed, embed } from './embed.ts';
import { KEPT_DAYS, notebook } from './schema.ts';

const scope = z
  .enum(['thread', 'shared'])
  .describe('thread: only in this conversation; shared: for every conversation of the installation');
const tags = z.array(z.string().regex(/^\S+$/).max(64)).max(20);
const key = z.string().min(1).max(200).describe('A name within the scope, such as `deploy-steps`');
const id = z
  .string()
  .regex(/^\d{1,18}$/)
  .describe('id of the note');
const limit = z.int().min(1).max(50);

interface Row {
  readonly id: string;
  readonly thread_key: string | null;
  readonly key: string | null;
  readonly text: string;
  readonly tags: readonly string[];
  readonly created_at: Date;
}

const COLUMNS = 'id, thread_key, key, text, tags, created_at';
/** What a call may see: `$1` is its thread, null for none. */
const VISIBLE = '(thread_key is null or thread_key = $1)';
/** Names and code as they are, and English words by their stems. */
const WORDS = (text: string): string => `(to_tsvector('simple', ${text}) || to_tsvector('english', ${text}))`;
const QUERY = (text: string): string => `(websearch_to_tsquery('simple', ${text}) || websearch_to_tsquery('english', ${text}))`;
/** Of the cosine. Named with its schema, which need not be in the search path. */
const DISTANCE = (schema: string): string => `operator(${schema}.<=>)`;

export const noteMethods = {
  save_note: method({
    description: `Keeps a note for later. With a key it replaces the note of that name; what it replaces can be had back for ${KEPT_DAYS} days.`,
    risk: 'write',
    idempotent: true,
    input: z.strictObject({
      text: z.string().min(1).max(50_000),
      key: key.optional(),
      tags: tags.default([]),
      scope: scope.default('thread'),
    }),
    async run({ text, key = null, tags, scope }, ctx) {
      const thread = threadOf(ctx, scope);
      const notes = await notebook();
      const vector = notes.vectors !== undefined && canEmbed() ? await embed(ctx, text) : undefined;
      const call = digest([ctx.idempotencyKey, thread, key, text, tags]);
      return notes.transaction(ctx, async (client) => {
        // of two that save the same name at a time, the later one comes later
        await client.query('select pg_advisory_xact_lock(hashtextextended($1, 7261))', [JSON.stringify([thread, key ?? call])]);
        const { rows: before } = await client.query<Row>(`select ${COLUMNS} from centaur_memory.notes where call = $1`, [call]);
        if (before[0] !== undefined) return toNote(before[0]);
        const { rows: replaced } = await client.query<{ id: string }>(
          `update centaur_memory.notes set removed_at = now()
            where key = $2 and thread_key is not distinct from $1 and removed_at is null returning id`,
          [thread, key],
        );
        const { rows } = await client.query<Row>(
          `insert into centaur_memory.notes (thread_key, key, text, tags, call, words)
           values ($1, $2, $3, $4, $5, ${WORDS(`concat_ws(' ', $2::text, array_to_string($4::text[], ' '), $3::text)`)}) returning ${COLUMNS}`,
          [thread, key, text, tags, call],
        );
        const note = rows[0] as Row;
        if (vector !== undefined) await client.query('update centaur_memory.notes set embedding = $2 where id = $1', [note.id, vector]);
        return { ...toNote(note), ...(replaced[0] === undefined ? {} : { replaced: replaced[0].id }) };
      });
    },
  }),

  get_note: method({
    description: 'One note, by its id or its key.',
    risk: 'read',
    input: z
      .strictObject({ id: id.optional(), key: key.optional(), scope: scope.default('thread') })
      .refine((given) => (given.id === undefined) !== (given.key === undefined), 'give an id or a key'),
    async run({ id, key, scope }, ctx) {
      const notes = await notebook();
      const rows =
        id === undefined
          ? await notes.query<Row>(
              ctx,
              `select ${COLUMNS} from centaur_memory.notes where thread_key is not distinct from $1 and key = $2 and removed_at is null`,
              [threadOf(ctx, scope), key],
            )
          : await notes.query<Row>(ctx, `select ${COLUMNS} from centaur_memory.notes where ${VISIBLE} and id = $2 and removed_at is null`, [
              ctx.threadKey ?? null,
              id,
            ]);
      if (rows[0] === undefined) throw missing(id ?? `"${key}"`);
      return toNote(rows[0]);
    },
  }),

  list_notes: method({
    description: 'Notes, newest first: those of this conversation and the shared ones, or only one of both.',
    risk: 'read',
    input: z.strictObject({
      scope: scope.optional(),
      tags: tags.default([]).describe('Only those that have all of them'),
      before: id.optional().describe('next of the answer before'),
      limit: limit.default(20),
    }),
    async run({ scope, tags, before, limit }, ctx) {
      const rows = await (
        await notebook()
      ).query<Row>(
        ctx,
        `select ${COLUMNS} from centaur_memory.notes
          where ${within(scope, ctx)} and removed_at is null and tags @> $2::text[] and ($3::bigint is null or id < $3) order by id desc limit $4`,
        [ctx.threadKey ?? null, tags, before ?? null, limit + 1],
      );
      const items = rows.slice(0, limit).map(toNote);
      return { items, ...(rows.length > limit ? { next: items.at(-1)?.['id'] } : {}) };
    },
  }),

  search_notes: method({
    description:
      'Finds notes by words, and where the database has vectors also by what they mean: in this conversation and the shared ones. Best first.',
    risk: 'read',
    input: z.strictObject({
      query: z.string().min(1).max(1000).describe('Words; "in quotes" together, -without'),
      scope: scope.optional(),
      tags: tags.default([]).describe('Only those that have all of them'),
      limit: limit.default(10),
    }),
    async run({ query, scope, tags, limit }, ctx) {
      const notes = await notebook();
      const where = `${within(scope, ctx)} and removed_at is null and tags @> $2::text[]`;
      const byWords = (words: string) =>
        notes.query<Row>(
          ctx,
          `select ${COLUMNS} from centaur_memory.notes cross join (select ${words} as wanted) as question
            where ${where} and words @@ wanted order by ts_rank_cd(words, wanted, 1) desc, id desc limit $4`,
          [ctx.threadKey ?? null, tags, query, FOUND_MOST],
        );
      let found = await byWords(QUERY('$3'));
      // no note has all of them. What is to be left out, or together, cannot be loosened so
      if (found.length === 0 && !/(?:^|\s)-\S|"/.test(query)) found = await byWords(`replace(${QUERY('$3')}::text, '&', '|')::tsquery`);
      const vector = notes.vectors !== undefined && canEmbed() ? await embed(ctx, query) : undefined;
      if (notes.vectors === undefined || vector === undefined) return { items: found.slice(0, limit).map(toNote) };
      const near = await notes.query<Row>(
        ctx,
        `select ${COLUMNS} from centaur_memory.notes where ${where} and embedding is not null
          order by embedding ${DISTANCE(notes.vectors)} $3 limit $4`,
        [ctx.threadKey ?? null, tags, vector, FOUND_MOST],
      );
      return { items: merge(found, near).slice(0, limit).map(toNote) };
    },
  }),

  forget_note: method({
    description: `Forgets a note. restore_note has it back for ${KEPT_DAYS} days.`,
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ id }),
    async run({ id }, ctx) {
      const rows = await (
        await notebook()
      ).query<{ id: string }>(
        ctx,
        `update centaur_memory.notes set removed_at = coalesce(removed_at, now()) where ${VISIBLE} and id = $2 returning id`,
        [ctx.threadKey ?? null, id],
      );
      if (rows.length === 0) throw missing(id);
      return { id, forgotten: true };
    },
  }),

  restore_note: method({
    description: 'Has a note back that was forgotten or replaced. A note that has its key since then is replaced by it.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ id }),
    async run({ id }, ctx) {
      return (await notebook()).transaction(ctx, async (client) => {
        const thread = ctx.threadKey ?? null;
        await client.query(
          `update centaur_memory.notes as other set removed_at = now() from centaur_memory.notes as note
            where note.id = $2 and (note.thread_key is null or note.thread_key = $1) and note.removed_at is not null and note.key is not null
              and other.key = note.key and other.thread_key is not distinct from note.thread_key and other.removed_at is null`,
          [thread, id],
        );
        const { rows } = await client.query<Row>(
          `update centaur_memory.notes set removed_at = null where ${VISIBLE} and id = $2 returning ${COLUMNS}`,
          [thread, id],
        );
        if (rows[0] === undefined) throw missing(id);
        return toNote(rows[0]);
      });
    },
  }),
};

/** Of each way of finding them, before they are brought into one order. */
const FOUND_MOST = 50;
/** Of reciprocal rank fusion: how little the first places count above those behind them (Cormack et al., 2009). */
const RANK_OFFSET = 60;

function merge(...lists: readonly (readonly Row[])[]): readonly Row[] {
  const scores = new Map<string, { readonly row: Row; score: number }>();
  for (const list of lists) {
    for (const [rank, row] of list.entries()) {
      const known = scores.get(row.id) ?? { row, score: 0 };
      known.score += 1 / (RANK_OFFSET + rank + 1);
      scores.set(row.id, known);
    }
  }
  return [...scores.values()].sort((a, b) => b.score - a.score).map(({ row }) => row);
}

/** @throws ToolFailure when there is no conversation that a note could belong to */
function threadOf({ threadKey }: ToolContext, scope: 'thread' | 'shared'): string | null {
  if (scope === 'shared') return null;
  if (threadKey === undefined)
    throw new ToolFailure('NO_THREAD', 'This call belongs to no conversation, so it has only shared notes: give scope "shared".');
  return threadKey;
}

/** `$1` is the call's thread. */
function within(scope: 'thread' | 'shared' | undefined, ctx: ToolContext): string {
  if (scope === undefined) return VISIBLE;
  threadOf(ctx, scope);
  // the thread's type must be known also where it is not compared
  return scope === 'shared' ? '($1::text is null or true) and thread_key is null' : 'thread_key = $1';
}

function toNote({ id, thread_key: thread, key, text, tags, created_at: created }: Row): Record<string, unknown> {
  return compact({
    id,
    key,
    scope: thread === null ? 'shared' : 'thread',
    text,
    tags: tags.length === 0 ? undefined : tags,
    created_at: created.toISOString(),
  });
}

function missing(name: string): ToolFailure {
  return new ToolFailure('NOT_FOUND', `There is no note ${name} here; search_notes and list_notes show those that there are.`);
}

function digest(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}
