/** From the text of a policy to what decides: read, checked against schemas, linted, and tried on its own tests. */
import { createHash } from 'node:crypto';
import type { Budget } from './budgets.ts';
import { createDecider, type Decider, type ReadyRule } from './decide.ts';
import type { Problem, Reader } from './document.ts';
import { compileExpression, type Expression, type JsonSchema } from './expression.ts';
import { nameMatcher } from './glob.ts';
import { failureOf } from './golden.ts';
import { lint } from './lint.ts';
import { createOverlaid } from './overlay.ts';
import { type Gate, parsePolicy, type Rule } from './parse.ts';

export interface PolicySchemas {
  /** The JSON schema of each tool's arguments, by the tool's name. */
  readonly tools: Readonly<Record<string, JsonSchema>>;
}

export interface CompiledPolicy extends Decider {
  /** SHA-256 of the text, in hex. */
  readonly digest: string;
  readonly rules: readonly Rule[];
  readonly gates: ReadonlyMap<string, Gate>;
  readonly budgets: readonly Budget[];
  /** Whether a rule asks what was spent: then requests have to say so. */
  readonly readsSpend: boolean;
}

/** What became of a test in the text. */
export interface TestOutcome {
  readonly name: string;
  readonly line: number | undefined;
  readonly failure: string | undefined;
}

/** Instructions of all patterns: whoever sends a long path makes the firewall do each of them for each of its characters. */
const PATTERNS_LARGEST = 10_000;

/** Never throws. With an error among the problems there is no policy; in the order of lines. */
export function compilePolicy(
  text: string,
  schemas?: PolicySchemas,
): {
  readonly policy: CompiledPolicy | undefined;
  readonly problems: readonly Problem[];
  /** None when errors of another kind kept them from being run. */
  readonly tests: readonly TestOutcome[];
} {
  const { document, reader } = parsePolicy(text);
  lint(document, reader, schemas === undefined ? undefined : Object.keys(schemas.tools));
  const rules = document.rules.map((rule) => prepare(rule, reader, schemas));
  const overlays = document.overlays.map((overlay) => ({ ...overlay, rules: overlay.rules.map((rule) => prepare(rule, reader, schemas)) }));
  const decider = createOverlaid(createDecider(rules, document.fallback), overlays, document.gates);
  const all = [...rules, ...overlays.flatMap((overlay) => overlay.rules)];
  const size = all.reduce((sum, { condition, limitKey }) => sum + (condition?.patternSize ?? 0) + (limitKey?.patternSize ?? 0), 0);
  if (size > PATTERNS_LARGEST)
    reader.problems.push({
      level: 'error',
      message: `the patterns of all rules compile to ${size} instructions; ${PATTERNS_LARGEST} are the most, so that each decision is quick`,
    });
  const broken = () => reader.problems.some(({ level }) => level === 'error');
  const tests = broken()
    ? []
    : document.tests.map((test) => ({ name: test.name, line: test.line, failure: failureOf(test, decider.decide(test.request)) }));
  for (const { line, failure } of tests)
    if (failure !== undefined) reader.problems.push({ ...(line === undefined ? {} : { line }), level: 'error', message: failure });
  const problems = reader.problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0));
  const policy = broken()
    ? undefined
    : {
        ...decider,
        digest: digestOf(text).toString('hex'),
        rules: document.rules,
        gates: document.gates,
        budgets: document.budgets,
        readsSpend: all.some(({ condition, limitKey }) => condition?.readsSpend === true || limitKey?.readsSpend === true),
      };
  return { policy, problems, tests };
}

export function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function prepare(rule: Rule, reader: Reader, schemas: PolicySchemas | undefined): ReadyRule {
  const matched =
    rule.kind === 'tool'
      ? Object.entries(schemas?.tools ?? {}).filter(([name]) => rule.targets.some((target) => nameMatcher(target)(name)))
      : [];
  const fitting = new Map(matched);
  const compile = (source: string | undefined, field: string, result: 'bool' | 'key'): Expression | undefined => {
    if (source === undefined) return undefined;
    const { expression, problems } = compileExpression(source, rule.kind, result, fitting);
    for (const problem of problems) reader.add('error', rule, `${field}: ${problem}`);
    return expression;
  };
  return { rule, condition: compile(rule.when, 'when', 'bool'), limitKey: compile(rule.limit?.key, 'limit.key', 'key') };
}
