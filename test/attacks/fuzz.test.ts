/** Seeded: CENTAUR_SEED repeats a run, CENTAUR_FUZZ_SECONDS makes it longer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createScanner, type Scanner } from '../../kernel/firewall/index.ts';
import { variantsOf } from '../../kernel/firewall/scanner/index.ts';
import { eventually } from '../support/wait.ts';
import { assertNothingLeaked, exchangeRaw, openTls, settledEntries, startScene } from './support.ts';

const SEED = Number(process.env['CENTAUR_SEED'] ?? Date.now() % 1_000_000_007);
const SECONDS = Number(process.env['CENTAUR_FUZZ_SECONDS'] ?? 10);

function random(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (n: number) => Math.floor(next() * n);
  return { next, below, pick: <T>(list: readonly T[]): T => list[below(list.length)] as T };
}
type Random = ReturnType<typeof random>;

const PIECES = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ';',
  '/',
  '//',
  '/../',
  '/./',
  '%2e%2e',
  '%2f',
  '%5c',
  '\\',
  '#',
  '?',
  '@',
  '%',
  '%zz',
  '..;',
  '\x7f',
  '\x80',
  '\xff',
  'Host: evil.test\r\n',
  'Host: localhost\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 3\r\n',
  'Content-Length: 99999999\r\n',
  'Connection: close\r\n',
  'Connection: x-api-key\r\n',
  'Expect: 100-continue\r\n',
  'Upgrade: websocket\r\n',
  'HTTP/1.0',
  'HTTP/1.1',
  'http://evil.test/',
  'https://localhost/',
  '0\r\n\r\n',
  '5\r\nabcde\r\n',
  'GET /admin HTTP/1.1\r\n',
  'x-http-method-override: DELETE\r\n',
  '[::1]',
  '127.0.0.1',
];

function mutate(r: Random, text: string): string {
  let made = text;
  for (let times = 1 + r.below(4); times > 0; times -= 1) {
    const at = r.below(made.length + 1);
    switch (r.below(5)) {
      case 0:
        made = made.slice(0, at) + r.pick(PIECES) + made.slice(at);
        break;
      case 1:
        made = made.slice(0, at) + made.slice(at + 1 + r.below(6));
        break;
      case 2:
        made = made.slice(0, at) + String.fromCharCode(r.below(256)) + made.slice(at + 1);
        break;
      case 3:
        made = made.slice(0, at) + made.slice(r.below(made.length), r.below(made.length)) + made.slice(at);
        break;
      default: {
        // where it hurts most: the request line
        const end = Math.max(1, made.indexOf('\r\n'));
        const place = r.below(end);
        made = made.slice(0, place) + r.pick(PIECES) + made.slice(place);
      }
    }
  }
  return made;
}

test(`mutated requests are answered or closed, and the service gets only what policy saw (seed ${SEED})`, async (context) => {
  context.diagnostic(`seed ${SEED}`);
  const r = random(SEED);
  await using scene = await startScene({ secret: { paths: ['/v1/*'], match_headers: ['x-api-key'] } });
  const crashes: unknown[] = [];
  const crashed = (error: unknown) => crashes.push(error);
  process.on('uncaughtException', crashed).on('unhandledRejection', crashed);
  const bodies = ['', 'a=b', '{"a":1}'];
  const templates = bodies.flatMap((body) => [
    `${body === '' ? 'GET' : 'POST'} /v1/x?a=b HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nUser-Agent: fuzz\r\n${body === '' ? '' : `Content-Length: ${body.length}\r\n`}\r\n${body}`,
    `POST /v1/x HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n${body === '' ? '' : `${body.length.toString(16)};ext=1\r\n${body}\r\n`}0\r\n\r\n`,
  ]);
  const ends = performance.now() + SECONDS * 1000;
  let cases = 0;
  let stuck = 0;
  while (performance.now() < ends) {
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        const bytes = mutate(r, r.pick(templates));
        // a database that is too slow for as many at once is an answer, too
        const socket = await openTls(scene).catch((error: Error) => assert.match(error.message, /STORE_UNAVAILABLE/));
        if (socket === undefined) return;
        cases += 1;
        // an unfinished request is ended, so that it is closed for it
        const timer = setTimeout(() => socket.end(), 60);
        const hard = setTimeout(() => ((stuck += 1), socket.destroy()), 60_000);
        await exchangeRaw(socket, bytes);
        clearTimeout(timer);
        clearTimeout(hard);
        socket.destroy();
      }),
    );
  }
  process.off('uncaughtException', crashed).off('unhandledRejection', crashed);
  assert.deepEqual(crashes, []);
  assert.ok(cases > 0 && scene.service.seen.length > 0, `${cases} requests, ${scene.service.seen.length} reached the service`);
  assert.equal(stuck, 0, `${stuck} of ${cases} connections neither answered nor closed`);
  const works = async () => (await scene.call('/v1/x', { headers: { 'x-api-key': scene.placeholder } })).status === 200;
  await eventually(works, { what: 'a firewall that still works' });
  const intents = (await settledEntries(scene.t))
    .filter((entry) => entry['action'] === 'egress.intent')
    .map((entry) => entry['details'].request);
  const told = new Map<string, number>();
  for (const { method, path } of intents) told.set(`${method} ${path}`, (told.get(`${method} ${path}`) ?? 0) + 1);
  for (const { method, url, headers } of scene.service.seen) {
    assert.equal(headers.host, scene.authority);
    const [raw = ''] = url.split('?');
    const path = raw
      .replaceAll(/%([0-9a-fA-F]{2})/g, (escape, hex: string) => {
        const c = String.fromCharCode(Number.parseInt(hex, 16));
        return /[A-Za-z0-9._~-]/.test(c) ? c : escape.toUpperCase();
      })
      .replaceAll(/\/{2,}/g, '/');
    const left = told.get(`${method} ${path}`) ?? 0;
    assert.ok(left > 0, `the service got ${method} ${url}, which policy did not see`);
    told.set(`${method} ${path}`, left - 1);
    // byte by byte: what is made at random need not be UTF-8
    const bytes = raw.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    assert.doesNotMatch(bytes, /(?:^|\/)\.\.?(?:\/|$)|\\/);
    if (headers['x-api-key'] !== undefined && !String(headers['x-api-key']).includes(scene.placeholder))
      assert.match(path, /^\/v1(?:\/|$)/);
  }
  context.diagnostic(`${cases} cases, ${scene.service.seen.length} reached the service`);
  await assertNothingLeaked(scene.t, '', [scene.lease.token]);
});

const ALPHABETS = [
  'ab',
  'abc',
  'ABCDEFabcdef0123456789',
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=.',
  '"\\/<>&\'%+ ~äß€😀\u2028',
];

function makeSecret(r: Random, before: readonly Buffer[]): Buffer {
  if (before.length > 0 && r.below(4) === 0) {
    // one that begins like another, ends like it, or is inside it
    const other = r.pick(before);
    const cut = r.below(other.length);
    const made = r.pick([
      Buffer.concat([other.subarray(0, cut), Buffer.alloc(12, 'z')]),
      Buffer.concat([other, other]),
      other.subarray(0, 12),
    ]);
    if (made.length >= 12) return made;
  }
  const letters = Array.from(r.pick(ALPHABETS));
  let text = '';
  while (Buffer.byteLength(text) < 12 + r.below(60)) text += r.pick(letters);
  return Buffer.from(text);
}

/** Every byte that belongs to any form of any secret, found by looking everywhere. */
function oracle(data: Buffer, patterns: readonly Buffer[]): Buffer {
  const blanked = Buffer.from(data);
  for (const pattern of patterns)
    for (let at = data.indexOf(pattern); at >= 0; at = data.indexOf(pattern, at + 1)) blanked.fill('*', at, at + pattern.length);
  return blanked;
}

