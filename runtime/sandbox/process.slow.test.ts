import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createLocalBackend } from './local/index.ts';
import { eventually } from '../../test/support/wait.ts';
import { collect, failsWith, openBackend, output, sh, specOf, written } from './testing.ts';
import type { JournalEntry, Sandbox } from './types.ts';

const CAP = 4 * 2 ** 20;

describe('processes', () => {
  const closing: (() => Promise<void>)[] = [];
  const backend = openBackend({ after: (close) => void closing.push(close as () => Promise<void>) }, { maxJournalBytes: CAP * 40 });
  let sandbox: Sandbox;
  before(async () => {
    sandbox = await backend.ensure(specOf('p', { limits: { memoryMb: 512, processes: 64, diskMb: 64, tmpMb: 16, cpus: 2 } }));
  });
  after(async () => {
    for (const close of closing) await close();
  });

  test('input and output are in the journal in the order in which they passed, with their notes', async () => {
    const cat = await sandbox.start({ id: 'cat', argv: ['cat'], env: {} });
    const seen: JournalEntry[] = [];
    const reading = (async () => {
      for await (const entry of cat.journal()) seen.push(entry);
    })();
    const behind = await cat.write('one\n', '{"call":"turn"}');
    assert.ok(behind > 0);
    while (!seen.some(({ kind }) => kind === 'out')) await new Promise((later) => setTimeout(later, 5));
    await cat.write('', 'only a note');
    await cat.closeInput();
    await reading;
    assert.deepEqual(
      seen.map((entry) => [entry.kind, 'data' in entry ? entry.data.toString() : entry.reason, 'note' in entry ? entry.note : undefined]),
      [
        ['in', 'one\n', '{"call":"turn"}'],
        ['out', 'one\n', undefined],
        ['in', '', 'only a note'],
        ['exit', 'exit', undefined],
      ],
    );
    assert.equal(seen[0]?.offset, behind);
    assert.ok(seen.every(({ at }) => Math.abs(at - Date.now()) < 60_000));
  });

  test('starting the same id attaches: the program runs once', async () => {
    const spec = { id: 'once', argv: ['/bin/sh', '-c', 'echo ran >> /workspace/once; echo done'] as const, env: {} };
    const [one, two] = await Promise.all([sandbox.start({ ...spec }), sandbox.start({ ...spec })]);
    const [first, second] = await Promise.all([collect(one.journal()), collect(two.journal())]);
    assert.deepEqual(first, second);
    await collect((await sandbox.start({ ...spec })).journal());
    assert.equal(await output(sandbox, 'cat /workspace/once'), 'ran');
    assert.equal(await sandbox.process('never'), undefined);
    assert.equal((await sandbox.process('once'))?.id, 'once');
  });

  test('any reader continues at any entry; a position that is none is refused', async () => {
    const process = await sandbox.start({
      id: 'many',
      argv: ['/bin/sh', '-c', 'for i in 1 2 3 4 5; do echo $i; sleep 0.01; done; exit 3'],
      env: {},
    });
    const all = await collect(process.journal());
    assert.equal(written(all, 'out').toString(), '1\n2\n3\n4\n5\n');
    for (const [index, { offset }] of all.entries()) {
      assert.deepEqual(await collect(process.journal({ from: offset })), all.slice(index + 1));
    }
    await assert.rejects(collect(process.journal({ from: (all[0]?.offset ?? 0) - 1 })), failsWith('INVALID_SPEC', /no entry/));
    await assert.rejects(collect(process.journal({ from: 1e12 })), failsWith('INVALID_SPEC', /no entry/));
    const last = all.at(-1);
    assert.ok(last?.kind === 'exit' && last.code === 3 && last.reason === 'exit');
  });

  test('a client is killed in the middle of reading; the next one misses no byte', async () => {
    // several times what a pipe holds: it takes more than a few reads, however late the agent comes to them
    const pad = '.'.repeat(200);
    const script = `i=0; while [ $i -lt 3000 ]; do echo "line $i ${pad}"; i=$((i+1)); done; read stop`;
    const process = await sandbox.start({ id: 'long', argv: ['/bin/sh', '-c', script], env: {} });
    const code = `
      const { createLocalBackend } = await import(${JSON.stringify(new URL('./local/index.ts', import.meta.url).href)});
      const backend = createLocalBackend({ stateDir: ${JSON.stringify(backend.stateDir)}, memoryReserveMb: 64, maxJournalBytes: ${CAP * 40} });
      const process_ = await (await backend.open('p')).process('long');
      for await (const entry of process_.journal()) console.log(JSON.stringify([entry.offset, entry.data?.toString('base64')]));`;
    const child = spawn(globalThis.process.execPath, ['--no-warnings', '--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.split('\n').length > 3) child.kill('SIGKILL');
    });
    await once(child, 'close');
    const lines = text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as [number, string]);
    const before = Buffer.concat(lines.map(([, data]) => Buffer.from(data, 'base64')));
    await process.write('go on\n');
    const rest = written(await collect(process.journal({ from: lines.at(-1)?.[0] ?? 0 })), 'out');
    const expected = Array.from({ length: 3000 }, (_, index) => `line ${index} ${pad}\n`).join('');
    assert.equal(Buffer.concat([before, rest]).toString(), expected);
  });

  test('binary bytes and a line of 100 MB arrive as they were sent', async () => {
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, index) => (index * 31) % 256));
    const cat = await sandbox.start({ id: 'binary', argv: ['cat'], env: {} });
    await cat.write(bytes);
    await cat.closeInput();
    assert.ok(written(await collect(cat.journal()), 'out').equals(bytes));

    const flood = await sandbox.start({
      id: 'line',
      argv: [
        'node',
        '-e',
        `const fs = require('fs'); const part = Buffer.alloc(1e6, 'x'); for (let i = 0; i < 100; i++) for (let at = 0; at < part.length;) { try { at += fs.writeSync(1, part, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; } }`,
      ],
      env: {},
    });
    const hash = createHash('sha256');
    let size = 0;
    for await (const entry of flood.journal()) {
      if (entry.kind !== 'out') continue;
      hash.update(entry.data);
      size += entry.data.length;
    }
    assert.equal(size, 100e6);
    assert.equal(hash.digest('hex'), createHash('sha256').update(Buffer.alloc(100e6, 'x')).digest('hex'));
  });

  test('a signal reaches the whole group, and the journal says how it ended', async () => {
    const process = await sandbox.start({
      id: 'group',
      argv: ['/bin/sh', '-c', 'trap "" TERM; sleep 100 & sleep 100; echo after'],
      env: {},
    });
    await process.signal('SIGKILL');
    const last = (await collect(process.journal())).at(-1);
    assert.ok(last?.kind === 'exit' && last.signal === 'SIGKILL' && last.reason === 'killed');
    await process.signal('SIGKILL');
    // one that was killed is there until it has been reaped
    await eventually(async () => (await output(sandbox, 'grep -l "sleep" /proc/[0-9]*/comm 2>/dev/null | wc -l')) === '0');
  });

  test('only whoever took a process last may write to it', async () => {
    const one = await sandbox.start({ id: 'taken', argv: ['cat'], env: {} });
    const two = (await sandbox.process('taken')) as typeof one;
    await one.write('free for all\n');
    const end = await one.take();
    await one.write('of one\n');
    await assert.rejects(two.write('of two\n'), failsWith('SANDBOX_TAKEN'));
    assert.ok((await two.take()) > end);
    await two.write('of two\n');
    await assert.rejects(one.write('late\n'), failsWith('SANDBOX_TAKEN'));
    await assert.rejects(one.closeInput(), failsWith('SANDBOX_TAKEN'));
    await assert.rejects(one.signal('SIGKILL'), failsWith('SANDBOX_TAKEN'));
    await two.closeInput();
    const entries = await collect(two.journal());
    assert.equal(written(entries, 'in').toString(), 'free for all\nof one\nof two\n');
    assert.equal(await one.take(), entries.at(-1)?.offset);
  });

  test('a program that is not there is an error, and leaves nothing', async () => {
    const missing = { argv: ['no-such-program'] as const, env: {} };
    await assert.rejects(sandbox.start({ id: 'missing', ...missing }), failsWith('SANDBOX_COMMAND_MISSING', /no-such-program/));
    assert.equal(await sandbox.process('missing'), undefined);
    await assert.rejects(sandbox.exec({ ...missing, timeoutMs: 1000, maxOutputBytes: 1 }), failsWith('SANDBOX_COMMAND_MISSING'));
    await assert.rejects(
      sandbox.exec({ argv: ['true'], cwd: '/nowhere', timeoutMs: 1000, maxOutputBytes: 1 }),
      failsWith('SANDBOX_FILE', /no folder/),
    );
    for (const id of ['../x', '.hidden', 'a/b', '', 'x'.repeat(101)]) {
      await assert.rejects(sandbox.start({ id, argv: ['true'], env: {} }), failsWith('INVALID_SPEC'));
    }
    await assert.rejects(sandbox.start({ id: 'nul', argv: ['echo', 'a\0b'], env: {} }), failsWith('INVALID_SPEC'));
    await assert.rejects(sandbox.start({ id: 'far', argv: ['true'], cwd: 'relative', env: {} }), failsWith('INVALID_SPEC'));
  });

  test('a command ends at its time, its output at its limit, and its input is given', async () => {
    const late = await sh(sandbox, 'echo begun; sleep 100', 3000);
    assert.deepEqual([late.reason, late.signal, late.stdout.toString()], ['timeout', 'SIGKILL', 'begun\n']);
    const loud = await sandbox.exec({
      argv: ['/bin/sh', '-c', 'yes | head -c 3000000; echo err >&2; exit 4'],
      timeoutMs: 10_000,
      maxOutputBytes: 1000,
    });
    assert.deepEqual([loud.code, loud.stdout.length + loud.stderr.length, loud.truncated, loud.reason], [4, 1000, true, 'exit']);
    const input = Buffer.alloc(300_000, 'é');
    const echoed = await sandbox.exec({ argv: ['cat'], input, timeoutMs: 10_000, maxOutputBytes: 1e6 });
    assert.ok(echoed.stdout.equals(input));
    assert.equal((await sandbox.exec({ argv: ['true'], input, timeoutMs: 10_000, maxOutputBytes: 1 })).code, 0);
    // what it leaves in the background holds nobody up
    const began = performance.now();
    assert.equal((await sh(sandbox, 'sleep 50 & echo away')).stdout.toString(), 'away\n');
    assert.ok(performance.now() - began < 40_000);
  });

  test('the journals are files of the holder that nobody else may read', () => {
    const folder = join(backend.stateDir, 'sandboxd/journals/p');
    for (const name of readdirSync(folder)) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
    assert.ok(readdirSync(folder).includes('cat'));
  });
});

