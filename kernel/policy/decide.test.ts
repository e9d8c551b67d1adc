import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { compilePolicy } from './compile.ts';
import { type EgressRequest, policyTime, type ToolRequest } from './types.ts';

const NOW = policyTime(Date.UTC(2026, 0, 5, 12));

const GET: EgressRequest = {
  kind: 'egress',
  principal: 'workflow:nightly',
  lease: { id: 'l1', kind: 'run' },
  scheme: 'https',
  host: 'api.example.com',
  port: 443,
  method: 'GET',
  path: '/v1/items',
  bytes: 0,
  secrets: ['API_KEY'],
  credentialed: true,
  listed: false,
  now: NOW,
};

const REFUND: ToolRequest = {
  kind: 'tool',
  principal: 'thread:slack:C1:1',
  agent: { id: 'support-eu', tenant: 'acme' },
  tool: { name: 'stripe.refund', risk: 'financial' },
  args: { amount: 100, currency: 'eur' },
  integration: { id: 'stripe', tenant: 'acme' },
  now: NOW,
};

function policy(rules: string, fallback = 'deny') {
  const compiled = compilePolicy(`version: 1\ndefault: ${fallback}\ngates: {finance: {quorum: 2}}\nrules:\n${rules}`);
  assert.ok(compiled.policy, JSON.stringify(compiled.problems));
  return compiled.policy;
}

test('deny wins over approve, approve over allow, allow over the default, whatever their order', () => {
  const allow = '  - {id: a, host: "*.example.com", effect: allow}';
  const approve = '  - {id: b, host: api.example.com, effect: approve, gate: finance}';
  const deny = '  - {id: c, host: "*", effect: deny, when: request.method == "GET", message: no}';
  const effect = (...rules: string[]) => policy(rules.join('\n')).decide(GET);
  assert.deepEqual(effect(allow, approve, deny), { effect: 'deny', rule: 'c', message: 'no', limits: [], shadow: [], errors: [] });
  assert.deepEqual(effect(allow, approve), { effect: 'approve', rule: 'b', gate: 'finance', limits: [], shadow: [], errors: [] });
  assert.equal(effect(allow).effect, 'allow');
  assert.deepEqual(policy('  []').decide(GET), { effect: 'deny', rule: null, limits: [], shadow: [], errors: [] });
  assert.deepEqual(policy('  []', 'approve').decide(GET), {
    effect: 'approve',
    rule: null,
    gate: 'default',
    limits: [],
    shadow: [],
    errors: [],
  });
  assert.equal(policy([allow, allow.replace('id: a', 'id: z')].join('\n')).decide(GET).rule, 'a');
});

test('a rule applies only where all of it matches', () => {
  const rules = policy(
    '  - {id: a, host: api.example.com, principal: "workflow:*", agent: "bot-*", methods: [get], paths: [/v1/*], effect: allow}',
  );
  const request = { ...GET, agent: { id: 'bot-1' } };
  assert.equal(rules.decide(request).effect, 'allow');
  for (const other of [
    { host: 'example.com' },
    { principal: 'thread:x' },
    { agent: { id: 'other' } },
    { method: 'POST' },
    { path: '/v2/items' },
  ])
    assert.equal(rules.decide({ ...request, ...other }).effect, 'deny', JSON.stringify(other));
  assert.equal(rules.decide(GET).effect, 'deny', 'without an agent');
});

test('a rule for a tool says nothing about egress, nor the other way round', () => {
  assert.equal(policy('  - {id: a, tool: api.example.com, effect: allow}').decide(GET).effect, 'deny');
  assert.equal(policy('  - {id: a, host: stripe.refund, effect: allow}').decide(REFUND).effect, 'deny');
});

test('a condition that fails counts against the request', () => {
  const request = { ...REFUND, args: { amount: '100' } };
  const rules = policy(`  - {id: small, tool: stripe.refund, effect: allow, when: args.amount <= 5000}
  - {id: large, tool: stripe.refund, effect: approve, when: args.amount > 5000}
  - {id: never, tool: stripe.refund, effect: deny, when: args.amount > 500000}`);
  assert.equal(rules.decide(REFUND).rule, 'small');
  assert.deepEqual(rules.decide(request), {
    effect: 'deny',
    rule: 'never',
    limits: [],
    shadow: [],
    errors: [{ rule: 'never', message: 'no such overload: dyn<string> > int' }],
  });
  const allowed = policy('  - {id: small, tool: stripe.refund, effect: allow, when: args.amount <= 5000}');
  for (const args of [{ amount: '100' }, {}, null, [], 'text', JSON.parse('{"amount": 1, "constructor": {}}')])
    assert.equal(allowed.decide({ ...REFUND, args }).effect, 'deny', JSON.stringify(args));
  assert.equal(policy('  - {id: a, tool: x, effect: deny}').decide(REFUND).errors.length, 0);
});

test('members that are not there fail, so that two missing ones are not equal', () => {
  const rules = policy('  - {id: own, tool: stripe.refund, effect: allow, when: agent.tenant == integration.tenant}');
  assert.equal(rules.decide(REFUND).effect, 'allow');
  const { agent: _, integration: __, ...nobody } = REFUND;
  assert.equal(rules.decide(nobody).effect, 'deny');
  assert.equal(
    policy('  - {id: a, tool: stripe.refund, effect: allow, when: "!has(agent.id) && !has(run.workflow)"}').decide(nobody).effect,
    'allow',
  );
});

