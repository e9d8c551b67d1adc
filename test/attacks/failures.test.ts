import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { randomBytes } from 'node:crypto';
import { startFirewall } from '../../kernel/firewall/index.ts';
import { connectStore, type StoreLogEntry } from '../../kernel/store/index.ts';
import { callThrough, type TestFirewall } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { assertDenied, assertNothingLeaked, assertRefused, assertUntouched, type Scene, startScene, within } from './support.ts';

describe('a service whose certificate is not right', () => {
  let scene: Scene;
  let folder: string;
  let ca: string;
  const servers: https.Server[] = [];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'attack-'));
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
      '-subj',
      '/CN=Test CA',
      '-days',
      '2',
    );
    const leaf = (name: string, san: string, ...dates: string[]) => {
      openssl(
        'req',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.csr`,
        '-subj',
        `/CN=${name}`,
        '-addext',
        `subjectAltName=${san}`,
      );
      openssl(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-out',
        `${name}.pem`,
        '-copy_extensions',
        'copy',
        ...dates,
      );
    };
    leaf('good', 'DNS:localhost', '-days', '1');
    leaf('wronghost', 'DNS:evil.test', '-days', '1');
    leaf('expired', 'DNS:localhost', '-days', '-1');
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'self.key',
      '-out',
      'self.pem',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost',
      '-days',
      '1',
    );
    ca = readFileSync(join(folder, 'ca.pem'), 'utf8');
    scene = await startScene();
    await scene.t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [scene.service.caPem, ca] });
    await eventually(async () => (await scene.t.store.query('select 1 from firewall_processes where config_version = 2')).rowCount === 1);
  });
  after(async () => {
    for (const server of servers) server.closeAllConnections();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    await scene[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(() => scene.reset());

  for (const [what, name, options, status] of [
    ['that is all right', 'good', {}, 200],
    ['expired', 'expired', {}, 502],
    ['signed by itself', 'self', {}, 502],
    ['for another host', 'wronghost', {}, 502],
    ['with TLS 1.0', 'good', { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }, 502],
    ['with TLS 1.1', 'good', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }, 502],
  ] as const) {
    test(`${what} gets ${status === 200 ? 'the credential' : 'nothing'}`, async () => {
      let bytes = 0;
      const server = https.createServer(
        { key: readFileSync(join(folder, `${name}.key`)), cert: readFileSync(join(folder, `${name}.pem`)), ...options },
        (_, response) => response.end('ok'),
      );
      server.on('secureConnection', (socket) => socket.on('data', (chunk: Buffer) => (bytes += chunk.length)));
      server.on('tlsClientError', () => undefined);
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const authority = `localhost:${(server.address() as net.AddressInfo).port}`;
      const secret = `TLS_${name}_${servers.length}`;
      await scene.t.secret(secret, { value: `value-of-${secret}-0123456789`, hosts: [authority] });
      const lease = await scene.t.lease([secret]);
      await scene.reset();
      const answer = await callThrough(scene.t, lease.token, `https://${authority}/`, {
        headers: { 'x-api-key': lease.placeholders[secret] },
      });
      assert.equal(answer.status, status, answer.body);
      if (status === 200) return assert.ok(bytes > 0);
      assert.equal(bytes, 0, 'the service was sent something');
      await assertDenied(
        scene,
        answer,
        { status: 502, code: 'UPSTREAM_FAILED' },
        { tokens: [lease.token], secrets: [`value-of-${secret}-0123456789`] },
      );
    });
  }
});

describe('an audit log that takes nothing', () => {
  test('refuses every request, sends nothing, and goes on by itself', async () => {
    await using scene = await startScene();
    const call = () => scene.call('/', { headers: { 'x-api-key': scene.placeholder } });
    assert.equal((await call()).status, 200);
    await scene.reset();
    await scene.t.store.query(
      `create function refuse_rows() returns trigger language plpgsql as 'begin raise exception ''the disk is full''; end'`,
    );
    await scene.t.store.query('create trigger full_disk before insert on audit_log for each row execute function refuse_rows()');
    for (let i = 0; i < 3; i += 1) {
      const answer = await call();
      assert.equal(answer.status, 503, answer.body);
      assert.equal(scene.service.bytes, 0);
      await assertNothingLeaked(scene.t, answer, [scene.lease.token]);
    }
    await scene.t.store.query('drop trigger full_disk on audit_log');
    assert.equal((await call()).status, 200);
    assert.equal(scene.service.seen.length, 1);
  });
});

