import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { test } from 'node:test';
import { WaitTimeoutError } from '@centaur/sdk';
import { createNodeHost } from './index.ts';
import { call, directory, host, names, returning } from './testing.ts';

const BY_NAMES = `
import { shout } from './lib/text.ts';
export const WORKFLOW_NAME = 'by_names';
export const SCHEDULE = { type: 'cron', cron: '0 7 * * MON-FRI', timezone: 'Europe/Berlin' };
export const WEBHOOKS = [{ slug: 'by-names', auth: 'none' }];
export const QUEUE = 'slow';
export const RETRY = { maxAttempts: 3, delay: '5s' };
export async function handler(): Promise<string> { return shout('by names'); }
`;

const BY_DEFAULT = `
import { defineWorkflow } from '@centaur/sdk';
export default defineWorkflow({
  name: 'by.default-1',
  queue: { name: 'reports', concurrency: 2 },
  schedule: [{ type: 'interval', seconds: 60 }, { type: 'cron', cron: '*/5 0,12 1-15/2 jan 7' }],
  concurrencyKey: (input: { key: string }) => input.key,
  handler: async (input: { key: string }, ctx) => 'by default',
});
`;

test('both export styles are loaded, from subdirectories too, without any package beside them', async (t) => {
  const dir = directory(t, {
    'a.ts': BY_NAMES,
    'lib/text.ts': 'export const shout = (s: string) => s.toUpperCase();',
    'deep/er/b.mts': BY_DEFAULT,
  });
  const made = await host(t, dir);
  assert.deepEqual(made.problems(), []);
  assert.deepEqual(names(made), ['by.default-1', 'by_names']);
  assert.equal(await call(made, 'by_names'), 'BY NAMES');
  assert.equal(await call(made, 'by.default-1'), 'by default');

  const first = made.registry.get('by_names');
  assert.equal(first?.source, dir.at('a.ts'));
  assert.equal(first?.queue, 'slow');
  assert.deepEqual(first?.retry, { maxAttempts: 3, delay: '5s' });
  assert.deepEqual(first?.schedules, [{ type: 'cron', cron: '0 7 * * MON-FRI', timezone: 'Europe/Berlin' }]);
  const second = made.registry.get('by.default-1');
  assert.deepEqual(second?.queue, { name: 'reports', concurrency: 2 });
  assert.equal(second?.schedules?.length, 2);
  assert.equal(second?.concurrencyKey?.({ key: 'k' } as never), 'k');
  assert.equal(made.registry.get('unknown'), undefined);
});

test('JavaScript is loaded as well', async (t) => {
  const dir = directory(t, {
    'a.js': "export const WORKFLOW_NAME = 'a';\nexport const handler = () => 1;",
    'b.mjs': "export const WORKFLOW_NAME = 'b';\nexport const handler = () => 2;",
  });
  const made = await host(t, dir);
  assert.deepEqual([await call(made, 'a'), await call(made, 'b')], [1, 2]);
});

test('helpers, tests, declarations, packages and hidden files are no workflows', async (t) => {
  const broken = 'throw new Error("was loaded")';
  const made = await host(
    t,
    directory(t, {
      'a.ts': returning('a', 'x'),
      'helper.ts': 'export const two = 2;',
      'default.ts': "export default { name: 'no_workflow', handler() {} };",
      'a.test.ts': broken,
      'types.d.ts': broken,
      '_draft.ts': broken,
      '_drafts/b.ts': broken,
      '.hidden.ts': broken,
      'node_modules/p/index.js': broken,
      'readme.md': '# no code',
      'tool.py': 'nor this',
    }),
  );
  assert.deepEqual(made.problems(), []);
  assert.deepEqual(names(made), ['a']);
});

test('a later directory shadows an earlier one by name', async (t) => {
  const base = directory(t, { 'report.ts': returning('report', 'base'), 'only.ts': returning('only_base', 'base') });
  const overlay = directory(t, { 'ours/report.ts': returning('report', 'overlay') });
  const made = await host(t, base, overlay);
  assert.deepEqual(made.problems(), []);
  assert.deepEqual(names(made), ['only_base', 'report']);
  assert.equal(await call(made, 'report'), 'overlay');
});

