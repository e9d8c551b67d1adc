import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { checkArrows, findImports } from './arrows.ts';

/** A house with these files, and a package in sdk/, kernel/ and runtime/. */
function house(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'centaur-arrows-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const packages = {
    'package.json': JSON.stringify({ name: 'centaur', devDependencies: { zod: '4.6.7' } }),
    'sdk/package.json': JSON.stringify({ name: '@centaur/sdk', exports: { '.': './src/index.ts' } }),
    'kernel/package.json': JSON.stringify({
      name: '@centaur/kernel',
      exports: { './engine': './engine/index.ts' },
      dependencies: { '@centaur/sdk': '1', pg: '8' },
    }),
    'runtime/package.json': JSON.stringify({ name: '@centaur/runtime', dependencies: { '@centaur/kernel': '1' } }),
  };
  for (const [path, text] of Object.entries({ ...packages, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

test('what points the right way is let through', (t) => {
  const root = house(t, {
    'sdk/src/index.ts': `import { setTimeout } from 'node:timers';\nimport './other.ts';`,
    'kernel/engine/index.ts': `import pg from 'pg';\nimport type { Run } from '@centaur/sdk';\nexport * from '../store/index.ts';`,
    'kernel/engine/index.test.ts': `import { z } from 'zod';\nimport { db } from '../../test/support/db.ts';`,
    'kernel/engine/testing.ts': `import { db } from '../../test/support/db.ts';`,
    'runtime/host.ts': `import { createEngine } from '@centaur/kernel/engine';\nimport { cron } from '../kernel/engine/cron.ts';`,
    'examples/demo.ts': `import pg from 'pg';\nimport '../cli/main.ts';\nimport '../test/support/db.ts';`,
  });
  assert.deepEqual(checkArrows(root), []);
});

const VIOLATIONS: readonly [what: string, file: string, text: string, problem: RegExp][] = [
  ['the SDK on the kernel', 'sdk/src/a.ts', `import { x } from '../../kernel/engine/index.ts';`, /sdk must not import kernel\/engine/],
  [
    'the store on the engine',
    'kernel/store/a.ts',
    `\nexport { x } from '../engine/index.ts';`,
    /a\.ts:2: kernel\/store must not import kernel\/engine/,
  ],
  [
    'the engine on the API',
    'kernel/engine/a.ts',
    `import type { x } from '../api/index.ts';`,
    /kernel\/engine must not import kernel\/api/,
  ],
  [
    'the kernel on the runtime, later',
    'kernel/api/a.ts',
    `const x = await import('../../runtime/host.ts');`,
    /kernel\/api must not import runtime/,
  ],
  [
    'the kernel on the runtime, in a type',
    'kernel/api/a.ts',
    `type X = import('../../runtime/host.ts').X;`,
    /kernel\/api must not import runtime/,
  ],
  ['the runtime on the command', 'runtime/a.ts', `import {\n  x,\n} from '../cli/main.ts';`, /runtime must not import cli/],
  ['the firewall on the SDK', 'kernel/firewall/a.ts', `import { x } from '@centaur/sdk';`, /kernel\/firewall must not import sdk/],
  ['code on test support', 'kernel/engine/a.ts', `import '../../test/support/db.ts';`, /kernel\/engine must not import test/],
  ['code on what its tests share', 'kernel/engine/a.ts', `import './testing.ts';`, /testing\.ts is for tests only/],
  ['the command on an example', 'cli/a.ts', `import '../examples/demo.ts';`, /cli must not import examples/],
  ['a package that is not declared', 'runtime/a.ts', `import pg from 'pg';`, /pg is not declared in runtime\/package\.json/],
  ['a tool of the tests in code', 'kernel/engine/a.ts', `import { z } from 'zod';`, /zod is not declared in kernel\/package\.json/],
  [
    'a path into a package that is not declared',
    'runtime/a.ts',
    `import '../sdk/src/index.ts';`,
    /belongs to @centaur\/sdk, which is not declared/,
  ],
  ['what a package does not export', 'runtime/a.ts', `import '@centaur/kernel/store';`, /not exported by kernel\/package\.json/],
  ['a builtin without node:', 'runtime/a.ts', `const fs = require('fs');`, /write node:fs/],
  ['a room nobody drew', 'attic/a.ts', `import '../sdk/src/index.ts';`, /no arrow is drawn for attic/],
  ['a way out of the project', 'sdk/a.ts', `import '../../elsewhere.ts';`, /outside the project/],
  ['a file of 701 lines', 'sdk/a.ts', '\n'.repeat(701), /701 lines/],
];

for (const [what, file, text, problem] of VIOLATIONS) {
  test(`seen: ${what}`, (t) => {
    const problems = checkArrows(house(t, { [file]: text }));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] as string, problem);
  });
}

test('comments and strings are not imports', () => {
  const text = `// import 'a';\n/* import b from 'b';\n import 'c' */\nconst url = 'http://x/*';\nconst said = "import 'd'; import('d')";\nimport 'e'; // '\nimport f from 'f';`;
  assert.deepEqual(findImports(text), [
    { specifier: 'e', line: 6 },
    { specifier: 'f', line: 7 },
  ]);
});
