import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { eventually } from '../../test/support/wait.ts';
import { createLocalBackend } from './local/index.ts';
import { failsWith, LIMITS, openBackend, output, sh, specOf, temporaryState } from './testing.ts';

const IS_ROOT = process.getuid?.() === 0;
/** Seconds that nobody else on this machine sleeps. */
const FOREVER = `98${String(process.pid).padStart(7, '0')}`;

/** Processes of the host whose command line has the text. */
function hostProcesses(text: string): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(text);
    } catch {
      return false;
    }
  });
}

describe('sandboxes', async () => {
  const closing: (() => Promise<void> | void)[] = [];
  const t = { after: (close: () => Promise<void>) => void closing.push(close) };
  const backend = openBackend(t, { most: 4 });
  test.after(async () => {
    for (const close of closing) await close();
  });

  test('the same id gives the same sandbox, also at once and to two clients', async () => {
    const other = createLocalBackend({ stateDir: backend.stateDir, most: 4, memoryReserveMb: 64 });
    const [one, two, three] = await Promise.all([
      backend.ensure(specOf('same')),
      backend.ensure(specOf('same')),
      other.ensure(specOf('same')),
    ]);
    await one.writeFile('/workspace/note', 'written by one');
    assert.equal((await two.readFile('/workspace/note', { maxBytes: 100 })).toString(), 'written by one');
    assert.equal(await output(three, 'cat /workspace/note'), 'written by one');
    assert.deepEqual(
      (await other.list()).map(({ id, state }) => [id, state]),
      [['same', 'ready']],
    );
    await other.close();
    assert.equal(await output(one, 'echo still here'), 'still here');
    await assert.rejects(backend.ensure(specOf('same', { limits: { ...LIMITS, cpus: 1 } })), failsWith('INVALID_SPEC', /other limits/));
    await backend.stop('same');
    await backend.stop('same');
    assert.equal(await backend.open('same'), undefined);
    await assert.rejects(one.exec({ argv: ['true'], timeoutMs: 1000, maxOutputBytes: 1 }), failsWith('SANDBOX_LOST'));
  });

  test('each sees a system of its own, and only its own home and workspace', async () => {
    const [a, b] = await Promise.all([backend.ensure(specOf('own-a')), backend.ensure(specOf('own-b'))]);
    await a.writeFile('/workspace/secret', 'of a');
    assert.equal(await output(b, 'ls -A /workspace /home/agent'), '/home/agent:\n\n/workspace:');
    assert.equal(await output(a, 'id -un; hostname; echo $HOME; pwd'), 'agent\nsandbox\n/home/agent\n/workspace');
    assert.equal(await output(a, 'ls /'), 'bin\ndev\netc\nhome\nlib\nlib64\nopt\nproc\nsbin\ntmp\nusr\nworkspace');
    assert.equal(await output(a, 'env | sort | cut -d= -f1 | tr "\\n" " "'), 'HOME LANG LOGNAME PATH PWD SHELL TMPDIR USER');
    const { isolation, ownUser } = await backend.capabilities();
    assert.equal(isolation, 'namespaces+seccomp');
    assert.equal(ownUser, IS_ROOT);
    await Promise.all([backend.stop('own-a'), backend.stop('own-b')]);
  });

  test('mounts are read-only', async () => {
    const sandbox = await backend.ensure(
      specOf('mounts', {
        mounts: [
          { source: import.meta.dirname, target: '/opt/tools' },
          { source: join(import.meta.dirname, 'types.ts'), target: '/home/agent/types.ts' },
        ],
      }),
    );
    assert.equal(await output(sandbox, 'head -c 14 /opt/tools/types.ts; cmp /opt/tools/types.ts /home/agent/types.ts'), '/**\n * Sandbox');
    assert.match((await sh(sandbox, 'echo x > /opt/tools/x')).stderr.toString(), /Read-only|Permission denied/);
    assert.match((await sh(sandbox, 'echo x > /home/agent/types.ts')).stderr.toString(), /Read-only|Permission denied/);
    await backend.stop('mounts');
    assert.ok(existsSync(join(import.meta.dirname, 'types.ts')), 'removing the sandbox left what it had mounted');
  });

  test('stop ends everything, however it has detached itself, and removes its files', async () => {
    const sandbox = await backend.ensure(specOf('detached'));
    await output(
      sandbox,
      `(setsid setsid sleep ${FOREVER} >/dev/null 2>&1 &) ; (nohup sleep ${FOREVER} >/dev/null 2>&1 &); mkdir -p d/e; chmod 0 d; echo ok`,
    );
    await eventually(() => hostProcesses(FOREVER).length === 2);
    await backend.stop('detached');
    assert.deepEqual(hostProcesses(FOREVER), []);
    await eventually(() => readdirSync(join(backend.stateDir, 'sandboxd/i/boxes')).length === 0);
    await eventually(() => readdirSync(join(backend.stateDir, 'sandboxd/i/trash')).length === 0);
  });

  test('a sandbox whose lifetime is over ends and says so', async () => {
    const sandbox = await backend.ensure(specOf('short', { labels: { maxLifetime: '5', thread: 't' } }));
    const process = await sandbox.start({ id: 'p', argv: ['sleep', '100'], env: {} });
    let last;
    for await (const entry of process.journal()) last = entry;
    assert.deepEqual({ ...last, at: 0, offset: 0 }, { kind: 'exit', code: null, signal: 'SIGKILL', reason: 'lost', at: 0, offset: 0 });
    const [view] = await backend.list();
    assert.deepEqual([view?.state, view?.reason, view?.labels['thread']], ['dead', 'maxLifetime is over', 't']);
    await assert.rejects(sandbox.readFile('/workspace/x', { maxBytes: 1 }), failsWith('SANDBOX_LOST', /maxLifetime is over/));
    await backend.stop('short');
    assert.deepEqual(await backend.list(), []);
  });

  test('one too many is refused, and may come when another has gone', async () => {
    const ids = ['c-1', 'c-2', 'c-3', 'c-4'];
    await Promise.all(ids.map((id) => backend.ensure(specOf(id))));
    await assert.rejects(backend.ensure(specOf('c-5')), (error: { retryable?: boolean }) => {
      assert.equal(error.retryable, true);
      return failsWith('SANDBOX_CAPACITY', /as many as are allowed/)(error);
    });
    assert.equal((await backend.ensure(specOf('c-4'))).id, 'c-4');
    await backend.stop('c-1');
    await backend.ensure(specOf('c-5'));
    await Promise.all([...ids, 'c-5'].map((id) => backend.stop(id)));
  });

  test('what makes no sense is refused before anything is started', async () => {
    const refused = (more: object) => assert.rejects(backend.ensure(specOf('ok', more)), failsWith('INVALID_SPEC'));
    for (const id of ['', 'A', '../x', 'a/b', 'a'.repeat(64), 'a\0']) await refused({ id });
    for (const target of ['/', '/etc', '/usr/x', '/proc/1', 'tools', '/opt/../etc', '/opt/centaur/bin/node', '/workspace', '/a//b']) {
      await refused({ mounts: [{ source: '/usr', target }] });
    }
    await refused({ mounts: [{ source: '/does/not/exist', target: '/opt/x' }] });
    await refused({ relays: [{ port: 80, to: '127.0.0.1:80' }] });
    await refused({ relays: [{ port: 3128, to: '/run/docker.sock' }] });
    await refused({
      relays: [
        { port: 3128, to: '127.0.0.1:1' },
        { port: 3128, to: '127.0.0.1:2' },
      ],
    });
    await refused({ limits: { ...LIMITS, memoryMb: 0 } });
    await refused({ limits: { ...LIMITS, processes: 1.5 } });
    await refused({ labels: { maxLifetime: 'long' } });
    assert.deepEqual(await backend.list(), []);
  });
});

