import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../test/support/wait.ts';
import { findCgroups } from './local/cgroups.ts';
import { collect, failsWith, LIMITS, openBackend, output, sh, specOf } from './testing.ts';
import type { Sandbox } from './types.ts';

const HOG =
  'const parts = []; for (;;) { parts.push(Buffer.alloc(8e6, 1)); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3); }';

describe('limits', () => {
  const closing: (() => Promise<void>)[] = [];
  const backend = openBackend({ after: (close) => void closing.push(close as () => Promise<void>) });
  let sandbox: Sandbox;
  before(async () => {
    sandbox = await backend.ensure(specOf('limits'));
  });
  after(async () => {
    for (const close of closing) await close();
  });

  /** Whoever is measured while they are still there is ended, too. */
  const remove = (files: string) => eventually(async () => (await sh(sandbox, `rm -f ${files}`)).code === 0);

  test('memory: the process that takes too much is ended, the sandbox goes on', async () => {
    const hog = await sandbox.start({ id: 'hog', argv: ['node', '-e', HOG], env: {} });
    const last = (await collect(hog.journal())).at(-1);
    assert.ok(last?.kind === 'exit' && last.reason === 'memory', JSON.stringify(last));
    const again = await sandbox.exec({ argv: ['node', '-e', HOG], timeoutMs: 30_000, maxOutputBytes: 1000 });
    assert.equal(again.reason, 'memory');
    assert.equal(await output(sandbox, 'echo on'), 'on');
  });

  test('processes: a fork bomb stops at its limit, and a neighbour does not notice', async () => {
    const [bomber, neighbour] = await Promise.all([backend.ensure(specOf('bomber')), backend.ensure(specOf('neighbour'))]);
    const bomb = await sh(bomber, 'i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i+1)); done; echo all; wait', 15_000);
    assert.doesNotMatch(bomb.stdout.toString(), /all/);
    // where the kernel does not count, whoever is over the limit for a moment may be ended
    if (bomb.reason !== 'killed') assert.match(bomb.stderr.toString(), /fork|Resource temporarily unavailable/);
    assert.equal(await output(neighbour, 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.01 & done; wait; echo fine'), 'fine');
    await Promise.all([backend.stop('bomber'), backend.stop('neighbour')]);
  });

  test('disk: whoever fills it is ended; a single file cannot be larger than all', async () => {
    const single = await sh(sandbox, 'head -c 100000000 /dev/zero > /workspace/one; stat -c %s /workspace/one');
    assert.equal(Number(single.stdout.toString()) <= LIMITS.diskMb * 2 ** 20, true);
    await remove('/workspace/one');
    const filler = await sandbox.start({
      id: 'fill',
      argv: ['/bin/sh', '-c', 'i=0; while [ $i -lt 9 ]; do head -c 10000000 /dev/zero > $HOME/$i; i=$((i+1)); done; sleep 100'],
      env: {},
    });
    const last = (await collect(filler.journal())).at(-1);
    assert.ok(last?.kind === 'exit' && last.reason === 'limit', JSON.stringify(last));
    assert.ok((await sandbox.usage()).diskMb > LIMITS.diskMb);
    await remove('$HOME/[0-9]');
    assert.ok((await sandbox.usage()).diskMb < 5);
    await assert.rejects(sandbox.writeFile('/workspace/one', Buffer.alloc(80_000_000)), failsWith('SANDBOX_LIMIT'));
  });

  test('/tmp and shared memory are bounded by the kernel', async () => {
    for (const folder of ['/tmp', '/dev/shm']) {
      assert.match((await sh(sandbox, `head -c 30000000 /dev/zero > ${folder}/x`)).stderr.toString(), /No space left/);
      await output(sandbox, `rm -f ${folder}/x`);
    }
    assert.match((await sh(sandbox, 'echo x > /dev/x')).stderr.toString(), /Read-only/);
  });

  test('usage tells what is used', async () => {
    await sandbox.start({ id: 'sleepers', argv: ['/bin/sh', '-c', 'sleep 100 & sleep 100 & wait'], env: {} });
    const { memoryMb, diskMb } = await eventually(
      async () => {
        const usage = await sandbox.usage();
        return usage.processes === 3 ? usage : undefined;
      },
      { what: 'the shell and its two' },
    );
    assert.ok(memoryMb > 1 && memoryMb < LIMITS.memoryMb, String(memoryMb));
    assert.ok(diskMb >= 0 && diskMb < 5);
  });

  test('no process dumps core, and none may raise what it was given', async () => {
    assert.equal(await output(sandbox, 'ulimit -c; ulimit -Hc; ulimit -Hn'), '0\n0\n4096');
    assert.notEqual((await sh(sandbox, 'ulimit -Hn 100000')).code, 0);
  });
});

test('control groups of version 2: what is written where', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'centaur-cgroup-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const own = join(root, 'system.slice/centaur');
  mkdirSync(own, { recursive: true });
  const mounts = `30 20 0:26 / ${root} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n`;
  const membership = '0::/system.slice/centaur\n';
  const files = (folder: string, names: readonly string[]): void => {
    mkdirSync(folder, { recursive: true });
    for (const name of names) writeFileSync(join(folder, name), '');
  };
  writeFileSync(join(own, 'cgroup.controllers'), 'cpu memory');
  assert.match(findCgroups('x', { mounts, membership }).reason ?? '', /no memory and pids.*Delegate=yes/s);
  writeFileSync(join(own, 'cgroup.controllers'), 'cpu memory pids');
  files(own, ['cgroup.subtree_control']);
  files(join(own, 'x-holder'), ['cgroup.procs']);
  files(join(own, 'x'), ['cgroup.subtree_control']);
  const { cgroups } = findCgroups('x', { mounts, membership });
  assert.equal(cgroups?.level, 'cgroup2');
  assert.equal(readFileSync(join(own, 'x-holder/cgroup.procs'), 'utf8'), String(process.pid));
  assert.equal(readFileSync(join(own, 'x/cgroup.subtree_control'), 'utf8'), '+memory +pids +cpu');
  // the kernel makes these files with the folder: without them the limit would not hold, and there is no group
  assert.throws(() => cgroups?.create('sandbox', LIMITS), /memory\.max/);
});
