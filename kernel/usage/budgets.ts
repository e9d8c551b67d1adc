/** Whether a turn may begin, as far as money and tokens go. */
import { type Budget, matchesName } from '../policy/index.ts';
import type { Queryable } from '../store/index.ts';
import { type DimensionKey, namesOf, readWindows, windowId } from './reads.ts';

/** Who a turn is of. */
export interface BudgetScope {
  readonly thread: string;
  readonly workflow?: string | undefined;
  readonly user?: string | undefined;
  readonly harness: string;
  /** What is asked for, where anybody says so. */
  readonly model?: string | undefined;
}

export interface Exhausted {
  readonly budget: string;
  /** For whoever asked for the turn. */
  readonly message: string;
}

/**
 * The first budget of the list that has nothing left for this turn.
 *
 * It is asked once, before the turn begins; a turn that has begun ends. So a budget is overdrawn at most by the turns that are
 * under way when it is used up: those of `agents.concurrency` on each worker.
 */
export async function exhaustedBudget(
  store: Queryable,
  budgets: readonly Budget[],
  scope: BudgetScope,
  nowMs: number,
): Promise<Exhausted | undefined> {
  const names = budgets.some(({ of }) => of === 'model') ? await namesOf(store, scope.harness, scope.model) : [];
  const applying = budgets.flatMap((budget): { readonly budget: Budget; readonly key: DimensionKey }[] => {
    const { of, match } = budget;
    if (of === 'all') return [{ budget, key: ['all', ''] }];
    if (of === 'model') return names.filter((name) => matchesName(match, name)).map((name) => ({ budget, key: ['model_name', name] }));
    const key = scope[of];
    return key === undefined || !matchesName(match, key) ? [] : [{ budget, key: [of, key] }];
  });
  if (applying.length === 0) return undefined;
  const keys = new Map(applying.map(({ key }) => [windowId(key), key]));
  const windows = await readWindows(store, [...keys.values()], nowMs);
  for (const { budget, key } of applying) {
    const spent = windows.get(windowId(key))?.[budget.per] ?? { tokens: 0, micros: 0, unpriced: 0 };
    const why = reason(budget, spent);
    if (why === undefined) continue;
    const whose = budget.of === 'all' ? '' : ` of ${budget.of} ${key[1]}`;
    return { budget: budget.id, message: `the budget ${budget.id}${whose} ${why}; ${renewal(budget, nowMs)}` };
  }
  return undefined;
}

function reason(
  { tokens, micros, per }: Budget,
  spent: { readonly tokens: number; readonly micros: number; readonly unpriced: number },
): string | undefined {
  const when = per === 'day' ? 'today' : 'this month';
  if (tokens !== undefined && spent.tokens >= tokens) return `is used up: ${spent.tokens} of ${tokens} tokens ${when}`;
  if (micros !== undefined && spent.micros >= micros) return `is used up: ${money(spent.micros)} of ${money(micros)} ${when}`;
  // what nobody has put a price on may be all of it
  if (micros !== undefined && spent.unpriced > 0)
    return `is in money, and ${spent.unpriced} tokens ${when} were of models without a price: add the price to centaur.yaml and restart the workers`;
  return undefined;
}

function renewal({ per }: Budget, nowMs: number): string {
  const now = new Date(nowMs);
  const next =
    per === 'day'
      ? Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1)
      : Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
  return `it begins anew at ${new Date(next).toISOString()}`;
}

/** Millionths, as people write money. */
export function money(micros: number): string {
  const text = (micros / 1e6).toFixed(6);
  return text.replace(/(\.\d\d\d*?)0+$/, '$1');
}