test('who asked for the turn, and in which channel, is there for requests and calls alike', () => {
  const when = '!has(run.channel) || run.channel != "channel:slack:C1" || run.user != "ann"';
  const rules = policy(`  - {id: a, host: api.example.com, effect: deny, when: '${when}'}
  - {id: b, host: api.example.com, effect: allow}
  - {id: c, tool: stripe.refund, effect: deny, when: '${when}'}
  - {id: d, tool: stripe.refund, effect: allow}`);
  const here = { user: 'ann', channel: 'channel:slack:C1' };
  for (const request of [GET, REFUND]) {
    assert.equal(rules.decide({ ...request, ...here }).effect, 'allow');
    for (const other of [{}, { user: 'ann' }, { ...here, user: 'bob' }, { ...here, channel: 'channel:slack:C2' }])
      assert.equal(rules.decide({ ...request, ...other }).effect, 'deny', JSON.stringify(other));
  }
});

test('arguments too large to be read count against the request, in conditions that read them', () => {
  const rules = policy(`  - {id: a, tool: stripe.refund, effect: allow, when: 'size(args.items) >= 0'}
  - {id: b, tool: other, effect: allow, when: 'tool.risk == "financial"'}`);
  const decide = (args: unknown, name = 'stripe.refund') => rules.decide({ ...REFUND, tool: { name, risk: 'financial' }, args }).effect;
  assert.equal(decide({ items: [1] }), 'allow');
  const nested = JSON.parse(`${'['.repeat(50)}${']'.repeat(50)}`);
  for (const args of [
    { items: Array(201).fill(1) },
    { items: [], text: 'x'.repeat(70_000) },
    { items: [], nested },
    { items: [], wide: Array(200).fill(Array(200).fill(Array(200).fill(1))) },
  ]) {
    assert.equal(decide(args), 'deny');
    assert.equal(decide(args, 'other'), 'allow');
  }
});

test('re() takes time in proportion to its text, and searches anywhere in it', () => {
  const rules = policy(`  - {id: a, tool: stripe.refund, effect: deny, when: 'args.text.re("^(a+)+$")'}
  - {id: b, tool: stripe.refund, effect: allow, when: 'args.text.re("a!")'}`);
  const effort = startEffort();
  assert.equal(rules.decide({ ...REFUND, args: { text: `${'a'.repeat(10_000)}!` } }).rule, 'b');
  assert.ok(effort() < 1000);
});

test('numbers of JSON compare with whole numbers', () => {
  for (const when of [
    'args.n == 5',
    '5 == args.n',
    'args.n + 1 == 6',
    '10 / args.n == 2',
    'args.n != 6',
    'args.n in [5, 6]',
    'args.n % 2 == 1',
    'args.list == [1, 2]',
    'args.n > 4',
  ])
    assert.equal(
      policy(`  - {id: a, tool: stripe.refund, effect: allow, when: '${when}'}`).decide({ ...REFUND, args: { n: 5, list: [1, 2] } }).effect,
      'allow',
      when,
    );
});

test('rules in shadow mode are reported and have no effect', () => {
  const rules = policy(`  - {id: a, host: api.example.com, effect: allow}
  - {id: b, host: api.example.com, effect: deny, mode: shadow}
  - {id: c, host: api.example.com, effect: deny, mode: shadow, when: request.bytes > 1}`);
  assert.deepEqual(rules.decide(GET), { effect: 'allow', rule: 'a', limits: [], shadow: [{ rule: 'b', effect: 'deny' }], errors: [] });
});

test('limits of all allowances that match are to be counted', () => {
  const rules = policy(`  - {id: all, host: api.example.com, effect: allow}
  - {id: each, host: api.example.com, effect: allow, gate: finance, limit: {key: principal + request.method, max: 20, per: 1h}}
  - {id: big, host: api.example.com, effect: allow, when: request.bytes > 5, limit: {key: '"x"', max: 1, per: 1h}}`);
  const limit = { rule: 'each', key: 'workflow:nightlyGET', max: 20, perMs: 3_600_000, gate: 'finance' };
  assert.deepEqual(rules.decide(GET), { effect: 'allow', rule: 'all', limits: [limit], shadow: [], errors: [] });
  const broken = policy('  - {id: a, host: api.example.com, effect: allow, limit: {key: agent.id, max: 1, per: 1h}}').decide(GET);
  assert.deepEqual(broken, {
    effect: 'deny',
    rule: null,
    limits: [],
    shadow: [],
    errors: [{ rule: 'a', message: 'limit.key: No such key: id' }],
  });
});

test('an explanation shows each rule with the parts of its condition', () => {
  const rules = policy(`  - {id: a, host: api.example.com, effect: allow, methods: [POST]}
  - {id: b, host: api.example.com, effect: deny, when: 'request.bytes == 0 && (agent.id == "x" || request.listed) && request.port > 1'}
  - {id: c, tool: api.example.com, effect: deny}`);
  assert.deepEqual(rules.explain(GET).rules, [
    {
      rule: 'a',
      effect: 'allow',
      mode: 'enforce',
      matched: false,
      clauses: [
        { clause: 'host: api.example.com', result: true },
        { clause: 'methods: POST', result: false },
      ],
    },
    {
      rule: 'b',
      effect: 'deny',
      mode: 'enforce',
      matched: true,
      clauses: [
        { clause: 'host: api.example.com', result: true },
        { clause: 'request.bytes == 0', result: true },
        { clause: 'agent.id == "x" || request.listed', result: { error: 'No such key: id' } },
        { clause: 'request.port > 1', result: true },
      ],
    },
  ]);
  assert.equal(rules.explain(GET).decision.rule, 'b');
});

test('hosts that were never asked for before are decided like others, however many', () => {
  const rules = policy('  - {id: a, host: "*.example.com", effect: allow}');
  for (let i = 0; i < 5000; i += 1) {
    assert.equal(rules.decide({ ...GET, host: `h${i}.example.com` }).effect, 'allow');
    assert.equal(rules.decide({ ...GET, host: `h${i}.example.org` }).effect, 'deny');
  }
});
