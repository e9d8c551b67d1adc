import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Problem } from './locate.ts';
import { call, directory, host, names, returning } from './testing.ts';

/** A file of this content is one problem at this place, and the workflow beside it still loads. */
function breaks(sentence: string, content: string, place: string, message: RegExp, name = 'broken.ts'): void {
  test(sentence, async (t) => {
    const dir = directory(t, { [name]: content, 'good.ts': returning('good', 'still here') });
    const made = await host(t, dir);
    assert.deepEqual(names(made), ['good']);
    assert.equal(made.problems().length, 1, JSON.stringify(made.problems()));
    const problem = made.problems()[0] as Problem;
    assert.equal(`${problem.file}:${problem.line}:${problem.column}`, `${dir.at(name)}:${place}`);
    assert.match(problem.message, message);
    assert.deepEqual(
      made.logged.filter((entry) => entry.level === 'error').map((entry) => `${String(entry.line)} ${entry.message}`),
      [`${problem.line} workflow file: ${problem.message}`],
    );
  });
}

const HEAD = "export const WORKFLOW_NAME = 'broken';\n";

breaks(
  'a syntax error in TypeScript is named by line and column',
  `${HEAD}\nexport const x: number = {{;`,
  '3:27',
  /^SyntaxError: Unexpected token/,
);
breaks(
  'a syntax error in JavaScript is named by line and column',
  `${HEAD}\nexport const x = {{;`,
  '3:19',
  /^SyntaxError: Unexpected token/,
  'broken.mjs',
);
breaks('what only V8 finds wrong in TypeScript has a place too', `${HEAD}let a: number = 1;\n\nlet a = 2;`, '4:5', /already been declared/);
breaks(
  'an enum is named with the reason',
  `${HEAD}enum Colour { Red }\n`,
  '2:1',
  /enum is not supported.*write it without enum, namespace/,
);
breaks('an error while the file runs is named by its place', `${HEAD}\nnope();`, '3:1', /^ReferenceError: nope is not defined/);
breaks(
  'an error thrown deep in a helper function is named where it was thrown',
  `${HEAD}const f = () => {\n  throw new TypeError('no');\n};\nf();`,
  '3:9',
  /^TypeError: no/,
);
breaks(
  'a missing file is named by the line that imports it',
  `${HEAD}import { x } from './missing';\n`,
  '2:19',
  /cannot find '.\/missing'; an import names the file with its extension/,
);
breaks(
  'a missing package is named by the line that imports it',
  `${HEAD}\nimport x from 'no-such-package';\n`,
  '3:15',
  /cannot find the package 'no-such-package'/,
);
breaks(
  'a missing export is named by the line that imports it',
  `${HEAD}import { nothing } from './good.ts';\n`,
  '2:10',
  /does not provide an export named 'nothing'/,
);
breaks(
  'a value that is thrown instead of an error is shown',
  `${HEAD}throw { code: 7 };`,
  'undefined:undefined',
  /^threw \{ code: 7 \} while loading/,
);

breaks('a missing handler is named', HEAD, '1:14', /^handler must be a function \(input, ctx\); it is missing/);
breaks(
  'a handler that is no function is named',
  `${HEAD}\nexport const handler = 'soon';`,
  '3:14',
  /^handler must be a function \(input, ctx\); it is a string/,
);
breaks(
  'a name with other characters is refused',
  "export const WORKFLOW_NAME = 'a b';\nexport const handler = () => 1;",
  '1:14',
  /WORKFLOW_NAME must be 1 to 128 letters.*it is "a b"/,
);
breaks(
  'a name that is too long is refused',
  `export const WORKFLOW_NAME = '${'x'.repeat(129)}';\nexport const handler = () => 1;`,
  '1:14',
  /1 to 128/,
);
breaks(
  'an input that is no schema is refused',
  `${HEAD}export const handler = () => 1;\nexport const Input = { topic: 'string' };`,
  '3:14',
  /^Input must be a schema .*; it is an object/,
);
breaks(
  'a schedule that is not one is refused',
  `${HEAD}export const handler = () => 1;\nexport const SCHEDULE = '0 7 * * *';`,
  '3:14',
  /^SCHEDULE: expected an object with "type": "cron"/,
);
breaks(
  'a queue without a name is refused',
  `${HEAD}export const handler = () => 1;\nexport const QUEUE = { concurrency: 2 };`,
  '3:14',
  /^QUEUE must be a queue's name/,
);
breaks(
  'a retry policy out of range is refused',
  `${HEAD}export const handler = () => 1;\nexport const RETRY = { maxAttempts: 0 };`,
  '3:14',
  /^RETRY.maxAttempts: expected a whole number from 1 to 1000/,
);
breaks(
  'a retry delay that is no duration is refused',
  `${HEAD}export const handler = () => 1;\nexport const RETRY = { delay: 'soon' };`,
  '3:14',
  /^RETRY.delay: .*"soon"/,
);
const DEFINE = "import { defineWorkflow } from '@centaur/sdk';\nexport default defineWorkflow({\n  name: 'broken',\n";
breaks('a definition without a handler is a problem at the definition', `${DEFINE}} as never);`, '2:1', /^handler must be a function/);
breaks(
  'a bad schedule in a definition is a problem at its field',
  `${DEFINE}  handler: () => 1,\n  schedule: [{ type: 'interval', seconds: 5 }, { type: 'cron', cron: '61 * * * *' }],\n});`,
  '5:3',
  /^schedule\[1\]\.cron: the minute field "61" is not understood/,
);
breaks(
  'a file with both export styles is refused',
  `${DEFINE}  handler: () => 1,\n});\nexport const WORKFLOW_NAME = 'other';`,
  '6:14',
  /a file holds one workflow/,
);

test('a broken helper is one problem that says which files need it', async (t) => {
  const user = (name: string) => `import './helper.ts';\n${returning(name, 'x')}`;
  const dir = directory(t, { 'a.ts': user('a'), 'b.ts': user('b'), 'c.ts': returning('c', 'x'), 'helper.ts': '\nconst = 1;' });
  const made = await host(t, dir);
  assert.deepEqual(names(made), ['c']);
  assert.equal(made.problems().length, 1, JSON.stringify(made.problems()));
  const problem = made.problems()[0];
  assert.equal(problem?.file, dir.at('helper.ts'));
  assert.equal(problem?.line, 2);
  assert.match(problem?.message ?? '', /\(needed by a\.ts, b\.ts\)$/);
});

test('TypeScript under node_modules is refused with a reason', async (t) => {
  const parent = directory(t);
  const dir = {
    ...parent,
    dir: parent.at('node_modules/overlay/workflows'),
    at: (file: string) => parent.at(`node_modules/overlay/workflows/${file}`),
  };
  parent.write({
    'node_modules/overlay/workflows/a.ts': returning('a', 'x'),
    'node_modules/overlay/workflows/b.js': "export const WORKFLOW_NAME = 'b';\nexport const handler = () => 'js';",
  });
  const made = await host(t, dir);
  assert.deepEqual(names(made), ['b']);
  assert.equal(await call(made, 'b'), 'js');
  assert.match(made.problems()[0]?.message ?? '', /runs no TypeScript from node_modules/);
});
