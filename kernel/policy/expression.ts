/**
 * Conditions of rules, in CEL. They are checked when a policy is published, against a schema, and evaluated without one:
 * the same request has the same answer in a process that knows no tool.
 *
 * Numbers of JSON are doubles, and a division of them has a fraction. Those that a schema calls integers are checked as
 * such, so that `args.amount in [5, 10]` may be written.
 */
import { type ASTNode, Environment, type ParseResult, serialize } from '@marcbachmann/cel-js';
import { RE2JS } from 're2js';

export type RequestKind = 'egress' | 'tool';

/** A JSON schema of a tool's arguments. */
export type JsonSchema = Readonly<Record<string, unknown>>;

export interface Expression {
  readonly source: string;
  /** Whether it reads the arguments of a tool, which may be too large to be read. */
  readonly readsArgs: boolean;
  /** Whether it reads what was spent, which has to be looked up. */
  readonly readsSpend: boolean;
  /** Instructions of its patterns: each may be done once for every character of a text. */
  readonly patternSize: number;
  /** @throws Error when it fails for these values */
  evaluate(variables: object): unknown;
  /** Its parts that are joined by `&&`, each with its own answer: what `explain` shows. */
  readonly clauses: readonly { readonly source: string; evaluate(variables: object): unknown }[];
}

/** Instructions of one pattern: above, a text of some kilobytes takes milliseconds. */
const PATTERN_LARGEST = 250;

/** A condition longer than this is several rules. */
const LONGEST = 2000;
const LIMITS = { maxAstNodes: 500, maxDepth: 24, maxListElements: 200, maxMapEntries: 50, maxCallArguments: 8 };
const MACROS = new Set(['all', 'exists', 'exists_one', 'filter']);

/** What may be called. `matches` backtracks, `bind` and `map` can double a value with each use: none of them is here. */
const FUNCTIONS = new Set([
  ...MACROS,
  'has',
  'size',
  're',
  'startsWith',
  'endsWith',
  'contains',
  'indexOf',
  'substring',
  'lowerAscii',
  'upperAscii',
  'trim',
  'int',
  'double',
  'string',
  'type',
  'timestamp',
  'duration',
  'getFullYear',
  'getMonth',
  'getDayOfMonth',
  'getDayOfWeek',
  'getHours',
  'getMinutes',
]);

const SPENT = { tokens: 'int', micros: 'int' };
const WINDOWS = { day: SPENT, month: SPENT };

const CALLER = {
  principal: 'string',
  agent: { id: 'string', tenant: 'string' },
  run: { id: 'string', workflow: 'string', thread: 'string', user: 'string', channel: 'string' },
  now: { iso: 'string', hour: 'int', weekday: 'int', weekend: 'bool' },
  spend: { ...WINDOWS, user: WINDOWS, all: WINDOWS },
};

const VARIABLES = {
  egress: {
    ...CALLER,
    request: {
      scheme: 'string',
      host: 'string',
      port: 'int',
      method: 'string',
      path: 'string',
      bytes: 'int',
      secrets: 'list<string>',
      credentialed: 'bool',
      listed: 'bool',
    },
    lease: { id: 'string', kind: 'string' },
  },
  tool: {
    ...CALLER,
    tool: { name: 'string', risk: 'string' },
    integration: { id: 'string', tenant: 'string', env: 'string' },
  },
};

const base = baseEnvironment();
const checkers = { egress: checker('egress'), tool: checker('tool').registerVariable('args', 'dyn') };
const evaluators = { egress: evaluator('egress'), tool: evaluator('tool').registerVariable('args', 'dyn') };
const bySchema = new WeakMap<JsonSchema, Environment>();

/**
 * @param schemas of the tools that it must fit, by name; without any, arguments are of any type
 * @param result of a condition `bool`; of the key of a limit, a text or a number
 * @returns the expression, unless there are problems
 */
