import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { describeFault, readIncoming, readJson } from './body.ts';

const limits = { single: 20, many: 40 };
const send = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
  readJson(new Request('http://api/', { method: 'POST', body, headers }), limits);

test('a body is read as JSON, whatever parameters its type has', async () => {
  assert.deepEqual(await send('{"a":1}'), { a: 1 });
  assert.deepEqual(await send('[1]', { 'content-type': 'application/json; charset=utf-8' }), [1]);
  assert.deepEqual(await send('null', { 'content-type': 'application/merge-patch+json' }), null);
});

test('a body that is not sent as JSON is refused before it is read', async () => {
  await assert.rejects(send('a=1', { 'content-type': 'application/x-www-form-urlencoded' }), {
    code: 'UNSUPPORTED_MEDIA_TYPE',
    message: /form-urlencoded.*send application\/json/,
  });
  await assert.rejects(send('{}', { 'content-type': 'application/jsonp' }), { code: 'UNSUPPORTED_MEDIA_TYPE' });
  await assert.rejects(send(new Uint8Array([1]), {}), { code: 'UNSUPPORTED_MEDIA_TYPE', message: /no Content-Type/ });
  await assert.rejects(send('{}', { 'content-type': 'application/json', 'content-encoding': 'gzip' }), {
    code: 'UNSUPPORTED_MEDIA_TYPE',
    message: /gzip/,
  });
});

test('an array may be longer than an object', async () => {
  const long = JSON.stringify(['x'.repeat(30)]);
  assert.deepEqual(await send(`  ${long}`), ['x'.repeat(30)]);
  await assert.rejects(send(JSON.stringify({ a: 'x'.repeat(30) })), { code: 'TOO_LARGE', message: /limit of 20 bytes/ });
  await assert.rejects(send(JSON.stringify(['x'.repeat(50)])), { code: 'TOO_LARGE', message: /limit of 40 bytes/ });
});

test('a body without an announced length is refused as soon as it is too long', async () => {
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 1;
      controller.enqueue(Buffer.from(sent === 1 ? '{"a":"' : 'xxxxxxxx'));
    },
  });
  const request = new Request('http://api/', {
    method: 'POST',
    body,
    duplex: 'half',
    headers: { 'content-type': 'application/json' },
  });
  await assert.rejects(readJson(request, limits), { code: 'TOO_LARGE' });
  assert.ok(sent < 6, `read ${sent} chunks`);
});

test('bytes that are not UTF-8 are refused', async () => {
  await assert.rejects(send(new Uint8Array([0x22, 0xff, 0x22])), { code: 'MALFORMED_JSON', message: /UTF-8/ });
});

test('a fault is told with its place', () => {
  const faults: [string, string][] = [
    ['', 'it is empty'],
    [' \n', 'it is empty'],
    ['abc', 'unexpected "a" at line 1, column 1'],
    ['{a', 'unexpected "a" at line 1, column 2'],
    ['{"a":1,}', 'unexpected "}" at line 1, column 8'],
    ['{"a":1,\n "b" 2}', 'unexpected "2" at line 2, column 6'],
    ['{"a":tru}', 'unexpected "t" at line 1, column 6'],
    ['{"a":1}}', 'unexpected "}" at line 1, column 8'],
    ['[1,]', 'unexpected "]" at line 1, column 4'],
    ['[1}', 'unexpected "}" at line 1, column 3'],
    ['[01]', 'unexpected "1" at line 1, column 3'],
    ["{'a':1}", 'unexpected "\'" at line 1, column 2'],
    ['{"a":NaN}', 'unexpected "N" at line 1, column 6'],
    ['"\\x"', 'unexpected "\\\\" at line 1, column 2'],
    ['["a\nb"]', 'unexpected "\\n" at line 1, column 4'],
    ['["\\u12"]', 'unexpected "\\\\" at line 1, column 3'],
    ['["\\u12', 'it ends too early, at line 1, column 7'],
    ['"🙂" 🙂', 'unexpected "🙂" at line 1, column 6'],
    ['1 2', 'unexpected "2" at line 1, column 3'],
    ['{"a":1', 'it ends too early, at line 1, column 7'],
    ['{"a":', 'it ends too early, at line 1, column 6'],
    ['["ab', 'it ends too early, at line 1, column 5'],
    ['["ab\\', 'it ends too early, at line 1, column 6'],
    ['[tru', 'it ends too early, at line 1, column 5'],
    ['{"a": -', 'it ends too early, at line 1, column 8'],
  ];
  for (const [text, told] of faults) {
    assert.throws(() => JSON.parse(text), `${text} is JSON after all`);
    assert.equal(describeFault(text), told, text);
  }
});

