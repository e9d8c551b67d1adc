import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type CreatedLease, renewLease } from '../../kernel/vault/index.ts';
import { type Answer, type Call, callThrough, connectTunnel } from '../support/firewall.ts';
import { assertDenied, basic, exchangeRaw, KEY, knock, openTls, type Refusal, type Scene, startScene } from './support.ts';

const OTHER_KEY = 'another-real-value-of-some-length';
const UNDECLARED: Refusal = { status: 403, code: 'HOST_NOT_DECLARED' };

/** All of them are open by the configuration, so that nothing but the declaration is in the way. */
const HOSTS = [
  'declared.test',
  'declared.test.evil.test',
  'plain.test',
  'evil.test',
  'xn--bcher-kva.test',
  'bucher.test',
  'wild.test',
  'a.wild.test',
  'a.b.wild.test',
  'evilwild.test',
  'wild.test.evil.test',
];

describe("a tool's process", () => {
  let scene: Scene;
  let port: number;
  let lease: CreatedLease;
  before(async () => {
    scene = await startScene({ hosts: HOSTS });
    ({ port } = scene.service);
    const at = (host: string) => `${host}:${port}`;
    await scene.t.secret('DECLARED_KEY', { value: KEY, hosts: [at('declared.test'), at('evil.test')] });
    await scene.t.secret('EVIL_KEY', { value: OTHER_KEY, hosts: [at('evil.test')] });
    await scene.t.configure({
      allow: [...HOSTS, '127.0.0.1', '[::ffff:127.0.0.1]']
        .flatMap((host) => [at(host), `http://${at(host)}`])
        .concat('declared.test:8443', 'declared.test:443')
        .map((host) => ({ host })),
      allow_cidrs: ['127.0.0.1'],
      ca_pems: [scene.service.caPem],
    });
    // until it is in force: a lease that is not a tool's reaches what no tool below does
    while ((await callThrough(scene.t, scene.lease.token, scene.url('/', 'evil.test'))).status !== 200);
    lease = await scene.t.lease(['DECLARED_KEY', 'EVIL_KEY'], {
      egress: [
        { host: at('Declared.TEST.'), methods: ['get', 'POST'], paths: ['/v1/*'] },
        { host: `http://${at('plain.test')}` },
        { host: at('bücher.test') },
        { host: `*.${at('wild.test')}` },
      ],
    });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  const placeholder = (name = 'DECLARED_KEY', of = lease) => of.placeholders[name] as string;
  const call = (host: string, path: string, given?: Call) => callThrough(scene.t, lease.token, scene.url(path, host), given);
  const denied = async (answer: { readonly status: number }, expected = UNDECLARED) => {
    const entry = await assertDenied({ ...scene, lease }, answer, expected, { secrets: [OTHER_KEY] });
    assert.deepEqual([entry['actor'], entry['lease_id']], ['user:test', lease.leaseId], 'the log says whose it was');
    return entry;
  };
  const connect = (authority: string) => connectTunnel(scene.t.firewall.port, authority, lease.token) as Promise<Answer>;
  /** At the firewall's own door. */
  async function ask(lines: readonly string[]) {
    const socket = await knock(scene.t);
    const answer = await exchangeRaw(socket, `${lines.map((line) => line.replaceAll('PORT', String(port))).join('\r\n')}\r\n\r\n`);
    socket.destroy();
    return answer;
  }

  test('reaches what it has declared, with its credential', async () => {
    const answer = await call('declared.test', '/v1/x', { headers: { 'x-api-key': placeholder() } });
    assert.equal(answer.status, 200, answer.body);
    assert.equal(scene.service.seen[0]?.headers['x-api-key'], KEY);
  });

  for (const [what, host, path, given, reason] of [
    ['another host', 'evil.test', '/v1/x', {}, 'host'],
    ['a host that has the declared one in front', 'declared.test.evil.test', '/v1/x', {}, 'host'],
    ['a host that looks like the declared one', 'bucher.test', '/', {}, 'host'],
    ['the domain of a wildcard', 'wild.test', '/', {}, 'host'],
    ['a domain that ends like that of a wildcard', 'evilwild.test', '/', {}, 'host'],
    ['a domain that begins like that of a wildcard', 'wild.test.evil.test', '/', {}, 'host'],
    ['an address behind a declared name', '127.0.0.1', '/v1/x', {}, 'host'],
    ['another path', 'declared.test', '/v2/x', {}, 'method or path'],
    ['a path that begins like a declared one', 'declared.test', '/v1x', {}, 'method or path'],
    ['a declared path in other case', 'declared.test', '/V1/x', {}, 'method or path'],
    ['a declared path behind a semicolon', 'declared.test', '/;/v1/x', {}, 'method or path'],
    ['a declared path behind an escaped slash', 'declared.test', '/x%2fv1/x', {}, 'method or path'],
    ['a declared path in the query', 'declared.test', '/?/v1/x', {}, 'method or path'],
    ['another method', 'declared.test', '/v1/x', { method: 'DELETE' }, 'method or path'],
    ['another method with a body', 'declared.test', '/v1/x', { method: 'PUT', body: 'x'.repeat(100_000) }, 'method or path'],
    ['TLS where only http was declared', 'plain.test', '/', {}, 'host'],
  ] as const) {
    test(`is refused ${what}, which the configuration opens`, async () => {
      const entry = await denied(await call(host, path, given));
      assert.deepEqual([entry['details'].rule, entry['details'].reason], ['lease.egress', reason]);
    });
  }

  test('is refused cleartext in a tunnel to a host that was declared with TLS', async () => {
    await denied(await callThrough(scene.t, lease.token, `http://declared.test:${port}/v1/x`));
  });

  for (const [what, authority] of [
    ['another port', 'declared.test:8443'],
    ['the default port', 'declared.test:443'],
    ['another host, in capitals', 'EVIL.TEST:PORT'],
    ['another host, with its last dot', 'evil.test.:PORT'],
    ['a name whose letters look the same', 'xn--dclared-8ih.test:PORT'],
    ['an address of IPv6 for that of IPv4', '[::ffff:127.0.0.1]:PORT'],
  ] as const) {
    test(`is refused a tunnel to ${what}`, async () => {
      await denied(await connect(authority.replace('PORT', String(port))));
    });
  }

  for (const [what, authority] of [
    ['a short address', '127.1:PORT'],
    ['an address in hex', '0x7f.0.0.1:PORT'],
    ['an address as one number', '2130706433:PORT'],
    ['a wildcard', '*.wild.test:PORT'],
    ['a declared name as the user', 'declared.test@evil.test:PORT'],
    ['a declared name behind a zero', 'evil.test%00.declared.test:PORT'],
  ] as const) {
    test(`is refused a tunnel to ${what}`, async () => {
      // before anybody asks whose it is
      await assertDenied({ ...scene, lease }, await connect(authority.replace('PORT', String(port))), {
        status: 400,
        code: 'BAD_AUTHORITY',
      });
    });
  }

  for (const [authority, host] of [
    ['DECLARED.test.', 'declared.test'],
    ['xn--bcher-kva.test', 'XN--BCHER-KVA.test.'],
    ['a.b.Wild.Test', 'A.b.wild.test'],
  ] as const) {
    test(`reaches ${authority}, which is another spelling of what it has declared`, async () => {
      const socket = await openTls({ ...scene, lease }, { authority: `${authority}:${port}`, servername: host.replace(/\.$/, '') });
      const answer = await exchangeRaw(socket, `GET /v1/x HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
      socket.destroy();
      assert.equal(answer.status, 200, answer.text);
    });
  }

  for (const [what, lines, expected] of [
    ['a Host header of another host', ['GET /v1/x HTTP/1.1', 'Host: evil.test:PORT'], { status: 421, code: 'OTHER_HOST' }],
    [
      'an absolute target of another host',
      ['GET http://evil.test:PORT/v1/x HTTP/1.1', 'Host: declared.test:PORT'],
      { status: 400, code: 'BAD_PATH' },
    ],
    [
      'a second Host header',
      ['GET /v1/x HTTP/1.1', 'Host: declared.test:PORT', 'Host: evil.test:PORT'],
      { status: 400, code: 'TWO_HOSTS' },
    ],
    [
      'another method in a header',
      ['POST /v1/x HTTP/1.1', 'Host: declared.test:PORT', 'X-HTTP-Method-Override: DELETE', 'Content-Length: 0'],
      { status: 400, code: 'OVERRIDE_HEADER' },
    ],
    [
      'another path in a header',
      ['GET /v1/x HTTP/1.1', 'Host: declared.test:PORT', 'X-Original-URL: /v2'],
      { status: 400, code: 'OVERRIDE_HEADER' },
    ],
    ['a path that climbs', ['GET /v1/../v2 HTTP/1.1', 'Host: declared.test:PORT'], { status: 400, code: 'BAD_PATH' }],
    ['a path that climbs by escapes', ['GET /v1/%252e%252e/v2 HTTP/1.1', 'Host: declared.test:PORT'], { status: 400, code: 'BAD_PATH' }],
    ['a second request on another path', ['GET /v2/x HTTP/1.1', 'Host: declared.test:PORT'], UNDECLARED],
    [
      'a WebSocket on another path',
      [
        'GET /v2/x HTTP/1.1',
        'Host: declared.test:PORT',
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ],
      UNDECLARED,
    ],
  ] as [string, string[], Refusal][]) {
    test(`is refused in a tunnel to a declared host: ${what}`, async () => {
      const socket = await openTls({ ...scene, lease }, { authority: `declared.test:${port}`, servername: 'declared.test' });
      assert.equal((await exchangeRaw(socket, `GET /v1/first HTTP/1.1\r\nHost: declared.test:${port}\r\n\r\n`)).status, 200);
      await scene.reset();
      const answer = await exchangeRaw(socket, `${lines.map((line) => line.replaceAll('PORT', String(port))).join('\r\n')}\r\n\r\n`);
      socket.destroy();
      await denied(answer, expected);
    });
  }

  const UPGRADE = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
  for (const [what, target, host, more, expected] of [
    ['of another host', 'http://evil.test:PORT/', 'evil.test:PORT', [], UNDECLARED],
    ['of another host, with the Host header of a declared one', 'http://evil.test:PORT/', 'plain.test:PORT', [], UNDECLARED],
    [
      'of a declared host, with the Host header of another',
      'http://plain.test:PORT/',
      'evil.test:PORT',
      [],
      { status: 421, code: 'OTHER_HOST' },
    ],
    ['of a host that was declared with TLS', 'http://declared.test:PORT/v1/x', 'declared.test:PORT', [], UNDECLARED],
    ['of a declared host at another port', 'http://plain.test/', 'plain.test', [], UNDECLARED],
    ['of another host, for a WebSocket', 'http://evil.test:PORT/', 'evil.test:PORT', UPGRADE, UNDECLARED],
  ] as [string, string, string, string[], Refusal][]) {
    test(`is refused a request in absolute form ${what}`, async () => {
      const entry = await assertDenied(
        { ...scene, lease },
        await ask([`GET ${target} HTTP/1.1`, `Host: ${host}`, `Proxy-Authorization: ${basic(lease.token)}`, ...more]),
        expected,
      );
      assert.equal(entry['lease_id'], lease.leaseId);
    });
  }

  for (const [what, path, more] of [
    ['another host', '/to/evil.test:PORT/v1/x', []],
    ['another host, in escapes', '/to/%65vil%2etest:PORT/v1/x', []],
    ['a declared host without TLS', '/to/http://declared.test:PORT/v1/x', []],
    ['a declared host at another port', '/to/declared.test/v1/x', []],
    ['another path', '/to/declared.test:PORT/v2/x', []],
    ['another path, for a WebSocket', '/to/declared.test:PORT/v2/x', UPGRADE],
  ] as [string, string, string[]][]) {
    test(`is refused at a base URL, with a placeholder as its key: ${what}`, async () => {
      await denied(await ask([`GET ${path} HTTP/1.1`, 'Host: firewall', `x-api-key: ${placeholder()}`, ...more]));
    });
  }

  test('reaches what it has declared at a base URL', async () => {
    const answer = await ask(['GET /to/declared.test:PORT/v1/x HTTP/1.1', 'Host: firewall', `x-api-key: ${placeholder()}`]);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(scene.service.seen[0]?.headers['x-api-key'], KEY);
  });

  for (const [what, headers, expected] of [
    ['another authority', { ':authority': 'evil.test:PORT' }, { status: 421, code: 'OTHER_HOST' }],
    ['another host beside the authority', { host: 'evil.test:PORT' }, { status: 400, code: 'TWO_HOSTS' }],
    ['another path', { ':path': '/v2/x' }, UNDECLARED],
    ['another method', { ':method': 'DELETE' }, UNDECLARED],
    ['nothing wrong', {}, undefined],
  ] as [string, http2.OutgoingHttpHeaders, Refusal | undefined][]) {
    test(`is ${expected === undefined ? 'answered' : 'refused'} over HTTP/2 with ${what}`, async () => {
      const socket = await openTls({ ...scene, lease }, { authority: `declared.test:${port}`, servername: 'declared.test', alpn: ['h2'] });
      const session = http2.connect(`https://declared.test:${port}`, { createConnection: () => socket }).on('error', () => undefined);
      const filled = Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name, String(value).replace('PORT', String(port))]),
      );
      const status = await new Promise<number>((resolve, reject) => {
        session
          .request({ ':path': '/v1/x', ':authority': `declared.test:${port}`, ...filled })
          .on('response', (head) => resolve(Number(head[':status'])))
          .on('error', reject);
      });
      session.destroy();
      if (expected === undefined) assert.equal(status, 200);
      else await denied({ status }, expected);
    });
  }

  test('gets no secret to a host that is bound and not declared, however it is asked', async () => {
    await denied(await call('evil.test', '/v1/x', { headers: { 'x-api-key': placeholder('EVIL_KEY') } }));
    await scene.reset();
    await denied(await call('declared.test', '/v1/x', { headers: { 'x-api-key': placeholder('EVIL_KEY') } }), {
      status: 403,
      code: 'PLACEHOLDER_NOT_BOUND',
    });
  });

  test('that was declared nothing reaches nothing, by no door', async () => {
    const none = await scene.t.lease(['DECLARED_KEY'], { egress: [] });
    const ways = [
      () => callThrough(scene.t, none.token, scene.url('/v1/x', 'declared.test')),
      () => ask(['GET http://plain.test:PORT/ HTTP/1.1', 'Host: plain.test:PORT', `Proxy-Authorization: ${basic(none.token)}`]),
      () => ask(['GET /to/declared.test:PORT/v1/x HTTP/1.1', 'Host: firewall', `x-api-key: ${placeholder('DECLARED_KEY', none)}`]),
    ];
    for (const way of ways) {
      await scene.reset();
      await assertDenied({ ...scene, lease: none }, await way(), UNDECLARED);
    }
  });

  test('whose lease is renewed reaches no more than before', async () => {
    const short = await scene.t.lease(['DECLARED_KEY'], { ttlSeconds: 300, egress: [{ host: `declared.test:${port}` }] });
    const calls = async () => {
      await scene.reset();
      await assertDenied({ ...scene, lease: short }, await callThrough(scene.t, short.token, scene.url('/', 'evil.test')), UNDECLARED);
      assert.equal((await callThrough(scene.t, short.token, scene.url('/', 'declared.test'))).status, 200);
    };
    await calls();
    assert.equal(await renewLease(scene.t.installation, 'test', short.leaseId, 3000), true);
    // long enough for the firewall to have asked again
    await new Promise((resolve) => setTimeout(resolve, 1200));
    await calls();
  });

  test('and another one at the same time each reach their own, and nothing of the other', async () => {
    const of = (host: string) => scene.t.lease(['DECLARED_KEY'], { egress: [{ host: `${host}:${port}`, paths: [`/${host}/*`] }] });
    const hosts = ['declared.test', 'evil.test'] as const;
    const leases = await Promise.all(hosts.map(of));
    await scene.reset();
    const answers = await Promise.all(
      Array.from({ length: 15 }, () => leases)
        .flat()
        .flatMap((each, i) =>
          hosts.map(async (host, j) => {
            const headers = { 'x-api-key': placeholder('DECLARED_KEY', each) };
            const tunnelled = callThrough(scene.t, each.token, scene.url(`/${host}/x`, host), { headers });
            const based = ask([`GET /to/${host}:PORT/${host}/x HTTP/1.1`, 'Host: firewall', `x-api-key: ${headers['x-api-key']}`]);
            return { own: i % 2 === j, statuses: [(await tunnelled).status, (await based).status] };
          }),
        ),
    );
    for (const { own, statuses } of answers) assert.deepEqual(statuses, own ? [200, 200] : [403, 403]);
    assert.equal(scene.service.seen.length, 60);
    // with the token of one and the placeholder of the other it is neither
    const [one, other] = leases as [CreatedLease, CreatedLease];
    for (const [host, code] of [
      ['declared.test', 'PLACEHOLDER_OF_ANOTHER_LEASE'],
      ['evil.test', 'HOST_NOT_DECLARED'],
    ] as const) {
      await scene.reset();
      const answer = await ask([
        `GET /to/${host}:PORT/${host}/x HTTP/1.1`,
        'Host: firewall',
        `Proxy-Authorization: ${basic(one.token)}`,
        `x-api-key: ${placeholder('DECLARED_KEY', other)}`,
      ]);
      await assertDenied({ ...scene, lease: one }, answer, { status: 403, code });
    }
  });
});
