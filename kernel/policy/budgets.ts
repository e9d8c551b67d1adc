/** Budgets in the text of a policy: how much may be spent, by whom, in a day or a month of UTC. */
import { isScalar, type Node } from 'yaml';
import type { Reader, YamlNode } from './document.ts';

export interface Budget {
  readonly id: string;
  readonly per: 'day' | 'month';
  /** Each thread, workflow, user or model that matches has a budget of its own; `all`: one of everybody. */
  readonly of: 'all' | 'thread' | 'workflow' | 'user' | 'model';
  /** A pattern of names. */
  readonly match: string;
  readonly tokens: number | undefined;
  /** Millionths. */
  readonly micros: number | undefined;
}

const SCOPES = ['thread', 'workflow', 'user', 'model'] as const;
const MOST_BUDGETS = 200;
const MOST_TOKENS = 1_000_000_000_000;
const MOST_MONEY = 1_000_000_000;

export function readBudgets(reader: Reader, node: YamlNode): readonly Budget[] {
  const items = reader.items(node, 'budgets');
  if (items.length > MOST_BUDGETS) reader.error(node, `${items.length} budgets: ${MOST_BUDGETS} are the most`);
  const budgets = items.map((item) => readBudget(reader, item)).filter((budget) => budget !== undefined);
  const ids = new Set<string>();
  for (const [i, { id }] of budgets.entries()) {
    if (ids.has(id)) reader.error(items[i], `budget ${id}: the id is also that of another budget`);
    ids.add(id);
  }
  return budgets;
}

function readBudget(reader: Reader, node: Node): Budget | undefined {
  const fields = reader.fields(node, 'budget', ['id', 'per', 'tokens', 'money', ...SCOPES]);
  if (fields === undefined) return undefined;
  const id = reader.text(fields.id ?? node, 'budget: id', 64);
  const what = `budget ${id ?? ''}`;
  const per = reader.choice(fields.per ?? node, `${what}: per`, ['day', 'month']);
  const named = SCOPES.filter((scope) => fields[scope] !== undefined);
  if (named.length > 1) reader.error(node, `${what}: expected one of ${SCOPES.join(', ')}; several budgets all count`);
  const [of] = named;
  const match = of === undefined ? '*' : reader.text(fields[of], `${what}: ${of}`, 200);
  const tokens = fields.tokens === undefined ? undefined : reader.whole(fields.tokens, `${what}: tokens`, 1, MOST_TOKENS);
  const micros = fields.money === undefined ? undefined : readMoney(reader, fields.money, `${what}: money`);
  if (fields.tokens === undefined && fields.money === undefined) reader.error(node, `${what}: expected tokens or money, or both`);
  if (id !== undefined && !/^[A-Za-z0-9_.-]{1,64}$/.test(id))
    reader.error(fields.id, `${what}: expected an id of letters, digits, "_", "." or "-"`);
  return id === undefined || per === undefined || match === undefined ? undefined : { id, per, of: of ?? 'all', match, tokens, micros };
}

function readMoney(reader: Reader, node: Node, what: string): number | undefined {
  const value = isScalar(node) ? node.value : undefined;
  const micros = typeof value === 'number' ? Math.round(value * 1e6) : 0;
  if (typeof value === 'number' && value > 0 && value <= MOST_MONEY && Math.abs(value * 1e6 - micros) < 0.01) return micros;
  return reader.error(node, `${what}: expected an amount such as 25 or 12.50, with six decimals at most`);
}
