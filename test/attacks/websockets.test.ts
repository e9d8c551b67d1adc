import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type net from 'node:net';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { after, before, beforeEach, describe, test } from 'node:test';
import { revokeLease } from '../../kernel/vault/index.ts';
import { eventually } from '../support/wait.ts';
import { assertDenied, assertNothingLeaked, exchangeRaw, KEY, openTls, assertRefused, type Scene, startScene, within } from './support.ts';

interface Frame {
  readonly opcode: number;
  readonly final: boolean;
  readonly payload: Buffer;
}

function frame(payload: string | Buffer, options: { opcode?: number; final?: boolean; mask?: boolean; reserved?: number } = {}): Buffer {
  const data = Buffer.from(payload);
  const { opcode = 1, final = true, mask = false, reserved = 0 } = options;
  const extended = data.length < 126 ? 0 : data.length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extended);
  head[0] = (final ? 0x80 : 0) | reserved | opcode;
  head[1] = (mask ? 0x80 : 0) | (extended === 0 ? data.length : extended === 2 ? 126 : 127);
  if (extended === 2) head.writeUInt16BE(data.length, 2);
  if (extended === 8) head.writeBigUInt64BE(BigInt(data.length), 2);
  if (!mask) return Buffer.concat([head, data]);
  const key = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([head, key, Buffer.from(data.map((byte, i) => byte ^ (key[i & 3] as number)))]);
}

/** Frames as they come, unmasked. */
function readFrames(socket: Duplex, onFrame: (frame: Frame) => void, first: Buffer = Buffer.alloc(0)): void {
  let data = first;
  const take = (chunk: Buffer) => {
    data = Buffer.concat([data, chunk]);
    for (;;) {
      if (data.length < 2) return;
      let size = (data[1] as number) & 0x7f;
      let at = 2;
      if (size === 126) {
        if (data.length < 4) return;
        size = data.readUInt16BE(2);
        at = 4;
      } else if (size === 127) {
        if (data.length < 10) return;
        size = Number(data.readBigUInt64BE(2));
        at = 10;
      }
      const masked = ((data[1] as number) & 0x80) !== 0;
      const key = masked ? data.subarray(at, (at += 4)) : undefined;
      if (data.length < at + size) return;
      const payload = Buffer.from(data.subarray(at, at + size));
      if (key !== undefined) for (let i = 0; i < payload.length; i += 1) payload[i] = (payload[i] as number) ^ (key[i & 3] as number);
      const head = data[0] as number;
      data = data.subarray(at + size);
      onFrame({ opcode: head & 15, final: (head & 0x80) !== 0, payload });
    }
  };
  socket.on('data', take);
  take(Buffer.alloc(0));
}

