/** Counting what rules with a limit have allowed. */
import type { Store } from '../store/index.ts';
import { DEFAULT_GATE_NAME } from './parse.ts';
import type { Decision, Effect } from './types.ts';

/** Longer than the longest window. */
const KEPT_DAYS = 32;

/** Longer keys are counted by their hash: an index row has little room. */
const LONGEST_KEY = 200;

/**
 * Counts one use in the present window, and says whether it was still within the limit. Windows are fixed: they begin at
 * the multiples of their length since 1970. A use that is refused is not counted.
 */
export async function takeLimit(
  store: Pick<Store, 'query' | 'now'>,
  rule: string,
  key: string,
  max: number,
  perMs: number,
): Promise<boolean> {
  const start = Math.floor(store.now() / perMs) * perMs;
  // the condition is looked at under the row's lock, so of many at once no more than `max` get through
  const { rowCount } = await store.query(
    `insert into policy_counters as c (rule, key, window_start, used)
     values ($1, case when length($2::text) > ${LONGEST_KEY} then encode(sha256(convert_to($2::text, 'UTF8')), 'hex') else $2::text end, to_timestamp($3::float8 / 1000), 1)
     on conflict (rule, key, window_start) do update set used = c.used + 1 where c.used < $4::int`,
    [rule, key, start, max],
  );
  return rowCount === 1;
}

/** A decision once the uses of its allowances are counted: beyond a limit a person is asked. */
export async function decideCounted(
  decision: Decision,
  take: (rule: string, key: string, max: number, perMs: number) => Promise<boolean>,
): Promise<{ readonly effect: Effect; readonly gate: string; readonly exhausted: readonly string[] }> {
  let { gate } = decision;
  const exhausted: string[] = [];
  for (const limit of decision.limits) {
    if (await take(limit.rule, limit.key, limit.max, limit.perMs)) continue;
    exhausted.push(limit.rule);
    gate ??= limit.gate;
  }
  const effect = decision.effect === 'allow' && exhausted.length > 0 ? 'approve' : decision.effect;
  return { effect, gate: gate ?? DEFAULT_GATE_NAME, exhausted };
}

/** Forgets windows that are over. Answers how many. */
export async function pruneLimits(store: Pick<Store, 'query' | 'now'>): Promise<number> {
  const { rowCount } = await store.query('delete from policy_counters where window_start < to_timestamp($1::float8 / 1000)', [
    store.now() - KEPT_DAYS * 86_400_000,
  ]);
  return rowCount;
}