test('a process that writes more than a journal holds is ended', async (t) => {
  const backend = openBackend(t, { maxJournalBytes: CAP });
  const sandbox = await backend.ensure(specOf('flood'));
  const yes = await sandbox.start({ id: 'yes', argv: ['yes'], env: {} });
  const entries = await collect(yes.journal());
  const last = entries.at(-1);
  assert.ok(last?.kind === 'exit' && last.reason === 'limit', JSON.stringify(last));
  assert.ok((last?.offset ?? 0) <= CAP + 1000);
  assert.equal(await output(sandbox, 'echo the sandbox goes on'), 'the sandbox goes on');
});

test('a reader that is aborted, and one whose holder goes, hear of it', async (t) => {
  const backend = openBackend(t);
  const other = createLocalBackend({ stateDir: backend.stateDir, memoryReserveMb: 64 });
  const sandbox = await backend.ensure(specOf('abort'));
  const process = await sandbox.start({ id: 'sleep', argv: ['sleep', '100'], env: {} });
  await assert.rejects(collect(process.journal({ signal: AbortSignal.timeout(50) })), { name: 'TimeoutError' });
  const reading = collect(process.journal());
  await backend.stop('abort');
  const last = (await reading).at(-1);
  assert.ok(last?.kind === 'exit' && last.reason === 'killed');
  await other.close();
});
