import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BUILTIN_POLICY } from './builtin.ts';
import { compilePolicy, type PolicySchemas } from './compile.ts';

const SCHEMAS: PolicySchemas = {
  tools: {
    'stripe.refund': {
      type: 'object',
      properties: {
        amount: { type: 'integer' },
        currency: { type: 'string' },
        note: { type: ['string', 'null'] },
        tags: { type: 'array', items: { type: 'string' } },
      },
    },
    'stripe.charge': { type: 'object', properties: { cents: { type: 'integer' } } },
    'slack.post': { type: 'object', properties: { channel: { type: 'string' }, text: { type: 'string' } } },
  },
};

/** The errors in a policy of these rules, as `line rule message`; the first rule is on line 4. */
function errorsOf(rules: string, schemas?: PolicySchemas): string[] {
  return problemsOf(`version: 1\ndefault: deny\nrules:\n${rules}`, 'error', schemas);
}

function problemsOf(text: string, level: 'error' | 'warning', schemas?: PolicySchemas): string[] {
  const { policy, problems } = compilePolicy(text, schemas);
  assert.equal(
    policy === undefined,
    problems.some((problem) => problem.level === 'error'),
  );
  return problems.filter((problem) => problem.level === level).map(({ line, rule, message }) => `${line} ${rule ?? '-'} ${message}`);
}

test('the built-in policy compiles, with its own tests', () => {
  assert.deepEqual(compilePolicy(BUILTIN_POLICY).problems, []);
  assert.deepEqual(compilePolicy(BUILTIN_POLICY, SCHEMAS).problems, []);
});

test('all mistakes of a text are told, each with its line', () => {
  const problems = problemsOf(
    `version: 2
default: allow
gate: {}
gates:
  eng: {quorum: 0, on_expiry: allow, expires: soon}
rules:
  - {id: a, host: api.example.com, effect: allow, wen: "true"}
  - id: a b
    host: API.example.com
    effect: maybe
  - {id: c, tool: x, host: y, effect: deny}
  - {id: d, tool: x, effect: deny, methods: [GET]}
  - {id: e, host: "*example.com", effect: deny, paths: [v1]}
  - {id: f, tool: x, effect: deny, limit: {key: principal, max: 1, per: 1h}}
  - {id: g, tool: x, effect: deny, gate: default}
  - {id: h, tool: x, effect: allow, limit: {key: principal, max: 0, per: 1}}
`,
    'error',
  );
  const expected: [number, RegExp][] = [
    [1, /version: expected a whole number from 1 to 1$/],
    [2, /default: expected deny, approve/],
    [3, /policy: unknown key "gate"; known are version,/],
    [5, /quorum: expected a whole number/],
    [5, /on_expiry: expected deny, escalate, cancel_run/],
    [5, /expires: expected a duration/],
    [7, /unknown key "wen"/],
    [8, /id: "a b": expected/],
    [9, /host: "API.example.com": expected a host in lower case/],
    [10, /effect: expected allow, approve, deny/],
    [11, /c expected either tool or host/],
    [12, /d methods are of requests to a host/],
    [13, /e host: "\*example.com": expected/],
    [13, /e paths: "v1": expected a path/],
    [14, /f limit: only what is allowed/],
    [15, /g gate: only for approve/],
    [16, /h limit.max: expected/],
    [16, /h limit.per: expected a duration/],
  ];
  for (const [line, pattern] of expected)
    assert.ok(
      problems.some((problem) => problem.startsWith(`${line} `) && pattern.test(problem)),
      `${line} ${pattern}\n${problems.join('\n')}`,
    );
  assert.equal(problems.length, expected.length, problems.join('\n'));
});

test('what is not YAML, or more than it seems, is refused', () => {
  assert.match(problemsOf('rules: [', 'error')[0] ?? '', /not YAML/);
  assert.match(problemsOf('version: 1\nversion: 1', 'error')[0] ?? '', /^2 - not YAML: .*unique/);
  assert.match(problemsOf('version: &a 1\ndefault: *a', 'error')[0] ?? '', /^2 - anchors and aliases/);
  assert.match(problemsOf('version: !!js/function 1', 'error')[0] ?? '', /not YAML/);
  assert.match(problemsOf('', 'error')[0] ?? '', /expected a map/);
  assert.match(problemsOf(`version: 1 # ${'x'.repeat(300_000)}`, 'error')[0] ?? '', /262144 are the most/);
});

