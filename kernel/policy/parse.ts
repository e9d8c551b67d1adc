/** From the text of a policy to its rules, gates and tests. What the rules mean together is checked by `lint.ts`. */
import type { Node } from 'yaml';
import { type Budget, readBudgets } from './budgets.ts';
import { Reader, type YamlNode } from './document.ts';
import type { RequestKind } from './expression.ts';
import { type GoldenTest, readTest } from './golden.ts';
import type { Effect } from './types.ts';

export interface Rule {
  readonly id: string;
  readonly line: number | undefined;
  /** A rule with `host` is for egress, one with `tool` for calls of tools. */
  readonly kind: RequestKind;
  /** Patterns of hosts or tools, of which one must match. */
  readonly targets: readonly string[];
  readonly agent: string;
  readonly principal: string;
  /** In capitals. Empty: all. */
  readonly methods: readonly string[];
  /** Empty: all. */
  readonly paths: readonly string[];
  readonly effect: Effect;
  /** Of an approval; of an allowance, for when its limit is used up. */
  readonly gate: string | undefined;
  readonly when: string | undefined;
  /** All that an agent is told when this rule stops it. */
  readonly message: string | undefined;
  readonly limit: { readonly key: string; readonly max: number; readonly perMs: number } | undefined;
  readonly mode: 'enforce' | 'shadow';
}

/** Who decides, and by when. What is not said is as in the gate `default`, which exists without being declared. */
export interface Gate {
  readonly quorum: number;
  /** `role:finance`, `user:ann`. Nobody named: the roles approver and admin. */
  readonly approvers: readonly string[];
  /** `requester`, `run_owner`, `trigger_actor`, `policy_author`, or as in `approvers`. */
  readonly exclude: readonly string[];
  readonly expiresMs: number;
  readonly onExpiry: 'deny' | 'escalate' | 'cancel_run';
  /** Paths in the arguments that an approver may change. */
  readonly editable: readonly string[];
  readonly escalate?: { readonly afterMs: number; readonly to: readonly string[] };
  /** How long what was approved may be used. */
  readonly useByMs: number;
  /** How many questions of one thread or run are open at a time. */
  readonly pendingMost: number;
}

/** Rules for one workflow or one channel, beside those for everybody: they only tighten. */
export interface Overlay {
  readonly line: number | undefined;
  readonly of: 'workflow' | 'channel';
  /** A pattern of names of workflows; or what threads' keys begin with, up to a colon. */
  readonly match: string;
  /** What becomes of a request that none of its rules matches. `inherit`: what is decided without the overlay. */
  readonly fallback: 'inherit' | 'approve' | 'deny';
  readonly rules: readonly Rule[];
}

export interface PolicyDocument {
  readonly fallback: 'approve' | 'deny';
  readonly gates: ReadonlyMap<string, Gate>;
  readonly rules: readonly Rule[];
  readonly budgets: readonly Budget[];
  readonly overlays: readonly Overlay[];
  /** What a new text has to pass before it is in force. */
  readonly publish: { readonly gate: string } | undefined;
  readonly tests: readonly GoldenTest[];
}

export const DEFAULT_GATE_NAME = 'default';

export const DEFAULT_GATE: Gate = {
  quorum: 1,
  approvers: [],
  exclude: [],
  expiresMs: 86_400_000,
  onExpiry: 'deny',
  editable: [],
  useByMs: 900_000,
  pendingMost: 10,
};

/** Parts that somebody has in what is asked for. */
export const PARTS = ['requester', 'run_owner', 'trigger_actor', 'policy_author'] as const;

const LONGEST_TEXT = 256 * 1024;
const MOST_RULES = 1000;
const MOST_OVERLAYS = 200;
const LONGEST_LIMIT_MS = 31 * 86_400_000;
const LONGEST_GATE_MS = 30 * 86_400_000;
const LONGEST_USE_MS = 86_400_000;
const MOST_PENDING = 1000;

const RULE_KEYS = [
  'id',
  'tool',
  'host',
  'agent',
  'principal',
  'methods',
  'paths',
  'effect',
  'gate',
  'when',
  'message',
  'limit',
  'mode',
] as const;
const GATE_KEYS = ['quorum', 'approvers', 'exclude', 'expires', 'on_expiry', 'editable', 'escalate', 'use_by', 'pending'] as const;

