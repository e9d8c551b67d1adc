import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  assertDenied,
  assertRefused,
  assertUntouched,
  basic,
  exchangeRaw,
  knock,
  openTls,
  type Scene,
  startScene,
  within,
} from './support.ts';

describe('a request that two programs could read differently', () => {
  let scene: Scene;
  before(async () => (scene = await startScene({ secret: { paths: ['/v1/*'] } })));
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  async function send(text: string) {
    const socket = await openTls(scene);
    const answer = await exchangeRaw(
      socket,
      text.replaceAll('HOST', `Host: ${scene.authority}`).replaceAll('KEY', `x-api-key: ${scene.placeholder}`),
    );
    socket.destroy();
    return answer;
  }

  for (const [what, text] of [
    ['chunks and a length', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    [
      'chunks and a length, the other way round',
      'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n',
    ],
    ['two lengths', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde'],
    ['two lengths that agree', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd'],
    ['a length with a sign', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length: +4\r\n\r\nabcd'],
    ['a length in hex', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length: 0x4\r\n\r\nabcd'],
    ['a list of lengths', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length: 4, 4\r\n\r\nabcd'],
    ['chunked that is not the last coding', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
    ['a coding that looks like chunked', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['chunked with a tab before it', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n'],
    ['a folded header', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nx-a: 1\r\n folded\r\n\r\n'],
    ['a space before the colon', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nContent-Length : 0\r\n\r\n'],
    ['a line feed alone', 'GET /v1/x HTTP/1.1\nHOST\nKEY\n\n'],
    ['a line feed alone inside a header', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nx-a: 1\nx-b: 2\r\n\r\n'],
    ['a carriage return alone', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nx-a: 1\rx-b: 2\r\n\r\n'],
    ['a zero byte in a header', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nx-a: 1\0\r\n\r\n'],
    ['a zero byte in a header name', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nx\0a: 1\r\n\r\n'],
    ['a zero byte in the path', 'GET /v1/x\0y HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n'],
    ['a tab in the request line', 'GET\t/v1/x HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n'],
    ['an unknown version', 'GET /v1/x HTTP/1.9\r\nHOST\r\nKEY\r\n\r\n'],
    ['HTTP/2 without its handshake', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a header without a colon', 'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nno colon\r\n\r\n'],
    [
      'a chunk whose length is no number',
      'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcd\r\n0\r\n\r\n',
    ],
    ['a chunk with a negative length', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabcd\r\n0\r\n\r\n'],
    [
      'a chunk that is longer than it says',
      'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n',
    ],
    ['a chunk that ends in a line feed alone', 'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked\r\n\r\n4\nabcd\n0\n\n'],
  ] as const) {
    test(`is refused: ${what}`, async () => {
      const answer = await send(text);
      assert.ok(answer.closed || /connection: close/i.test(answer.text), 'the connection is closed');
      await assertDenied(scene, answer, { status: 400, code: /^(?:BAD_REQUEST|CLIENT_GONE)$/ });
    });
  }

  for (const [what, text, status, code] of [
    ['more than 16 KiB of headers', `GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nx-a: ${'y'.repeat(17_000)}\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
    ['more than 100 headers', `GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\n${'a: b\r\n'.repeat(100)}\r\n`, 431, 'TOO_MANY_HEADERS'],
    ['a URL of more than 8 KiB', `GET /v1/${'y'.repeat(8200)} HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n`, 414, 'URL_TOO_LONG'],
    [
      'a URL that is longer than all headers may be',
      `GET /v1/${'y'.repeat(20_000)} HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE',
    ],
    ['TRACE', 'TRACE /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n', 405, 'BAD_METHOD'],
    ['a method that nobody knows', 'M-SEARCH /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n', 405, 'BAD_METHOD'],
  ] as const) {
    test(`is refused: ${what}`, async () => {
      await assertDenied(scene, await send(text), { status, code });
    });
  }

  for (const path of [
    '/v1/../admin',
    '/v1/..',
    '/v1/./x',
    '/v1/%2e%2e/admin',
    '/v1/%2E%2e/admin',
    '/v1/.%2e/admin',
    '/v1/%252e%252e/admin',
    '/v1/%252E%252E%252fadmin',
    '/v1/..%2fadmin',
    '/v1/..%5cadmin',
    '/v1/..\\admin',
    '/v1\\..\\admin',
    '/v1/%5c..%5cadmin',
    '/v1/..;/admin',
    '/v1/..;x=1/admin',
    '/v1/%00x',
    '/v1/%0d%0aHost:%20evil.test',
    '/v1/%c0%ae%c0%ae/admin',
    '/v1/%',
    '/v1/%zz',
    '/v1/%u002e%u002e/',
    '/v1/x#fragment',
  ]) {
    test(`is refused: the path ${path}`, async () => {
      const answer = await send(`GET ${path} HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n`);
      await assertDenied(scene, answer, { status: 400, code: /^BAD_(?:PATH|REQUEST)$/ });
    });
  }

  for (const path of ['/v2/x', '/', '//v1/x/../y', '/V1/x', '/v1%2fx', '/v10/x', '/v1', '//v1//x', '/%76%31/x'] as const) {
    test(`is held against the rules in its one form: ${path}`, async () => {
      const answer = await send(`GET ${path} HTTP/1.1\r\nHOST\r\nKEY\r\n\r\n`);
      const allowed = ['/v1', '//v1//x', '/%76%31/x'].includes(path);
      if (!allowed)
        return void (await assertDenied(
          scene,
          answer,
          path.includes('..') ? { status: 400, code: 'BAD_PATH' } : { status: 403, code: 'PLACEHOLDER_NOT_BOUND' },
        ));
      assert.equal(answer.status, 200, answer.text);
      assert.equal(scene.service.seen.length, 1);
    });
  }

  test('does not take extensions of chunks or trailers to the service', async () => {
    const answer = await send(
      'POST /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nTransfer-Encoding: chunked\r\nTrailer: x-trailer\r\n\r\n4;ext=a\r\nabcd\r\n3\r\nefg\r\n0\r\nx-trailer: yes\r\n\r\n',
    );
    assert.equal(answer.status, 200, answer.text);
    const [seen] = scene.service.seen;
    assert.equal(seen?.body, 'abcdefg');
    assert.equal(seen?.headers['content-length'], '7');
    assert.equal(seen?.headers['transfer-encoding'], undefined);
    assert.equal(seen?.headers['trailer'], undefined);
    assert.ok(!JSON.stringify(seen).includes('x-trailer'));
  });

  test('does not take headers of the connection to the service', async () => {
    const answer = await send(
      'GET /v1/x HTTP/1.1\r\nHOST\r\nKEY\r\nConnection: keep-alive, x-hop\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: close\r\nProxy-Authorization: Basic eDp5\r\nUpgrade-Insecure-Requests: 1\r\n\r\n',
    );
    assert.equal(answer.status, 200, answer.text);
    const names = Object.keys(scene.service.seen[0]?.headers ?? {});
    for (const name of ['x-hop', 'keep-alive', 'te', 'proxy-connection', 'proxy-authorization']) assert.ok(!names.includes(name), name);
  });

  test('leaves no second request behind a body: what follows it is a request of its own', async () => {
    const smuggled = `GET /admin HTTP/1.1\r\nHost: ${scene.authority}\r\n\r\n`;
    const socket = await openTls(scene);
    const first = await exchangeRaw(
      socket,
      `GET /v1/x HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
    );
    socket.destroy();
    assert.equal(first.status, 200);
    assert.deepEqual(
      scene.service.seen.map(({ url, body }) => [url, body]),
      [['/v1/x', smuggled]],
    );
  });

  for (const [what, bytes] of [
    ['nothing but zeros', '\0'.repeat(100)],
    ['SOCKS', '\x05\x01\x00'],
    ['TLS at the outer door', '\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00'],
    ['SSH', 'SSH-2.0-OpenSSH_9.0\r\n'],
  ] as const) {
    test(`is refused at the door: ${what}`, async () => {
      const socket = await knock(scene.t);
      const answer = await exchangeRaw(socket, bytes);
      socket.destroy();
      await assertDenied(scene, answer, { status: [0, 400], code: 'BAD_REQUEST' });
    });
  }

  for (const [what, bytes] of [
    ['SSH', 'SSH-2.0-OpenSSH_9.0\r\n\r\n'],
    ['a Postgres client', '\x00\x00\x00\x08\x04\xd2\x16\x2f'],
    ['TLS that is broken', '\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff'],
  ] as const) {
    test(`is refused inside a tunnel: ${what}`, async () => {
      const socket = await knock(scene.t);
      const opened = await new Promise<string>((resolve) => {
        socket.once('data', (chunk: Buffer) => resolve(chunk.toString()));
        socket.write(`CONNECT ${scene.authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(scene.lease.token)}\r\n\r\n`);
      });
      assert.match(opened, /^HTTP\/1\.1 200/);
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.on('data', () => undefined);
      socket.write(Buffer.from(bytes, 'latin1'));
      await within(60, closed);
      socket.destroy();
      assertUntouched(scene);
      await assertRefused(scene, '', /^(?:BAD_REQUEST|TLS_FAILED)$/);
    });
  }
});

describe('who is slow', () => {
  test('is not waited for: headers have ten seconds, at the door and in a tunnel', async () => {
    await using scene = await startScene();
    const door = await knock(scene.t);
    const inside = await openTls(scene);
    const silent = await knock(scene.t);
    silent.write(`CONNECT ${scene.authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(scene.lease.token)}\r\n\r\n`);
    const ends = Object.entries({ door, inside, silent }).map(
      ([name, socket]) =>
        new Promise<string>((resolve) => {
          socket.on('data', () => undefined);
          socket.once('close', () => resolve(''));
          setTimeout(() => resolve(name), 40_000).unref();
        }),
    );
    door.write('GET http://x/ HTTP/1.1\r\nHost: x\r\n');
    inside.write(`GET / HTTP/1.1\r\nHost: ${scene.authority}\r\n`);
    const open = (await Promise.all(ends)).filter((name) => name !== '');
    for (const socket of [door, inside, silent]) socket.destroy();
    assert.deepEqual(open, [], 'still open after four times as long');
  });
});