test(`the scanner blanks what looking everywhere finds, however the data is cut: 10,000 cases (seed ${SEED})`, (context) => {
  context.diagnostic(`seed ${SEED}`);
  const r = random(SEED ^ 0x5ca9);
  let scanner: Scanner | undefined;
  let patterns: Buffer[] = [];
  let values: Buffer[] = [];
  let cases = 0;
  for (; cases < 10_000; cases += 1) {
    if (scanner === undefined || cases % 50 === 0) {
      values = [];
      for (let n = 1 + r.below(6); n > 0; n -= 1) values.push(makeSecret(r, values));
      scanner = createScanner(values.map((value, i) => ({ name: `S${i}`, value })));
      patterns = values.flatMap((value) => variantsOf(value).map(({ bytes }) => bytes));
    }
    const parts: Buffer[] = [];
    for (let n = r.below(8); n >= 0; n -= 1) {
      const pattern = r.pick(patterns);
      const cut = r.below(pattern.length + 1);
      parts.push(
        r.pick([
          pattern,
          pattern.subarray(0, cut),
          pattern.subarray(cut),
          // a second one begins inside the first
          Buffer.concat([pattern.subarray(0, cut), r.pick(patterns)]),
          Buffer.from(Array.from({ length: r.below(20) }, () => r.below(256))),
          Buffer.from(Buffer.concat([Buffer.alloc(r.below(3), 'x'), r.pick(values)]).toString(r.pick(['base64', 'base64url', 'hex']))),
        ]),
      );
    }
    const data = Buffer.concat(parts);
    const expected = oracle(data, patterns);
    const stream = scanner.open();
    const out: Buffer[] = [];
    const step = r.pick([1, 2, 3, 7, 16, 1000]);
    for (let at = 0; at < data.length;) {
      const size = step === 1000 ? 1 + r.below(data.length) : step;
      out.push(stream.push(data.subarray(at, at + size)));
      at += size;
    }
    out.push(stream.end());
    const got = Buffer.concat(out);
    const say = () =>
      `case ${cases} of seed ${SEED}: ${data.toString('base64')} with ${values.map((value) => value.toString('base64')).join(' ')}`;
    assert.ok(got.equals(expected), `a stream in steps of ${step}: ${say()}`);
    const whole = scanner.scan(data);
    assert.ok(whole.data.equals(expected), `a whole value: ${say()}`);
    assert.equal(whole.hits.length > 0, !expected.equals(data) || patterns.some((pattern) => data.includes(pattern)), say());
  }
  context.diagnostic(`${cases} cases`);
});
