/**
 * The sums by day. Whoever adds to them has all of one turn's, or of one batch's, in one statement, of one day, in one order with the row of
 * everything first: so two of them wait for each other at that row, and never in a circle.
 */
import type { Queryable } from '../store/index.ts';
import type { Dimension, Tokens } from './types.ts';

export interface Addition extends Tokens {
  readonly dimension: Dimension;
  readonly key: string;
  readonly turns: number;
  readonly cost_micros: number;
  readonly unpriced: number;
}

const ORDER: readonly Dimension[] = ['all', 'model', 'model_name', 'thread', 'user', 'workflow'];

/** What JavaScript still tells apart. Sums end here rather than in an error, which would keep every turn of the day from ending. */
const MOST = Number.MAX_SAFE_INTEGER;

/** @param additions several for one row are one turn's: its tokens are added up, it is not */
export async function addToDays(tx: Queryable, day: string, additions: readonly Addition[]): Promise<void> {
  const rows = inOrder(merge(additions));
  if (rows.length === 0) return;
  const added = (column: string) => `${column} = least(${MOST}, least(${MOST}, d.${column}) + excluded.${column})`;
  await tx.query(
    `insert into usage_days as d (dimension, key, day, turns, input, output, cache_read, cache_write, reasoning, cost_micros, unpriced)
     select dimension, key, $1::date, turns, input, output, cache_read, cache_write, reasoning, cost_micros, unpriced
     from unnest($2::text[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
       with ordinality as k (dimension, key, turns, input, output, cache_read, cache_write, reasoning, cost_micros, unpriced, at) order by k.at
     on conflict (dimension, key, day) do update set turns = d.turns + excluded.turns,
       ${['input', 'output', 'cache_read', 'cache_write', 'reasoning', 'cost_micros', 'unpriced'].map(added).join(', ')}`,
    [
      day,
      rows.map(({ dimension }) => dimension),
      rows.map(({ key }) => key),
      rows.map(({ turns }) => turns),
      rows.map(({ input }) => input),
      rows.map(({ output }) => output),
      rows.map(({ cache_read }) => cache_read),
      rows.map(({ cache_write }) => cache_write),
      rows.map(({ reasoning }) => reasoning),
      rows.map(({ cost_micros }) => cost_micros),
      rows.map(({ unpriced }) => unpriced),
    ],
  );
}

export interface Repricing {
  readonly dimension: Dimension;
  readonly key: string;
  readonly cost_micros: number;
  /** Tokens that had no price and have one now. */
  readonly priced: number;
}

/** A row that is not there any more was erased, and stays so. */
export async function repriceDay(tx: Queryable, day: string, changes: readonly Repricing[]): Promise<void> {
  const rows = inOrder(changes);
  const keys = [day, rows.map(({ dimension }) => dimension), rows.map(({ key }) => key)];
  // an update takes its rows in any order, so this takes their locks before it: in the order of `addToDays`
  await tx.query(
    `select 1 from unnest($2::text[], $3::text[]) with ordinality as k (dimension, key, at)
     join usage_days d on d.dimension = k.dimension and d.key = k.key and d.day = $1::date order by k.at for update of d`,
    keys,
  );
  await tx.query(
    `update usage_days d set cost_micros = least(${MOST}, d.cost_micros + k.cost), unpriced = greatest(0, d.unpriced - k.priced)
     from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) as k (dimension, key, cost, priced)
     where d.dimension = k.dimension and d.key = k.key and d.day = $1::date`,
    [...keys, rows.map(({ cost_micros }) => cost_micros), rows.map(({ priced }) => priced)],
  );
}

function merge(additions: readonly Addition[]): readonly Addition[] {
  const rows = new Map<string, Addition>();
  for (const more of additions) {
    const id = `${more.dimension} ${more.key}`;
    const before = rows.get(id);
    if (before === undefined) rows.set(id, more);
    else
      rows.set(id, {
        ...before,
        input: Math.min(MOST, before.input + more.input),
        output: Math.min(MOST, before.output + more.output),
        cache_read: Math.min(MOST, before.cache_read + more.cache_read),
        cache_write: Math.min(MOST, before.cache_write + more.cache_write),
        reasoning: Math.min(MOST, before.reasoning + more.reasoning),
        cost_micros: Math.min(MOST, before.cost_micros + more.cost_micros),
        unpriced: Math.min(MOST, before.unpriced + more.unpriced),
      });
  }
  return [...rows.values()];
}

function inOrder<Row extends { readonly dimension: Dimension; readonly key: string }>(rows: readonly Row[]): readonly Row[] {
  return rows.toSorted((a, b) => ORDER.indexOf(a.dimension) - ORDER.indexOf(b.dimension) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}