/** A way to Postgres that can be closed, and that can fall silent. */
async function startRelay(url: string) {
  const { hostname, port } = new URL(url);
  const sockets = new Set<net.Socket>();
  let mode: 'open' | 'closed' | 'silent' = 'open';
  const server = net.createServer((client) => {
    client.on('error', () => undefined);
    sockets.add(client);
    client.once('close', () => sockets.delete(client));
    if (mode === 'closed') return void client.destroy();
    const upstream = net.connect(Number(port || 5432), hostname);
    sockets.add(upstream);
    upstream.on('error', () => undefined).once('close', () => (sockets.delete(upstream), client.destroy()));
    client.once('close', () => upstream.destroy());
    const pass = (from: net.Socket, to: net.Socket) => from.on('data', (chunk: Buffer) => void (mode === 'silent' || to.write(chunk)));
    pass(client, upstream);
    pass(upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const relayed = new URL(url);
  relayed.host = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  return {
    url: relayed.href,
    set(next: typeof mode) {
      mode = next;
      // what was swallowed cannot be made up for: connections begin anew
      if (next !== 'silent') for (const socket of sockets) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

for (const how of ['closed', 'silent'] as const) {
  test(`a Postgres that is ${how} refuses every request, sends nothing, and all goes on when it is back`, async () => {
    await using scene = await startScene();
    await using relay = await startRelay(scene.t.database.url);
    const store = await connectStore({ url: relay.url, poolSize: 3 });
    const logs: StoreLogEntry[] = [];
    const firewall = await startFirewall({
      store,
      master: scene.t.master,
      host: '127.0.0.1',
      port: 0,
      metricsPort: 0,
      log: (entry) => void logs.push(entry),
      environment: {},
      resolver: async () => ['127.0.0.1'],
    });
    const t: TestFirewall = { ...scene.t, firewall, logs };
    const call = (token = scene.lease.token) =>
      callThrough(t, token, scene.url('/'), { headers: { 'x-api-key': scene.placeholder } }).catch(() => ({ status: 0, body: 'closed' }));
    try {
      assert.equal((await call()).status, 200);
      scene.service.bytes = 0;
      relay.set(how);
      const answers = await Promise.all([within(60, call()), within(60, call(randomBytes(32).toString('base64url')))]);
      for (const answer of answers) assert.equal(answer.status, 503, JSON.stringify(answer));
      assert.equal(scene.service.bytes, 0);
      relay.set('open');
      await eventually(async () => (await within(60, call())).status === 200, { what: 'the firewall to go on' });
      await assertNothingLeaked(t, answers, [scene.lease.token]);
    } finally {
      relay.set('open');
      await firewall.close();
      await store.close();
    }
  });
}

test('a source that has no value refuses the request, and it is not sent without', async () => {
  await using scene = await startScene({ environment: {} });
  await scene.t.secret('FROM_ENV', { source: { type: 'env', variable: 'NOT_THERE' }, hosts: [scene.authority] });
  const lease = await scene.t.lease(['FROM_ENV']);
  await scene.reset();
  const answer = await callThrough(scene.t, lease.token, scene.url('/'), { headers: { 'x-api-key': lease.placeholders['FROM_ENV'] } });
  await assertDenied(scene, answer, { status: 503, code: 'SECRET_UNAVAILABLE' });
});

test('a certificate of the firewall that a client does not trust ends in an entry of its own', async () => {
  await using scene = await startScene();
  await scene.reset();
  // Node's client checks after the handshake and hangs up; OpenSSL's own says why
  const client = spawn(
    'openssl',
    [
      's_client',
      '-connect',
      scene.authority,
      '-servername',
      'localhost',
      '-verify_return_error',
      '-verify',
      '3',
      '-proxy',
      `127.0.0.1:${scene.t.firewall.port}`,
      '-proxy_user',
      'lease',
      '-proxy_pass',
      `pass:${scene.lease.token}`,
    ],
    { stdio: 'ignore' },
  );
  const timer = setTimeout(() => client.kill(), 60_000);
  await new Promise<void>((resolve) => client.once('close', () => resolve()));
  clearTimeout(timer);
  assertUntouched(scene);
  await assertRefused(scene, '', 'CLIENT_REFUSED_CERTIFICATE');
});

test('an intent whose process died has no outcome, and the log says so by itself', async () => {
  await using scene = await startScene({ handler: () => undefined });
  const call = scene.call('/', { headers: { 'x-api-key': scene.placeholder } }).catch(() => undefined);
  await eventually(() => scene.service.seen.length === 1);
  const { rows } = await scene.t.store.query<{ n: number }>(
    `select count(*)::int as n from audit_log i where action = 'egress.intent' and not exists (select from audit_log o where o.intent_id = i.audit_id)`,
  );
  assert.equal(rows[0]?.n, 1, 'the intent was there before the service had the request');
  scene.service.server.closeAllConnections();
  await call;
});
