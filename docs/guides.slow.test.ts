/**
 * What the README and the guides show is run against the server that the README starts: every command of an `sh` block, in its
 * order; every `ts` block by the compiler and by Node, or by the server when it is a workflow.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { freePort } from '../test/support/ports.ts';
import { eventually } from '../test/support/wait.ts';
import { blocksOf, DOCUMENTS, ROOT, type ShownServer, startShownServer, WORKFLOW } from './testing.ts';

let server: ShownServer;
/** What the guides call Slack: the bot beside the server is in it. In a process of its own, since this one waits for the commands. */
let slack: ChildProcess;

before(async () => {
  slack = fork(new URL('../test/support/slack/serve.ts', import.meta.url), { env: { ...process.env, NODE_NO_WARNINGS: '1' } });
  const [{ apiUrl, botToken, signingSecret }] = (await once(slack, 'message')) as [Record<'apiUrl' | 'botToken' | 'signingSecret', string>];
  const bot = `http://127.0.0.1:${await freePort()}`;
  const tokens = {
    SLACK_BOT_TOKEN: botToken,
    SLACK_SIGNING_SECRET: signingSecret,
    SLACK_API_URL: apiUrl.replace(/\/$/, ''),
    SLACK_PORT: new URL(bot).port,
  };
  server = await startShownServer(tokens);
  const lines = Object.entries(tokens).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(path.join(server.env['HOME'] as string, 'slack.env'), lines.join(''), { mode: 0o600 });
  const isUp = async () => (await fetch(`${bot}/healthz`).catch(() => undefined))?.ok;
  await eventually(isUp, { timeoutMs: 240_000, what: 'the Slack bot' });
});
after(async () => {
  slack.disconnect();
  await server?.[Symbol.asyncDispose]();
});

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