export function compileExpression(
  source: string,
  kind: RequestKind,
  result: 'bool' | 'key',
  schemas: ReadonlyMap<string, JsonSchema> = new Map(),
): { readonly expression?: Expression; readonly problems: readonly string[] } {
  if (source.length > LONGEST) return { problems: [`${source.length} characters; ${LONGEST} are the most`] };
  let parsed: ParseResult;
  try {
    parsed = evaluators[kind].parse(source);
  } catch (error) {
    return { problems: [summary(error)] };
  }
  const facts: Facts = { variables: new Set(), has: [], problems: [], patternSize: 0 };
  inspect(parsed.ast, 0, facts);
  if (facts.problems.length > 0) return { problems: [...new Set(facts.problems)] };
  const problems =
    schemas.size === 0
      ? check(checkers[kind], source, facts, result)
      : [...schemas].flatMap(([tool, schema]) => check(checkerFor(schema), source, facts, result).map((problem) => `${tool}: ${problem}`));
  if (problems.length > 0) return { problems: [...new Set(problems)] };
  const clauses = conjuncts(parsed.ast).map((node) => {
    const text = serialize(node);
    return { source: text, evaluate: evaluators[kind].parse(text) };
  });
  return {
    expression: {
      source,
      readsArgs: facts.variables.has('args'),
      readsSpend: facts.variables.has('spend'),
      patternSize: facts.patternSize,
      evaluate: parsed,
      clauses,
    },
    problems,
  };
}

function check(environment: Environment, source: string, facts: Facts, result: 'bool' | 'key'): string[] {
  const { valid, type, error } = environment.check(source);
  if (!valid) return [summary(error)];
  const wanted = result === 'bool' ? ['bool', 'dyn'] : ['string', 'int', 'double', 'bool', 'dyn'];
  if (!wanted.includes(type ?? 'dyn')) return [`its result is of type ${type}, not ${result === 'bool' ? 'bool' : 'a text or a number'}`];
  // the checker takes any field in has(): a misspelt one would be false for ever
  return facts.has.flatMap((field) => {
    const outcome = environment.check(field);
    return outcome.valid ? [] : [`has(${field}): ${summary(outcome.error)}`];
  });
}

interface Facts {
  readonly variables: Set<string>;
  readonly has: string[];
  readonly problems: string[];
  patternSize: number;
}

/** @param depth of macros around it */
function inspect(node: ASTNode, depth: number, facts: Facts): void {
  if (node.op === 'id') facts.variables.add(node.args);
  if (node.op === 'call') inspectCall(node.args[0], undefined, node.args[1], depth, facts);
  else if (node.op === 'rcall') inspectCall(node.args[0], node.args[1], node.args[2], depth, facts);
  else for (const part of [node.args].flat(2)) if (isNode(part)) inspect(part, depth, facts);
}

function inspectCall(name: string, receiver: ASTNode | undefined, given: readonly ASTNode[], depth: number, facts: Facts): void {
  const inner = receiver !== undefined && MACROS.has(name) ? depth + 1 : depth;
  if (name === 'matches') facts.problems.push('matches() can take for ever and is refused: use re(), with the syntax of RE2');
  else if (!FUNCTIONS.has(name)) facts.problems.push(`${name}() is not available`);
  if (inner > 1) facts.problems.push(`${name}() inside of another macro is refused: its work would be the square of the list`);
  if (name === 're') checkPattern(given[0], facts);
  if (name === 'has' && given[0] !== undefined && depth === 0) facts.has.push(serialize(given[0]));
  if (receiver !== undefined) inspect(receiver, depth, facts);
  for (const each of given) inspect(each, inner, facts);
}

