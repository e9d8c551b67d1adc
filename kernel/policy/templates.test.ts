import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePolicy } from './compile.ts';
import { composeTemplates, listTemplates, readTemplate } from './templates.ts';

test('each template is a policy whose tests pass, and all of them together are one', () => {
  const names = listTemplates().map(({ name }) => name);
  assert.ok(names.length >= 3);
  let tests = compilePolicy(readTemplate('base')).tests.length;
  for (const name of names) {
    const { policy, problems, tests: own } = compilePolicy(readTemplate(name));
    assert.ok(policy, `${name}: ${JSON.stringify(problems)}`);
    assert.deepEqual(problems, [], name);
    assert.ok(own.length >= 4, name);
    assert.ok(
      policy.rules.every(({ id }) => id.startsWith(`${name}-`)),
      name,
    );
    tests += own.length;
    const alone = compilePolicy(composeTemplates([name]));
    assert.deepEqual(alone.problems, [], name);
  }
  // with what is allowed to all, each of the tests still holds
  const all = compilePolicy(composeTemplates(names));
  assert.deepEqual(all.problems, []);
  assert.equal(all.tests.length, tests);
  assert.equal(composeTemplates(['slack', 'slack']), composeTemplates(['slack']));
  assert.throws(() => composeTemplates(['slack', '../types']), /there is no template/);
});
