/** Reading usage: sums for people, and what a caller has spent for the policy. */
import type { Spend, Spent } from '../policy/index.ts';
import type { Queryable } from '../store/index.ts';
import { dayOf, type Dimension, modelName, monthOf } from './types.ts';

export interface UsageRow {
  /** Of the thread, workflow, user or model; the day. Null: of none. */
  readonly key: string | null;
  readonly turns: number;
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_read_tokens: number;
  readonly cache_write_tokens: number;
  readonly reasoning_tokens: number;
  /** Millionths of the currency of the prices; null when no model of these had a price. */
  readonly cost_micros: number | null;
  /** Tokens of models without a price, which the cost lacks. */
  readonly unpriced_tokens: number;
}

/** Sums end where JavaScript tells numbers apart. */
const sum = (of: string) => `least(sum(${of}), ${Number.MAX_SAFE_INTEGER})::bigint`;

const SUMS = `${sum('turns')} as turns, ${sum('input')} as input_tokens, ${sum('output')} as output_tokens,
  ${sum('cache_read')} as cache_read_tokens, ${sum('cache_write')} as cache_write_tokens, ${sum('reasoning')} as reasoning_tokens,
  ${sum('cost_micros')} as cost_micros, ${sum('unpriced')} as unpriced_tokens`;

const TOTAL = 'input + output + cache_read + cache_write';

/** The largest first; days newest first. @param since in Unix milliseconds: from the day that it is in, in UTC */
export async function listUsage(
  store: Queryable,
  query: { readonly by: Exclude<Dimension, 'all' | 'model_name'> | 'day'; readonly since: number; readonly limit: number },
): Promise<{ readonly items: readonly UsageRow[]; readonly total: UsageRow }> {
  const since = dayOf(query.since);
  const { rows } =
    query.by === 'day'
      ? await store.query<UsageRow>(
          `select day::text as key, ${SUMS} from usage_days where dimension = 'all' and day >= $1::date group by day order by day desc limit $2`,
          [since, query.limit],
        )
      : await store.query<UsageRow>(
          `select nullif(key, '') as key, ${SUMS} from usage_days where dimension = $3 and day >= $1::date
           group by key order by sum(${TOTAL}) desc, key limit $2`,
          [since, query.limit, query.by],
        );
  const { rows: all } = await store.query<Record<keyof UsageRow, number | null>>(
    `select null as key, ${SUMS} from usage_days where dimension = 'all' and day >= $1::date`,
    [since],
  );
  return { items: rows.map(toRow), total: toRow(all[0] as UsageRow) };
}

/** Nothing that had a price costs nothing; nothing at all has no cost. */
function toRow(row: { readonly [K in keyof UsageRow]: UsageRow[K] | null }): UsageRow {
  const n = (value: number | null) => value ?? 0;
  const tokens = n(row.input_tokens) + n(row.output_tokens) + n(row.cache_read_tokens) + n(row.cache_write_tokens);
  const unpriced = n(row.unpriced_tokens);
  return {
    key: row.key,
    turns: n(row.turns),
    input_tokens: n(row.input_tokens),
    output_tokens: n(row.output_tokens),
    cache_read_tokens: n(row.cache_read_tokens),
    cache_write_tokens: n(row.cache_write_tokens),
    reasoning_tokens: n(row.reasoning_tokens),
    cost_micros: unpriced > 0 && unpriced >= tokens ? null : n(row.cost_micros),
    unpriced_tokens: unpriced,
  };
}

export interface Spender {
  readonly thread?: string | undefined;
  readonly workflow?: string | undefined;
  readonly user?: string | undefined;
}