test('rules that cannot be meant are errors', () => {
  assert.match(
    errorsOf('  - {id: a, tool: x, effect: deny}\n  - {id: a, tool: y, effect: deny}')[0] ?? '',
    /^5 a the id is also that of the rule on line 4/,
  );
  assert.match(errorsOf('  - {id: a, tool: x, effect: approve, gate: nobody}')[0] ?? '', /^4 a there is no gate "nobody"/);
  assert.match(errorsOf('  - {id: a, tool: "*", effect: allow}')[0] ?? '', /^4 a it allows every tool: say when/);
  assert.match(errorsOf('  - {id: a, host: [x.com, "*"], effect: allow}')[0] ?? '', /^4 a it allows every host: say when/);
});

test('a condition is checked against the schema of each tool that it is for', () => {
  const rule = (tool: string, when: string) => errorsOf(`  - {id: a, tool: ${tool}, effect: deny, when: '${when}'}`, SCHEMAS);
  assert.deepEqual(
    rule('stripe.refund', 'args.amount > 5000 && args.currency == "eur" && args.amount + 1 != 7 && args.amount in [5, 6]'),
    [],
  );
  assert.deepEqual(errorsOf("  - {id: a, host: x.com, effect: deny, when: 'request.port in [80, 443] || now.weekday in [6, 7]'}"), []);
  assert.deepEqual(rule('stripe.refund', 'args.note == null || args.tags.exists(tag, tag == "vip")'), []);
  assert.match(rule('stripe.refund', 'args.amout > 5000')[0] ?? '', /stripe.refund: No such key: amout/);
  assert.match(rule('stripe.refund', 'args.amount > "5"')[0] ?? '', /no such overload: int > string/);
  assert.match(rule('stripe.refund', '!has(args.amout)')[0] ?? '', /has\(args.amout\): No such key/);
  assert.match(rule('stripe.refund', 'args.amount')[0] ?? '', /of type int, not bool/);
  assert.match(rule('"stripe.*"', 'args.amount > 1')[0] ?? '', /stripe.charge: No such key: amount/);
  assert.match(rule('stripe.refund', 'args.tags.exists(tag, tag > 1)')[0] ?? '', /no such overload: string > int/);
  assert.match(rule('stripe.refund', 'request.host == "x"')[0] ?? '', /Unknown variable: request/);
  assert.match(errorsOf(`  - {id: a, host: x.com, effect: deny, when: 'request.hots == "x"'}`)[0] ?? '', /No such key: hots/);
  assert.match(
    errorsOf('  - {id: a, host: x.com, effect: allow, limit: {key: request.secrets, max: 1, per: 1h}}')[0] ?? '',
    /limit.key: .*not a text or a number/,
  );
});

test('conditions that could run for long are refused', () => {
  const rule = (when: string) => errorsOf(`  - {id: a, tool: x, effect: deny, when: '${when}'}`)[0] ?? 'none';
  assert.match(rule('args.a.matches("^(a+)+$")'), /matches\(\) can take for ever/);
  assert.match(rule('args.a.exists(x, args.b.exists(y, x == y))'), /inside of another macro/);
  assert.match(rule('args.a.all(x, args.b.filter(y, y > 1).size() > 0)'), /inside of another macro/);
  assert.equal(rule('args.a.filter(x, x > 1).exists(y, y > 2)'), 'none');
  for (const hidden of [
    '!args.a.matches("x")',
    '[args.a.matches("x")][0]',
    '{"a": args.a.matches("x")}.a',
    'true ? args.a.matches("x") : false',
    'args.l[args.a.matches("x") ? 0 : 1] == 1',
    'args.l.exists(x, x.matches("x"))',
    'has(args.a) && (args.b || args.a.matches("x"))',
  ])
    assert.match(rule(hidden), /matches\(\)/, hidden);
  assert.match(rule('args.a.map(x, x).size() > 1'), /map\(\) is not available/);
  assert.match(rule('cel.bind(x, args.a, x + x == 2)'), /bind\(\) is not available/);
  assert.match(rule('args.a.re(args.b)'), /a pattern that is written in the rule/);
  assert.match(rule('args.a.re("(")'), /re\(\): error parsing regexp/);
  assert.match(rule(`args.a == "${'x'.repeat(2000)}"`), /2000 are the most/);
  assert.match(rule(`args.a == 1${' || args.a == 1'.repeat(110)}`), /Exceeded max/i);
});

