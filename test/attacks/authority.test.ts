import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Answer } from '../support/firewall.ts';
import { callThrough, connectTunnel } from '../support/firewall.ts';
import { assertDenied, basic, exchangeRaw, knock, openTls, type Scene, startScene } from './support.ts';

describe('one authority', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({ hosts: ['other.test'] });
    await scene.t.secret('OTHER_KEY', { value: 'another-real-value-of-some-length', hosts: [`other.test:${scene.service.port}`] });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  test('an SNI of another host than that of CONNECT ends the handshake', async () => {
    const lease = await scene.t.lease(['API_KEY', 'OTHER_KEY']);
    await scene.reset();
    // closed in the handshake, or right after it: no request is answered
    const answer = await openTls({ ...scene, lease }, { servername: 'other.test' }).then(
      (socket) => exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: other.test:${scene.service.port}\r\n\r\n`),
      () => undefined,
    );
    assert.ok(answer === undefined || (answer.status === 0 && answer.closed), JSON.stringify(answer));
    await assertDenied(scene, { status: 421 }, { status: 421, code: 'OTHER_SNI' });
  });

  for (const host of ['other.test', 'localhost', 'localhost:1', 'localhost.evil.test'] as const) {
    test(`the Host header ${host} in a tunnel to another authority is refused`, async () => {
      const answer = await scene.call('/', { headers: { host, 'x-api-key': scene.placeholder } });
      await assertDenied(scene, answer, { status: 421, code: 'OTHER_HOST' });
    });
  }

  for (const [what, host] of [
    ['userinfo', 'user@localhost'],
    ['a zone id', '[fe80::1%eth0]'],
    ['an empty port', 'localhost:'],
    ['a fragment', 'localhost#x'],
    ['a path', 'localhost/x'],
  ] as const) {
    test(`a Host header with ${what} is refused`, async () => {
      const answer = await scene.call('/', { headers: { host } });
      await assertDenied(scene, answer, { status: 400, code: 'BAD_AUTHORITY' });
    });
  }

  test('two Host headers that differ are refused', async () => {
    const socket = await openTls(scene);
    const answer = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nHost: evil.test\r\n\r\n`);
    socket.destroy();
    await assertDenied(scene, answer, { status: 400, code: 'TWO_HOSTS' });
  });

  test('a request without a Host header is refused, and told of in the log', async () => {
    const socket = await openTls(scene);
    const answer = await exchangeRaw(socket, 'GET / HTTP/1.1\r\n\r\n');
    socket.destroy();
    await assertDenied(scene, answer, { status: 400, code: 'NO_HOST' });
  });

  test('an expectation that nobody meets is refused, and told of in the log', async () => {
    const answer = await scene.call('/', { headers: { expect: 'the-impossible' } });
    await assertDenied(scene, answer, { status: 417, code: 'BAD_EXPECTATION' });
  });

  for (const target of ['https://evil.test/', 'http://evil.test/x', 'evil.test:443', '*'] as const) {
    test(`the request target ${target} inside a tunnel is refused`, async () => {
      const socket = await openTls(scene);
      const answer = await exchangeRaw(
        socket,
        `${target === '*' ? 'OPTIONS' : 'GET'} ${target} HTTP/1.1\r\nHost: ${scene.authority}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, answer, { status: 400, code: /^BAD_(?:PATH|REQUEST)$/ });
    });
  }

  for (const [connect, sni, host] of [
    ['LOCALHOST', 'localhost', 'localhost'],
    ['localhost.', 'localhost', 'localhost'],
    ['localhost', 'LocalHost', 'localhost'],
    ['localhost', 'localhost', 'LOCALHOST.'],
    ['LocalHost.', 'LOCALHOST', 'lOcalhost'],
  ] as const) {
    test(`CONNECT ${connect}, SNI ${sni} and Host ${host} are one host`, async () => {
      const { port } = scene.service;
      const socket = await openTls(scene, { authority: `${connect}:${port}`, servername: sni });
      const answer = await exchangeRaw(socket, `GET /v1 HTTP/1.1\r\nHost: ${host}:${port}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
      socket.destroy();
      assert.equal(answer.status, 200, answer.text);
      assert.equal(scene.service.seen[0]?.headers.host, scene.authority);
      const intent = (await scene.entries()).find((entry) => entry['action'] === 'egress.intent');
      assert.equal(intent?.['resource'], `https://${scene.authority}/v1`);
    });
  }

  test('without an SNI the certificate and the policy are those of the CONNECT name', async () => {
    const socket = await openTls(scene, { servername: undefined });
    assert.match(String(socket.getPeerCertificate().subjectaltname), /DNS:localhost/);
    const answer = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    socket.destroy();
    assert.equal(answer.status, 200);
  });

  for (const [what, authority] of [
    ['userinfo', 'user@localhost:443'],
    ['a password', 'user:password@localhost:443'],
    ['a fragment', 'localhost#evil.test:443'],
    ['a zone id', '[fe80::1%25eth0]:443'],
    ['an empty port', 'localhost:'],
    ['no port', 'localhost'],
    ['port 0', 'localhost:0'],
    ['port 65536', 'localhost:65536'],
    ['a port that is no number', 'localhost:443a'],
    ['a path', 'localhost:443/x'],
    ['a backslash', 'evil.test\\@localhost:443'],
    ['a percent-escape', 'localhos%74:443'],
    ['an open bracket', '[::1:443'],
    ['two trailing dots', 'localhost..:443'],
    ['an empty label', 'a..b:443'],
  ] as const) {
    test(`CONNECT with ${what} is refused`, async () => {
      const socket = await knock(scene.t);
      const answer = await exchangeRaw(
        socket,
        `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: ${basic(scene.lease.token)}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, answer, { status: 400, code: /^BAD_(?:AUTHORITY|REQUEST)$/ });
    });
  }

  for (const what of ['22', '25', '53', '443', '5432', '6379', '8443', 'its own port', 'its own page of metrics'] as const) {
    test(`CONNECT to a port that is not listed is refused: ${what}`, async () => {
      const { port, metricsPort } = scene.t.firewall;
      const to = what === 'its own port' ? port : what === 'its own page of metrics' ? metricsPort : what;
      const answer = (await connectTunnel(port, `localhost:${to}`, scene.lease.token)) as Answer;
      await assertDenied(scene, answer, { status: 403, code: 'HOST_DENIED' });
    });
  }

  test('a host for which the lease holds nothing is refused at CONNECT', async () => {
    const answer = await callThrough(scene.t, scene.lease.token, scene.url('/', 'other.test'));
    await assertDenied(scene, answer, { status: 403, code: 'HOST_DENIED' });
  });

  for (const [what, target] of [
    ['userinfo', 'http://user@localhost:PORT/'],
    ['an empty port', 'http://localhost:/'],
    ['a backslash', 'http://evil.test\\@localhost:PORT/'],
    ['an empty host', 'http:///x'],
    ['a zone id', 'http://[fe80::1%25eth0]/'],
  ] as const) {
    test(`an absolute request with ${what} is refused`, async () => {
      const socket = await knock(scene.t);
      const answer = await exchangeRaw(
        socket,
        `GET ${target.replace('PORT', String(scene.service.port))} HTTP/1.1\r\nHost: ${scene.authority}\r\nProxy-Authorization: ${basic(scene.lease.token)}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, answer, { status: 400, code: /^BAD_(?:AUTHORITY|REQUEST)$/ });
    });
  }

  for (const [path, status, code] of [
    ['/to/user@localhost:PORT/x', 400, 'BAD_AUTHORITY'],
    ['/to/localhost%2fx:PORT/x', 400, 'BAD_AUTHORITY'],
    ['/to/%zz/x', 400, 'BAD_AUTHORITY'],
    ['/to/localhost:PORT/../x', 400, 'BAD_PATH'],
    ['/to/localhost:PORT/%2e%2e/x', 400, 'BAD_PATH'],
    ['/to/localhost:1/x', 403, 'HOST_DENIED'],
    ['/to/http://localhost:PORT/x', 403, 'HOST_DENIED'],
    ['/elsewhere', 404, 'NOT_A_PROXY_REQUEST'],
  ] as const) {
    test(`the base URL ${path} is refused`, async () => {
      const socket = await knock(scene.t);
      const answer = await exchangeRaw(
        socket,
        `GET ${path.replace('PORT', String(scene.service.port))} HTTP/1.1\r\nHost: firewall\r\nx-api-key: ${scene.placeholder}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, answer, { status, code });
    });
  }

  test('a base URL with a placeholder as its key reaches the host that the secret is bound to', async () => {
    const socket = await knock(scene.t);
    const answer = await exchangeRaw(
      socket,
      `GET /to/${scene.authority}/v1?a=1 HTTP/1.1\r\nHost: firewall\r\nx-api-key: ${scene.placeholder}\r\n\r\n`,
    );
    socket.destroy();
    assert.equal(answer.status, 200, answer.text);
    assert.equal(scene.service.seen[0]?.url, '/v1?a=1');
  });
});
