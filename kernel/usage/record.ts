/** Writing usage: with the end of a turn, in its transaction. */
import type { Queryable } from '../store/index.ts';
import { costOf, priceOf, type Prices } from './prices.ts';
import { dayOf, type Dimension, type Tokens } from './types.ts';

export interface TurnUsage {
  readonly executionId: string;
  readonly threadKey: string;
  readonly harness: string;
  /** What the turn was asked to use, or what its harness is set to. */
  readonly model: string | null;
  readonly userId: string | null;
  /** The run that asked for the turn. */
  readonly askedBy: string | null;
}

/** Of a model that nobody named. */
export const UNKNOWN_MODEL = 'unknown';

/**
 * Sums what the stream of the turn says, which has each of its events once: also those of attempts that died, and of workers
 * before this one. The caller's transaction ends the turn, and does so once; so this is written once.
 */
export async function recordUsage(tx: Queryable, prices: Prices, turn: TurnUsage, nowMs: number): Promise<void> {
  const said = await readSaid(tx, turn);
  if (said.size === 0) return;
  const workflow = await workflowOf(tx, turn.askedBy);
  let turns = 1;
  for (const [model, { tokens, estimate }] of [...said].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const price = priceOf(prices, model);
    const cost = price === undefined ? null : costOf(tokens, price);
    const { rowCount } = await tx.query(
      `insert into usage (execution_id, model, thread_key, harness, workflow, user_id, input, output, cache_read, cache_write, reasoning,
         cost_micros, estimate_micros, at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, to_timestamp($14::float8 / 1000)) on conflict do nothing`,
      [
        turn.executionId,
        model,
        turn.threadKey,
        turn.harness,
        workflow ?? null,
        turn.userId,
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write,
        tokens.reasoning,
        cost,
        estimate ?? null,
        nowMs,
      ],
    );
    if (rowCount === 0) continue;
    const keys: readonly [Dimension, string][] = [
      ['all', ''],
      ['model', model],
      ['thread', turn.threadKey],
      ['user', turn.userId ?? ''],
      ['workflow', workflow ?? ''],
    ];
    await addToDays(tx, dayOf(nowMs), keys, tokens, { turns, model, cost });
    // a turn with two models is one turn, and one of each
    turns = 0;
  }
}

/** @param keys in their order, so that of two turns that end at once neither waits for the other for ever */
async function addToDays(
  tx: Queryable,
  day: string,
  keys: readonly (readonly [Dimension, string])[],
  tokens: Tokens,
  { turns, cost }: { readonly turns: number; readonly model: string; readonly cost: number | null },
): Promise<void> {
  await tx.query(
    `insert into usage_days as d (dimension, key, day, turns, input, output, cache_read, cache_write, reasoning, cost_micros, unpriced)
     select k.dimension, k.key, $3::date, case when k.dimension = 'model' then 1 else $4::int end, $5::bigint, $6::bigint, $7::bigint,
       $8::bigint, $9::bigint, $10::bigint, $11::bigint
     from unnest($1::text[], $2::text[]) with ordinality as k (dimension, key, at) order by k.at
     on conflict (dimension, key, day) do update set turns = d.turns + excluded.turns, input = d.input + excluded.input,
       output = d.output + excluded.output, cache_read = d.cache_read + excluded.cache_read,
       cache_write = d.cache_write + excluded.cache_write, reasoning = d.reasoning + excluded.reasoning,
       cost_micros = d.cost_micros + excluded.cost_micros, unpriced = d.unpriced + excluded.unpriced`,
    [
      keys.map(([dimension]) => dimension),
      keys.map(([, key]) => key),
      day,
      turns,
      tokens.input,
      tokens.output,
      tokens.cache_read,
      tokens.cache_write,
      tokens.reasoning,
      cost ?? 0,
      cost === null ? totalOf(tokens) : 0,
    ],
  );
}

export function totalOf({ input, output, cache_read, cache_write }: Tokens): number {
  return input + output + cache_read + cache_write;
}

/** The name of the workflow whose run it is. */
export async function workflowOf(tx: Queryable, runId: string | null): Promise<string | undefined> {
  if (runId === null) return undefined;
  const { rows } = await tx.query<{ workflow_name: string }>(
    `select workflow_name from workflow_runs where run_id = $1
     union all select workflow_name from workflow_runs_finished where run_id = $1 limit 1`,
    [runId],
  );
  return rows[0]?.workflow_name;
}

