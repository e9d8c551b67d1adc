/** Writing usage: with the end of a turn, in its transaction. */
import type { Queryable } from '../store/index.ts';
import { addToDays, type Addition } from './days.ts';
import { costOf, priceOf, type Prices } from './prices.ts';
import { dayOf, modelName, type Tokens, totalOf } from './types.ts';

export interface TurnUsage {
  readonly executionId: string;
  readonly threadKey: string;
  readonly harness: string;
  /** What the turn was asked to use, or what its persona or harness is set to: often an alias. */
  readonly model: string | null;
  readonly userId: string | null;
  /** The run that asked for the turn. */
  readonly askedBy: string | null;
}

/** Of a model that nobody named. */
export const UNKNOWN_MODEL = 'unknown';

/**
 * Sums what the stream of the turn says, which has each of its events once: also those of attempts that died, and of workers
 * before this one. The caller's transaction ends the turn, and does so once; so this is written once. All turns that end on one day
 * wait for each other here until their commit, so it is best done last.
 */
export async function recordUsage(tx: Queryable, prices: Prices, turn: TurnUsage, nowMs: number): Promise<void> {
  const said = await readSaid(tx, turn);
  if (said.size === 0) return;
  const workflow = (await workflowOf(tx, turn.askedBy)) ?? '';
  const asked = turn.model === null ? '' : modelName(turn.model);
  const day = dayOf(nowMs);
  const additions: Addition[] = [];
  for (const [model, { tokens, estimate }] of said) {
    const price = priceOf(prices, model);
    const cost = price === undefined ? null : costOf(tokens, price);
    const { rowCount } = await tx.query(
      `insert into usage (execution_id, model, thread_key, harness, workflow, user_id, input, output, cache_read, cache_write, reasoning,
         cost_micros, estimate_micros, at, asked_model)
       values ($1, $2, $3, $4, nullif($5, ''), $6, $7, $8, $9, $10, $11, $12, $13, to_timestamp($14::float8 / 1000), $15) on conflict do nothing`,
      [
        turn.executionId,
        model,
        turn.threadKey,
        turn.harness,
        workflow,
        turn.userId,
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write,
        tokens.reasoning,
        cost,
        estimate ?? null,
        nowMs,
        asked,
      ],
    );
    if (rowCount === 0) continue;
    // a turn with two models is one turn, and one of each
    const amount = { turns: 1, ...tokens, cost_micros: cost ?? 0, unpriced: cost === null ? totalOf(tokens) : 0 };
    additions.push(
      { dimension: 'all', key: '', ...amount },
      { dimension: 'model', key: model, ...amount },
      { dimension: 'thread', key: turn.threadKey, ...amount },
      { dimension: 'user', key: turn.userId ?? '', ...amount },
      { dimension: 'workflow', key: workflow, ...amount },
      ...[...new Set([model, asked])].flatMap((key) => (key === '' ? [] : [{ dimension: 'model_name', key, ...amount } as const])),
    );
  }
  await addToDays(tx, day, additions);
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

/** Models of one turn with a name of their own. A harness is not to be believed in how many there are, either. */
const MODELS_MOST = 20;
const OTHER_MODELS = 'other';

async function readSaid(tx: Queryable, { threadKey, executionId, model }: TurnUsage): Promise<Map<string, Said>> {
  const { rows } = await tx.query<{ id: number; event_json: string }>(
    `select event_id as id, event_json from agent_execution_events where thread_key = $1 and event_kind = 'usage' and execution_id = $2 order by event_id`,
    [threadKey, executionId],
  );
  const events = rows.map(({ id, event_json }) => ({
    id,
    ...(JSON.parse(event_json) as { readonly usage?: unknown; readonly model?: unknown }),
  }));
  const [first, last] = [events[0]?.id ?? 0, events.at(-1)?.id ?? 0];
  const sessions = events.every((event) => typeof event.model === 'string') ? [] : await modelsOfSessions(tx, threadKey, first, last);
  const sums = new Map<string, Said>();
  for (const event of events) {
    const usage = (event.usage ?? {}) as Readonly<Record<string, unknown>>;
    const session = sessions.find(({ id }) => id < event.id)?.model;
    const said = modelName(typeof event.model === 'string' ? event.model : (session ?? model ?? UNKNOWN_MODEL)) || UNKNOWN_MODEL;
    const name = sums.has(said) || sums.size < MODELS_MOST ? said : OTHER_MODELS;
    const before = sums.get(name);
    const sum = (of: keyof Tokens) => Math.min((before?.tokens[of] ?? 0) + whole(usage[of]), TOKENS_MOST);
    const estimate = typeof usage['cost_usd'] === 'number' ? whole(usage['cost_usd'] * 1e6) : undefined;
    sums.set(name, {
      tokens: {
        input: sum('input'),
        output: sum('output'),
        cache_read: sum('cache_read'),
        cache_write: sum('cache_write'),
        reasoning: sum('reasoning'),
      },
      estimate: estimate === undefined ? before?.estimate : Math.min(estimate + (before?.estimate ?? 0), TOKENS_MOST),
    });
  }
  return sums;
}

/** Sessions that name one, looked at before there was one that does. */
const SESSIONS_MOST = 20;

/**
 * What the thread's sessions said that they use, the latest first: those before the turn's first word of usage, and those up to its last.
 * Read here rather than by Postgres, to which a zero byte in a JSON text is an error, so that the turn would never end.
 */
async function modelsOfSessions(
  tx: Queryable,
  threadKey: string,
  first: number,
  last: number,
): Promise<readonly { readonly id: number; readonly model: string }[]> {
  const { rows } = await tx.query<{ id: number; event_json: string }>(
    `select event_id as id, event_json from (
       (select event_id, event_json from agent_execution_events
        where thread_key = $1 and event_kind = 'session' and event_id < $2 order by event_id desc limit $4)
       union all
       select event_id, event_json from agent_execution_events
       where thread_key = $1 and event_kind = 'session' and event_id > $2 and event_id < $3) sessions order by 1 desc`,
    [threadKey, first, last, SESSIONS_MOST],
  );
  return rows.flatMap(({ id, event_json }) => {
    const { model } = JSON.parse(event_json) as { readonly model?: unknown };
    return typeof model === 'string' ? [{ id, model }] : [];
  });
}

/** Of one turn. No model says so much, and what is added up stays exact. */
const TOKENS_MOST = 1e12;

/** What a harness says is not to be believed to be a number: what is none, or below zero, is nothing; what is too much is the most. */
function whole(value: unknown): number {
  return typeof value === 'number' && value > 0 ? Math.min(Math.round(value), TOKENS_MOST) : 0;
}

/** How long the usage of single turns, threads and users is kept. Sums by model and of everything stay. */
const KEPT_DAYS = 400;

export async function pruneUsage(store: Queryable, nowMs: number): Promise<number> {
  const before = dayOf(nowMs - KEPT_DAYS * 86_400_000);
  const { rowCount } = await store.query('delete from usage where at < $1::date', [before]);
  await store.query(`delete from usage_days where day < $1::date and dimension in ('thread', 'workflow', 'user')`, [before]);
  return rowCount;
}
