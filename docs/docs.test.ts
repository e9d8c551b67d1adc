/** What the documents say is so. What they show is run: `guides.slow.test.ts`. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseConfig } from '../kernel/config/index.ts';
import { harnesses } from '../runtime/harness/index.ts';
import { stalePages } from './generate.ts';
import { blocksOf, DOCUMENTS, ROOT } from './testing.ts';

test('the reference is what the code says', () => {
  assert.deepEqual(stalePages(), [], 'run npm run docs');
});

test('every shown part of centaur.yaml is taken', () => {
  const shown = DOCUMENTS.flatMap((document) =>
    blocksOf(document, 'yaml').filter((text) => /^(?:agents|overlays|prices|sandbox|tools):/m.test(text)),
  );
  assert.ok(shown.length > 0);
  for (const text of shown) parseConfig(text, 'centaur.yaml');
});

test('the guide names the versions of the harnesses that their codecs were recorded with', () => {
  const guide = readFileSync(path.join(ROOT, 'docs/guides/agents.md'), 'utf8');
  const { demo: _ours, ...clis } = harnesses;
  for (const [kind, { launch }] of Object.entries(clis)) assert.ok(guide.includes(`@${launch.tested}`), `${kind} ${launch.tested}`);
});

test('the tests that ARCHITECTURE.md names are there', () => {
  const rows = readFileSync(path.join(ROOT, 'ARCHITECTURE.md'), 'utf8').matchAll(/`(\S+\/\S+\.test\.ts)`(?:: ((?:\*[^*]+\*(?:, )?)+))?/g);
  for (const [, file = '', names = ''] of rows) {
    const text = readFileSync(path.join(ROOT, file), 'utf8');
    for (const [, name = ''] of names.matchAll(/\*([^*]+)\*/g)) assert.ok(text.includes(name), `${file} has no test "${name}"`);
  }
});

test('every link between documents leads somewhere', () => {
  for (const document of [...globSync('*.md', { cwd: ROOT }), ...globSync('{docs,examples}/**/*.md', { cwd: ROOT })]) {
    const text = readFileSync(path.join(ROOT, document), 'utf8').replaceAll(/```[^]*?```/g, '');
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]*)(?:#[^)]*)?\)/g)) {
      if (target === '' || /^[a-z]+:/.test(target)) continue;
      const file = path.join(path.dirname(document), target);
      assert.ok(globSync(file, { cwd: ROOT }).length === 1, `${document} links to ${target}`);
    }
  }
});
