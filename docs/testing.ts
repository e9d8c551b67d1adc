/** What the documents show, and the server on which it is run: as the README shows it, with the scripted model beside it. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLocalBackend } from '../runtime/sandbox/local/index.ts';
import { ensureBubblewrap } from '../test/support/bubblewrap.ts';
import { freePort } from '../test/support/ports.ts';
import { eventually } from '../test/support/wait.ts';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const GUIDES = globSync('docs/guides/*.md', { cwd: ROOT }).sort();
export const DOCUMENTS = ['README.md', ...GUIDES];
const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> };

/** Commands that CI runs by themselves: here they must only exist. */
const RUN_BY_CI = /^npm (?:ci|test|run)\b/;
const SERVER = /\bnpm start$/;
/** A file of a tool, and where the text says that it belongs. */
const TOOL_FILE = /^```(?:ts|python|toml)\n((?:(?!^```)[^])*)^```\n+Save it as `tools\/([^`]+)`/gm;
export const WORKFLOW = /^export default defineWorkflow\(/m;

export interface ShownServer extends AsyncDisposable {
  /** Of whoever runs the commands. */
  readonly env: Readonly<Record<string, string>>;
  /** Every `sh` block of a document, one after the other. */
  runCommands(document: string): void;
  /** The documents show the default port and a folder of tools; this server has others. */
  local(text: string): string;
}

/** @param more of the server's environment */
export async function startShownServer(more: Readonly<Record<string, string>> = {}): Promise<ShownServer> {
  // Made by a user as in the README: an empty home, and the command that it shows
  const home = mkdtempSync(path.join(os.tmpdir(), 'centaur-docs-'));
  chmodSync(home, 0o711);
  const workflows = writeWorkflows();
  const tools = writeTools();
  const { path: bubblewrap, problem } = ensureBubblewrap();
  assert.ok(bubblewrap, problem);
  const [port, edge] = [String(await freePort()), String(await freePort())];
  const env = {
    // the Node that npm would put there, whoever starts this
    PATH: `${path.dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? '',
    HOME: home,
    PORT: port,
    FIREWALL_PORT: '0',
    CENTAUR_EDGE_PORT: edge,
    CENTAUR_API_URL: `http://127.0.0.1:${port}`,
    NO_COLOR: '1',
    // whoever commits has a name
    ...Object.fromEntries(
      ['AUTHOR', 'COMMITTER'].flatMap((who) => [
        [`GIT_${who}_NAME`, 'Ada'],
        [`GIT_${who}_EMAIL`, 'ada@example.com'],
      ]),
    ),
  };
  const command = commandsIn('README.md').find((line) => SERVER.test(line));
  assert.ok(command, 'the README shows how to start a server');
  const server = spawn('bash', ['-c', `exec env ${command.replace(/(WORKFLOW_DIRS=\S+)/, `$1:${workflows}`)}`], {
    cwd: ROOT,
    env: { ...env, TOOL_DIRS: tools, CENTAUR_OVERLAYS: overlaysIn(home), CENTAUR_DEMO: '1', ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (part: Buffer) => (output += part.toString()));
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  const stop = async () => {
    // npm, its shell and the server are one process group of ours
    if (server.pid !== undefined && server.exitCode === null) process.kill(-server.pid, 'SIGTERM');
    await ended;
    await createLocalBackend({ stateDir: path.join(home, '.centaur', 'sandboxes') }).shutdown();
    for (const folder of [home, workflows, tools]) rmSync(folder, { recursive: true, force: true });
  };
  await eventually(() => output.includes(' is up ') || server.exitCode !== null, { timeoutMs: 240_000, what: 'npm start' });
  if (server.exitCode !== null) {
    await stop();
    assert.fail(output);
  }
  const local = (text: string) =>
    text
      .replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`)
      .replaceAll('127.0.0.1:8787', `127.0.0.1:${edge}`)
      .replaceAll('TOOL_DIRS=tools', `TOOL_DIRS=${tools}`);
  return {
    env,
    local,
    runCommands(document) {
      const commands = commandsIn(document);
      for (const command of commands.filter((line) => RUN_BY_CI.test(line))) {
        for (const [, run, name] of command.matchAll(/npm (run )?([\w:]+)/g))
          if (name !== 'ci') assert.ok(scripts[name ?? ''], `${run ?? ''}${name}: no such script`);
      }
      const script = commands.filter((line) => !RUN_BY_CI.test(line) && !SERVER.test(line)).join('\n');
      const strict = 'set -euo pipefail; curl() { command curl --fail-with-body "$@"; }';
      // that npx finds the command the README shows; hundreds of times it takes longer than all that they do
      const npx = document === 'README.md' ? '' : `npx() { local name=$1; shift; '${ROOT}node_modules/.bin/'"$name" "$@"; }`;
      const { status, stdout, stderr } = spawnSync('bash', ['-c', `${strict}\n${npx}\n${local(script)}`], {
        cwd: ROOT,
        env,
        encoding: 'utf8',
        timeout: 600_000,
      });
      assert.equal(status, 0, `${script}\n${stdout}\n${stderr}`);
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** As `overlays.md` has them in the end: the guide makes them. */
function overlaysIn(home: string): string {
  return `${home}/overlays/acme,file://${home}/overlays/sales#main`;
}

/** The workflows of the guides, in a folder for the server: inside of the repository, so that its packages are found. */
function writeWorkflows(): string {
  const folder = mkdtempSync(path.join(ROOT, 'test', '.docs-'));
  for (const document of GUIDES)
    for (const [i, code] of blocksOf(document, 'ts').entries())
      if (WORKFLOW.test(code)) writeFileSync(path.join(folder, `${path.basename(document, '.md')}-${i}.ts`), code);
  for (const document of GUIDES)
    for (const [i, code] of blocksOf(document, 'python').entries())
      if (/^WORKFLOW_NAME = /m.test(code))
        writeFileSync(path.join(folder, `${path.basename(document, '.md').replaceAll('-', '_')}_${i}.py`), code);
  return folder;
}

/** The tools of the guides, likewise, each file where its guide says. */
function writeTools(): string {
  const folder = mkdtempSync(path.join(ROOT, 'test', '.docs-'));
  for (const document of GUIDES)
    for (const [, code = '', file = ''] of readFileSync(path.join(ROOT, document), 'utf8').matchAll(TOOL_FILE)) {
      mkdirSync(path.join(folder, path.dirname(file)), { recursive: true });
      writeFileSync(path.join(folder, file), code);
    }
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

export function blocksOf(document: string, language: string): string[] {
  const text = readFileSync(path.join(ROOT, document), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm'))].map(([, code = '']) => code);
}