/** The document is whole only when no problem is an error. */
export function parsePolicy(text: string): { readonly document: PolicyDocument; readonly reader: Reader } {
  const tooLong = text.length > LONGEST_TEXT;
  const reader = new Reader(tooLong ? '{}' : text);
  if (tooLong) reader.error(undefined, `a policy of ${text.length} characters: ${LONGEST_TEXT} are the most`);
  const top =
    reader.root === undefined || tooLong
      ? undefined
      : reader.fields(reader.root, 'policy', ['version', 'default', 'publish', 'gates', 'budgets', 'rules', 'overlays', 'tests']);
  if (top === undefined) return { document: EMPTY, reader };
  reader.whole(top.version ?? reader.root, 'version', 1, 1);
  const fallback = reader.choice(top.default ?? reader.root, 'default', ['deny', 'approve']) ?? 'deny';
  const gates = readGates(reader, top.gates);
  const rules = reader.items(top.rules, 'rules').map((node) => readRule(reader, node));
  if (rules.length > MOST_RULES) reader.error(top.rules, `${rules.length} rules: ${MOST_RULES} are the most`);
  const budgets = readBudgets(reader, top.budgets);
  const overlays = readOverlays(reader, top.overlays);
  const overlaid = overlays.reduce((sum, overlay) => sum + overlay.rules.length, rules.length);
  if (overlaid > MOST_RULES) reader.error(top.overlays, `${overlaid} rules with those of overlays: ${MOST_RULES} are the most`);
  const publish = top.publish === undefined ? undefined : readPublish(reader, top.publish, gates);
  const tests = reader.items(top.tests, 'tests').map((node) => readTest(reader, node));
  const defined = <Item>(items: readonly (Item | undefined)[]) => items.filter((item) => item !== undefined);
  return { document: { fallback, gates, rules: defined(rules), budgets, overlays, publish, tests: defined(tests) }, reader };
}

const EMPTY: PolicyDocument = {
  fallback: 'deny',
  gates: new Map(),
  rules: [],
  budgets: [],
  overlays: [],
  publish: undefined,
  tests: [],
};

function readPublish(reader: Reader, node: Node, gates: ReadonlyMap<string, Gate>): PolicyDocument['publish'] {
  const { gate: at } = reader.fields(node, 'publish', ['gate']) ?? {};
  const gate = reader.text(at ?? node, 'publish: gate', 64);
  if (gate === undefined) return undefined;
  if (!gates.has(gate)) reader.error(at, `publish: there is no gate ${JSON.stringify(gate)}`);
  return { gate };
}

function readOverlays(reader: Reader, node: YamlNode): readonly Overlay[] {
  const items = reader.items(node, 'overlays');
  if (items.length > MOST_OVERLAYS) reader.error(node, `${items.length} overlays: ${MOST_OVERLAYS} are the most`);
  return items.flatMap((item) => {
    reader.rule = undefined;
    const fields = reader.fields(item, 'overlay', ['workflow', 'channel', 'default', 'rules']);
    if (fields === undefined) return [];
    if ((fields.workflow === undefined) === (fields.channel === undefined))
      reader.error(item, 'overlay: expected either workflow or channel');
    const of = fields.workflow === undefined ? ('channel' as const) : ('workflow' as const);
    const match = reader.text(fields[of] ?? item, `overlay: ${of}`, 200);
    const fallback =
      fields.default === undefined ? 'inherit' : reader.choice(fields.default, 'overlay: default', ['inherit', 'approve', 'deny']);
    const rules = reader
      .items(fields.rules, 'overlay: rules')
      .map((each) => readRule(reader, each))
      .filter((rule) => rule !== undefined);
    reader.rule = undefined;
    return match === undefined || fallback === undefined ? [] : [{ line: reader.line(item), of, match, fallback, rules }];
  });
}

function readGates(reader: Reader, node: YamlNode): Map<string, Gate> {
  const gates = new Map([[DEFAULT_GATE_NAME, DEFAULT_GATE]]);
  for (const { key, name, value } of node === undefined ? [] : (reader.members(node, 'gates') ?? [])) {
    if (!isId(name)) reader.error(key, `gates: ${JSON.stringify(name)} is no name; ${ID}`);
    const gate = reader.fields(value, `gate ${name}`, GATE_KEYS);
    if (gate === undefined) continue;
    const escalate = gate.escalate === undefined ? undefined : reader.fields(gate.escalate, `gate ${name}: escalate`, ['after', 'to']);
    const expiresMs = gate.expires === undefined ? undefined : reader.duration(gate.expires, 'expires', LONGEST_GATE_MS);
    gates.set(name, {
      quorum: gate.quorum === undefined ? 1 : (reader.whole(gate.quorum, 'quorum', 1, 20) ?? 1),
      approvers: readPeople(reader, gate.approvers, 'approvers', []),
      // a word that nobody knows would exclude nobody
      exclude: readPeople(reader, gate.exclude, 'exclude', PARTS),
      expiresMs: expiresMs ?? DEFAULT_GATE.expiresMs,
      // to allow when nobody answered cannot be said
      onExpiry:
        (gate.on_expiry === undefined ? undefined : reader.choice(gate.on_expiry, 'on_expiry', ['deny', 'escalate', 'cancel_run'])) ??
        'deny',
      editable: reader.texts(gate.editable, 'editable'),
      ...(escalate === undefined
        ? {}
        : {
            escalate: {
              afterMs: reader.duration(escalate.after ?? gate.escalate, 'after', LONGEST_GATE_MS) ?? 0,
              to:
                escalate.to === undefined
                  ? (reader.error(gate.escalate, 'to: expected those who are asked then') ?? [])
                  : readPeople(reader, escalate.to, 'to', []),
            },
          }),
      useByMs: (gate.use_by === undefined ? undefined : reader.duration(gate.use_by, 'use_by', LONGEST_USE_MS)) ?? DEFAULT_GATE.useByMs,
      pendingMost:
        (gate.pending === undefined ? undefined : reader.whole(gate.pending, 'pending', 1, MOST_PENDING)) ?? DEFAULT_GATE.pendingMost,
    });
  }
  return gates;
}

