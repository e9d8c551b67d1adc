import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { after, before, beforeEach, describe, test } from 'node:test';
import { eventually } from '../support/wait.ts';
import { assertDenied, assertNothingLeaked, gauge, KEY, openTls, type Scene, startScene } from './support.ts';

const CHUNK = Buffer.alloc(16_384, 'x');

describe('a client of HTTP/2', () => {
  let scene: Scene;
  let session: http2.ClientHttp2Session | undefined;
  before(async () => {
    scene = await startScene({
      secret: { match_headers: ['x-api-key'] },
      handler: (request, response, body) => {
        if (request.url === '/long') {
          response.writeHead(200, { 'x-echo': KEY });
          // as much as is read, and never without end
          let left = 200;
          const more = () => {
            while (left > 0 && !response.destroyed) {
              left -= 1;
              if (!response.write(CHUNK)) return void response.once('drain', more);
            }
            response.end();
          };
          return more();
        }
        response.writeHead(200, { 'x-echo': String(request.headers['x-api-key']), connection: 'close, x-hop', 'x-hop': '1' });
        response.end(`you sent ${String(request.headers['x-api-key'])} and ${body.length}`);
      },
    });
  });
  after(async () => {
    session?.destroy();
    await scene[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await scene.reset();
    if (session?.closed !== false) session = await connect();
  });

  async function connect(): Promise<http2.ClientHttp2Session> {
    const socket = await openTls(scene, { alpn: ['h2'] });
    assert.equal(socket.alpnProtocol, 'h2');
    const made = http2.connect(`https://${scene.authority}`, { createConnection: () => socket });
    made.on('error', () => undefined);
    return made;
  }

  interface H2Answer {
    readonly status: number;
    readonly headers: http2.IncomingHttpHeaders;
    readonly body: string;
  }
  function call(headers: http2.OutgoingHttpHeaders, body?: Buffer | string): Promise<H2Answer> {
    return new Promise((resolve, reject) => {
      const over = setTimeout(() => reject(new Error('no answer in a minute')), 60_000);
      const stream = (session as http2.ClientHttp2Session).request(
        {
          ':method': body === undefined ? 'GET' : 'POST',
          ':path': '/',
          ':authority': scene.authority,
          'x-api-key': scene.placeholder,
          ...headers,
        },
        { endStream: body === undefined },
      );
      let answer: http2.IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      stream.on('response', (given) => (answer = given));
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on(
        'end',
        () => (clearTimeout(over), resolve({ status: Number(answer[':status']), headers: answer, body: Buffer.concat(chunks).toString() })),
      );
      stream.on('error', (error) => (clearTimeout(over), reject(error)));
      if (body !== undefined) stream.end(body);
    });
  }

  test('gets its credential put in and its echo blanked', async () => {
    const answer = await call({ ':path': '/v1?a=b' }, 'abc');
    assert.equal(answer.status, 200, answer.body);
    assert.equal(answer.body, `you sent ${'*'.repeat(KEY.length)} and 3`);
    assert.equal(scene.service.seen[0]?.headers['x-api-key'], KEY);
    assert.equal(scene.service.seen[0]?.url, '/v1?a=b');
    await assertNothingLeaked(scene.t, answer, [scene.lease.token]);
  });

  test('may send many requests at once', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => call({ ':path': `/${i}` })));
    assert.ok(answers.every(({ status }) => status === 200));
    assert.equal(scene.service.seen.length, 50);
  });

  for (const [what, headers, body, status, code] of [
    ['a placeholder in another header', { 'x-other': 'PLACEHOLDER' }, undefined, 403, 'PLACEHOLDER_NOT_BOUND'],
    ['a placeholder in a cookie', { cookie: 'a=PLACEHOLDER' }, undefined, 403, 'PLACEHOLDER_NOT_BOUND'],
    ['a placeholder in the path', { ':path': '/PLACEHOLDER' }, undefined, 403, 'PLACEHOLDER_NOT_BOUND'],
    ['a placeholder in the body', { 'x-api-key': 'none' }, 'PLACEHOLDER', 403, 'PLACEHOLDER_NOT_BOUND'],
    ['another authority', { ':authority': 'evil.test' }, undefined, 421, 'OTHER_HOST'],
    ['another host beside the authority', { host: 'evil.test' }, undefined, 400, 'TWO_HOSTS'],
    ['a dot segment', { ':path': '/v1/../admin' }, undefined, 400, 'BAD_PATH'],
    ['a real secret in a header', { 'x-copy': KEY }, undefined, 403, 'SECRET_IN_REQUEST'],
    ['a real secret in the body', {}, `take ${KEY}`, 403, 'SECRET_IN_REQUEST'],
    ['TRACE', { ':method': 'TRACE' }, undefined, 405, 'BAD_METHOD'],
    [
      'more than 100 headers',
      Object.fromEntries(Array.from({ length: 110 }, (_, i) => [`x-${i}`, '1'])),
      undefined,
      431,
      'TOO_MANY_HEADERS',
    ],
  ] as [string, http2.OutgoingHttpHeaders, string | undefined, number, string][]) {
    test(`is refused as others are: ${what}`, async () => {
      const filled = Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name, String(value).replace('PLACEHOLDER', scene.placeholder)]),
      );
      const answer = await call(filled, body?.replace('PLACEHOLDER', scene.placeholder));
      await assertDenied(scene, answer, { status, code });
    });
  }

  test('that asks for an absolute path is refused, by the protocol or by us', async () => {
    const status = await call({ ':path': 'https://evil.test/' }).then(
      (answer) => answer.status,
      (error: Error & { code?: string }) => error.code,
    );
    assert.ok([400, 'ERR_HTTP2_STREAM_ERROR'].includes(status as number), String(status));
    assert.equal(scene.service.bytes, 0);
  });

  test('that resets its streams in a flood does not fill the memory, and others are served', async () => {
    const flood = await connect();
    global.gc?.();
    const memory = process.memoryUsage().rss;
    for (let i = 0; i < 5000 && !flood.destroyed && !flood.closed; i += 1) {
      const stream = flood.request({ ':path': '/long', ':authority': scene.authority, 'x-api-key': scene.placeholder });
      stream.on('error', () => undefined);
      stream.close(http2.constants.NGHTTP2_CANCEL);
      if (i % 100 === 0) await new Promise(setImmediate);
    }
    flood.destroy();
    const answer = await call({});
    assert.equal(answer.status, 200);
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) <= 1);
    assert.ok(process.memoryUsage().rss - memory < 300e6, `${Math.round((process.memoryUsage().rss - memory) / 1e6)} MB more`);
  });

  test('that leaves in the middle of long answers takes nobody with it', async () => {
    for (let i = 0; i < 10; i += 1) {
      const one = await connect();
      const streams = Array.from({ length: 5 }, () =>
        one.request({ ':path': '/long', ':authority': scene.authority, 'x-api-key': scene.placeholder }).on('error', () => undefined),
      );
      await new Promise<void>((resolve, reject) => {
        streams[0]?.once('data', () => resolve()).once('close', () => resolve());
        setTimeout(() => reject(new Error('no answer in a minute')), 60_000).unref();
      });
      one.destroy();
    }
    assert.equal((await call({})).status, 200);
    // what they had asked for does not come to the service in the next test
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) <= 1);
  });

  test('that sends more headers than fit is cut off, and others are served', async () => {
    const large = await connect();
    const stream = large.request({
      ':path': '/',
      ':authority': scene.authority,
      ...Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, 'y'.repeat(1000)])),
    });
    const status = await new Promise<number>((resolve) => {
      stream.on('response', (headers) => resolve(Number(headers[':status'])));
      stream.on('error', () => resolve(0)).on('close', () => resolve(0));
    });
    assert.ok([0, 431].includes(status), String(status));
    large.destroy();
    assert.equal(scene.service.bytes, 0);
    assert.equal((await call({})).status, 200);
  });
});
