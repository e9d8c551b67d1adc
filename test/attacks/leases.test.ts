import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { revokeLease } from '../../kernel/vault/index.ts';
import { type Answer, callThrough, connectTunnel } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import {
  assertDenied,
  assertNothingLeaked,
  basic,
  exchangeRaw,
  gauge,
  knock,
  openTls,
  refusalIn,
  type Scene,
  startScene,
} from './support.ts';

describe('a lease', () => {
  let scene: Scene;
  const streams = new Set<() => void>();
  before(async () => {
    scene = await startScene({
      handler: (request, response) => {
        if (request.url !== '/stream') return void response.end('ok');
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        const timer = setInterval(() => response.write('data: tick\n\n'), 20);
        const stop = () => (clearInterval(timer), streams.delete(stop));
        streams.add(stop);
        response.on('close', stop);
      },
    });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());
  const connect = (token: string | undefined) => connectTunnel(scene.t.firewall.port, scene.authority, token) as Promise<Answer>;
  const headers = () => ({ 'x-api-key': scene.placeholder });

  test('is needed', async () => {
    await assertDenied(scene, await connect(undefined), { status: 407, code: 'LEASE_REQUIRED' });
  });

  for (const [what, make] of [
    ['of random bytes', () => randomBytes(32).toString('base64url')],
    ['that is the placeholder', () => scene.placeholder],
    ['that is its id', () => scene.lease.leaseId],
    ['with its last character changed', () => `${scene.lease.token.slice(0, -1)}${scene.lease.token.endsWith('A') ? 'B' : 'A'}`],
    ['in capitals', () => scene.lease.token.toUpperCase()],
    ['with SQL in it', () => `${scene.lease.token}' or '1'='1`],
    ['with a zero byte', () => `${scene.lease.token}\0`],
    ['of a megabyte, cut by the limit of headers', () => 'x'.repeat(12_000)],
  ] as const) {
    test(`does not know a token ${what}`, async () => {
      await assertDenied(scene, await connect(make()), { status: 407, code: 'LEASE_UNKNOWN' });
    });
  }

  for (const value of [
    'Basic',
    'Basic !!!',
    'Digest username="x"',
    'Bearer',
    'Negotiate abc',
    `Basic ${Buffer.from('lease:').toString('base64')}`,
  ]) {
    test(`is not in Proxy-Authorization: ${value}`, async () => {
      const socket = await knock(scene.t);
      const answer = await exchangeRaw(
        socket,
        `CONNECT ${scene.authority} HTTP/1.1\r\nHost: ${scene.authority}\r\nProxy-Authorization: ${value}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, answer, { status: 407, code: 'LEASE_REQUIRED' });
      assert.match(answer.text, /proxy-authenticate: Basic realm="centaur"/i);
    });
  }

  test('is not found in the Authorization header, which is for the service', async () => {
    const socket = await knock(scene.t);
    const answer = await exchangeRaw(
      socket,
      `CONNECT ${scene.authority} HTTP/1.1\r\nHost: ${scene.authority}\r\nAuthorization: ${basic(scene.lease.token)}\r\n\r\n`,
    );
    socket.destroy();
    await assertDenied(scene, answer, { status: 407, code: 'LEASE_REQUIRED' });
  });

  test('has an end', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    await scene.t.store.query(`update leases set expires_at = now() - interval '1 second' where lease_id = $1`, [lease.leaseId]);
    await scene.reset();
    await assertDenied(scene, await connect(lease.token), { status: 407, code: 'LEASE_EXPIRED' });
  });

  test('that was revoked is refused', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    await scene.reset();
    await assertDenied(scene, await connect(lease.token), { status: 407, code: 'LEASE_REVOKED' });
  });

  for (const [source, allowed] of [
    ['127.0.0.1', true],
    ['127.0.0.0/8', true],
    ['10.9.8.7', false],
    ['10.0.0.0/8', false],
    ['::1', false],
  ] as const) {
    test(`for ${source} is ${allowed ? 'good' : 'no good'} here`, async () => {
      const lease = await scene.t.lease(['API_KEY'], { source });
      await scene.reset();
      if (allowed) {
        const answer = await callThrough(scene.t, lease.token, scene.url('/'), { headers: { 'x-api-key': lease.placeholders['API_KEY'] } });
        return assert.equal(answer.status, 200);
      }
      await assertDenied(scene, await connect(lease.token), { status: 407, code: 'LEASE_ELSEWHERE' });
      await scene.reset();
      const socket = await knock(scene.t);
      const answer = await exchangeRaw(
        socket,
        `GET /to/${scene.authority}/ HTTP/1.1\r\nHost: x\r\nx-api-key: ${lease.placeholders['API_KEY']}\r\n\r\n`,
      );
      socket.destroy();
      await assertDenied(scene, answer, { status: 407, code: 'LEASE_ELSEWHERE' });
    });
  }

  test('for one use is used once, whoever of 24 at once comes first', async () => {
    const lease = await scene.t.lease(['API_KEY'], { kind: 'call' });
    await scene.reset();
    const answers = await Promise.all(
      Array.from({ length: 24 }, () =>
        callThrough(scene.t, lease.token, scene.url('/'), { headers: { 'x-api-key': lease.placeholders['API_KEY'] } }),
      ),
    );
    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, ...Array.from({ length: 23 }, () => 407)],
    );
    assert.equal(scene.service.seen.length, 1);
    const denials = (await scene.entries()).filter((entry) => entry['action'] === 'egress.deny');
    assert.deepEqual([...new Set(denials.map((entry) => entry['details'].code))], ['LEASE_USED']);
    assert.equal(denials.length, 23);
  });

  test('that is revoked has its open stream cut within a second', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    const socket = await openTls({ ...scene, lease });
    socket.write(`GET /stream HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${lease.placeholders['API_KEY']}\r\n\r\n`);
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    socket.resume();
    const closed = new Promise<number>((resolve) => socket.once('close', () => resolve(performance.now())));
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    const revoked = performance.now();
    const took = (await closed) - revoked;
    assert.ok(took < 1000, `it took ${took} ms`);
    await eventually(() => streams.size === 0, { what: 'the end of the stream at the service' });
    assert.equal(await refusalIn(await scene.entries()), 'LEASE_REVOKED');
  });

  test('that expires has its open stream cut', async () => {
    const lease = await scene.t.lease(['API_KEY'], { ttlSeconds: 1 });
    const socket = await openTls({ ...scene, lease });
    socket.write(`GET /stream HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${lease.placeholders['API_KEY']}\r\n\r\n`);
    socket.resume();
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await eventually(() => streams.size === 0, { what: 'the end of the stream at the service' });
  });

  test('that is revoked has its idle tunnel cut, and a request on a tunnel that is still there is refused', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    const socket = await openTls({ ...scene, lease });
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    await closed;
    await assertDenied(scene, await connect(lease.token), { status: 407, code: 'LEASE_REVOKED' });
  });

  test('may have only so many tunnels', async () => {
    await scene.t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [scene.service.caPem], limits: { tunnelsPerLease: 5 } });
    await eventually(async () => (await scene.t.store.query('select 1 from firewall_processes where config_version = 2')).rowCount === 1);
    const lease = await scene.t.lease(['API_KEY']);
    const five = await Promise.all(Array.from({ length: 5 }, () => openTls({ ...scene, lease })));
    await scene.reset();
    await assertDenied(scene, await connect(lease.token), { status: 429, code: 'TOO_MANY_TUNNELS' });
    for (const each of five) each.destroy();
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0);
    const again = await connect(lease.token);
    assert.ok(again instanceof net.Socket);
    again.destroy();
  });

  test('writes no refusal into the log for a client that hangs up after its answer', async () => {
    const socket = await openTls(scene);
    const answer = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${headers()['x-api-key']}\r\n\r\n`);
    assert.equal(answer.status, 200);
    // the connection below TLS, without a word of good-bye
    // oxlint-disable-next-line no-underscore-dangle
    (socket as unknown as { _parent?: net.Socket })._parent?.resetAndDestroy();
    socket.destroy();
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0);
    assert.deepEqual(
      (await scene.entries()).filter((entry) => entry['action'] === 'egress.deny').map((entry) => entry['details'].code),
      [],
    );
  });

  test('writes no refusal into the log for an answer that breaks off', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    const socket = await openTls({ ...scene, lease });
    socket.write(`GET /stream HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${lease.placeholders['API_KEY']}\r\n\r\n`);
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    await scene.reset();
    scene.service.server.closeAllConnections();
    await new Promise<void>((resolve) => socket.resume().once('close', () => resolve()));
    assert.deepEqual(
      (await scene.entries()).map((entry) => [entry['action'], entry['details'].code ?? entry['details'].error]),
      [['egress.outcome', 'UPSTREAM_FAILED']],
    );
  });

  test('is not told by anything that was written down', async () => {
    await assertNothingLeaked(scene.t, '', [scene.lease.token]);
  });
});

test('300 idle tunnels and one that is busy', async () => {
  await using scene = await startScene({ config: { limits: { tunnelsPerLease: 400 } } });
  const idle: net.Socket[] = [];
  for (let i = 0; i < 300; i += 50) idle.push(...(await Promise.all(Array.from({ length: 50 }, () => openTls(scene)))));
  assert.equal(await gauge(scene.t, 'centaur_egress_tunnels_open'), 300);
  const busy = await openTls(scene);
  const times: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    const began = performance.now();
    const answer = await exchangeRaw(busy, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    assert.equal(answer.status, 200);
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  assert.ok((times[190] as number) < 100, `95 of 100 requests within ${times[190]} ms`);
  for (const socket of [...idle, busy]) socket.destroy();
  await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0);
});

test('tunnels of clients that left while their lease was looked up are not counted', async () => {
  await using scene = await startScene();
  for (let i = 0; i < 20; i += 1) {
    const lease = await scene.t.lease(['API_KEY']);
    const socket = await knock(scene.t);
    socket.write(`CONNECT ${scene.authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(lease.token)}\r\n\r\n`, () =>
      socket.resetAndDestroy(),
    );
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  }
  await scene.entries();
  await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { timeoutMs: 3000, what: 'no open tunnel' });
});
