import assert from 'node:assert/strict';
import type tls from 'node:tls';
import zlib from 'node:zlib';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Answer, ServiceHandler } from '../support/firewall.ts';
import { assertNothingLeaked, assertRefused, exchangeRaw, formsOf, KEY, openTls, type Scene, startScene } from './support.ts';

/** What the service does next. */
let act: ServiceHandler = (_, response) => response.end('ok');
/** Written to the bare connection instead of an answer. */
const bare = (text: string | Buffer, then: 'keep' | 'end' | 'destroy' = 'end') =>
  ((_, response) => {
    const socket = response.socket as tls.TLSSocket;
    socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text, () => {
      if (then === 'end') socket.end();
      if (then === 'destroy') socket.destroy();
    });
  }) as ServiceHandler;

const AWKWARD = 'pä"ss/wörd+<&>\'%=~ key\\42';

describe('a secret in an answer', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({ handler: (request, response, body) => act(request, response, body) });
    await scene.t.secret('AWKWARD', { value: AWKWARD, hosts: [scene.authority] });
    // it is in force when its echo is blanked
    act = (_, response) => response.end(AWKWARD);
    while ((await scene.call('/', { headers: { 'x-api-key': scene.placeholder } })).body === AWKWARD);
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());
  const get = (path = '/') => scene.call(path, { headers: { 'x-api-key': scene.placeholder, 'accept-encoding': 'gzip, br' } });

  async function assertBlanked(answer: Answer, secret = KEY): Promise<void> {
    const outcome = (await scene.entries()).find((entry) => entry['action'] === 'egress.outcome');
    assert.equal(outcome?.['details'].alert, true, JSON.stringify(outcome));
    await assertNothingLeaked(scene.t, answer, [scene.lease.token], [secret]);
  }

  const percent = (text: string, upper: boolean) =>
    [...Buffer.from(text)]
      .map((byte) => `%${upper ? byte.toString(16).toUpperCase().padStart(2, '0') : byte.toString(16).padStart(2, '0')}`)
      .join('');
  const encodings: [name: string, encode: (text: string) => string][] = [
    ['raw', (text) => text],
    ['hex', (text) => Buffer.from(text).toString('hex')],
    ['HEX', (text) => Buffer.from(text).toString('hex').toUpperCase()],
    ['base64', (text) => Buffer.from(text).toString('base64')],
    ['base64 behind one byte', (text) => Buffer.from(`:${text}`).toString('base64')],
    ['base64 behind two bytes', (text) => Buffer.from(`u:${text}:`).toString('base64')],
    ['base64url', (text) => Buffer.from(text).toString('base64url')],
    ['base64url behind one byte', (text) => Buffer.from(`:${text}`).toString('base64url')],
    ['percent, all', (text) => percent(text, true)],
    ['percent, all, small', (text) => percent(text, false)],
    ['encodeURIComponent', encodeURIComponent],
    ['encodeURI', encodeURI],
    ['a form', (text) => new URLSearchParams({ v: text }).toString()],
    ['JSON', JSON.stringify],
    ['JSON with slashes escaped', (text) => JSON.stringify(text).replaceAll('/', '\\/')],
    [
      'HTML',
      (text) =>
        text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;'),
    ],
  ];
  for (const secret of [KEY, AWKWARD]) {
    for (const [name, encode] of encodings) {
      test(`is blanked in the body as ${name}: ${secret === KEY ? 'a key' : 'an awkward password'}`, async () => {
        const text = `{"echo":"${encode(secret)}","rest":1}`;
        act = (_, response) => response.end(text);
        const answer = await get();
        assert.equal(answer.status, 200);
        assert.ok(answer.body.includes('*'.repeat(12)), answer.body);
        assert.equal(Buffer.byteLength(answer.body), Buffer.byteLength(text), 'the length stays');
        assert.ok(!answer.body.includes(encode(secret).replaceAll(/^"|"$|=+$/g, '')), answer.body);
        await assertBlanked(answer, secret);
      });
    }
  }

  test('is blanked at every point at which it may be split', async () => {
    const text = `<<${KEY}>>`;
    for (let at = 1; at < text.length; at += 1) {
      act = (_, response) => {
        response.write(text.slice(0, at));
        setImmediate(() => response.end(text.slice(at)));
      };
      assert.equal((await get()).body, `<<${'*'.repeat(KEY.length)}>>`, `split at ${at}`);
    }
  });

  test('is blanked when it comes byte by byte, and what is around it is not held back', async () => {
    const text = `{"before":1,"echo":"${Buffer.from(`:${KEY}`).toString('base64')}","after":2}`;
    act = (_, response) => {
      response.setHeader('content-type', 'text/event-stream');
      const next = (at: number) => (at === text.length ? response.end() : (response.write(text[at]), setImmediate(() => next(at + 1))));
      next(0);
    };
    const answer = await get();
    assert.ok(answer.body.startsWith('{"before":1,"echo":"') && answer.body.endsWith('","after":2}'), answer.body);
    await assertBlanked(answer);
  });

  test('is not what delays an event stream: an event is there before the next is sent', async () => {
    let next: () => void = () => undefined;
    act = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      next = () => response.end('data: 2\n\n');
    };
    const socket = await openTls(scene);
    const first = new Promise<void>((resolve) => {
      let text = '';
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('data: 1\n\n')) resolve();
      });
    });
    const whole = exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    await first;
    next();
    assert.match((await whole).text, /data: 2/);
    socket.destroy();
  });

  const headers: [name: string, headers: Record<string, string | string[]>][] = [
    ['a header', { 'x-echo': `you sent ${KEY}` }],
    ['Set-Cookie', { 'set-cookie': ['a=b', `key=${KEY}; Path=/`] }],
    ['Location', { location: `https://evil.test/?key=${encodeURIComponent(KEY)}` }],
    ['WWW-Authenticate, in base64', { 'www-authenticate': `Basic ${Buffer.from(`user:${KEY}`).toString('base64')}` }],
    ["a header's name", { [`x-${KEY}`]: '1' }],
    ['Link', { link: `<https://evil.test/${KEY}>; rel=next` }],
    ['a header with text beyond ASCII', { 'x-echo': Buffer.from(AWKWARD).toString('latin1') }],
  ];
  for (const [name, given] of headers) {
    test(`is blanked in ${name}`, async () => {
      act = (_, response) => response.writeHead(200, given).end('ok');
      const answer = await get();
      assert.equal(answer.status, 200, answer.body);
      await assertBlanked(answer, name.includes('ASCII') ? AWKWARD : KEY);
      const text = Buffer.from(answer.rawHeaders.join('\n'), 'latin1');
      for (const form of [...formsOf(KEY), AWKWARD]) assert.ok(!text.includes(form), text.toString());
    });
  }

  for (const status of [201, 302, 400, 401, 403, 404, 429, 500, 503] as const) {
    test(`is blanked in an answer with status ${status}`, async () => {
      act = (_, response) => response.writeHead(status, { 'x-echo': KEY }).end(`no such key: ${KEY}`);
      const answer = await get();
      assert.equal(answer.status, status);
      await assertBlanked(answer);
    });
  }

  for (const [what, text] of [
    ['the reason of the status', `HTTP/1.1 418 ${KEY}\r\nContent-Length: 2\r\n\r\nok`],
    ['the trailers', `HTTP/1.1 418 Fine\r\nTransfer-Encoding: chunked\r\nTrailer: x-echo\r\n\r\n2\r\nok\r\n0\r\nx-echo: ${KEY}\r\n\r\n`],
    [
      'an informational answer',
      `HTTP/1.1 103 Early Hints\r\nx-echo: ${KEY}\r\nLink: <${KEY}>\r\n\r\nHTTP/1.1 418 Fine\r\nContent-Length: 2\r\n\r\nok`,
    ],
    ['the extension of a chunk', `HTTP/1.1 418 Fine\r\nTransfer-Encoding: chunked\r\n\r\n2;x=${KEY}\r\nok\r\n0\r\n\r\n`],
    ['an answer that ends with the connection', `HTTP/1.1 418 Fine\r\n\r\n${KEY}`],
  ] as const) {
    test(`does not come through in ${what}`, async () => {
      act = bare(text);
      const socket = await openTls(scene);
      const answer = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
      socket.destroy();
      assert.equal(answer.status, 418, answer.text);
      await assertNothingLeaked(scene.t, answer, [scene.lease.token]);
    });
  }

  const packers: Record<string, (data: Buffer) => Buffer> = {
    gzip: (data) => zlib.gzipSync(data),
    'x-gzip': (data) => zlib.gzipSync(data),
    deflate: (data) => zlib.deflateSync(data),
    br: (data) => zlib.brotliCompressSync(data),
    zstd: (data) => zlib.zstdCompressSync(data),
    'gzip, br': (data) => zlib.brotliCompressSync(zlib.gzipSync(data)),
    'deflate, gzip, zstd': (data) => zlib.zstdCompressSync(zlib.gzipSync(zlib.deflateSync(data))),
    'identity, GZIP': (data) => zlib.gzipSync(data),
    'gzip ': (data) => Buffer.concat([zlib.gzipSync(data.subarray(0, 40)), zlib.gzipSync(data.subarray(40))]),
  };
  for (const [encoding, pack] of Object.entries(packers)) {
    test(`is blanked in a body that is packed with ${JSON.stringify(encoding)}`, async () => {
      const text = `${'lorem ipsum '.repeat(3)}${KEY}${' dolor sit amet'.repeat(2000)}`;
      act = (_, response) => response.writeHead(200, { 'content-encoding': encoding, 'content-md5': 'x' }).end(pack(Buffer.from(text)));
      const answer = await get();
      assert.equal(answer.body, text.replace(KEY, '*'.repeat(KEY.length)));
      assert.equal(answer.headers['content-encoding'], undefined);
      assert.equal(answer.headers['content-md5'], undefined);
      await assertBlanked(answer);
    });
  }

  for (const [what, head] of [
    ['an encoding that nobody knows', { 'content-encoding': 'compress' }],
    ['four packings', { 'content-encoding': 'gzip, gzip, gzip, gzip' }],
    ['an encoding named like a method of objects', { 'content-encoding': 'constructor' }],
  ] as const) {
    test(`is not let through in ${what}`, async () => {
      act = (_, response) => response.writeHead(200, head).end(KEY);
      const answer = await get();
      assert.equal(answer.status, 502, answer.body);
      await assertRefused(scene, answer, 'UNREADABLE_ANSWER');
    });
  }

  test('is not let through in a part of a packed body', async () => {
    act = (_, response) =>
      response.writeHead(206, { 'content-encoding': 'gzip', 'content-range': 'bytes 0-9/100' }).end(zlib.gzipSync(KEY));
    const answer = await get();
    assert.equal(answer.status, 502);
    await assertRefused(scene, answer, 'UNREADABLE_ANSWER');
  });

  /** Everything that came until the connection ended, and whether it ended as it should. */
  async function readBroken(): Promise<{ readonly text: string; readonly complete: boolean }> {
    const socket = await openTls(scene);
    const raw = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    socket.destroy();
    return { text: raw.text, complete: !raw.closed };
  }

  test('whose beginning was held back is thrown away when the service breaks off', async () => {
    act = bare(`HTTP/1.1 200 Fine\r\nContent-Length: 1000\r\n\r\nbefore ${KEY.slice(0, -1)}`, 'destroy');
    const { text, complete } = await readBroken();
    assert.equal(complete, false);
    assert.ok(!text.includes(KEY.slice(0, 8)), text);
    await assertRefused(scene, text, 'UPSTREAM_FAILED');
  });

  test('whose beginning was held back is thrown away when a chunk is broken', async () => {
    act = bare(
      `HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n${(KEY.length + 6).toString(16)}\r\nbefore${KEY.slice(0, -1)}`,
      'end',
    );
    const { text, complete } = await readBroken();
    assert.equal(complete, false);
    assert.ok(!text.includes(KEY.slice(0, 8)), text);
    await assertRefused(scene, text, 'UPSTREAM_FAILED');
  });

  for (const encoding of ['gzip', 'deflate', 'br', 'zstd'] as const) {
    test(`whose beginning was held back is thrown away when its ${encoding} breaks off`, async () => {
      const packed = (packers[encoding] as (data: Buffer) => Buffer)(Buffer.from(`before ${KEY.slice(0, -1)}`));
      const cut = packed.subarray(0, packed.length - 6);
      act = (_, response) => response.writeHead(200, { 'content-encoding': encoding }).end(cut);
      const { text, complete } = await readBroken();
      assert.equal(complete, false, `an answer that was cut off ended as if it were whole: ${text}`);
      assert.ok(!text.includes(KEY.slice(0, 20)), text);
      await assertRefused(scene, text, 'UPSTREAM_FAILED');
    });
  }

  test('ends the answer when what is said to be gzip is not', async () => {
    act = (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(`plain ${KEY}`);
    const { text, complete } = await readBroken();
    assert.equal(complete, false);
    assert.ok(!text.includes('plain'));
    await assertRefused(scene, text, 'UPSTREAM_FAILED');
  });

  test('does not stay in the pool for the next request when the service says too much', async () => {
    act = bare(`HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 Forged\r\nContent-Length: 6\r\n\r\nforged`, 'keep');
    const first = await get();
    assert.equal(first.body, 'ok');
    act = (_, response) => response.end('real');
    assert.notEqual((await get().catch(() => ({ body: '' }))).body, 'forged');
  });

  for (const [what, text] of [
    ['a length and chunks at once', 'HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!'],
    ['a line feed alone in its head', `HTTP/1.1 200 Fine\nx-echo: ${KEY}\n\nok`],
    ['a head that never ends', `HTTP/1.1 200 Fine\r\n${'x-filler: y\r\n'.repeat(20_000)}`],
    ['no HTTP at all', `${KEY}\r\n\r\n`],
  ] as const) {
    test(`is not passed on when the service answers with ${what}`, async () => {
      act = bare(text);
      const answer = await get().catch(() => ({ status: 0 }));
      assert.ok([0, 502].includes(answer.status), JSON.stringify(answer).slice(0, 300));
      await assertNothingLeaked(scene.t, answer, [scene.lease.token]);
    });
  }

  test('is found in an answer of many megabytes, which a slow reader does not make the firewall hold', async () => {
    const filler = Buffer.alloc(1 << 20, 'lorem ipsum ');
    let written = 0;
    act = (_, response) => {
      const more = () => {
        while (written < 64) {
          written += 1;
          if (!response.write(filler)) return void response.once('drain', more);
        }
        response.end(KEY);
      };
      more();
    };
    const socket = await openTls(scene);
    socket.write(`GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    await new Promise<void>((resolve) => socket.once('readable', () => resolve()));
    let last = -1;
    while (written !== last) {
      last = written;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.ok(written < 48, `the firewall took ${written} MB that nobody reads`);
    let tail = '';
    socket.on('data', (chunk: Buffer) => (tail = (tail + chunk.toString('latin1')).slice(-2000)));
    await new Promise<void>((resolve) => {
      const look = () => (tail.endsWith('0\r\n\r\n') ? resolve() : setImmediate(look));
      look();
    });
    assert.ok(tail.includes('*'.repeat(KEY.length)) && !tail.includes(KEY));
    socket.destroy();
  });
});

describe('with the action block', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({ config: { scan: { action: 'block' } }, handler: (request, response, body) => act(request, response, body) });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  test('an answer with a secret in its head is refused', async () => {
    act = (_, response) => response.writeHead(200, { 'x-echo': KEY }).end('ok');
    const answer = await scene.call('/', { headers: { 'x-api-key': scene.placeholder } });
    assert.equal(answer.status, 502);
    await assertRefused(scene, answer, 'SECRET_IN_ANSWER');
  });

  test('an answer with a secret in its body breaks off before it', async () => {
    act = (_, response) => response.writeHead(200, { 'content-length': 100 + KEY.length }).end(`${'a'.repeat(50)}${KEY}${'b'.repeat(50)}`);
    const socket = await openTls(scene);
    const answer = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    socket.destroy();
    assert.equal(answer.closed, true);
    assert.ok(!answer.text.includes('***') && !answer.text.includes('bbb'), answer.text);
    await assertRefused(scene, answer, 'SECRET_IN_ANSWER');
  });
});
