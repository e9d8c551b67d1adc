import assert from 'node:assert/strict';
import http from 'node:http';
import type net from 'node:net';
import zlib from 'node:zlib';
import { after, before, beforeEach, describe, test } from 'node:test';
import { exchange, type ClientResponse, type Parts } from '../../kernel/firewall/exchange.ts';
import { createLeaseBook } from '../../kernel/firewall/lease-book.ts';
import { createFirewallMetrics } from '../../kernel/firewall/metrics.ts';
import { readRules } from '../../kernel/firewall/rules.ts';
import { createScanner, type Scanner } from '../../kernel/firewall/scanner/index.ts';
import { createUpstreams, type Upstreams } from '../../kernel/firewall/upstream.ts';
import { parseBinding } from '../../kernel/vault/index.ts';
import type { ServiceHandler } from '../support/firewall.ts';
import { assertRefused, assertUntouched, exchangeRaw, KEY, type Scene, startScene, within } from './support.ts';

/** Which call of the scanner fails, of those that one request makes. */
type Broken = 'making it' | `scan ${number}` | `push ${number}` | 'end';

/** The real one, until it is time. */
function breaking(broken: Broken): () => Scanner {
  const real = createScanner([{ name: 'API_KEY', value: Buffer.from(KEY) }]);
  const calls = { scan: 0, push: 0 };
  const failAt = (call: Broken) => {
    if (call === broken) throw new Error('the scanner is broken');
  };
  return () => {
    failAt('making it');
    return {
      patterns: real.patterns,
      touches: real.touches,
      scan: (data) => {
        failAt(`scan ${(calls.scan += 1)}`);
        return real.scan(data);
      },
      open() {
        const stream = real.open();
        return {
          push(chunk) {
            failAt(`push ${(calls.push += 1)}`);
            return stream.push(chunk);
          },
          end() {
            failAt('end');
            return stream.end();
          },
          rest: () => stream.rest(),
          get found() {
            return stream.found;
          },
          get hits() {
            return stream.hits;
          },
          get held() {
            return stream.held;
          },
        };
      },
    };
  };
}

describe('a scanner that fails', () => {
  let scene: Scene;
  let upstreams: Upstreams;
  let door: http.Server;
  let parts: Parts;
  let act: ServiceHandler;
  const crashes: unknown[] = [];
  const crashed = (error: unknown) => void crashes.push(error);
  before(async () => {
    scene = await startScene({ handler: (request, response, body) => act(request, response, body) });
    upstreams = createUpstreams({
      addresses: readRules({ allow_cidrs: ['127.0.0.1'] }).addresses,
      caPems: [scene.service.caPem],
      headersTimeoutMs: 10_000,
      idleTimeoutMs: 10_000,
      resolver: async () => ['127.0.0.1'],
    });
    const leases = createLeaseBook({ store: scene.t.store, log: (entry) => void scene.t.logs.push(entry) });
    const binding = parseBinding({ hosts: [scene.authority] });
    const rules = readRules({ limits: { bufferedBody: 100_000 } });
    parts = {
      audit: scene.t.installation.audit,
      leases,
      traces: { of: async () => ({}) },
      gate: { decide: async () => ({ rule: null, policyMs: 0, policy: 0, request: {} as never }) },
      credentials: {
        binding: () => binding,
        apply: async ({ path, headers, body }) => ({
          path: path.raw,
          headers: headers.map(([name, value]) => [name, value.replaceAll(scene.placeholder, KEY)] as const),
          body,
        }),
        inBodies: () => [],
        forMessages: async () => new Map(),
        injected: () => [],
        tokenAnswer: () => undefined,
        minted: () => [],
        revision: 0,
      },
      metrics: createFirewallMetrics(),
      log: (entry) => void scene.t.logs.push(entry),
      rules: () => rules,
      scanner: breaking('end'),
      upstreams: () => upstreams,
    };
    const lease = await leases.byToken(scene.lease.token, '127.0.0.1');
    const target = { scheme: 'https', host: 'localhost', port: scene.service.port } as const;
    door = http.createServer((request, response) => {
      void exchange(parts, request, response as unknown as ClientResponse, { via: 'tunnel', peer: '127.0.0.1', target, lease });
    });
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
    process.on('uncaughtException', crashed).on('unhandledRejection', crashed);
  });
  after(async () => {
    process.off('uncaughtException', crashed).off('unhandledRejection', crashed);
    door.closeAllConnections();
    await new Promise((resolve) => door.close(resolve));
    parts.leases.close();
    await upstreams.close();
    await scene[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    crashes.length = 0;
    await scene.reset();
  });

  async function ask(broken: Broken, body = '') {
    parts = { ...parts, scanner: breaking(broken) };
    const { port } = door.address() as net.AddressInfo;
    const { connect } = await import('node:net');
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
    const head = `${body === '' ? 'GET' : 'POST'} / HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nAccept-Encoding: gzip\r\n${length}\r\n`;
    const answer = await within(60, exchangeRaw(socket, head + body));
    socket.destroy();
    return answer;
  }

  /** In two pieces, so that it takes more than one call. */
  const echo: ServiceHandler = (request, response) => {
    response.write('before ');
    setTimeout(() => response.end(`${String(request.headers['x-api-key'])} after`), 5);
  };
  const packedEcho: ServiceHandler = (request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' });
    response.end(zlib.gzipSync(`before ${String(request.headers['x-api-key'])} after`));
  };

  for (const [where, broken, body] of [
    ['before anything', 'making it', ''],
    ['over the head of the request', 'scan 1', ''],
    ['over the body of the request', 'scan 1', 'abc'],
  ] as const) {
    test(`${where} refuses it, and nothing is sent`, async () => {
      act = echo;
      const answer = await ask(broken, body);
      assert.equal(answer.status, 502, answer.text);
      assertUntouched(scene);
      await assertRefused(scene, answer, 'UPSTREAM_FAILED');
      assert.deepEqual(crashes, []);
    });
  }

  for (const [where, broken, handler, statuses] of [
    ['over the head of the answer', 'scan 2', echo, [502]],
    ['over the beginning of the answer', 'push 1', echo, [0, 200]],
    ['in the middle of the answer', 'push 2', echo, [0, 200]],
    ['at the end of an answer that is packed', 'end', packedEcho, [0, 200]],
    ['at the end of the answer', 'end', echo, [0, 200]],
    ['over the beginning of an answer that is packed', 'push 1', packedEcho, [0, 200]],
  ] as [string, Broken, ServiceHandler, number[]][]) {
    test(`${where} cuts it off, and releases nothing more`, async () => {
      act = handler;
      const answer = await ask(broken);
      assert.ok(statuses.includes(answer.status), answer.text);
      assert.deepEqual(crashes, []);
      if (answer.status === 200) assert.equal(answer.closed, true, `an answer that was cut off ended as if it were whole: ${answer.text}`);
      await assertRefused(scene, answer, 'UPSTREAM_FAILED');
      assert.deepEqual(crashes, []);
    });
  }

  for (const broken of ['push 1', 'push 2', 'end'] as const) {
    test(`over a long body on its way cuts that off: ${broken}`, async () => {
      act = echo;
      const answer = await ask(broken, 'x'.repeat(400_000));
      assert.ok([0, 502].includes(answer.status), answer.text);
      assert.equal(scene.service.seen.length, 0, 'the service has not had the whole request');
      await assertRefused(scene, answer, 'UPSTREAM_FAILED');
      assert.deepEqual(crashes, []);
    });
  }
});