test('a rule that never decides is a warning', () => {
  const warnings = (rules: string, schemas?: PolicySchemas) =>
    problemsOf(`version: 1\ndefault: deny\nrules:\n${rules}`, 'warning', schemas);
  assert.match(
    warnings('  - {id: a, host: "*.x.com", effect: deny}\n  - {id: b, host: api.x.com, effect: allow, methods: [GET]}')[0] ?? '',
    /^5 b it never decides: rule a on line 4/,
  );
  assert.match(warnings('  - {id: a, tool: "x.*", effect: deny}\n  - {id: b, tool: "x.y_*", effect: deny}')[0] ?? '', /^5 b/);
  assert.match(warnings('  - {id: b, host: api.x.com, effect: allow}\n  - {id: a, host: api.x.com, effect: approve}')[0] ?? '', /^4 b/);
  assert.deepEqual(warnings('  - {id: a, tool: "x.y_*", effect: deny}\n  - {id: b, tool: "x.*", effect: deny}'), []);
  assert.deepEqual(warnings('  - {id: a, host: x.com, effect: deny, methods: [GET]}\n  - {id: b, host: x.com, effect: allow}'), []);
  assert.deepEqual(warnings('  - {id: a, host: x.com, effect: deny, mode: shadow}\n  - {id: b, host: x.com, effect: allow}'), []);
  assert.deepEqual(warnings('  - {id: a, tool: x, effect: deny, agent: "a-*"}\n  - {id: b, tool: x, effect: allow}'), []);
  const limited = (limit: string) =>
    warnings(`  - {id: a, host: x.com, effect: allow}\n  - {id: b, host: x.com, effect: allow${limit}}`).length;
  assert.equal(limited(''), 1);
  assert.equal(limited(', limit: {key: principal, max: 1, per: 1h}'), 0);
  assert.match(warnings('  - {id: a, tool: strip.refund, effect: deny}', SCHEMAS)[0] ?? '', /^4 a no tool is called strip.refund/);
});

test('a policy whose own tests fail is refused', () => {
  const text = (expect: string) => `version: 1
default: deny
rules:
  - {id: weekend, tool: deploy, effect: deny, when: now.weekend}
  - {id: deploy, tool: deploy, effect: allow}
tests:
  - {name: on a Saturday, request: {tool: deploy, now: "2026-01-03T12:00:00Z"}, expect: deny, rule: weekend}
  - {name: on a Monday, request: {tool: deploy, agent: bot, args: {a: 1}}, ${expect}}
`;
  assert.deepEqual(problemsOf(text('expect: allow'), 'error'), []);
  assert.deepEqual(problemsOf(text('expect: deny'), 'error'), ['8 - test on a Monday: expected deny, got allow by rule deploy']);
  assert.deepEqual(problemsOf(text('expect: allow, rule: weekend'), 'error'), [
    '8 - test on a Monday: expected allow by rule weekend, got allow by rule deploy',
  ]);
  assert.match(problemsOf(text('expect: allow, rule: weekends'), 'error')[0] ?? '', /^8 weekends a test names it/);
  assert.match(
    problemsOf(text('expect: allow').replace('agent: bot', 'agnet: bot'), 'error')[0] ?? '',
    /^8 - request: unknown key "agnet"/,
  );
  assert.match(problemsOf(text('expect: allow').replace('agent: bot', 'agent: [bot]'), 'error')[0] ?? '', /^8 - request.agent/);
});
