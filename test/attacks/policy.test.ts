import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { startEffort } from '../support/effort.ts';
import { compilePolicy, publishPolicy } from '../../kernel/policy/index.ts';
import { callThrough } from '../support/firewall.ts';
import { publishText } from './approvals.ts';
import { assertDenied, assertNothingLeaked, assertUntouched, type Scene, startScene } from './support.ts';

const LONG_PATH = `/v1/${'a'.repeat(7900)}`;
/** A thousand times of what it takes, and far from what a bomb takes. */
const SLOW_MS = 5000;

const rules = (conditions: readonly string[], effect = 'allow') =>
  `version: 1\ndefault: deny\nrules:\n${conditions.map((when, i) => `  - {id: r${i}, host: localhost, effect: ${effect}, when: ${JSON.stringify(when)}}\n`).join('')}`;

describe('a policy that would take for ever', () => {
  let scene: Scene;
  before(async () => (scene = await startScene()));
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());
  const call = (path = '/v1') => scene.call(path, { headers: { 'x-api-key': scene.placeholder } });

  for (const [what, text] of [
    ['a pattern that backtracks', rules(['request.path.matches("(a+)+$")'])],
    ['a pattern from the request', rules(['request.path.re(request.host)'])],
    ['a pattern that grows to millions of states', rules(['request.path.re("((a{1,1000}){1,1000}){1,1000}")'])],
    ['a pattern with a reference to its own match', rules(['request.path.re("(a*)*\\\\1b")'])],
    ['a pattern that looks ahead', rules(['request.path.re("(?=(a+)+b)")'])],
    ['lists of lists', rules(['request.secrets.all(a, request.secrets.all(b, request.secrets.all(c, a == b || b == c)))'])],
    ['a text that doubles', rules(['cel.bind(a, request.path + request.path, cel.bind(b, a + a, b + b)) == ""'])],
    ['a list that is made', rules(['request.secrets.map(a, [a, a]).map(a, [a, a]).size() > 1'])],
    ['a condition without end', rules([`${'!'.repeat(1900)}true`])],
    ['brackets without end', rules([`${'('.repeat(900)}true${')'.repeat(900)}`])],
    [
      'a thousand parts',
      rules([
        Array.from({ length: 600 }, () => '1==1')
          .join('&&')
          .slice(0, 1998),
      ]),
    ],
    ['more than 2,000 characters', rules([`request.path == "${'a'.repeat(2000)}"`])],
    [
      'YAML that unpacks to millions',
      `version: 1\ndefault: deny\na: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nrules: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n`,
    ],
    ['YAML that contains itself', 'version: 1\ndefault: deny\nrules: &a [*a]\n'],
  ] as const) {
    test(`is not published, and the one before stays: ${what}`, async () => {
      const effort = startEffort();
      const parts = { store: scene.t.store, audit: scene.t.installation.audit };
      await assert.rejects(
        publishPolicy(parts, 'test', { text }),
        (error: { code?: string }) => error.code === 'INVALID_POLICY',
        text.slice(0, 200),
      );
      assert.ok(effort() < SLOW_MS, `${Math.round(effort())} ms to refuse it`);
      assert.deepEqual(await scene.entries(), [], 'nothing was decided, nothing is told');
      assertUntouched(scene);
      assert.equal((await call()).status, 200);
      await assertNothingLeaked(scene.t, '', [scene.lease.token]);
    });
  }

  test('is none of those that may be published: the worst of them decides the worst of paths at once', async () => {
    const worst = [
      rules(
        Array.from({ length: 20 }, () => 'request.path.re("(a*)*b$") && request.path.re("(.*a){20}b") && request.path.re("(a|aa)+b$")'),
      ),
      `version: 1\ndefault: deny\nrules:\n${Array.from({ length: 50 }, (_, i) => `  - {id: r${i}, host: localhost, paths: ["/${'**a*'.repeat(30)}b"], effect: allow}\n`).join('')}`,
      rules(Array.from({ length: 20 }, () => 'request.secrets.all(s, request.path.contains(s + "x") || request.path.re("(a+)+b"))')),
    ];
    for (const text of worst) {
      const { policy, problems } = compilePolicy(text);
      assert.ok(policy !== undefined, JSON.stringify(problems));
      await publishText(scene, text);
      await scene.reset();
      const effort = startEffort();
      const answer = await call(LONG_PATH);
      assert.ok(effort() < SLOW_MS, `${Math.round(effort())} ms for one decision`);
      await assertDenied(scene, answer, { status: 403, code: 'POLICY_DENIED' });
    }
    await publishText(scene, rules(['true']));
    assert.equal((await call(LONG_PATH)).status, 200);
  });

  test('takes nothing from others: a client that asks for the worst again and again is one of many', async () => {
    await publishText(
      scene,
      `version: 1\ndefault: deny\nrules:\n  - {id: fine, host: localhost, paths: [/fine], effect: allow}\n${Array.from({ length: 20 }, (_, i) => `  - {id: r${i}, host: localhost, paths: ["/v1/**"], effect: allow, when: 'request.path.re("(a*)*b$")'}\n`).join('')}`,
    );
    const other = await scene.t.lease(['API_KEY']);
    await scene.reset();
    let over = false;
    const bombs = Promise.all(Array.from({ length: 20 }, () => call(LONG_PATH))).finally(() => (over = true));
    const fine = await callThrough(scene.t, other.token, scene.url('/fine'), { headers: { 'x-api-key': other.placeholders['API_KEY'] } });
    assert.equal(fine.status, 200, fine.body);
    const answers = await bombs;
    assert.ok(over);
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [403]);
    assert.deepEqual(
      scene.service.seen.map(({ url }) => url),
      ['/fine'],
    );
    await assertNothingLeaked(scene.t, answers, [scene.lease.token, other.token]);
  });
});
