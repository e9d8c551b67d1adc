/**
 * What the documents show is run: every command of an `sh` block against a real server with the scripted model beside it,
 * every `ts` block by the compiler and by Node, or by the server when it is a workflow.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, globSync, rmSync, writeFileSync, chmodSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stalePages } from './generate.ts';
import { parseConfig } from '../kernel/config/index.ts';
import { harnesses } from '../runtime/harness/index.ts';
import { createLocalBackend } from '../runtime/sandbox/local/index.ts';
import { ensureBubblewrap } from '../test/support/bubblewrap.ts';
import { eventually } from '../test/support/wait.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DOCUMENTS = ['README.md', ...globSync('docs/guides/*.md', { cwd: ROOT }).sort()];
const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> };

/** Commands that CI runs by themselves: here they must only exist. */
const RUN_BY_CI = /^npm (?:ci|test|run)\b/;
const SERVER = /\bnpm start$/;
const WORKFLOW = /^export default defineWorkflow\(/m;

let env: Record<string, string>;
let stop = async () => {};

before(async () => {
  // Made by a user as in the README: an empty home, and the command that it shows
  const home = mkdtempSync(path.join(os.tmpdir(), 'centaur-docs-'));
  chmodSync(home, 0o711);
  const workflows = writeWorkflows();
  const { path: bubblewrap, problem } = ensureBubblewrap();
  assert.ok(bubblewrap, problem);
  const port = String(await freePort());
  env = {
    PATH: process.env['PATH'] ?? '',
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? '',
    HOME: home,
    PORT: port,
    FIREWALL_PORT: '0',
    CENTAUR_API_URL: `http://127.0.0.1:${port}`,
    NO_COLOR: '1',
  };
  const command = commandsIn('README.md').find((line) => SERVER.test(line));
  assert.ok(command, 'the README shows how to start a server');
  const server = spawn('bash', ['-c', `exec env ${command.replace(/(WORKFLOW_DIRS=\S+)/, `$1:${workflows}`)}`], {
    cwd: ROOT,
    env: { ...env, CENTAUR_DEMO: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (part: Buffer) => (output += part.toString()));
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  stop = async () => {
    // npm, its shell and the server are one process group of ours
    if (server.pid !== undefined && server.exitCode === null) process.kill(-server.pid, 'SIGTERM');
    await ended;
    await createLocalBackend({ stateDir: path.join(home, '.centaur', 'sandboxes') }).shutdown();
    for (const folder of [home, workflows]) rmSync(folder, { recursive: true, force: true });
  };
  await eventually(() => output.includes(' is up ') || server.exitCode !== null, { timeoutMs: 60_000, what: 'npm start' });
  assert.equal(server.exitCode, null, output);
});

after(() => stop());

for (const document of DOCUMENTS) {
  test(`every command of ${document} works`, () => {
    const commands = commandsIn(document);
    for (const command of commands.filter((line) => RUN_BY_CI.test(line))) {
      for (const [, run, name] of command.matchAll(/npm (run )?([\w:]+)/g))
        if (name !== 'ci') assert.ok(scripts[name ?? ''], `${run ?? ''}${name}: no such script`);
    }
    const script = commands.filter((line) => !RUN_BY_CI.test(line) && !SERVER.test(line)).join('\n');
    const strict = 'set -euo pipefail; curl() { command curl --fail-with-body "$@"; }';
    const { status, stdout, stderr } = spawnSync('bash', ['-c', `${strict}\n${local(script)}`], {
      cwd: ROOT,
      env,
      encoding: 'utf8',
      timeout: 240_000,
    });
    assert.equal(status, 0, `${script}\n${stdout}\n${stderr}`);
  });
}

test('every TypeScript example compiles and runs', () => {
  // Inside of the repository, so that its packages are found; not in node_modules, where Node runs no TypeScript
  const folder = mkdtempSync(path.join(ROOT, 'test', '.docs-'));
  try {
    let examples = 0;
    for (const document of DOCUMENTS)
      for (const code of blocksOf(document, 'ts'))
        writeFileSync(path.join(folder, `${path.basename(document, '.md')}-${++examples}.ts`), `${local(code)}\nexport {};\n`);
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
    const key = readFileSync(path.join(env['HOME'] ?? '', '.centaur', 'admin.key'), 'utf8').trim();
    for (const file of globSync('*.ts', { cwd: folder })) {
      // these are run by the server, as the text around them shows
      if (WORKFLOW.test(readFileSync(path.join(folder, file), 'utf8'))) continue;
      const run = spawnSync(process.execPath, [file], {
        cwd: folder,
        env: { ...env, CENTAUR_API_KEY: key },
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
  const shown = DOCUMENTS.flatMap((document) => blocksOf(document, 'yaml').filter((text) => /^(?:agents|sandbox):/m.test(text)));
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

/** The documents show the default port; the test's server has another. */
function local(text: string): string {
  return text.replaceAll('127.0.0.1:8080', `127.0.0.1:${env['PORT']}`);
}

/** The workflows of the guides, in a folder for the server: inside of the repository, so that its packages are found. */
function writeWorkflows(): string {
  const folder = mkdtempSync(path.join(ROOT, 'test', '.docs-'));
  for (const document of DOCUMENTS.filter((name) => name.startsWith('docs/guides/')))
    for (const [i, code] of blocksOf(document, 'ts').entries())
      if (WORKFLOW.test(code)) writeFileSync(path.join(folder, `${path.basename(document, '.md')}-${i}.ts`), code);
  return folder;
}

/** One entry per command: lines that end in a backslash go on, comments are dropped. */
function commandsIn(document: string): string[] {
  return blocksOf(document, 'sh').flatMap((block) =>
    block
      .replaceAll(/\\\n\s*/g, '')
      .split('\n')
      .map((line) => line.replace(/\s+# .*$/, '').trim())
      .filter(Boolean),
  );
}

function blocksOf(document: string, language: string): string[] {
  const text = readFileSync(path.join(ROOT, document), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm'))].map(([, code = '']) => code);
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