interface Said {
  readonly tokens: Tokens;
  readonly estimate: number | undefined;
}

async function readSaid(tx: Queryable, { threadKey, executionId, model }: TurnUsage): Promise<Map<string, Said>> {
  const { rows } = await tx.query<{ event_json: string; session: string | null }>(
    `select event_json, (select s.event_json ->> 'model' from agent_execution_events s where s.thread_key = e.thread_key
         and s.event_kind = 'session' and s.event_id < e.event_id and s.event_json ->> 'model' is not null order by s.event_id desc limit 1) as session
     from agent_execution_events e where thread_key = $1 and event_kind = 'usage' and execution_id = $2 order by event_id`,
    [threadKey, executionId],
  );
  const sums = new Map<string, Said>();
  for (const { event_json, session } of rows) {
    const event = JSON.parse(event_json) as { readonly usage?: Readonly<Record<string, unknown>>; readonly model?: unknown };
    const usage = event.usage ?? {};
    const name = (typeof event.model === 'string' ? event.model : (session ?? model ?? UNKNOWN_MODEL)).slice(0, 200);
    const before = sums.get(name);
    const sum = (of: keyof Tokens) => (before?.tokens[of] ?? 0) + whole(usage[of]);
    const estimate = typeof usage['cost_usd'] === 'number' ? whole(Math.round(usage['cost_usd'] * 1e6)) : undefined;
    sums.set(name, {
      tokens: {
        input: sum('input'),
        output: sum('output'),
        cache_read: sum('cache_read'),
        cache_write: sum('cache_write'),
        reasoning: sum('reasoning'),
      },
      estimate: estimate === undefined ? before?.estimate : estimate + (before?.estimate ?? 0),
    });
  }
  return sums;
}

/** What a harness says is not to be believed to be a number. */
function whole(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? Math.min(value, 1e12) : 0;
}

/** How far back a price that was given later reaches. */
const REPRICED_DAYS = 32;

/**
 * Prices turns whose model had no price when they ended and has one now, of the last 32 days. Answers how many.
 *
 * Any number of processes may do it: each row is priced by one of them.
 */
export async function priceLate(
  store: { transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T> },
  prices: Prices,
): Promise<number> {
  if (prices.length === 0) return 0;
  return store.transaction(async (tx) => {
    // one after the other: they change the same sums
    await tx.query(`select pg_advisory_xact_lock(7226019, 1)`);
    const { rows } = await tx.query<
      Tokens & { execution_id: string; model: string; thread_key: string; workflow: string | null; user_id: string | null; day: string }
    >(
      `select execution_id, model, thread_key, workflow, user_id, input, output, cache_read, cache_write, reasoning,
         (at at time zone 'UTC')::date::text as day
       from usage where cost_micros is null and at > now() - make_interval(days => ${REPRICED_DAYS}) order by at limit 10000`,
    );
    let priced = 0;
    for (const row of rows) {
      const price = priceOf(prices, row.model);
      if (price === undefined) continue;
      const cost = costOf(row, price);
      await tx.query('update usage set cost_micros = $3 where execution_id = $1 and model = $2', [row.execution_id, row.model, cost]);
      await tx.query(
        `update usage_days set cost_micros = cost_micros + $3, unpriced = greatest(0, unpriced - $4)
         where day = $5::date and (dimension, key) in (select * from unnest($1::text[], $2::text[]))`,
        [
          ['all', 'model', 'thread', 'user', 'workflow'],
          ['', row.model, row.thread_key, row.user_id ?? '', row.workflow ?? ''],
          cost,
          totalOf(row),
          row.day,
        ],
      );
      priced += 1;
    }
    return priced;
  });
}

/** How long the usage of single turns, threads and users is kept. Sums by model and of everything stay. */
const KEPT_DAYS = 400;

export async function pruneUsage(store: Queryable, nowMs: number): Promise<number> {
  const before = dayOf(nowMs - KEPT_DAYS * 86_400_000);
  const { rowCount } = await store.query('delete from usage where at < $1::date', [before]);
  await store.query(`delete from usage_days where day < $1::date and dimension in ('thread', 'workflow', 'user')`, [before]);
  return rowCount;
}