/** What was spent when this was read: an input of the decision, which is recorded with it. One statement, some dozens of rows at most. */
export async function readSpend(store: Queryable, { thread, workflow, user }: Spender, nowMs: number): Promise<Spend> {
  const own: DimensionKey | undefined =
    thread !== undefined ? ['thread', thread] : workflow !== undefined ? ['workflow', workflow] : undefined;
  const keys: DimensionKey[] = [['all', ''], ...(own === undefined ? [] : [own])];
  if (user !== undefined) keys.push(['user', user]);
  const windows = await readWindows(store, keys, nowMs);
  const spent = ({ tokens, micros }: Spent): Spent => ({ tokens, micros });
  const of = (key: DimensionKey | undefined) => {
    const { day, month } = (key === undefined ? undefined : windows.get(windowId(key))) ?? NOTHING;
    return { day: spent(day), month: spent(month) };
  };
  return { ...of(own), user: of(user === undefined ? undefined : ['user', user]), all: of(['all', '']) };
}

const NONE: Spent = { tokens: 0, micros: 0 };
const NOTHING = { day: NONE, month: NONE };

interface Window {
  readonly day: Spent & { readonly unpriced: number };
  readonly month: Spent & { readonly unpriced: number };
}

export type DimensionKey = readonly [Dimension, string];

/** By which `readWindows` answers. */
export const windowId = ([dimension, key]: DimensionKey): string => `${dimension} ${key}`;

export async function readWindows(store: Queryable, keys: readonly DimensionKey[], nowMs: number): Promise<ReadonlyMap<string, Window>> {
  const { rows } = await store.query<{
    dimension: Dimension;
    key: string;
    day_tokens: number;
    day_micros: number;
    day_unpriced: number;
    tokens: number;
    micros: number;
    unpriced: number;
  }>(
    `select d.dimension, d.key, ${sum(TOTAL)} as tokens, ${sum('cost_micros')} as micros, ${sum('unpriced')} as unpriced,
       coalesce(sum(${TOTAL}) filter (where day = $3::date), 0)::bigint as day_tokens,
       coalesce(sum(cost_micros) filter (where day = $3::date), 0)::bigint as day_micros,
       coalesce(sum(unpriced) filter (where day = $3::date), 0)::bigint as day_unpriced
     from unnest($1::text[], $2::text[]) as k (dimension, key)
     join usage_days d on d.dimension = k.dimension and d.key = k.key and d.day between $4::date and $3::date
     group by d.dimension, d.key`,
    [keys.map(([dimension]) => dimension), keys.map(([, key]) => key), dayOf(nowMs), monthOf(nowMs)],
  );
  return new Map(
    rows.map((row) => [
      windowId([row.dimension, row.key]),
      {
        day: { tokens: row.day_tokens, micros: row.day_micros, unpriced: row.day_unpriced },
        month: { tokens: row.tokens, micros: row.micros, unpriced: row.unpriced },
      },
    ]),
  );
}

/** How many of the last turns are looked at for what a name means. */
const LATELY = 20;

/** The names by which a turn is known that begins: what is asked for, and what the harness said of late that this is. */
export async function namesOf(store: Queryable, harness: string, asked: string | undefined): Promise<readonly string[]> {
  const name = asked === undefined ? '' : modelName(asked);
  const { rows } = await store.query<{ model: string }>(
    `select distinct model from (
       select model from usage where harness = $1 and asked_model = $2 order by at desc limit ${LATELY}) lately order by model`,
    [harness, name],
  );
  return [...new Set([...(name === '' ? [] : [name]), ...rows.map(({ model }) => model)])];
}

/** Tokens and cost since ever, by model, for /metrics: as many rows as models were used on days. */
export async function usageByModel(
  store: Queryable,
): Promise<readonly (Omit<UsageRow, 'key' | 'cost_micros'> & { readonly model: string; readonly cost_micros: number })[]> {
  const { rows } = await store.query<Omit<UsageRow, 'key' | 'cost_micros'> & { model: string; cost_micros: number }>(
    `select key as model, ${SUMS} from usage_days where dimension = 'model' group by key order by sum(${TOTAL}) desc`,
  );
  return rows;
}
