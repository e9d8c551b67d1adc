import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import zlib from 'node:zlib';
import { tarEnd, tarHeader, tarPadding, type TarEntry } from './agent/tar.ts';
import { failsWith, openBackend, output, sh, specOf } from './testing.ts';
import type { Sandbox } from './types.ts';

const MB = 2 ** 20;

/** An archive as an attacker would make it. */
function archive(
  ...entries: (Partial<TarEntry> & { readonly path: string; readonly content?: string; readonly rawType?: string })[]
): Buffer {
  const parts = entries.flatMap(({ content = '', rawType, ...entry }) => {
    const header = tarHeader({ type: 'file', mode: 0o644, target: '', size: entry.size ?? content.length, ...entry });
    if (rawType !== undefined) {
      header.write(rawType, 156);
      header.write('        ', 148);
      header.write(
        `${header
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, '0')}\0 `,
        148,
      );
    }
    return [header, Buffer.from(content), tarPadding(content.length)];
  });
  return zlib.zstdCompressSync(Buffer.concat([...parts, tarEnd()]));
}

describe('files', () => {
  const closing: (() => Promise<void>)[] = [];
  const backend = openBackend({ after: (close) => void closing.push(close as () => Promise<void>) });
  let sandbox: Sandbox;
  before(async () => {
    sandbox = await backend.ensure(specOf('files'));
  });
  after(async () => {
    for (const close of closing) await close();
  });
  const read = (path: string, maxBytes = MB) => sandbox.readFile(path, { maxBytes });

  test('what is written is read, in folders that are made for it', async () => {
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));
    await sandbox.writeFile('/workspace/a/b/c.bin', bytes, { mode: 0o755 });
    assert.ok((await read('/workspace/a/b/c.bin')).equals(bytes));
    assert.equal(await output(sandbox, 'stat -c "%a %U" /workspace/a/b/c.bin; ls -A /workspace/a/b'), '755 agent\nc.bin');
    await sandbox.writeFile('/home/agent/.config', 'x');
    await sandbox.writeFile('/home/agent/.config', '', { mode: 0o6777 });
    assert.equal(await output(sandbox, 'stat -c "%a %s" ~/.config'), '777 0');
    await sandbox.writeFile('/tmp/t', 'tmp');
    assert.equal((await read('/tmp/t')).toString(), 'tmp');
  });

  test('only plain paths below home, workspace and /tmp', async () => {
    for (const path of [
      '/etc/passwd',
      '/workspace',
      '/workspace/',
      '/workspace/../etc/passwd',
      '/workspace/./a',
      'workspace/a',
      '/proc/self/environ',
      '/tmpx/a',
      '/workspace/a\0b',
      '',
    ]) {
      await assert.rejects(read(path), failsWith('SANDBOX_FILE'), path);
      await assert.rejects(sandbox.writeFile(path, 'x'), failsWith('SANDBOX_FILE'), path);
    }
    await assert.rejects(read('/workspace/none'), failsWith('SANDBOX_FILE', /no such file/));
    await assert.rejects(read('/workspace/a'), failsWith('SANDBOX_FILE', /not an ordinary file/));
  });

  test('links are not followed, in any place of the path', async () => {
    await output(
      sandbox,
      'cd /workspace; ln -s /etc/passwd last; ln -s /etc dir; ln -s /proc/self/root root; ln -s . self; mkdir real; echo x > real/x; ln -s real alias',
    );
    for (const path of ['last', 'dir/passwd', 'root/etc/passwd', 'self/real/x', 'alias/x']) {
      await assert.rejects(read(`/workspace/${path}`), failsWith('SANDBOX_FILE'), path);
    }
    await assert.rejects(sandbox.writeFile('/workspace/dir/new', 'x'), failsWith('SANDBOX_FILE'));
    await assert.rejects(sandbox.writeFile('/workspace/alias/y', 'x'), failsWith('SANDBOX_FILE'));
    // a link in the last place is replaced, what it pointed to is not written
    await output(sandbox, 'echo before > /tmp/victim; ln -s /tmp/victim /workspace/swap');
    await sandbox.writeFile('/workspace/swap', 'after');
    assert.equal(await output(sandbox, 'cat /tmp/victim; stat -c %F /workspace/swap'), 'before\nregular file');
  });

  test('what is no ordinary file is refused, and hangs nobody', async () => {
    await output(sandbox, 'cd /workspace; mkfifo fifo; ln -s /dev/zero zero');
    const began = performance.now();
    await assert.rejects(read('/workspace/fifo'), failsWith('SANDBOX_FILE', /not an ordinary file/));
    await assert.rejects(read('/workspace/zero'), failsWith('SANDBOX_FILE'));
    assert.ok(performance.now() - began < 60_000);
  });

  test('a file over the limit is refused, also one that lies about its size', async () => {
    await sandbox.writeFile('/workspace/big', Buffer.alloc(100_001));
    await assert.rejects(read('/workspace/big', 100_000), failsWith('SANDBOX_LIMIT'));
    assert.equal((await read('/workspace/big', 100_001)).length, 100_001);
  });

  test('a session that was packed is the same where it is unpacked', async () => {
    const long = `${'deep/'.repeat(30)}${'n'.repeat(90)}`;
    await output(
      sandbox,
      `cd; rm -rf * .[a-z]*; mkdir -p .claude/projects/p other "$(dirname ${long})"; echo one > .claude/projects/p/1.jsonl; echo 'ü' > '.claude/ü name';
       head -c 200000 /dev/urandom > .claude/blob; ln -s projects/p/1.jsonl .claude/link; ln -s /etc/passwd .claude/out; mkfifo .claude/fifo; mkdir -m 0500 .claude/ro; echo no > other/no; echo top > top.json; echo no > top.txt; echo d > ${long}`,
    );
    const packed = await sandbox.pack(['.claude', '*.json', 'deep/**'], { maxBytes: 10 * MB });
    assert.ok(packed !== null);
    assert.equal(await sandbox.pack(['nothing', 'other/*.md'], { maxBytes: MB }), null);
    await assert.rejects(sandbox.pack(['.claude'], { maxBytes: 10_000 }), failsWith('SANDBOX_LIMIT'));
    await assert.rejects(sandbox.pack(['../agent'], { maxBytes: MB }), failsWith('SANDBOX_FILE'));
    const other = await backend.ensure(specOf('unpacked'));
    await other.writeFile('/home/agent/top.json', 'an older one');
    await other.unpack(packed);
    const sums = 'cd; find . -type f -exec sha256sum {} + | sort -k2; find . ! -type f | sort; readlink .claude/link';
    const restored = await output(other, sums);
    await output(sandbox, 'cd; rm -rf other top.txt .claude/out .claude/fifo');
    assert.equal(restored, await output(sandbox, sums));
    await backend.stop('unpacked');
  });

  test('an archive that would leave the home is refused', async () => {
    const refused = async (bytes: Buffer, what: string, code: 'SANDBOX_FILE' | 'SANDBOX_LIMIT' = 'SANDBOX_FILE') => {
      await assert.rejects(sandbox.unpack(bytes), failsWith(code), what);
    };
    await refused(archive({ path: '../out', content: 'x' }), '..');
    await refused(archive({ path: 'a/../../out', content: 'x' }), '.. within');
    await refused(archive({ path: '/tmp/out', content: 'x' }), 'absolute');
    await refused(archive({ path: 'l', type: 'link', target: '/etc' }), 'absolute link');
    await refused(archive({ path: 'd/l', type: 'link', target: '../../x' }), 'link out');
    await refused(archive({ path: 'l', type: 'link', target: '.' }, { path: 'l/through', content: 'x' }), 'through a link');
    await refused(archive({ path: 'hard', rawType: '1', target: '/etc/passwd' }), 'hard link');
    for (const rawType of ['3', '4', '6', 'L', 'g']) await refused(archive({ path: 'dev', rawType }), `type ${rawType}`);
    await refused(archive({ path: 'huge', size: 70 * MB }), 'more than the disk', 'SANDBOX_LIMIT');
    await refused(archive({ path: 'cut', size: 5000, content: 'x' }), 'cut off');
    await refused(Buffer.from('no archive at all'), 'garbage');
    assert.equal(await output(sandbox, 'ls /tmp/out ~/../out 2>&1 | grep -c "No such"; ls -A ~ | grep -c "^.centaur-" || true'), '2\n0');
    assert.equal((await sh(sandbox, 'test -e ~/through')).code, 1);
  });

  test('a sandbox whose agent no longer answers ends, and says so', async () => {
    const victim = await backend.ensure(specOf('hostile'));
    const result = await victim.exec({
      argv: ['/bin/sh', '-c', 'read go; kill -STOP 2; sleep 100'],
      // comes when the agent has said that the command runs
      input: 'go\n',
      timeoutMs: 15_000,
      maxOutputBytes: 1000,
    });
    assert.equal(result.reason, 'lost');
    await assert.rejects(sh(victim, 'true'), failsWith('SANDBOX_LOST'));
    await backend.stop('hostile');
  });
});
