import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePolicy, type CompiledPolicy } from './compile.ts';
import { isAsStrict, stricterGate } from './gates.ts';
import { DEFAULT_GATE, type Gate } from './parse.ts';
import { policyTime, type ToolRequest } from './types.ts';

const GATES = `gates:
  one: {approvers: ["role:a", "role:b"]}
  two: {quorum: 2, approvers: ["role:a"], exclude: [requester]}
  other: {approvers: ["role:c"]}
`;

function compiled(text: string): CompiledPolicy {
  const { policy, problems } = compilePolicy(`version: 1\n${text}`);
  assert.ok(policy, JSON.stringify(problems));
  return policy;
}

const call = (tool: string, more: Partial<ToolRequest> = {}): ToolRequest => ({
  kind: 'tool',
  principal: 'workflow:nightly',
  workflow: 'nightly',
  tool: { name: tool, risk: 'write' },
  args: {},
  now: policyTime(0),
  ...more,
});

const BASE = `default: deny
${GATES}rules:
  - {id: read, tool: "a.*", effect: allow}
  - {id: asked, tool: "b.*", effect: approve, gate: one}
  - {id: never, tool: "c.*", effect: deny}
`;

test('an overlay denies, asks and narrows for its workflow alone', () => {
  const policy = compiled(`${BASE}overlays:
  - workflow: night*
    rules:
      - {id: no-writes, tool: a.write, effect: deny, message: not at night}
      - {id: sees-a-person, tool: a.send, effect: approve, gate: two}
      - {id: two-people, tool: b.pay, effect: approve, gate: two}
      - {id: one-is-enough, tool: b.post, effect: approve, gate: one}
  - channel: slack:C1
    default: deny
    rules: [{id: only-reading, tool: "*.read", effect: allow}]
`);
  const of = (tool: string, more?: Partial<ToolRequest>) => {
    const { effect, rule, gate } = policy.decide(call(tool, more));
    return [effect, rule, gate];
  };
  assert.deepEqual(of('a.write'), ['deny', 'no-writes', undefined]);
  assert.deepEqual(of('a.write', { workflow: 'daily' }), ['allow', 'read', undefined]);
  assert.deepEqual(of('a.send'), ['approve', 'sees-a-person', 'two']);
  assert.deepEqual(of('b.pay'), ['approve', 'two-people', 'two']);
  assert.deepEqual(of('b.post'), ['approve', 'asked', 'one']);
  assert.deepEqual(of('c.x'), ['deny', 'never', undefined]);
  const inThread = (thread: string) => ({ principal: `thread:${thread}`, workflow: undefined, thread }) as never;
  assert.deepEqual(of('a.write', inThread('slack:C1:17')), ['deny', null, undefined]);
  assert.deepEqual(of('a.read', inThread('slack:C1:17')), ['allow', 'read', undefined]);
  assert.deepEqual(of('z.read', inThread('slack:C1:17')), ['deny', null, undefined]);
  // another channel whose name begins alike
  assert.deepEqual(of('a.write', inThread('slack:C12:17')), ['allow', 'read', undefined]);
  const explained = policy.explain(call('a.write'));
  assert.equal(explained.decision.rule, 'no-writes');
  assert.ok(explained.rules.some(({ rule, clauses }) => rule === 'no-writes' && clauses[0]?.clause === 'overlay of workflow night*'));
});

test('at gates of which neither is the stricter nothing is done, and the author is warned', () => {
  const text = `version: 1\n${BASE}overlays: [{workflow: "*", rules: [{id: c, tool: b.pay, effect: approve, gate: other}]}]\n`;
  const { policy, problems } = compilePolicy(text);
  const decision = policy?.decide(call('b.pay'));
  assert.deepEqual([decision?.effect, decision?.gate], ['deny', undefined]);
  assert.ok(
    problems.some(({ level, message, rule }) => level === 'warning' && rule === 'c' && message.includes('neither is the stricter')),
  );
});

test('the stricter gate is so in all that a gate can say', () => {
  const gate = (more: Partial<Gate> = {}): Gate => ({ ...DEFAULT_GATE, approvers: ['role:a', 'role:b'], editable: ['amount'], ...more });
  for (const stricter of [
    { quorum: 2 },
    { approvers: ['role:a'] },
    { exclude: ['requester'] },
    { expiresMs: 60_000 },
    { useByMs: 60_000 },
    { pendingMost: 1 },
    { editable: [] },
  ] satisfies Partial<Gate>[]) {
    const told = JSON.stringify(stricter);
    assert.ok(isAsStrict(gate(stricter), gate()), told);
    assert.ok(!isAsStrict(gate(), gate(stricter)), told);
    const gates = new Map([
      ['one', gate()],
      ['two', gate(stricter)],
    ]);
    assert.deepEqual([stricterGate(gates, 'one', 'two'), stricterGate(gates, 'two', 'one')], ['two', 'two'], told);
  }
  // strict in one, loose in the other
  assert.ok(!isAsStrict(gate({ quorum: 2, useByMs: 86_400_000 }), gate()));
  assert.ok(!isAsStrict(gate({ quorum: 2, pendingMost: 1000 }), gate()));
  // nobody named: the roles approver and admin, and not anybody
  assert.ok(!isAsStrict(gate({ approvers: ['role:a'] }), gate({ approvers: [] })));
  assert.ok(isAsStrict(gate({ approvers: ['role:admin'] }), gate({ approvers: [] })));
  assert.ok(!isAsStrict(gate({ onExpiry: 'escalate' }), gate({ onExpiry: 'escalate', escalate: { afterMs: 1, to: ['role:c'] } })));
  assert.ok(!isAsStrict(gate({ onExpiry: 'escalate', expiresMs: 1 }), gate({ onExpiry: 'escalate' })), 'admins are asked earlier');
  // of a key that nobody has compared
  assert.ok(!isAsStrict({ ...gate({ quorum: 2 }), later: 1 } as Gate, gate()));
});