test('sandboxes that were started ahead serve whoever fits, once', async (t) => {
  const backend = openBackend(t, { warm: { count: 2, spec: specOf('x') } });
  await backend.capabilities();
  const folder = join(backend.stateDir, 'sandboxd/i/boxes');
  const boxes = (): string[] => readdirSync(folder);
  // one at a time: where there is a second one, the first has come up
  await eventually(() => boxes().length === 2);
  const ahead = boxes();
  const owners = (): (string | null)[] =>
    ahead.flatMap((name) => {
      const note = join(folder, name, 'note.json');
      return existsSync(note) ? [(JSON.parse(readFileSync(note, 'utf8')) as { sandboxId: string | null }).sandboxId] : [];
    });
  assert.ok(owners().every((owner) => owner === null));
  await backend.ensure(specOf('other', { limits: { ...LIMITS, tmpMb: 8 } }));
  assert.ok(
    owners().every((owner) => owner === null),
    'another shape did not take it',
  );
  const first = await backend.ensure(specOf('first'));
  assert.equal(owners().filter((owner) => owner === 'first').length, 1);
  await first.writeFile('/workspace/mine', 'x');
  await eventually(() => boxes().length === 4, { what: 'another that is started ahead' });
  const second = await backend.ensure(specOf('second'));
  assert.equal(await output(second, 'ls /workspace'), '');
});

test('nobody but its owner may enter the holder’s folder', async (t) => {
  const backend = openBackend(t);
  await backend.capabilities();
  const root = join(backend.stateDir, 'sandboxd');
  assert.equal(statSync(root).mode & 0o777, 0o700);
  assert.equal(statSync(join(root, 'socket')).mode & 0o777, 0o600);
});

test('a minimum that this machine does not reach is an error that says what to do', async (t) => {
  const { stateDir, remove } = temporaryState();
  const weak = createLocalBackend({ stateDir, isolation: 'namespaces' });
  const strict = createLocalBackend({ stateDir, minimum: 'namespaces+seccomp' });
  t.after(async () => {
    await weak.shutdown();
    remove();
  });
  await weak.capabilities();
  await assert.rejects(
    strict.ensure(specOf('a')),
    failsWith('ISOLATION_UNAVAILABLE', /isolates sandboxes by namespaces, and namespaces\+seccomp is the least/),
  );
});
