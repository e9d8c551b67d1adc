/** From a request to a decision: the same for the same request, always. */
import { type Expression, type RequestKind, summary } from './expression.ts';
import { hostMatcher, type Matcher, nameMatcher, pathMatcher } from './glob.ts';
import { DEFAULT_GATE_NAME, type Rule } from './parse.ts';
import type { Decision, Effect, Explanation, LimitUse, PolicyRequest, RuleTrace } from './types.ts';

/** A rule whose expressions are compiled. */
export interface ReadyRule {
  readonly rule: Rule;
  readonly condition: Expression | undefined;
  readonly limitKey: Expression | undefined;
}

export interface Decider {
  /**
   * Deny wins over approve, approve over allow, allow over the default; among rules of one effect the first in the file
   * gives its name. A condition that fails counts against the request: an allowance does not match, an approval or a
   * denial does.
   */
  decide(request: PolicyRequest): Decision;
  /** The decision, and how each rule came to its part in it. Slower: for people. */
  explain(request: PolicyRequest): Explanation;
}

/** Names whose candidates are kept. They come from agents, so the number must have a bound. */
const REMEMBERED = 2000;

/** More of it is not handed to conditions: they fail, and so count against the request. */
const MOST_ITEMS = 200;
const MOST_TEXT = 64 * 1024;
const MOST_DEPTH = 16;
const LONGEST_PATH = 8 * 1024;

export function createDecider(rules: readonly ReadyRule[], fallback: 'approve' | 'deny'): Decider {
  const compiled = rules.map(compileRule);
  const index = { egress: createIndex(compiled, 'egress'), tool: createIndex(compiled, 'tool') };

  function decide(request: PolicyRequest): Decision {
    const candidates = index[request.kind](nameOf(request));
    const scope: Scope = { request, variables: undefined, tooLarge: undefined };
    const errors: Errors = [];
    const limits: LimitUse[] = [];
    const winner =
      candidates.deny.find((each) => matches(each, scope, errors)) ??
      candidates.approve.find((each) => matches(each, scope, errors)) ??
      allowance(candidates.allow, scope, errors, limits);
    const shadow = candidates.shadow
      .filter((each) => matches(each, scope, errors))
      .map(({ rule }) => ({ rule: rule.id, effect: rule.effect }));
    const effect = winner?.rule.effect ?? fallback;
    const message = winner?.rule.message;
    return {
      effect,
      rule: winner?.rule.id ?? null,
      ...(effect === 'approve' ? { gate: winner?.rule.gate ?? DEFAULT_GATE_NAME } : {}),
      ...(message === undefined ? {} : { message }),
      limits,
      shadow,
      errors,
    };
  }

  return {
    decide,
    explain(request) {
      const ofKind = compiled.filter(({ rule }) => rule.kind === request.kind);
      return { decision: decide(request), rules: ofKind.map((each) => trace(each, request)) };
    },
  };
}

/** The first that matches; the limits of all that do, so that a wide allowance does not undo the limit of a narrow one. */
function allowance(rules: readonly CompiledRule[], scope: Scope, errors: Errors, limits: LimitUse[]): CompiledRule | undefined {
  let first: CompiledRule | undefined;
  for (const each of rules) {
    const { rule, limitKey } = each;
    if (first !== undefined && limitKey === undefined) continue;
    if (!matches(each, scope, errors)) continue;
    if (limitKey !== undefined && rule.limit !== undefined) {
      const key = evaluateKey(limitKey, scope);
      if (key instanceof Error) {
        errors.push({ rule: rule.id, message: `limit.key: ${summary(key)}` });
        continue;
      }
      limits.push({ rule: rule.id, key, max: rule.limit.max, perMs: rule.limit.perMs, gate: rule.gate ?? DEFAULT_GATE_NAME });
    }
    first ??= each;
  }
  return first;
}

type Errors = { rule: string; message: string }[];

/** One request on its way through the rules. What conditions see is made when the first one asks. */
interface Scope {
  readonly request: PolicyRequest;
  variables: object | undefined;
  tooLarge: 'request' | 'args' | 'none' | undefined;
}

function matches(each: CompiledRule, scope: Scope, errors: Errors): boolean {
  if (!each.applies.every((clause) => clause.holds(scope.request))) return false;
  if (each.condition === undefined) return true;
  const result = evaluate(each.condition, each.condition, scope);
  if (!(result instanceof Error)) return result;
  errors.push({ rule: each.rule.id, message: summary(result) });
  return each.rule.effect !== 'allow';
}

/** @param of the expression whose part is evaluated */
function evaluate(part: { evaluate(variables: object): unknown }, of: Expression, scope: Scope): boolean | Error {
  const result = run(part, of, scope);
  return typeof result === 'boolean' || result instanceof Error ? result : new Error('its result is neither true nor false');
}

function evaluateKey(key: Expression, scope: Scope): string | Error {
  const result = run(key, key, scope);
  if (result instanceof Error) return result;
  const isScalar = ['string', 'number', 'bigint', 'boolean'].includes(typeof result);
  return isScalar ? String(result) : new Error('its result is neither a text nor a number');
}

