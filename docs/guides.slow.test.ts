/**
 * What the README and the guides show is run against the server that the README starts: every command of an `sh` block, in its
 * order; every `ts` block by the compiler and by Node, or by the server when it is a workflow.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { blocksOf, DOCUMENTS, ROOT, type ShownServer, startShownServer, WORKFLOW } from './testing.ts';

let server: ShownServer;

before(async () => {
  server = await startShownServer();
});
after(() => server[Symbol.asyncDispose]());

for (const guide of DOCUMENTS) test(`every command of ${guide} works`, () => server.runCommands(guide));

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
        timeout: 240_000,
      });
      assert.equal(run.status, 0, `${file}\n${run.stderr}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
