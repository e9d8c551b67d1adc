import assert from 'node:assert/strict';
import type tls from 'node:tls';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type CreatedLease, revokeLease } from '../../kernel/vault/index.ts';
import { eventually } from '../support/wait.ts';
import { assertNothingLeaked, assertUntouched, gauge, openTls, type Scene, startScene } from './support.ts';

/** Types of frames, and their flags. */
const [DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION] = [0, 1, 3, 4, 6, 7, 8, 9] as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** More than any honest client sends before its first answer. */
const FLOOD_BYTES = 64e6;
/** Of the whole process: the firewall, its clients and the test. */
const MEMORY_MOST = 300e6;

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header that the other side is to keep (RFC 7541, 6.2.1) or to forget (6.2.2). */
function literal(name: string, value: string, kept: boolean): Buffer {
  return Buffer.concat([Buffer.from([kept ? 0x40 : 0x00]), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

describe('frames that no client of HTTP/2 sends', { timeout: 600_000 }, () => {
  let scene: Scene;
  /** Of the flood alone. */
  let lease: CreatedLease;
  before(async () => (scene = await startScene({ secret: { match_headers: ['x-api-key'] } })));
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(async () => {
    lease = await scene.t.lease(['API_KEY']);
    await scene.reset();
  });

  /** GET /, without the end of its headers. */
  const request = () =>
    Buffer.concat([
      // :method GET, :path /, :scheme https, :authority
      Buffer.from([0x82, 0x84, 0x87, 0x01]),
      text(scene.authority),
      literal('x-api-key', lease.placeholders['API_KEY'] as string, false),
    ]);

  /** Sends what is made, until that ends, the firewall has had enough, or no more is taken. */
  async function flood(
    frames: (n: number) => Buffer | undefined,
  ): Promise<{ readonly sent: number; readonly ended: boolean; readonly seen: Set<number> }> {
    const socket = await openTls({ ...scene, lease }, { alpn: ['h2'] });
    const seen = new Set<number>();
    let ended = false;
    let data = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      data = Buffer.concat([data, chunk]);
      while (data.length >= 9 && data.length >= 9 + data.readUIntBE(0, 3)) {
        seen.add(data.readUInt8(3));
        data = data.subarray(9 + data.readUIntBE(0, 3));
      }
    });
    const gone = new Promise<void>((resolve) => socket.once('close', () => ((ended = true), resolve())));
    socket.once('end', () => socket.destroy());
    socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
    let sent = 0;
    for (let n = 0; !ended && sent < FLOOD_BYTES; n += 1) {
      const bytes = frames(n);
      if (bytes === undefined) break;
      sent += bytes.length;
      if (!socket.write(bytes)) await Promise.race([gone, drained(socket)]);
      else if (n % 64 === 0) await new Promise(setImmediate);
    }
    // it has what was sent when it has answered, or hung up
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 2000).unref())]);
    // as a client goes that is not killed: with a word of good-bye
    socket.end();
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 20_000).unref())]);
    socket.destroy();
    return { sent, ended: ended && (sent < FLOOD_BYTES || seen.has(GOAWAY)), seen };
  }

  function drained(socket: tls.TLSSocket): Promise<void> {
    return new Promise((resolve) => socket.once('drain', () => resolve()));
  }

  /** The flood took no memory, others are served, and it is over when its lease is. */
  async function assertUnharmed(memory: number): Promise<void> {
    const grown = process.memoryUsage().rss - memory;
    assert.ok(grown < MEMORY_MOST, `${Math.round(grown / 1e6)} MB more`);
    assert.equal((await scene.call('/', { headers: { 'x-api-key': scene.placeholder } })).status, 200);
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { what: 'the end of all tunnels' });
    await assertNothingLeaked(scene.t, '', [scene.lease.token, lease.token]);
  }

  const refused: [what: string, frames: (n: number) => Buffer | undefined][] = [
    [
      'headers that go on for ever',
      (n) =>
        n === 0
          ? frame(HEADERS, END_STREAM, 1, request())
          : frame(CONTINUATION, 0, 1, Buffer.concat(Array.from({ length: 4 }, (_, i) => literal(`x-${n}-${i}`, 'y'.repeat(4000), false)))),
    ],
    [
      'headers that go on for ever in frames with nothing in them',
      (n) => (n === 0 ? frame(HEADERS, END_STREAM, 1, request()) : frame(CONTINUATION, 0, 1)),
    ],
    [
      'a few bytes that unpack to 64 MB of headers',
      (n) =>
        n === 0
          ? frame(
              HEADERS,
              END_STREAM | END_HEADERS,
              1,
              // 62 is the first header that was kept
              Buffer.concat([request(), literal('x-bomb', 'y'.repeat(4000), true), Buffer.alloc(12_000, 0xbe)]),
            )
          : undefined,
    ],
    [
      'a few bytes that unpack to much, in stream after stream',
      (n) =>
        n < 2000
          ? frame(
              HEADERS,
              END_STREAM | END_HEADERS,
              2 * n + 1,
              Buffer.concat([request(), ...(n === 0 ? [literal('x-bomb', 'y'.repeat(3900), true)] : []), Buffer.alloc(8000, 0xbe)]),
            )
          : undefined,
    ],
    [
      'a table of headers that is larger than was agreed',
      (n) => (n === 0 ? frame(HEADERS, END_STREAM | END_HEADERS, 1, Buffer.from([0x3f, 0xff, 0xff, 0xff, 0x7f])) : undefined),
    ],
  ];
  for (const [what, frames] of refused) {
    test(`end the connection, and nothing is sent on: ${what}`, async () => {
      const memory = process.memoryUsage().rss;
      const { sent, ended, seen } = await flood(frames);
      assert.ok(ended || seen.has(RST_STREAM) || seen.has(GOAWAY), `${sent} bytes were taken without a word`);
      assert.ok(sent < FLOOD_BYTES, 'it was never cut off');
      assertUntouched(scene);
      await assertUnharmed(memory);
    });
  }

  for (const [what, frames] of [
    ['pings that are not waited for', () => Buffer.concat(Array.from({ length: 1000 }, () => frame(PING, 0, 0, Buffer.alloc(8))))],
    ['settings that are not waited for', () => Buffer.concat(Array.from({ length: 1000 }, () => frame(SETTINGS, 0, 0)))],
    [
      'data without anything in it, of a request that does not end',
      (n) =>
        n === 0
          ? frame(HEADERS, END_HEADERS, 1, request())
          : n < 2000
            ? Buffer.concat(Array.from({ length: 100 }, () => frame(DATA, 0, 1)))
            : undefined,
    ],
  ] as [string, (n: number) => Buffer | undefined][]) {
    test(`take neither memory nor time from others: ${what}`, async () => {
      const memory = process.memoryUsage().rss;
      let over = false;
      const flooding = flood((n) => (n < 500 ? frames(n) : undefined)).finally(() => (over = true));
      // while it goes on
      assert.equal((await scene.call('/', { headers: { 'x-api-key': scene.placeholder } })).status, 200);
      const { sent } = await flooding;
      assert.ok(over && sent > 0);
      await assertUnharmed(memory);
    });
  }

  const resets: [what: string, reset: (stream: number) => Buffer][] = [
    ['resets each request at once', (stream) => frame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]))],
    // the firewall resets them itself: the flow of a stream overflows
    ['has each request reset by the firewall', (stream) => frame(WINDOW_UPDATE, 0, stream, Buffer.from([0x7f, 0xff, 0xff, 0xff]))],
  ];
  for (const [what, reset] of resets) {
    test(`a client that ${what} is sent away, after at most a thousand or so`, async () => {
      const memory = process.memoryUsage().rss;
      const { seen, ended } = await flood((n) =>
        n < 20_000 ? Buffer.concat([frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, request()), reset(2 * n + 1)]) : undefined,
      );
      const intents = (await scene.entries()).filter(({ action }) => action === 'egress.intent').length;
      assert.ok(ended || seen.has(GOAWAY), 'it may go on for ever');
      assert.ok(intents <= 3000, `${intents} requests were taken up`);
      assert.ok(scene.service.seen.length <= intents, 'no more was sent than was written down');
      await assertUnharmed(memory);
    });
  }
});
