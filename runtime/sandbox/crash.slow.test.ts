import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../../test/support/wait.ts';
import { createLocalBackend } from './local/index.ts';
import { collect, failsWith, openBackend, output, specOf, written } from './testing.ts';
import type { JournalEntry } from './types.ts';

/** Seconds that nobody else on this machine sleeps. */
const FOREVER = `87${String(process.pid).padStart(7, '0')}`;

/** The pids of the holder and of processes with the text in their command line. */
function pidsOf(text: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 0 && pid !== process.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        return false;
      }
    });
}

test('the holder is killed: its sandboxes die, their journals end as lost, the next one starts clean', async (t) => {
  const backend = openBackend(t);
  const sandbox = await backend.ensure(specOf('crash', { labels: { thread: 'x' } }));
  await sandbox.writeFile('/workspace/kept', 'no');
  const ticks = await sandbox.start({
    id: 'ticks',
    argv: ['/bin/sh', '-c', `echo first; (setsid sleep ${FOREVER} &); sleep ${FOREVER}`],
    env: {},
  });
  const over = await sandbox.start({ id: 'over', argv: ['echo', 'done'], env: {} });
  const overBefore = await collect(over.journal());
  const seen: JournalEntry[] = [];
  const reading = (async () => {
    for await (const entry of ticks.journal()) seen.push(entry);
  })();
  reading.catch(() => undefined);
  await eventually(() => seen.length > 0 && pidsOf(FOREVER).length >= 2);

  const [holder] = pidsOf(backend.stateDir).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('sandboxd.ts'));
  process.kill(holder as number, 'SIGKILL');
  await assert.rejects(reading, failsWith('SANDBOX_UNREACHABLE'));
  await eventually(() => pidsOf(FOREVER).length === 0, { what: 'the processes of the sandbox to die' });

  // the next call starts another holder, which finds what the first has left
  const lost = await backend.open('crash');
  assert.ok(lost !== undefined);
  const rest = await collect((await lost.process('ticks'))?.journal({ from: seen.at(-1)?.offset ?? 0 }) as AsyncIterable<JournalEntry>);
  assert.deepEqual(
    rest.map((entry) => [entry.kind, 'reason' in entry ? entry.reason : '']),
    [['exit', 'lost']],
  );
  assert.deepEqual(await collect((await lost.process('over'))?.journal() as AsyncIterable<JournalEntry>), overBefore);
  await assert.rejects(lost.readFile('/workspace/kept', { maxBytes: 10 }), failsWith('SANDBOX_LOST'));
  assert.deepEqual(
    (await backend.list()).map(({ id, state, reason }) => [id, state, reason]),
    [['crash', 'dead', 'lost']],
  );
  assert.deepEqual(readdirSync(join(backend.stateDir, 'sandboxd/i/boxes')), []);
  assert.deepEqual(readdirSync(join(backend.stateDir, 'sandboxd/i/trash')), []);

  // the same id lives again, empty; what ran in its earlier life is not run a second time
  const next = await backend.ensure(specOf('crash'));
  assert.equal(await output(next, 'ls -A /workspace'), '');
  const attached = await next.start({ id: 'ticks', argv: ['echo', 'never'], env: {} });
  assert.equal(written(await collect(attached.journal()), 'out').toString(), 'first\n');
  const fresh = await next.start({ id: 'fresh', argv: ['echo', 'again'], env: {} });
  assert.equal(written(await collect(fresh.journal()), 'out').toString(), 'again\n');
});

test('two that start a holder at once get one', async (t) => {
  const backend = openBackend(t);
  const others = Array.from({ length: 3 }, () => createLocalBackend({ stateDir: backend.stateDir, memoryReserveMb: 64 }));
  await Promise.all([backend, ...others].map((each) => each.capabilities()));
  await eventually(() => pidsOf(backend.stateDir).length === 1, { what: 'one holder' });
  await Promise.all(others.map((each) => each.close()));
});

test('a holder that nobody uses ends; the next call starts one', async (t) => {
  const backend = openBackend(t, { idleMs: 2000 });
  await backend.capabilities();
  assert.equal(pidsOf(backend.stateDir).length, 1);
  await eventually(() => pidsOf(backend.stateDir).length === 0, { what: 'the holder to end' });
  assert.deepEqual(await backend.list(), []);
});

test('the holder has nothing of its starter’s environment', async (t) => {
  process.env['CENTAUR_TEST_SECRET'] = 'sk-secret-of-the-starter';
  t.after(() => delete process.env['CENTAUR_TEST_SECRET']);
  const backend = openBackend(t);
  await backend.capabilities();
  const [holder] = pidsOf(backend.stateDir);
  const names = readFileSync(`/proc/${holder}/environ`, 'utf8').split('\0').filter(Boolean);
  assert.deepEqual(names, ['PATH=/usr/sbin:/usr/bin:/sbin:/bin']);
});

test('a descriptor that the starter was born with is open neither in the holder nor in a sandbox', async (t) => {
  const backend = openBackend(t);
  const code = `
    const { createLocalBackend } = await import(${JSON.stringify(new URL('./local/index.ts', import.meta.url).href)});
    const backend = createLocalBackend({ stateDir: ${JSON.stringify(backend.stateDir)}, memoryReserveMb: 64 });
    await backend.ensure(${JSON.stringify(specOf('fds'))});
    await backend.close();`;
  // Node closes on exec what it opens itself, and of what it was born with only the first few
  const file = openSync('/etc/hostname', 'r');
  const stdio = Array.from({ length: 201 }, (_, fd): 'ignore' | 'pipe' | number => (fd === 200 ? file : fd === 2 ? 'pipe' : 'ignore'));
  const { status, stderr } = spawnSync(process.execPath, ['--no-warnings', '--input-type=module', '-e', code], { stdio, encoding: 'utf8' });
  closeSync(file);
  assert.equal(status, 0, stderr);
  const links = (pid: number): string[] =>
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return [];
      }
    });
  const [holder] = pidsOf(backend.stateDir);
  assert.ok(!links(holder as number).includes('/etc/hostname'));
  const sandbox = await backend.open('fds');
  const inside = await output(
    sandbox as NonNullable<typeof sandbox>,
    'ls -l /proc/[0-9]*/fd 2>/dev/null | sed -n "s/.* -> //p" | grep "^/" | sort -u',
  );
  assert.doesNotMatch(inside, /hostname|sandboxd/);
});