function checkPattern(node: ASTNode | undefined, facts: Facts): void {
  if (node?.op !== 'value' || typeof node.args !== 'string') {
    facts.problems.push('re() takes a pattern that is written in the rule, not one from the request');
    return;
  }
  try {
    const size = expressionOf(node.args).programSize();
    facts.patternSize += size;
    if (size > PATTERN_LARGEST)
      facts.problems.push(
        `re(): the pattern compiles to ${size} instructions; ${PATTERN_LARGEST} are the most: write it without large repetitions`,
      );
  } catch (error) {
    facts.problems.push(`re(): ${summary(error)}`);
  }
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value;
}

function conjuncts(node: ASTNode): ASTNode[] {
  return node.op === '&&' ? node.args.flatMap(conjuncts) : [node];
}

/** The first line: the others point into the expression with spaces and carets. */
export function summary(error: unknown): string {
  return (error as Error).message.split('\n', 1).join('').trim().slice(0, 200);
}

const patterns = new Map<string, RE2JS>();

function expressionOf(pattern: string): RE2JS {
  let compiled = patterns.get(pattern);
  if (compiled === undefined) {
    compiled = RE2JS.compile(pattern);
    if (patterns.size >= 1000) patterns.clear();
    patterns.set(pattern, compiled);
  }
  return compiled;
}

function baseEnvironment(): Environment {
  const environment = new Environment({ limits: LIMITS });
  environment.registerFunction('string.re(string): bool', (text: string, pattern: string) => expressionOf(pattern).test(text));
  environment.registerOperator('double == int: bool', (a: number, b: bigint) => a === Number(b));
  type Numeric = number | bigint;
  for (const [left, right] of [
    ['double', 'int'],
    ['int', 'double'],
  ]) {
    environment.registerOperator(`${left} + ${right}: double`, (a: Numeric, b: Numeric) => Number(a) + Number(b));
    environment.registerOperator(`${left} - ${right}: double`, (a: Numeric, b: Numeric) => Number(a) - Number(b));
    environment.registerOperator(`${left} * ${right}: double`, (a: Numeric, b: Numeric) => Number(a) * Number(b));
    environment.registerOperator(`${left} / ${right}: double`, (a: Numeric, b: Numeric) => Number(a) / Number(b));
    environment.registerOperator(`${left} % ${right}: double`, (a: Numeric, b: Numeric) => Number(a) % Number(b));
  }
  return environment;
}

interface Schema {
  readonly [field: string]: string | Schema;
}

function checker(kind: RequestKind): Environment {
  const environment = base.clone();
  for (const [name, type] of Object.entries<string | Schema>(VARIABLES[kind])) register(environment, name, type);
  return environment;
}

/** Untyped: evaluating is several times faster than with types that are checked at each step. */
function evaluator(kind: RequestKind): Environment {
  const environment = base.clone();
  for (const name of Object.keys(VARIABLES[kind])) environment.registerVariable(name, 'dyn');
  return environment;
}

function checkerFor(schema: JsonSchema): Environment {
  let environment = bySchema.get(schema);
  if (environment === undefined) {
    environment = checker('tool');
    register(environment, 'args', celType(schema));
    bySchema.set(schema, environment);
  }
  return environment;
}

function register(environment: Environment, name: string, type: string | Schema): void {
  if (typeof type === 'string') environment.registerVariable(name, type);
  else environment.registerVariable(name, { schema: type });
}

/** What the schema says for certain; `dyn` for all else. */
function celType(schema: unknown): string | Schema {
  const { type, properties, additionalProperties, items } = (schema ?? {}) as Readonly<Record<string, unknown>>;
  if (type === 'string') return 'string';
  if (type === 'integer') return 'int';
  if (type === 'number') return 'double';
  if (type === 'boolean') return 'bool';
  if (type === 'array') {
    const of = items === undefined || Array.isArray(items) ? 'dyn' : celType(items);
    return `list<${typeof of === 'string' ? of : 'map'}>`;
  }
  if (type !== 'object') return 'dyn';
  const open = additionalProperties !== undefined && additionalProperties !== false;
  if (typeof properties !== 'object' || properties === null || open) return 'map';
  return Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, celType(each)]));
}