function readPeople(reader: Reader, node: YamlNode, what: string, besides: readonly string[]): readonly string[] {
  const people = reader.texts(node, what);
  for (const each of people)
    if (!besides.includes(each) && !/^(?:role|user):[^\s:]+$/.test(each))
      reader.error(node, `${what}: ${JSON.stringify(each)}: expected ${['role:NAME', 'user:NAME', ...besides].join(', ')}`);
  return people;
}

function readRule(reader: Reader, node: Node): Rule | undefined {
  reader.rule = undefined;
  const rule = reader.fields(node, 'rule', RULE_KEYS);
  if (rule === undefined) return undefined;
  const id = reader.text(rule.id ?? node, 'id', 64);
  if (id !== undefined && !isId(id)) reader.error(rule.id, `id: ${JSON.stringify(id)}: ${ID}`);
  reader.rule = id;
  if ((rule.tool === undefined) === (rule.host === undefined)) reader.error(node, 'expected either tool or host');
  const kind: RequestKind = rule.host === undefined ? 'tool' : 'egress';
  const targets = reader.texts(rule.tool ?? rule.host, kind === 'tool' ? 'tool' : 'host');
  if (kind === 'egress')
    for (const host of targets) if (!isHostPattern(host)) reader.error(rule.host, `host: ${JSON.stringify(host)}: ${HOST}`);
  if (kind === 'tool')
    for (const key of ['methods', 'paths'] as const)
      if (rule[key] !== undefined) reader.error(rule[key], `${key} are of requests to a host`);
  const effect = reader.choice(rule.effect ?? node, 'effect', ['allow', 'approve', 'deny']);
  const limit = rule.limit === undefined ? undefined : readLimit(reader, rule.limit);
  if (rule.limit !== undefined && effect !== 'allow') reader.error(rule.limit, 'limit: only what is allowed has a limit');
  if (rule.gate !== undefined && (effect === 'deny' || (effect === 'allow' && rule.limit === undefined)))
    reader.error(rule.gate, 'gate: only for approve, or for allow with a limit, which asks when it is used up');
  const optional = (key: 'agent' | 'principal' | 'gate' | 'when' | 'message', most: number) =>
    rule[key] === undefined ? undefined : reader.text(rule[key], key, most);
  const read = {
    line: reader.line(node),
    kind,
    targets,
    limit,
    agent: optional('agent', 200) ?? '*',
    principal: optional('principal', 200) ?? '*',
    gate: optional('gate', 64),
    when: optional('when', 10_000),
    message: optional('message', 500),
    methods: readMethods(reader, rule.methods),
    paths: readPaths(reader, rule.paths),
    mode: (rule.mode === undefined ? undefined : reader.choice(rule.mode, 'mode', ['enforce', 'shadow'])) ?? ('enforce' as const),
  };
  reader.rule = undefined;
  return id === undefined || effect === undefined ? undefined : { ...read, id, effect };
}

function readLimit(reader: Reader, node: Node): Rule['limit'] {
  const limit = reader.fields(node, 'limit', ['key', 'max', 'per']);
  const key = reader.text(limit?.key ?? node, 'limit.key', 10_000);
  const max = reader.whole(limit?.max ?? node, 'limit.max', 1, 1_000_000_000);
  const perMs = reader.duration(limit?.per ?? node, 'limit.per', LONGEST_LIMIT_MS);
  return key === undefined || max === undefined || perMs === undefined ? undefined : { key, max, perMs };
}

function readMethods(reader: Reader, node: YamlNode): readonly string[] {
  return reader.texts(node, 'methods').map((method) => {
    if (!/^[A-Za-z]{1,20}$/.test(method)) reader.error(node, `methods: ${JSON.stringify(method)} is no method`);
    return method.toUpperCase();
  });
}

function readPaths(reader: Reader, node: YamlNode): readonly string[] {
  const paths = reader.texts(node, 'paths');
  for (const path of paths)
    if (!path.startsWith('/') || /[?#\\]|\/\.{1,2}(\/|$)/.test(path))
      reader.error(node, `paths: ${JSON.stringify(path)}: expected a path such as /v1/*`);
  return paths;
}

const ID = 'expected 1 to 64 letters, digits, "_", "." or "-"';
const HOST = 'expected a host in lower case such as api.example.com, *.example.com, or "*" for all';

function isId(name: string): boolean {
  return /^[A-Za-z0-9_.-]{1,64}$/.test(name);
}

/** A star elsewhere would match hosts of others: `*example.com` is also `notexample.com`. */
function isHostPattern(host: string): boolean {
  return /^(?:\*|(?:\*\.[a-z0-9_-]+\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]+)$/.test(host);
}
