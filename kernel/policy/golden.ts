/**
 * Tests in the file of a policy: a request, and what must be decided on it. A test says what matters; the rest is that of
 * a harmless request on a Monday at noon.
 */
import type { Node } from 'yaml';
import type { Reader, YamlNode } from './document.ts';
import { type Decision, type Effect, policyTime, type PolicyRequest, type Spend } from './types.ts';

export interface GoldenTest {
  readonly line: number | undefined;
  readonly name: string;
  readonly request: PolicyRequest;
  readonly expect: Effect;
  /** The rule that must decide. */
  readonly rule: string | undefined;
}

const MONDAY_NOON = Date.UTC(2026, 0, 5, 12);

const CALLER = {
  principal: 'string',
  agent: 'name',
  run: 'string',
  workflow: 'string',
  thread: 'string',
  user: 'string',
  channel: 'string',
  now: 'time',
  spend: 'spend',
} as const;
const EGRESS = {
  ...CALLER,
  lease: 'name',
  scheme: 'string',
  host: 'string',
  port: 'number',
  method: 'string',
  path: 'string',
  bytes: 'number',
  secrets: 'list',
  credentialed: 'boolean',
  listed: 'boolean',
} as const;
const TOOL = { ...CALLER, tool: 'name', args: 'any', integration: 'name' } as const;

/** These may be written as a text: the id or the name. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  agent: ['id', 'tenant'],
  tool: ['name', 'risk'],
  integration: ['id', 'tenant', 'env'],
  lease: ['id', 'kind'],
};

const NONE = { tokens: 0, micros: 0 };
const NO_SPEND: Spend = { day: NONE, month: NONE, user: { day: NONE, month: NONE }, all: { day: NONE, month: NONE } };

const EGRESS_DEFAULTS = {
  kind: 'egress',
  principal: 'workflow:test',
  lease: { id: 'test', kind: 'run' },
  scheme: 'https',
  port: 443,
  method: 'GET',
  path: '/',
  bytes: 0,
  secrets: [],
  credentialed: false,
  listed: false,
  now: policyTime(MONDAY_NOON),
  spend: NO_SPEND,
};
const TOOL_DEFAULTS = { kind: 'tool', principal: 'workflow:test', args: {}, now: policyTime(MONDAY_NOON), spend: NO_SPEND };

export function readTest(reader: Reader, node: Node): GoldenTest | undefined {
  reader.rule = undefined;
  const test = reader.fields(node, 'test', ['name', 'request', 'expect', 'rule']);
  if (test === undefined) return undefined;
  const expect = reader.choice(test.expect ?? node, 'expect', ['allow', 'approve', 'deny']);
  const rule = test.rule === undefined ? undefined : reader.text(test.rule, 'rule', 64);
  const line = reader.line(node);
  const name = test.name === undefined ? `on line ${line}` : reader.text(test.name, 'name', 200);
  const request = readRequest(reader, test.request ?? node);
  return expect === undefined || name === undefined || request === undefined ? undefined : { line, name, request, expect, rule };
}

/** Undefined when the decision is the one that the test asks for. */
export function failureOf(test: GoldenTest, decision: Decision): string | undefined {
  const by = (rule: string | null) => (rule === null ? 'the default' : `rule ${rule}`);
  const right = decision.effect === test.expect && (test.rule === undefined || decision.rule === test.rule);
  if (right) return undefined;
  const expected = test.rule === undefined ? test.expect : `${test.expect} by rule ${test.rule}`;
  return `test ${test.name}: expected ${expected}, got ${decision.effect} by ${by(decision.rule)}`;
}

function readRequest(reader: Reader, node: Node): PolicyRequest | undefined {
  const before = reader.problems.length;
  const isTool = (reader.members(node, 'request') ?? []).some(({ name }) => name === 'tool');
  const shape: Readonly<Record<string, string>> = isTool ? TOOL : EGRESS;
  const fields = reader.fields(node, 'request', Object.keys(shape)) ?? {};
  const read = Object.entries(fields).map(([key, value]) => [key, readValue(reader, value, key, shape[key] as string)]);
  const request = { ...(isTool ? TOOL_DEFAULTS : EGRESS_DEFAULTS), ...Object.fromEntries(read) };
  if (!isTool && request.host === undefined) reader.error(node, 'request: expected tool or host');
  if (isTool) request.tool = { risk: 'write', ...request.tool };
  else request.lease = { kind: 'run', ...request.lease };
  return reader.problems.length > before ? undefined : (request as PolicyRequest);
}

function readValue(reader: Reader, node: Node | undefined, key: string, type: string): unknown {
  const value = reader.value(node);
  if (type === 'any' || typeof value === type) return value;
  if (type === 'list' && Array.isArray(value) && value.every((each) => typeof each === 'string')) return value;
  if (type === 'time' && typeof value === 'string' && !Number.isNaN(Date.parse(value))) return policyTime(Date.parse(value));
  if (type === 'spend') return readSpend(reader, node);
  if (type === 'name' && typeof value === 'string') return { [NAMES[key]?.[0] as string]: value };
  if (type === 'name' && typeof value === 'object') {
    const known = reader.fields(node, `request.${key}`, NAMES[key] ?? []) ?? {};
    const parts = Object.entries(known).map(([name, part]) => [name, reader.text(part, `request.${key}.${name}`)]);
    if (known[NAMES[key]?.[0] as string] !== undefined) return Object.fromEntries(parts);
  }
  return reader.error(node, `request.${key}: ${EXPECTED[type] ?? `expected a ${type}`}`);
}

/** What is left out is nothing. */
function readSpend(reader: Reader, node: Node | undefined): Spend {
  const windows = (of: YamlNode, more: readonly ('user' | 'all')[]) => {
    const given = reader.fields(of, 'request.spend', ['day', 'month', ...more]) ?? {};
    const spent = (window: Node | undefined) => {
      if (window === undefined) return NONE;
      const { tokens, micros } = reader.fields(window, 'request.spend', ['tokens', 'micros']) ?? {};
      const amount = (value: Node | undefined) => (value === undefined ? 0 : (reader.whole(value, 'request.spend', 0, 1e15) ?? 0));
      return { tokens: amount(tokens), micros: amount(micros) };
    };
    return { given, spent: { day: spent(given.day), month: spent(given.month) } };
  };
  const { given, spent } = windows(node, ['user', 'all']);
  return {
    ...spent,
    user: given.user === undefined ? NO_SPEND.user : windows(given.user, []).spent,
    all: given.all === undefined ? NO_SPEND.all : windows(given.all, []).spent,
  };
}

const EXPECTED: Readonly<Record<string, string>> = {
  string: 'expected a text',
  list: 'expected a list of texts',
  time: 'expected a time such as 2026-01-05T12:00:00Z',
  name: 'expected a name, or a map with one',
};