function run(part: { evaluate(variables: object): unknown }, of: Expression, scope: Scope): unknown {
  scope.tooLarge ??= tooLarge(scope.request);
  if (scope.tooLarge === 'request' || (scope.tooLarge === 'args' && of.readsArgs))
    return new Error(`${scope.tooLarge}: too large to be read`);
  try {
    return part.evaluate((scope.variables ??= variablesOf(scope.request)));
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Members that are not there are missing for `has()`, too; the maps around them always exist. */
function variablesOf(request: PolicyRequest): object {
  const { principal, now } = request;
  const run = {
    ...(request.run === undefined ? {} : { id: request.run }),
    ...(request.workflow === undefined ? {} : { workflow: request.workflow }),
    ...(request.thread === undefined ? {} : { thread: request.thread }),
    ...(request.user === undefined ? {} : { user: request.user }),
    ...(request.channel === undefined ? {} : { channel: request.channel }),
  };
  const agent = request.agent ?? {};
  const spend = request.spend ?? {};
  if (request.kind === 'tool')
    return { principal, agent, run, now, spend, tool: request.tool, args: request.args, integration: request.integration ?? {} };
  return { principal, agent, run, now, spend, request, lease: request.lease };
}

/** Whether conditions may read the request, or at least all of it but the arguments. */
function tooLarge(request: PolicyRequest): Scope['tooLarge'] {
  if (request.kind === 'tool') return measure(request.args, MOST_TEXT, 0) < 0 ? 'args' : 'none';
  return request.path.length > LONGEST_PATH || request.secrets.length > MOST_ITEMS ? 'request' : 'none';
}

/** What is left of the allowed text, keys and indexes among it; below zero when it, or a list, is too large. */
function measure(value: unknown, left: number, depth: number): number {
  if (typeof value === 'string') return left - value.length;
  if (typeof value !== 'object' || value === null) return left;
  const keys = Array.isArray(value) && value.length > MOST_ITEMS ? undefined : Object.keys(value);
  if (keys === undefined || keys.length > MOST_ITEMS || depth > MOST_DEPTH) return -1;
  for (const key of keys) {
    left = measure((value as Record<string, unknown>)[key], left - key.length, depth + 1);
    if (left < 0) return left;
  }
  return left;
}

interface Clause {
  readonly clause: string;
  holds(request: PolicyRequest): boolean;
}

interface CompiledRule extends ReadyRule {
  readonly matchesName: Matcher;
  /** All but its target and its condition. */
  readonly applies: readonly Clause[];
}

function compileRule({ rule, condition, limitKey }: ReadyRule): CompiledRule {
  const names = rule.targets.map(rule.kind === 'egress' ? hostMatcher : nameMatcher);
  const agent = nameMatcher(rule.agent);
  const principal = nameMatcher(rule.principal);
  const methods = new Set(rule.methods);
  const paths = rule.paths.map(pathMatcher);
  const applies: Clause[] = [];
  // a request without an agent is matched by "*" alone
  if (rule.agent !== '*')
    applies.push({ clause: `agent: ${rule.agent}`, holds: (request) => request.agent !== undefined && agent(request.agent.id) });
  if (rule.principal !== '*') applies.push({ clause: `principal: ${rule.principal}`, holds: (request) => principal(request.principal) });
  if (methods.size > 0)
    applies.push({
      clause: `methods: ${rule.methods.join(', ')}`,
      holds: (request) => request.kind === 'egress' && methods.has(request.method),
    });
  if (paths.length > 0)
    applies.push({
      clause: `paths: ${rule.paths.join(', ')}`,
      holds: (request) => request.kind === 'egress' && paths.some((path) => path(request.path)),
    });
  return { rule, condition, limitKey, matchesName: (name) => names.some((each) => each(name)), applies };
}

function nameOf(request: PolicyRequest): string {
  return request.kind === 'egress' ? request.host : request.tool.name;
}

type Candidates = Readonly<Record<Effect | 'shadow', readonly CompiledRule[]>>;

/** The rules whose target a name is. */
function createIndex(rules: readonly CompiledRule[], kind: RequestKind): (name: string) => Candidates {
  const ofKind = rules.filter(({ rule }) => rule.kind === kind);
  const known = new Map<string, Candidates>();
  return (name) => {
    let candidates = known.get(name);
    if (candidates === undefined) {
      const found = ofKind.filter((each) => each.matchesName(name));
      const enforced = (effect: Effect) => found.filter(({ rule }) => rule.mode === 'enforce' && rule.effect === effect);
      const shadow = found.filter(({ rule }) => rule.mode === 'shadow');
      candidates = { deny: enforced('deny'), approve: enforced('approve'), allow: enforced('allow'), shadow };
      if (known.size >= REMEMBERED) known.clear();
      known.set(name, candidates);
    }
    return candidates;
  };
}

function trace(each: CompiledRule, request: PolicyRequest): RuleTrace {
  const { rule, condition } = each;
  const target = {
    clause: `${rule.kind === 'egress' ? 'host' : 'tool'}: ${rule.targets.join(', ')}`,
    holds: () => each.matchesName(nameOf(request)),
  };
  const scope: Scope = { request, variables: undefined, tooLarge: undefined };
  const clauses: RuleTrace['clauses'][number][] = [];
  for (const clause of [target, ...each.applies]) {
    const result = clause.holds(request);
    clauses.push({ clause: clause.clause, result });
    if (!result) return { rule: rule.id, effect: rule.effect, mode: rule.mode, matched: false, clauses };
  }
  for (const clause of condition?.clauses ?? []) {
    const result = evaluate(clause, condition as Expression, scope);
    clauses.push({ clause: clause.source, result: result instanceof Error ? { error: summary(result) } : result });
  }
  return { rule: rule.id, effect: rule.effect, mode: rule.mode, matched: matches(each, scope, []), clauses };
}
