/**
 * What the documents show is run: every command of an `sh` block of the README against a real server, every `ts` block by
 * the compiler and by Node, or by the server when it is a workflow. Commands of the guides: `guides.slow.test.ts`.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { parseConfig } from '../kernel/config/index.ts';
import { harnesses } from '../runtime/harness/index.ts';
import { stalePages } from './generate.ts';
import { blocksOf, GUIDES, ROOT, type ShownServer, startShownServer, WORKFLOW } from './testing.ts';

const DOCUMENTS = ['README.md', ...GUIDES];
let server: ShownServer;

before(async () => {
  server = await startShownServer({ WORKFLOW_HOSTS: 'in_process' });
});
after(() => server[Symbol.asyncDispose]());

test('every command of README.md works', () => server.runCommands('README.md'));

test('every TypeScript example compiles and runs', () => {
  // Inside of the repository, so that its packages are found; not in node_modules, where Node runs no TypeScript
  const folder = mkdtempSync(path.join(ROOT, 'test', '.docs-'));
  try {
    let examples = 0;
    for (const document of DOCUMENTS)
      for (const code of blocksOf(document, 'ts'))
        writeFileSync(path.join(folder, `${path.basename(document, '.md')}-${++examples}.ts`), `${server.local(code)}\nexport {};\n`);
    assert.ok(examples >= 2);
    const extended = path.join(ROOT, 'tsconfig.json');
    writeFileSync(
      path.join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: extended,
        compilerOptions: { typeRoots: [path.join(ROOT, 'node_modules/@types')] },
        include: ['*.ts'],
        exclude: [],
      }),
    );
    const { status, stdout } = spawnSync(path.join(ROOT, 'node_modules/.bin/tsc'), ['-p', folder], { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
    const key = readFileSync(path.join(server.env['HOME'] ?? '', '.centaur', 'admin.key'), 'utf8').trim();
    for (const file of globSync('*.ts', { cwd: folder })) {
      // these are run by the server, as the text around them shows
      if (WORKFLOW.test(readFileSync(path.join(folder, file), 'utf8'))) continue;
      const run = spawnSync(process.execPath, [file], {
        cwd: folder,
        env: { ...server.env, CENTAUR_API_KEY: key },
        encoding: 'utf8',
        timeout: 60_000,
      });
      assert.equal(run.status, 0, `${file}\n${run.stderr}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

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
