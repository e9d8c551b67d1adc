/** What holds on weaker machines: as an ordinary user without control groups, without bubblewrap, without any isolation. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test, type TestContext } from 'node:test';
import { ensureBubblewrap } from '../../test/support/bubblewrap.ts';
import { collect, failsWith, openBackend, output, sh, specOf, written } from './testing.ts';

const IS_ROOT = process.getuid?.() === 0;
const USER = 61_234;

/** Runs code as an ordinary user, from a copy that it may read; gives back what it printed. */
async function asUser(t: TestContext, code: string): Promise<Record<string, unknown>> {
  ensureBubblewrap();
  const folder = mkdtempSync(join(tmpdir(), 'centaur-user-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  cpSync(import.meta.dirname, join(folder, 'sandbox'), { recursive: true, filter: (path) => !path.endsWith('.test.ts') });
  const node = join(folder, 'node');
  copyFileSync(process.execPath, node);
  chmodSync(node, 0o755);
  const stateDir = join(folder, 'state');
  mkdirSync(stateDir);
  if (IS_ROOT) chownSync(stateDir, USER, USER);
  const script = `
    const { createLocalBackend } = await import(${JSON.stringify(pathToFileURL(join(folder, 'sandbox/index.ts')).href)});
    const limits = { memoryMb: 200, processes: 24, diskMb: 32, tmpMb: 8, cpus: 1 };
    const spec = (id, more) => ({ id, labels: {}, limits, mounts: [], relays: [], ...more });
    const run = async (sandbox, script) => { const r = await sandbox.exec({ argv: ['/bin/sh', '-c', script], timeoutMs: 20000, maxOutputBytes: 10000 }); return { reason: r.reason, code: r.code, out: r.stdout.toString().trim(), err: r.stderr.toString().trim() }; };
    const backend = createLocalBackend({ stateDir: ${JSON.stringify(stateDir)}, memoryReserveMb: 64 });
    const result = {};
    try { ${code} } finally { await backend.shutdown(); }
    console.log(JSON.stringify(result));`;
  const child = spawn(node, ['--no-warnings', '--input-type=module', '-e', script], {
    ...(IS_ROOT ? { uid: USER, gid: USER } : {}),
    cwd: folder,
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let said = '';
  child.stdout.on('data', (part: Buffer) => (out += part.toString()));
  child.stderr.on('data', (part: Buffer) => (said += part.toString()));
  await new Promise((closed) => child.once('close', closed));
  assert.notEqual(out, '', said);
  return JSON.parse(out) as Record<string, unknown>;
}

test('an ordinary user has sandboxes with the filter, and limits that are polled', async (t) => {
  const result = await asUser(
    t,
    `result.capabilities = await backend.capabilities();
     const [a, b] = await Promise.all([backend.ensure(spec('a')), backend.ensure(spec('b'))]);
     await a.writeFile('/workspace/secret', 'x');
     result.files = await run(b, 'ls -A /workspace; id -u; grep Seccomp: /proc/self/status');
     // the count of processes is the sandbox's own, though the user is not
     result.bomb = await run(a, 'i=0; while [ $i -lt 100 ]; do sleep 20 & i=$((i+1)); done; echo all');
     result.neighbour = await run(b, 'for i in 1 2 3 4 5; do sleep 0.01 & done; wait; echo fine');
     await backend.stop('a');
     const hog = await b.start({ id: 'hog', argv: ['node', '-e', 'const parts = []; for (;;) { parts.push(Buffer.alloc(5e6, 1)); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20); }'], env: {} });
     for await (const entry of hog.journal()) result.hog = entry.reason;
     result.after = await run(b, 'mkdir -p d/e; echo on; chmod 0 d/e');
     const hidden = await b.start({ id: 'hide', argv: ['sleep', '60'], env: {} });
     for await (const entry of hidden.journal()) result.hidden = entry.reason;
     await backend.stop('b');
     result.left = (await backend.list()).length;`,
  );
  const { isolation, limits, ownUser, reasons } = result['capabilities'] as {
    isolation: string;
    limits: string;
    ownUser: boolean;
    reasons: string[];
  };
  assert.deepEqual([isolation, limits, ownUser], ['namespaces+seccomp', 'rlimits', false]);
  assert.match(reasons.join('\n'), /Delegate=yes[^]*share the user id/);
  assert.equal((result['files'] as { out: string }).out, '1000\nSeccomp:\t2');
  assert.doesNotMatch((result['bomb'] as { out: string }).out, /all/);
  assert.equal((result['neighbour'] as { out: string }).out, 'fine');
  assert.equal(result['hog'], 'memory');
  assert.equal((result['after'] as { out: string }).out, 'on');
  assert.equal(result['hidden'], 'limit', 'what cannot be counted is over the limit');
  assert.equal(result['left'], 0);
});

test('without bubblewrap: namespaces, without a filter, and said so', async (t) => {
  const backend = openBackend(t, { isolation: 'namespaces' });
  const { isolation } = await backend.capabilities();
  if (isolation === 'none') return t.skip('this machine cannot make namespaces without bubblewrap');
  assert.equal(isolation, 'namespaces');
  const sandbox = await backend.ensure(specOf('ns', { mounts: [{ source: import.meta.dirname, target: '/opt/tools' }] }));
  assert.equal(
    await output(sandbox, 'grep -E "^(NoNewPrivs|CapEff|CapBnd|Seccomp):" /proc/self/status | cut -f2'),
    '0000000000000000\n0000000000000000\n1\n0',
  );
  assert.equal(
    await output(sandbox, 'ls /; hostname; ls /opt/tools/types.ts'),
    'bin\ndev\netc\nhome\nlib\nlib64\nopt\nproc\nsbin\ntmp\nusr\nworkspace\nsandbox\n/opt/tools/types.ts',
  );
  assert.notEqual((await sh(sandbox, 'echo x > /usr/x || echo x > /opt/tools/x || echo x > /etc/x')).code, 0);
  const process = await sandbox.start({ id: 'p', argv: ['sleep', '345678'], env: {} });
  await sandbox.writeFile('/workspace/x', 'kept');
  assert.equal(await output(sandbox, 'cat /workspace/x'), 'kept');
  await backend.stop('ns');
  const last = (await collect(process.journal()).catch(() => [])).at(-1);
  assert.ok(last === undefined || last.kind === 'exit');
});

test('plain processes only on demand, and loudly', async (t) => {
  const said: string[] = [];
  const backend = openBackend(t, { isolation: 'none', log: ({ level, message }) => said.push(`${level} ${message}`) });
  const sandbox = await backend.ensure(specOf('plain'));
  assert.deepEqual(said, ['warn sandboxes are isolated by none only']);
  await sandbox.writeFile(`${sandbox.workspace}/x`, 'x');
  assert.equal(await output(sandbox, `cat ${sandbox.workspace}/x`), 'x');
  const process = await sandbox.start({ id: 'p', argv: ['cat'], env: {} });
  await process.write('hello');
  await process.closeInput();
  assert.equal(written(await collect(process.journal()), 'out').toString(), 'hello');
  const strict = openBackend(t, { isolation: 'none', minimum: 'namespaces' });
  await assert.rejects(strict.ensure(specOf('a')), failsWith('ISOLATION_UNAVAILABLE'));
});
