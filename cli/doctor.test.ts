import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { harnesses } from '@centaur/runtime/harness';
import { ensureBubblewrap } from '../test/support/bubblewrap.ts';
import { type Check, runChecks } from './doctor.ts';

test('a harness is found where sandboxes look for it, with its version; what is missing comes with the line that installs it', async (t) => {
  const { folder, bin } = harnessFolder(t);
  writeCli(bin, 'claude', `echo "${harnesses.claude.launch.tested} (Claude Code)"`);
  writeCli(bin, 'codex', 'echo codex-cli 0.1.2');
  const checks = await checksOf(folder, 'Harness');
  assert.deepEqual(
    checks.filter(({ fix }) => fix === undefined),
    [
      ok('demo is built in, and answers by default'),
      ok(`claude ${harnesses.claude.launch.tested} at ${bin}/claude`),
      ok(`codex 0.1.2 at ${bin}/codex; what was tested is ${harnesses.codex.launch.tested}`),
    ],
  );
  const missing = checks.find(({ fix }) => fix !== undefined);
  assert.match(missing?.message ?? '', /^without .*amp/);
  assert.ok(missing?.fix?.includes(`npm install --prefix ${folder} `), missing?.fix);
  assert.ok(missing?.fix?.includes(`@sourcegraph/amp@${harnesses.amp.launch.tested}`), missing?.fix);
});

test('a harness that does not start, may not be read, or leads elsewhere is a warning that says what to do', async (t) => {
  const { folder, bin } = harnessFolder(t);
  const elsewhere = harnessFolder(t);
  writeCli(bin, 'claude', 'echo "no such model" >&2; exit 3');
  chmodSync(writeCli(bin, 'codex', 'echo 1.2.3'), 0o750);
  symlinkSync(writeCli(elsewhere.bin, 'pi', 'echo 1.2.3'), join(bin, 'pi'));
  const checks = (await checksOf(folder, 'Harness')).filter(({ status }) => status === 'warn');
  assert.deepEqual(
    checks.map(({ message }) => message),
    [
      `claude at ${bin}/claude does not start: no such model`,
      `codex at ${bin}/codex may not be read and run by everybody`,
      `pi at ${bin}/pi is a link to ${elsewhere.bin}/pi, which sandboxes do not see`,
    ],
  );
  assert.ok(checks.every(({ fix = '' }) => fix.length > 0));
});

test('the harness that answers by default must be there', async (t) => {
  const { folder } = harnessFolder(t);
  const [first] = (await checksOf(folder, 'Harness', 'agents: { default_harness: amp }\n')).filter(({ status }) => status === 'warn');
  assert.equal(first?.message, 'amp answers by default, and is not there');
  assert.match(first?.fix ?? '', /^npm install .*@sourcegraph\/amp@\S+\. Or set agents\.default_harness/);
});

test('how this machine isolates is said, and a switched off isolation too', async (t) => {
  const { folder } = harnessFolder(t);
  const { problem } = ensureBubblewrap();
  const [usual] = await checksOf(folder, 'Sandboxes');
  if (problem === undefined && usual?.status === 'ok') assert.equal(usual.message, 'bubblewrap: namespaces and a system call filter');
  else assert.ok(usual?.status === 'warn' && usual.fix !== undefined, usual?.message);
  const [off] = await checksOf(folder, 'Sandboxes', 'sandbox: { isolation: none }\n');
  assert.equal(off?.status, 'warn');
  assert.match(off?.message ?? '', /plain processes/);
});

const ok = (message: string): Check => ({ status: 'ok', name: 'Harness', message });

/** Of a machine without a database: these checks need none. */
async function checksOf(folder: string, name: string, config?: string): Promise<Check[]> {
  const file = join(folder, 'centaur.yaml');
  if (config !== undefined) writeFileSync(file, config);
  const checks = runChecks({
    HOME: folder,
    PORT: '0',
    FIREWALL_PORT: '0',
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
    CENTAUR_API_URL: 'http://127.0.0.1:1',
    CENTAUR_HARNESS_DIR: folder,
    CENTAUR_DEMO: '1',
    WORKFLOW_DIRS: folder,
    ...(config === undefined ? {} : { CENTAUR_CONFIG: file }),
  });
  const found: Check[] = [];
  for await (const check of checks) if (check.name === name) found.push(check);
  return found;
}

function harnessFolder(t: TestContext): { readonly folder: string; readonly bin: string } {
  const folder = mkdtempSync(join(tmpdir(), 'centaur-doctor-test-'));
  const bin = join(folder, 'node_modules/.bin');
  mkdirSync(bin, { recursive: true });
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { folder, bin };
}

function writeCli(bin: string, name: string, body: string): string {
  const file = join(bin, name);
  writeFileSync(file, `#!/bin/sh\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}