describe('a WebSocket', () => {
  let scene: Scene;
  let offered: IncomingMessage | undefined;
  const received: Frame[] = [];
  let service: Duplex | undefined;
  let answer: 'open' | 'extension' | 'refuse' | 'wait' | 'wrong accept' = 'open';
  let extra = '';
  before(async () => {
    scene = await startScene({ secret: { match_headers: ['authorization'], match_body: true } });
    await scene.t.secret('HEADER_ONLY', { value: 'only-for-headers-0123456789', hosts: [scene.authority], match_headers: ['x-key'] });
    scene.service.server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
      offered = request;
      service = socket;
      socket.on('error', () => undefined);
      if (answer === 'wait') return;
      if (answer === 'refuse') return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${answer === 'wrong accept' ? 'AAAA' : accept}\r\n` +
          `${answer === 'extension' ? 'Sec-WebSocket-Extensions: permessage-deflate\r\n' : ''}${extra}\r\n`,
      );
      readFrames(socket, (each) => received.push(each));
    });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(async () => {
    answer = 'open';
    extra = '';
    received.length = 0;
    offered = undefined;
    service = undefined;
    await scene.reset();
  });

  async function handshake(
    headers: string[] = [`Authorization: Bearer ${scene.placeholder}`],
    lease = scene.lease,
  ): Promise<{ readonly socket: net.Socket; readonly text: string; readonly frames: Frame[]; readonly gone: Promise<void> }> {
    const socket = await openTls({ ...scene, lease });
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write(
      `GET /socket HTTP/1.1\r\nHost: ${scene.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
        `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n${headers.map((each) => `${each}\r\n`).join('')}\r\n`,
    );
    const frames: Frame[] = [];
    const text = await new Promise<string>((resolve) => {
      let data = Buffer.alloc(0);
      const take = (chunk: Buffer) => {
        data = Buffer.concat([data, chunk]);
        const end = data.indexOf('\r\n\r\n');
        if (end < 0) return;
        socket.off('data', take);
        const head = data.subarray(0, end).toString('latin1');
        if (head.startsWith('HTTP/1.1 101')) readFrames(socket, (each) => frames.push(each), data.subarray(end + 4));
        resolve(head);
      };
      socket.on('data', take);
      void gone.then(() => resolve(data.toString('latin1')));
    });
    return { socket, text, frames, gone };
  }

  test('gets its credential in the handshake, and no extension is offered to the service', async () => {
    const { socket, text } = await handshake();
    assert.match(text, /^HTTP\/1\.1 101/);
    assert.match(text, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/i);
    assert.doesNotMatch(text, /extensions/i);
    assert.equal(offered?.headers.authorization, `Bearer ${KEY}`);
    assert.equal(offered?.headers['sec-websocket-extensions'], undefined);
    socket.destroy();
  });

  for (const [what, send] of [
    ['whole', (to: Duplex) => to.write(frame(`you sent ${KEY}`))],
    ['in binary', (to: Duplex) => to.write(frame(`you sent ${KEY}`, { opcode: 2 }))],
    ['in base64', (to: Duplex) => to.write(frame(Buffer.from(`:${KEY}:`).toString('base64')))],
    ['in a ping', (to: Duplex) => to.write(frame(KEY, { opcode: 9 }))],
    ['in the reason of a close', (to: Duplex) => to.write(frame(`\x03\xe8${KEY}`, { opcode: 8 }))],
    [
      'in fragments, with a ping between them',
      (to: Duplex) => {
        to.write(frame(KEY.slice(0, 10), { final: false }));
        to.write(frame('', { opcode: 9 }));
        to.write(frame(KEY.slice(10, 20), { opcode: 0, final: false }));
        to.write(frame(KEY.slice(20), { opcode: 0 }));
      },
    ],
    [
      'byte by byte',
      (to: Duplex) => {
        for (const byte of frame(KEY)) to.write(Buffer.from([byte]));
      },
    ],
    [
      'in a message of one byte per fragment',
      (to: Duplex) => {
        for (const [i, c] of Array.from(KEY).entries()) to.write(frame(c, { opcode: i === 0 ? 1 : 0, final: i === KEY.length - 1 }));
      },
    ],
    [
      'in pieces, a message each, with pings between them',
      (to: Duplex) => {
        for (const delta of KEY.match(/.{1,5}/g) ?? []) {
          to.write(frame(JSON.stringify({ type: 'delta', delta })));
          to.write(frame('', { opcode: 9 }));
        }
      },
    ],
    [
      'in pieces, in binary messages',
      (to: Duplex) => {
        for (const delta of KEY.match(/.{1,5}/g) ?? []) to.write(frame(JSON.stringify({ type: 'delta', delta }), { opcode: 2 }));
      },
    ],
    [
      'in pieces of text',
      (to: Duplex) => {
        for (const piece of KEY.match(/.{1,4}/g) ?? []) to.write(frame(piece));
      },
    ],
  ] as [string, (to: Duplex) => void][]) {
    test(`an echo of the credential is blanked ${what}`, async () => {
      const { socket, frames } = await handshake();
      send(service as Duplex);
      (service as Duplex).write(frame('the end'));
      await eventually(() => frames.some(({ payload }) => payload.toString() === 'the end'));
      socket.destroy();
      const text = frames.map(({ payload }) => payload.toString('latin1')).join('|');
      const said = text.replaceAll(/\|+|\{"type":"delta","delta":"|"\}/g, '');
      assert.match(said, /\*{12}/);
      assert.doesNotMatch(said, new RegExp(`${KEY.slice(8, 16)}|${KEY.slice(-8)}`));
      await eventually(async () => (await scene.entries()).find((entry) => entry['action'] === 'egress.outcome')?.['details'].alert);
      await assertNothingLeaked(scene.t, text, [scene.lease.token]);
    });
  }

  test('the last message arrives, also when it is held back and the service ends without a word', async () => {
    const { socket, frames } = await handshake();
    (service as Duplex).end(frame('it begins with sk-ant-api03-'));
    await eventually(() => frames.some(({ payload }) => payload.toString().endsWith('sk-ant-api03-')));
    socket.destroy();
  });

  test('an echo in the handshake is blanked', async () => {
    extra = `Sec-WebSocket-Protocol: ${KEY}\r\nX-Echo: ${KEY}\r\n`;
    const { socket, text } = await handshake();
    assert.match(text, /^HTTP\/1\.1 101/);
    socket.destroy();
    await assertNothingLeaked(scene.t, text, [scene.lease.token]);
  });

  test('a placeholder in a message is replaced where it is bound to be', async () => {
    const { socket } = await handshake();
    socket.write(frame(`{"key":"${scene.placeholder}"}`, { mask: true }));
    await eventually(() => received.length === 1);
    assert.equal(received[0]?.payload.toString(), `{"key":"${KEY}"}`);
    socket.destroy();
  });

  test('a placeholder in fragments of a message is replaced', async () => {
    const { socket } = await handshake();
    socket.write(frame(scene.placeholder.slice(0, 9), { mask: true, final: false }));
    socket.write(frame(scene.placeholder.slice(9), { mask: true, opcode: 0 }));
    await eventually(() => received.length === 1);
    assert.equal(received[0]?.payload.toString(), KEY);
    socket.destroy();
  });

  for (const [what, message, code] of [
    ['a placeholder that is not for messages', async (p: string) => frame(p, { mask: true }), 'PLACEHOLDER_NOT_BOUND'],
    ['the real value of a secret', async () => frame(`take ${KEY}`, { mask: true }), 'SECRET_IN_REQUEST'],
    ['the real value of a secret in a ping', async () => frame(KEY, { mask: true, opcode: 9 }), 'SECRET_IN_REQUEST'],
    ['a message that is too long', async () => frame(Buffer.alloc(1_100_000), { mask: true }), 'MESSAGE_TOO_LONG'],
    [
      'a message that claims to be enormous',
      async () => Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
      'MESSAGE_TOO_LONG',
    ],
    ['a frame with an extension', async () => frame('x', { mask: true, reserved: 0x40 }), 'BAD_WEBSOCKET'],
    ['a fragment without a beginning', async () => frame('x', { mask: true, opcode: 0 }), 'BAD_WEBSOCKET'],
    ['a ping in fragments', async () => frame('x', { mask: true, opcode: 9, final: false }), 'BAD_WEBSOCKET'],
    ['a ping that is too long', async () => frame('x'.repeat(126), { mask: true, opcode: 9 }), 'BAD_WEBSOCKET'],
  ] as [string, (p: string) => Promise<Buffer>, string][]) {
    test(`ends, and nothing of it is sent on, with ${what}`, async () => {
      const lease = await scene.t.lease(['API_KEY', 'HEADER_ONLY']);
      await scene.reset();
      const { socket, gone } = await handshake([`Authorization: Bearer ${lease.placeholders['API_KEY']}`], lease);
      let ended = false;
      void gone.then(() => (ended = true));
      socket.write(await message(lease.placeholders['HEADER_ONLY'] as string));
      await eventually(() => ended || received.length > 0);
      socket.destroy();
      assert.deepEqual(received, []);
      await assertRefused(scene, '', code, { tokens: [lease.token] });
    });
  }

  test('ends when a message comes in fragments without number', async () => {
    const { socket, gone } = await handshake();
    const one = frame('', { mask: true, opcode: 0, final: false });
    socket.write(frame('', { mask: true, final: false }));
    const many = Buffer.concat(Array.from({ length: 5000 }, () => one));
    let sent = 0;
    let ended = false;
    void gone.then(() => (ended = true));
    while (!ended && sent < 500_000) {
      sent += 5000;
      if (!socket.write(many)) await Promise.race([gone, new Promise<void>((resolve) => socket.once('drain', () => resolve()))]);
      await new Promise(setImmediate);
    }
    // what was sent last may not have been read yet
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 20_000).unref())]);
    socket.destroy();
    assert.ok(ended, `${sent} fragments of one message are kept in memory`);
  });

  test('takes a long message in small pieces in no more time than it should', async () => {
    const { socket } = await handshake();
    const whole = frame(Buffer.alloc(1_000_000, 'x'), { mask: true, opcode: 2 });
    const cpu = process.cpuUsage();
    for (let at = 0; at < whole.length; at += 200) {
      if (!socket.write(whole.subarray(at, at + 200))) await new Promise<void>((resolve) => socket.once('drain', () => resolve()));
    }
    await eventually(() => received.length === 1, { what: 'the message' });
    const { user, system } = process.cpuUsage(cpu);
    socket.destroy();
    assert.ok(user + system < 2_000_000, `${Math.round((user + system) / 1000)} ms of CPU for one megabyte in 5000 pieces`);
  });

  for (const [how, status] of [
    ['refuse', 502],
    ['extension', 502],
    ['wrong accept', 502],
  ] as const) {
    test(`is refused when the service answers with: ${how}`, async () => {
      answer = how;
      const { socket, text } = await handshake();
      socket.destroy();
      assert.equal(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), status, JSON.stringify(text));
      await assertRefused(scene, text, 'UPGRADE_REFUSED');
    });
  }

  test('is not opened when its client has left in the handshake', async () => {
    answer = 'wait';
    const socket = await openTls(scene);
    socket.write(
      `GET /socket HTTP/1.1\r\nHost: ${scene.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer ${scene.placeholder}\r\n\r\n`,
    );
    await eventually(() => service !== undefined);
    socket.destroy();
    // the service takes its time: when it answers, nobody is there any more
    const accept = createHash('sha1')
      .update(`${offered?.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    service?.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    service?.resume();
    await eventually(() => service?.closed, { what: 'the end of the connection to the service' });
  });

  test('is cut when its lease is revoked', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    const { gone } = await handshake([`Authorization: Bearer ${lease.placeholders['API_KEY']}`], lease);
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    await within(60, gone);
    await eventually(() => service?.closed);
  });

  for (const [what, head, status, code] of [
    ['an upgrade to something else', 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk', 400, 'BAD_UPGRADE'],
    [
      'a version that nobody speaks',
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: x',
      400,
      'BAD_UPGRADE',
    ],
    [
      'another host',
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\nHost: evil.test',
      400,
      'TWO_HOSTS',
    ],
    [
      'a placeholder in another header',
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\nx-other: PLACEHOLDER',
      403,
      'PLACEHOLDER_NOT_BOUND',
    ],
  ] as const) {
    test(`is refused like any request: ${what}`, async () => {
      const socket = await openTls(scene);
      const raw = await exchangeRaw(
        socket,
        `GET /socket HTTP/1.1\r\nHost: ${scene.authority}\r\n${head.replace('PLACEHOLDER', scene.placeholder)}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, raw, { status, code });
    });
  }
});

describe('a WebSocket with the action block', () => {
  test('ends before an echo', async () => {
    await using scene = await startScene({ config: { scan: { action: 'block' } } });
    scene.service.server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      socket.on('error', () => undefined);
      socket.write(`HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      socket.write(frame(`before ${KEY}`));
    });
    await scene.reset();
    const socket = await openTls(scene);
    const raw = await exchangeRaw(
      socket,
      `GET /socket HTTP/1.1\r\nHost: ${scene.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-api-key: ${scene.placeholder}\r\n\r\n`,
    );
    assert.equal(raw.closed, true);
    assert.ok(!raw.text.includes('before') && !raw.text.includes('***'), raw.text);
    await assertRefused(scene, raw, 'SECRET_IN_ANSWER');
  });
});