test('an overlay that would loosen is refused', () => {
  for (const [overlay, wrong] of [
    ['{workflow: a, rules: [{id: x, tool: "c.*", effect: allow}]}', 'only tightens'],
    ['{workflow: a, default: allow, rules: []}', 'expected inherit, approve, deny'],
    ['{workflow: a, channel: b, rules: []}', 'either workflow or channel'],
    ['{rules: []}', 'either workflow or channel'],
    ['{workflow: a, rules: [{id: read, tool: x, effect: deny}]}', 'the id is also that of'],
    ['{workflow: a, rules: [{id: x, tool: x, effect: approve, gate: none}]}', 'there is no gate'],
    ['{workflow: a, rules: [{id: x, tool: x, effect: deny, when: "nope("}]}', 'when:'],
  ] as const) {
    const { policy, problems } = compilePolicy(`version: 1\n${BASE}overlays: [${overlay}]\n`);
    assert.equal(policy, undefined, overlay);
    assert.ok(
      problems.some(({ message }) => message.includes(wrong)),
      `${overlay}: ${JSON.stringify(problems)}`,
    );
  }
});

/** Numbers that are the same on each run. */
function dice(seed: number) {
  let state = seed;
  return (most: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % most;
  };
}

test('whatever is in an overlay, nothing is decided more loosely than without it', () => {
  const roll = dice(7);
  const pick = <T>(from: readonly T[]): T => from[roll(from.length)] as T;
  const list = () => ['role:a', 'role:b', 'role:c'].filter(() => roll(2) === 0);
  const RANK = { allow: 0, approve: 1, deny: 2 };
  let tightened = 0;
  for (let round = 0; round < 400; round++) {
    const names = ['g0', 'g1', 'g2'];
    const gates = names
      .map(
        (name) =>
          `  ${name}: {quorum: ${1 + roll(2)}, expires: ${1 + roll(2)}h, approvers: ${JSON.stringify(['role:z', ...list()])}, exclude: ${JSON.stringify(['requester', ...list()])}, use_by: ${5 + roll(2)}m, pending: ${3 + roll(2)}}\n`,
      )
      .join('');
    let id = 0;
    const rule = (allow: boolean) => {
      const effect = pick(allow ? (['allow', 'approve', 'deny'] as const) : (['approve', 'deny'] as const));
      const limited = effect === 'allow' && roll(3) === 0 ? `, limit: {key: principal, max: 1, per: 1h}, gate: ${pick(names)}` : '';
      const gate = effect === 'approve' ? `, gate: ${pick(names)}` : '';
      const when = pick(['args.n > 1', 'args.missing == 3', 'args.n < 3 && args.m == "x"', 'true']);
      return `{id: r${id++}, tool: "${pick(['a.*', 'b.*', 'a.x', '*.x'])}", effect: ${effect}${gate}${limited}, when: '${when}', mode: ${pick(['enforce', 'enforce', 'shadow'])}}`;
    };
    const rules = (allow: boolean, most: number) => `[${Array.from({ length: roll(most) }, () => rule(allow)).join(', ')}]`;
    const base = `default: ${pick(['deny', 'approve'])}\ngates:\n${gates}rules: ${rules(true, 8)}\n`;
    const overlays = Array.from({ length: 1 + roll(3) }, () => {
      const fallback = pick(['inherit', 'approve', 'deny']);
      return `{${pick(['workflow: w', 'workflow: "*"', 'channel: c'])}, default: ${fallback}, rules: ${rules(fallback !== 'inherit', 5)}}`;
    });
    const without = compiled(base);
    const overlaid = compiled(`${base}overlays: [${overlays.join(', ')}]\n`);
    for (let i = 0; i < 20; i++) {
      const request = call(pick(['a.x', 'a.y', 'b.x', 'b.y', 'c.z']), {
        workflow: pick(['w', 'v']),
        thread: pick(['c:1', 'd:1']),
        args: { n: roll(4), m: pick(['x', 'y']) },
      });
      const before = without.decide(request);
      const after = overlaid.decide(request);
      const told = `${base}${overlays.join('\n')}\n${JSON.stringify({ request, before, after })}`;
      assert.ok(RANK[after.effect] >= RANK[before.effect], told);
      if (RANK[after.effect] > RANK[before.effect]) tightened += 1;
      const gate = (name: string | undefined): Gate => overlaid.gates.get(name as string) as Gate;
      if (after.effect === 'approve')
        for (const asked of [before.gate, ...before.limits.map((limit) => limit.gate)])
          if (asked !== undefined) assert.ok(isAsStrict(gate(after.gate), gate(asked)), told);
      if (after.effect === 'allow')
        for (const limit of before.limits)
          assert.ok(
            after.limits.some(({ rule: of }) => of === limit.rule),
            told,
          );
    }
  }
  assert.ok(tightened > 500, `${tightened} were tightened`);
});
