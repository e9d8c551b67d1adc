import assert from 'node:assert/strict';
import path from 'node:path';
import { after, test } from 'node:test';
import { loadCatalog } from './catalog.ts';
import { writeFiles } from './testing.ts';

const { dir, remove } = writeFiles({
  'base/styles/exports.ts': `
export const WORKFLOW_NAME = 'by_exports';
export const WORKFLOW_PRINCIPAL = true;
export const AGENT_DEFAULTS = { harness: 'codex' };
export const QUEUE = 'etl';
export const RETRY = { maxAttempts: 3 };
export const SCHEDULE = { type: 'interval', seconds: 60 };
export const WEBHOOKS = [{ slug: 'a', auth: 'none' }];
export const handler = () => null;
`,
  'base/styles/definition.ts': `
import { defineWorkflow } from '@centaur/sdk';
import { helper } from './_helper.ts';
export default defineWorkflow({ name: 'by_definition', queue: { name: 'q', concurrency: 1 }, concurrencyKey: () => 'k', handler: () => helper });
`,
  'base/styles/_helper.ts': 'export const helper: string = "help";',
  'base/styles/helper.ts': 'export const nothing = 1;',
  'base/twice_a.ts': "export const WORKFLOW_NAME = 'twice';\nexport const handler = () => 'a';",
  'base/twice_b.ts': "export const handler = () => 'b';\nexport const WORKFLOW_NAME = 'twice';",
  'base/bad/field.ts': "export const WORKFLOW_NAME = 'field';\nexport const handler = () => 1;\nexport const RETRY = { maxAttempts: 0 };",
  'base/bad/json.ts':
    "export const WORKFLOW_NAME = 'json';\nexport const handler = () => 1;\nexport const WEBHOOKS = [{ slug: 'a', map: () => 1 }];",
  'base/bad/syntax.ts': "export const WORKFLOW_NAME = 'syntax';\n\nexport const x: number = {{;",
  'base/bad/missing.ts': "export const WORKFLOW_NAME = 'missing';\nimport { x } from './nowhere.ts';",
  'base/bad/throws.ts': "export const WORKFLOW_NAME = 'throws';\n\n  nope();",
  'over/twice.ts': "export const WORKFLOW_NAME = 'twice';\nexport const handler = () => 'over';",
});
after(remove);
const at = (file: string) => path.join(dir, file);

test('both styles of a file are told alike, and files of helpers not at all', async () => {
  const { discovery, get } = await loadCatalog([at('base/styles')], undefined);
  const file = at('base/styles/exports.ts');
  assert.deepEqual(discovery.problems, []);
  assert.deepEqual(discovery.workflows, [
    {
      workflow_name: 'by_definition',
      source_path: at('base/styles/definition.ts'),
      webhooks: [],
      schedule: null,
      principal: null,
      agent_defaults: null,
      queue: { name: 'q', concurrency: 1 },
      retry: null,
      has_input: false,
      has_concurrency_key: true,
    },
    {
      workflow_name: 'by_exports',
      source_path: file,
      webhooks: [{ workflow_name: 'by_exports', source_path: file, spec: { slug: 'a', auth: 'none' } }],
      schedule: { type: 'interval', seconds: 60 },
      principal: true,
      agent_defaults: { harness: 'codex' },
      queue: 'etl',
      retry: { maxAttempts: 3 },
      has_input: false,
      has_concurrency_key: false,
    },
  ]);
  assert.equal(get('by_definition')?.handler(null as never, null as never), 'help');
});

test('the first of two files of one name is served, and a later folder shadows both', async () => {
  const sources = async (...dirs: string[]) => {
    const { discovery } = await loadCatalog(dirs.map(at), undefined);
    const problems = discovery.problems.filter(({ source_path }) => source_path.includes('twice'));
    return { served: discovery.workflows.find((each) => each.workflow_name === 'twice')?.source_path, problems };
  };
  const alone = await sources('base');
  assert.equal(alone.served, at('base/twice_a.ts'));
  assert.deepEqual(
    alone.problems.map(({ source_path, line, column }) => [source_path, line, column]),
    [[at('base/twice_b.ts'), 2, 31]],
  );
  assert.equal((await sources('base', 'over')).served, at('over/twice.ts'));
});

test('every broken file is a problem with its place, and stops no other', async () => {
  const { discovery } = await loadCatalog([at('base/bad'), at('over'), at('nowhere')], undefined);
  const found = new Map(discovery.problems.map((problem) => [path.basename(problem.source_path), problem]));
  const place = (name: string) => {
    const { line, column, field } = found.get(name) ?? {};
    return [line, column, field];
  };
  assert.deepEqual(place('field.ts'), [3, 14, 'RETRY']);
  assert.match(found.get('field.ts')?.message ?? '', /^RETRY\.maxAttempts: expected a whole number/);
  assert.deepEqual(place('json.ts'), [3, 14, 'WEBHOOKS']);
  assert.match(found.get('json.ts')?.message ?? '', /^WEBHOOKS: \$\.map is a function, which JSON cannot hold/);
  assert.deepEqual(place('syntax.ts'), [3, 27, undefined]);
  assert.deepEqual(place('missing.ts'), [2, 19, undefined]);
  assert.deepEqual(place('throws.ts'), [3, 3, undefined]);
  assert.equal(found.get('nowhere')?.message, 'there is no such directory');
  assert.deepEqual(
    discovery.workflows.map((each) => each.workflow_name),
    ['twice'],
  );
});

test('one file alone can be served, of whichever folder it is in', async () => {
  const { discovery } = await loadCatalog([at('base'), at('over')], at('base/twice_b.ts'));
  assert.deepEqual([discovery.workflows.map((each) => each.source_path), discovery.problems], [[at('base/twice_b.ts')], []]);
});