test('the same name twice in one directory is a problem that names both, and the first by path is served', async (t) => {
  const dir = directory(t, { 'b.ts': returning('report', 'second'), 'a.ts': returning('report', 'first') });
  const made = await host(t, dir);
  assert.equal(await call(made, 'report'), 'first');
  assert.deepEqual(made.problems(), [
    {
      file: dir.at('b.ts'),
      line: 1,
      column: 31,
      message: `the workflow "report" is also in ${dir.at('a.ts')}, which is the one in service; rename one of them`,
    },
  ]);
});

test('a version is the code of the file and of what it imports, wherever it is mounted', async (t) => {
  const files = {
    'a.ts': `import './lib/x.ts';\n${returning('a', '1')}`,
    'lib/x.ts': "import './y.ts';",
    'lib/y.ts': 'export {};',
    'b.ts': returning('b', '1'),
  };
  const versionsOf = async (changed: Record<string, string>) => {
    const made = await host(t, directory(t, { ...files, ...changed }));
    return ['a', 'b'].map((name) => made.registry.get(name)?.version);
  };
  const [a, b] = await versionsOf({});
  assert.match(a ?? '', /^[0-9a-f]{16}$/);
  assert.deepEqual(await versionsOf({}), [a, b]);
  const [changed, same] = await versionsOf({ 'lib/y.ts': 'export const y = 1;' });
  assert.notEqual(changed, a);
  assert.equal(same, b);
});

test('a helper that two workflows import is loaded once', async (t) => {
  const user = (name: string) =>
    `import { count } from './_count.ts';\nexport const WORKFLOW_NAME = '${name}';\nexport const handler = () => count();`;
  const made = await host(
    t,
    directory(t, { 'a.ts': user('a'), 'b.ts': user('b'), '_count.ts': 'let n = 0; export const count = () => ++n;' }),
  );
  assert.deepEqual([await call(made, 'a'), await call(made, 'b')], [1, 2]);
});

test('JSON beside a workflow can be imported', async (t) => {
  const made = await host(
    t,
    directory(t, {
      'a.ts':
        "import rates from './rates.json' with { type: 'json' };\nexport const WORKFLOW_NAME = 'a';\nexport const handler = () => rates.eur;",
      'rates.json': '{"eur": 1.1}',
    }),
  );
  assert.deepEqual(made.problems(), []);
  assert.equal(await call(made, 'a'), 1.1);
});

test('links are followed, as in a mounted ConfigMap, and a link that leads back up does no harm', async (t) => {
  const dir = directory(t, {
    '..data/report.ts': `import { text } from './util.ts';\nexport const WORKFLOW_NAME = 'report';\nexport const handler = () => text;`,
    '..data/util.ts': "export const text = 'linked';",
  });
  symlinkSync('..data/report.ts', dir.at('report.ts'));
  symlinkSync('..data/util.ts', dir.at('util.ts'));
  mkdirSync(dir.at('sub'));
  symlinkSync(dir.dir, dir.at('sub/up'));
  const made = await host(t, dir);
  assert.deepEqual(made.problems(), []);
  assert.equal(await call(made, 'report'), 'linked');
  assert.equal(made.registry.get('report')?.source, dir.at('report.ts'));
});

test('a directory that does not exist is a problem and the others load', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', 'x') });
  const made = await createNodeHost({ dirs: [dir.at('missing'), dir.dir], watch: false });
  t.after(() => made.close());
  assert.deepEqual(names(made), ['a']);
  assert.deepEqual(made.problems(), [{ file: dir.at('missing'), message: 'there is no such directory' }]);
});

test("a workflow gets the engine's own SDK, so that its error classes are the ones that are thrown", async (t) => {
  const dir = directory(t, {
    'a.ts':
      "import { WaitTimeoutError } from '@centaur/sdk';\nexport const WORKFLOW_NAME = 'a';\nexport const handler = () => WaitTimeoutError;",
    'node_modules/@centaur/sdk/package.json': '{ "name": "@centaur/sdk", "type": "module", "exports": "./index.js" }',
    'node_modules/@centaur/sdk/index.js': 'export class WaitTimeoutError {}',
  });
  const made = await host(t, dir);
  assert.deepEqual(made.problems(), []);
  assert.equal(await call(made, 'a'), WaitTimeoutError);
});

test('a link to nothing is ignored, and one to itself is a problem that stops nothing', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', 'x') });
  symlinkSync('nowhere.ts', dir.at('dangling.ts'));
  symlinkSync('loop.ts', dir.at('loop.ts'));
  const made = await host(t, dir);
  assert.deepEqual(names(made), ['a']);
  assert.deepEqual(
    made.problems().map((problem) => problem.file),
    [dir.at('loop.ts')],
  );
});
