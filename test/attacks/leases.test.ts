import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type CreatedLease, revokeLease } from '../../kernel/vault/index.ts';
import { type Answer, callThrough, connectTunnel } from '../support/firewall.ts';
import { startEffort } from '../support/effort.ts';
import { eventually } from '../support/wait.ts';
import {
  assertDenied,
  assertNothingLeaked,
  assertRefused,
  basic,
  exchangeRaw,
  gauge,
  knock,
  metricsPage,
  openTls,
  type Scene,
  startScene,
  within,
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

  test('that is revoked has its open stream cut', async () => {
    const lease = await scene.t.lease(['API_KEY']);
    const socket = await openTls({ ...scene, lease });
    socket.write(`GET /stream HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${lease.placeholders['API_KEY']}\r\n\r\n`);
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    socket.resume();
    const closed = once(socket, 'close');
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    await within(60, closed);
    await eventually(() => streams.size === 0, { what: 'the end of the stream at the service' });
    await assertRefused(scene, '', 'LEASE_REVOKED', { tokens: [lease.token] });
  });

  test('that expires has its open stream cut', async () => {
    // as short as the machine can open a stream in
    let isOpen = false;
    for (let ttlSeconds = 1; !isOpen && ttlSeconds <= 64; ttlSeconds *= 4) {
      const lease = await scene.t.lease(['API_KEY'], { ttlSeconds });
      const socket = await openTls({ ...scene, lease }).catch(() => undefined);
      if (socket === undefined) continue;
      const closed = once(socket, 'close');
      socket.once('data', (chunk: Buffer) => (isOpen = chunk.toString('latin1').startsWith('HTTP/1.1 200'))).resume();
      socket.write(`GET /stream HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${lease.placeholders['API_KEY']}\r\n\r\n`);
      await within(ttlSeconds + 60, closed);
    }
    assert.ok(isOpen, 'no stream was opened');
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

  for (const [when, leave] of [
    ['without a word', async (socket: net.Socket, ask: string) => (socket.write(ask), await once(socket, 'data'), socket.end())],
    ['before its lease was looked up', async (socket: net.Socket, ask: string) => socket.end(ask)],
  ] as const)
    test(`has the tunnel of a client that left ${when} back at once`, async () => {
      const lease = await scene.t.lease(['API_KEY']);
      const [silent, leaving] = [await connect(scene.lease.token), await knock(scene.t)];
      assert.ok(silent instanceof net.Socket);
      const closed = (socket: net.Socket, name: string) =>
        new Promise<string>((resolve) => socket.resume().once('close', () => resolve(name)));
      // the first is ended when it has been silent for its time, and so would the second be after it
      const first = Promise.race([closed(silent, 'who stayed'), closed(leaving, 'who left')]);
      await leave(leaving, `CONNECT ${scene.authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(lease.token)}\r\n\r\n`);
      assert.equal(await first, 'who left');
      silent.destroy();
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
    scene.service.server.closeAllConnections();
    await new Promise<void>((resolve) => socket.resume().once('close', () => resolve()));
    // no reset in between: it would take the intent of the answer that goes on for one that has no outcome
    const told = (await scene.entries()).filter(({ action }) => String(action).startsWith('egress.'));
    assert.deepEqual(
      told.map(({ action, details }) => [action, details.code ?? details.error]),
      [
        ['egress.intent', undefined],
        ['egress.outcome', 'UPSTREAM_FAILED'],
      ],
    );
  });

  test('is not told by anything that was written down', async () => {
    await assertNothingLeaked(scene.t, '', [scene.lease.token]);
  });
});

test('1,000 idle tunnels of one lease, and one that is busy', async () => {
  await using scene = await startScene({ config: { limits: { tunnelsPerLease: 1001 } } });
  const call = async (socket: net.Socket) => {
    const answer = await exchangeRaw(socket, `GET / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    assert.equal(answer.status, 200);
  };
  /** Of a call, here and in the firewall, ms. */
  const effortOf = async (socket: net.Socket) => {
    const effort = startEffort();
    for (let i = 0; i < 100; i += 1) await call(socket);
    return effort() / 100;
  };
  const busy = await openTls(scene);
  await effortOf(busy);
  const alone = await effortOf(busy);
  const memory = process.memoryUsage().rss;
  const idle: net.Socket[] = [];
  // one that asks for nothing is ended after ten seconds, after an answer in a minute: on a slow machine before the last is there
  const asked = new Map<net.Socket, number>();
  const keepUp = async () => {
    const stale = [busy, ...idle].filter((socket) => performance.now() - (asked.get(socket) ?? -Infinity) > 20_000);
    for (let i = 0; i < stale.length; i += 50)
      await Promise.all(stale.slice(i, i + 50).map((socket) => call(socket).then(() => asked.set(socket, performance.now()))));
  };
  while (idle.length < 1000) {
    idle.push(...(await Promise.all(Array.from({ length: 50 }, () => openTls(scene)))));
    await keepUp();
  }
  assert.equal(await gauge(scene.t, 'centaur_egress_tunnels_open'), 1001);
  const grown = process.memoryUsage().rss - memory;
  // 100 KB each were promised; the 1,000 clients are in this process too
  assert.ok(grown < 400e6, `${Math.round(grown / 1e6)} MB for 1,000 tunnels and their clients`);
  const among = await effortOf(busy);
  assert.ok(among < Math.max(5 * alone, 20), `${among} ms of work among the others, ${alone} ms alone`);
  // the next one is one too many, and nobody else's
  await scene.reset();
  const more = (await connectTunnel(scene.t.firewall.port, scene.authority, scene.lease.token)) as Answer;
  await assertDenied(scene, more, { status: 429, code: 'TOO_MANY_TUNNELS' });
  const other = await scene.t.lease(['API_KEY']);
  const answer = await callThrough(scene.t, other.token, scene.url('/'), { headers: { 'x-api-key': other.placeholders['API_KEY'] } });
  assert.equal(answer.status, 200);
  for (const socket of [...idle, busy]) socket.destroy();
  await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { what: 'the end of all tunnels' });
});

describe('a token that is guessed', () => {
  let scene: Scene;
  before(async () => (scene = await startScene()));
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());
  const guess = (token: string) => connectTunnel(scene.t.firewall.port, scene.authority, token) as Promise<Answer>;

  test('gets the same answer, byte for byte, however much of it is right', async () => {
    const { token } = scene.lease;
    const guesses = [
      randomBytes(32).toString('base64url'),
      'x',
      ...[1, 10, 30, 42].map(
        (right) =>
          `${token.slice(0, right)}${randomBytes(32)
            .toString('base64url')
            .slice(right)
            .replace(/^./, token[right] === 'A' ? 'B' : 'A')}`,
      ),
      ` ${token}`,
      `${token}=`,
    ];
    for (const each of guesses) {
      await scene.reset();
      const answer = await guess(each);
      await assertDenied(scene, answer, { status: 407, code: 'LEASE_UNKNOWN' }, { tokens: [each].filter(({ length }) => length > 20) });
      assert.equal(answer.body, '{"code":"LEASE_UNKNOWN","message":"the lease is not known here"}');
    }
  });

  test('is compared as a hash: no time can tell how much of it is right', async () => {
    // a structure, not a stopwatch: what is looked up is SHA-256 of the guess, whose bytes nobody steers
    const { rows } = await scene.t.store.query<{ row: string; token_hash: Buffer }>('select l::text as row, token_hash from leases l');
    assert.equal(rows.length, 1);
    assert.deepEqual(rows[0]?.token_hash, createHash('sha256').update(scene.lease.token).digest());
    assert.ok(!JSON.stringify(rows).includes(scene.lease.token));
    const { rows: indexes } = await scene.t.store.query<{ indexdef: string }>(`select indexdef from pg_indexes where tablename = 'leases'`);
    assert.ok(
      indexes.some(({ indexdef }) => /unique.*\(token_hash\)/i.test(indexdef)),
      'one hash, one lease, found by an index',
    );
  });

  test('by the thousand fills neither the log nor the memory, and takes nothing from who has one', async () => {
    const memory = process.memoryUsage().rss;
    const began = performance.now();
    const answers: Answer[] = [];
    let good = 0;
    for (let i = 0; i < 2000; i += 100) {
      const [among, ...guessed] = await Promise.all([
        scene.call('/', { headers: { 'x-api-key': scene.placeholder } }),
        ...Array.from({ length: 100 }, () => guess(randomBytes(32).toString('base64url'))),
      ]);
      if (among.status === 200) good += 1;
      answers.push(...guessed);
    }
    const seconds = Math.ceil((performance.now() - began) / 1000) + 1;
    assert.equal(good, 20, 'who has a lease is served meanwhile');
    assert.deepEqual(
      [...new Set(answers.map(({ status, body }) => `${status} ${body}`))],
      ['407 {"code":"LEASE_UNKNOWN","message":"the lease is not known here"}'],
    );
    const entries = await scene.entries();
    const denied = entries.filter(({ action }) => action === 'egress.deny').length;
    assert.ok(denied > 0 && denied <= 200 * seconds, `${denied} entries in ${seconds} s`);
    const page = await metricsPage(scene.t);
    const unrecorded = Number(/^centaur_egress_refused_unrecorded_total (\d+)/m.exec(page)?.[1]);
    // the tests before this one were refused too
    const counted = Number(/^centaur_egress_refused_total\{code="LEASE_UNKNOWN"\} (\d+)/m.exec(page)?.[1]);
    assert.ok(counted >= 2000, 'each is counted');
    assert.equal(denied + unrecorded >= 2000, true, `${denied} entries and ${unrecorded} that were only counted`);
    assert.equal(await gauge(scene.t, 'centaur_egress_leases_in_use'), 1, 'guesses are not kept');
    assert.ok(process.memoryUsage().rss - memory < 200e6);
    assert.equal(scene.service.seen.length, 20);
    await assertNothingLeaked(scene.t, answers, [scene.lease.token]);
  });
});

// other addresses of the loopback need no setting up on Linux alone
describe('a token that was stolen', { skip: process.platform !== 'linux' }, () => {
  let scene: Scene;
  let bound: CreatedLease;
  before(async () => {
    scene = await startScene();
    bound = await scene.t.lease(['API_KEY'], { source: '127.0.0.7' });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  /** A connection of another sandbox. */
  async function from(address: string): Promise<net.Socket> {
    const socket = net.connect({ port: scene.t.firewall.port, host: '127.0.0.1', localAddress: address });
    socket.on('error', () => undefined);
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
    return socket;
  }
  const ways: [what: string, request: () => string][] = [
    ['a tunnel', () => `CONNECT ${scene.authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(bound.token)}\r\n\r\n`],
    [
      'a tunnel, with headers that name the right address',
      () =>
        `CONNECT ${scene.authority} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.7\r\nX-Real-IP: 127.0.0.7\r\nForwarded: for=127.0.0.7\r\nProxy-Authorization: ${basic(bound.token)}\r\n\r\n`,
    ],
    [
      'an absolute request',
      () => `GET http://${scene.authority}/ HTTP/1.1\r\nHost: ${scene.authority}\r\nProxy-Authorization: ${basic(bound.token)}\r\n\r\n`,
    ],
    ['a base URL', () => `GET /to/${scene.authority}/ HTTP/1.1\r\nHost: x\r\nx-api-key: ${bound.placeholders['API_KEY']}\r\n\r\n`],
  ];
  for (const [what, request] of ways) {
    test(`is no good in another sandbox, in ${what}`, async () => {
      const socket = await from('127.0.0.8');
      const answer = await exchangeRaw(socket, request());
      socket.destroy();
      const entry = await assertDenied(scene, answer, { status: 407, code: 'LEASE_ELSEWHERE' }, { tokens: [bound.token] });
      assert.deepEqual([entry['details'].peer, entry['lease_id']], ['127.0.0.8', bound.leaseId], 'the log says who tried');
    });
  }

  test('is good in its own, also while it is tried elsewhere', async () => {
    const thief = await from('127.0.0.8');
    const owner = await from('127.0.0.7');
    const [, request] = ways[3] as (typeof ways)[number];
    assert.equal((await exchangeRaw(owner, request())).status, 200);
    assert.equal((await exchangeRaw(thief, request())).status, 407, 'a lease that is in use is still bound');
    assert.equal((await exchangeRaw(owner, request())).status, 200);
    for (const socket of [thief, owner]) socket.destroy();
    assert.equal(scene.service.seen.length, 2);
  });
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
  await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { what: 'no open tunnel' });
});
