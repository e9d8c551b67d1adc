import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { openBackend, output, sh, specOf, written } from './testing.ts';
import type { JournalEntry, Sandbox } from './types.ts';

/** A server of the host that notes from where it is dialled. */
async function listen(onSocket: (socket: net.Socket) => void): Promise<{ port: number; peers: string[]; server: net.Server }> {
  const peers: string[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    peers.push(socket.remoteAddress ?? '');
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  await new Promise<void>((listening) => {
    server.listen(0, '127.0.0.1', listening);
  });
  return { port: (server.address() as net.AddressInfo).port, peers, server };
}

/** Connects inside, writes, ends, and prints what comes. */
const talk = (port: number, text: string): string =>
  `node -e "const s = require('net').connect({ port: ${port}, host: '127.0.0.1', allowHalfOpen: true }); s.end('${text}'); s.pipe(process.stdout); s.on('error', (e) => { console.log(e.code); process.exit(1); })"`;

describe('relays', () => {
  const closing: (() => Promise<void>)[] = [];
  const backend = openBackend({ after: (close) => void closing.push(close as () => Promise<void>) });
  const servers: net.Server[] = [];
  let echo: Awaited<ReturnType<typeof listen>>;
  let other: Awaited<ReturnType<typeof listen>>;
  let sandbox: Sandbox;
  before(async () => {
    // answers only when the other side has finished: half-open connections must pass
    echo = await listen((socket) => {
      const parts: Buffer[] = [];
      socket.on('data', (part: Buffer) => parts.push(part));
      socket.on('end', () => socket.end(Buffer.concat([Buffer.from('heard '), ...parts])));
    });
    other = await listen((socket) => socket.end('the other'));
    servers.push(echo.server, other.server);
    const relays = [
      { port: 3128, to: `127.0.0.1:${echo.port}` },
      { port: 3129, to: `127.0.0.1:${other.port}` },
    ];
    sandbox = await backend.ensure(specOf('relays', { relays }));
  });
  after(async () => {
    for (const close of closing) await close();
    for (const server of servers) server.close();
  });

  test('each leads to its target alone, both ways, and one side may finish first', async () => {
    assert.equal(await output(sandbox, talk(3128, 'hello')), 'heard hello');
    assert.equal(await output(sandbox, talk(3129, 'x')), 'the other');
  });

  test('the target sees an address that is the sandbox’s own', async () => {
    const second = await backend.ensure(specOf('second', { relays: [{ port: 3128, to: `127.0.0.1:${echo.port}` }] }));
    assert.match(sandbox.source ?? '', /^127\.1\.\d+\.\d+$/);
    assert.notEqual(second.source, sandbox.source);
    echo.peers.length = 0;
    await output(sandbox, talk(3128, 'a'));
    await output(second, talk(3128, 'b'));
    assert.deepEqual(echo.peers, [sandbox.source, second.source]);
    await backend.stop('second');
    const none = await backend.ensure(specOf('none'));
    assert.equal(none.source, null);
    await backend.stop('none');
  });

  test('nothing else can be reached: not its port directly, no address, no name', async () => {
    for (const target of [
      `127.0.0.1:${echo.port}`,
      '127.0.0.1:3130',
      '10.0.0.1:80',
      '169.254.169.254:80',
      '[::1]:3128',
      'example.com:80',
    ]) {
      const at = target.lastIndexOf(':');
      const result = await sh(
        sandbox,
        `node -e "const s = require('net').connect({ port: ${target.slice(at + 1)}, host: '${target.slice(0, at).replaceAll(/[[\]]/g, '')}', timeout: 3000 }, () => { console.log('open'); process.exit(); }); s.on('error', (e) => console.log(e.code)); s.on('timeout', () => process.exit())"`,
      );
      assert.match(result.stdout.toString(), /^(ECONNREFUSED|ENETUNREACH|EAI_AGAIN|ENOTFOUND)/, target);
    }
  });

  test('a slow reader holds the writer back instead of filling the holder', async () => {
    let got = 0;
    const heldBack = Promise.withResolvers<void>();
    const slow = await listen((socket) => {
      socket.on('data', (part: Buffer) => {
        got += part.length;
      });
      socket.pause();
      void heldBack.promise.then(() => socket.resume());
      socket.on('end', () => socket.end());
    });
    servers.push(slow.server);
    const busy = await backend.ensure(specOf('busy', { relays: [{ port: 3128, to: `127.0.0.1:${slow.port}` }] }));
    const script = `const s = require('net').connect(3128, '127.0.0.1'); let n = 0; const part = Buffer.alloc(65536); let held = 0;
      const go = () => { while (n < 30e6) { n += part.length; if (!s.write(part)) { if (s.writableLength > held) held = s.writableLength; return s.once('drain', go); } } s.end(); };
      go(); setTimeout(() => console.log(n < 25e6 ? 'held back' : 'swallowed'), 300);`;
    const writer = await busy.start({ id: 'writer', argv: ['node', '-e', script], env: {} });
    const entries: JournalEntry[] = [];
    for await (const entry of writer.journal()) {
      entries.push(entry);
      // nothing is read before that
      if (entry.kind === 'out') heldBack.resolve();
    }
    assert.equal(written(entries, 'out').toString(), 'held back\n');
    assert.ok(got >= 30e6);
    await backend.stop('busy');
  });

  test('at the stop the relays end before anything else', async () => {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const held = await listen((socket) => {
      socket.resume();
      socket.on('end', () => resolve());
      socket.on('close', () => resolve());
    });
    servers.push(held.server);
    const gone = await backend.ensure(specOf('gone', { relays: [{ port: 3128, to: `127.0.0.1:${held.port}` }] }));
    await gone.start({ id: 'hold', argv: ['node', '-e', "require('net').connect(3128, '127.0.0.1')"], env: {} });
    while (held.peers.length === 0) await new Promise((later) => setTimeout(later, 10));
    await backend.stop('gone');
    await ended;
  });

  test('a target that is not there is a connection that ends', async () => {
    // no port of those that are given out, where another one may listen by now
    const lonely = await backend.ensure(specOf('lonely', { relays: [{ port: 3128, to: '127.0.0.1:1' }] }));
    assert.equal((await sh(lonely, talk(3128, 'x'))).stdout.toString(), '');
    await backend.stop('lonely');
  });
});