test('a fault in a long body is found in linear time', () => {
  const started = performance.now();
  assert.match(describeFault(`[${'{"key":"value"},'.repeat(60_000)}x]`), /unexpected "x"/);
  assert.match(describeFault('['.repeat(1_000_000)), /too early/);
  assert.match(describeFault(`["${'a'.repeat(1_000_000)}`), /too early/);
  assert.match(describeFault(`["${'\\n'.repeat(1_000_000)}`), /too early/);
  // quadratic time would be an hour
  assert.ok(performance.now() - started < 60_000);
});

/** Hands a request of its own to `work` after sending `head` and `pieces`, and does not end it. */
async function withIncoming(
  pieces: readonly string[],
  work: (incoming: IncomingMessage, socket: Socket) => Promise<void>,
  head = 'transfer-encoding: chunked',
) {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  try {
    const arrived = once(server, 'request');
    socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n`);
    const [incoming] = (await arrived) as [IncomingMessage];
    for (const piece of pieces) socket.write(piece);
    await work(incoming, socket);
  } finally {
    socket.destroy();
    server.close();
    server.closeAllConnections();
  }
}

test('a body in pieces of one byte takes no more memory than its bytes', async () => {
  const size = 100_000;
  const held = { bytes: 0, most: 2 * size, reading: new Set<() => void>() };
  await withIncoming(['1\r\nX\r\n'.repeat(size), '0\r\n\r\n'], async (incoming) => {
    let views = 0;
    incoming.on('data', () => (views = Math.max(views, held.bytes)));
    const body = await readIncoming(incoming, size, { held });
    assert.deepEqual([body?.length, body?.buffer.byteLength], [size, size], 'one buffer, as large as the limit');
    assert.ok(views > size / 4, String(views));
    assert.equal(held.bytes, 0, 'what has been read counts no longer');
  });
});

test('bodies share the memory of the process', async () => {
  const size = 40 * 1024 * 1024;
  const most = size + 1;
  // two of these are more than the process holds
  const piece = `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`;
  const end = '0\r\n\r\n';
  await withIncoming([piece], async (incoming) => {
    let arrived = 0;
    const first = readIncoming(incoming, most);
    await new Promise<void>((done) =>
      incoming.on('data', (chunk: Buffer) => {
        arrived += chunk.length;
        if (arrived === size) done();
      }),
    );
    await withIncoming([piece, end], async (second) => {
      const read = readIncoming(second, most);
      await assert.rejects(first, { code: 'TOO_BUSY' }, 'whoever only holds it gives way');
      assert.equal((await read)?.length, size);
    });
  });
  await withIncoming([piece, end], async (incoming) => assert.equal((await readIncoming(incoming, most))?.length, size));
});

test('a body that finds no memory left, comes too slowly or is over already is refused', async () => {
  const held = { bytes: 900, most: 1000, reading: new Set<() => void>() };
  await withIncoming([`c8\r\n${'x'.repeat(200)}\r\n`], async (incoming) => {
    await assert.rejects(readIncoming(incoming, 10_000, { held }), { code: 'TOO_BUSY', httpStatus: 503 });
    assert.equal(held.bytes, 900);
  });
  await withIncoming(['1\r\nX\r\n'], async (incoming) => {
    await assert.rejects(readIncoming(incoming, 10_000, { held, withinMs: 20 }), { code: 'TOO_SLOW', httpStatus: 408 });
    assert.equal(held.bytes, 900);
  });
  await withIncoming(
    ['abc'],
    async (incoming, socket) => {
      const closed = new Promise((done) => incoming.once('close', done));
      incoming.on('error', () => {});
      socket.destroy();
      await closed;
      await assert.rejects(readIncoming(incoming, 100), { code: 'BODY_CUT_OFF' });
    },
    'content-length: 10',
  );
});
