import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { describe, test } from 'node:test';
import { callThrough } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { assertDenied, assertNothingLeaked, assertUntouched, exchangeRaw, gauge, openTls, type Scene, startScene } from './support.ts';

const MB = Buffer.alloc(1 << 20, 'lorem ipsum ');
/** Of the whole process: service, firewall and clients. */
const MEMORY_MOST = 400e6;

const startSlow = () =>
  startScene({
    handler: (request, response) => {
      if (request.url !== '/long') return void response.end('ok');
      // as much as is read, and never without end
      let left = 64;
      const more = () => {
        while (left > 0 && !response.destroyed) {
          left -= 1;
          if (!response.write(MB)) return void response.once('drain', more);
        }
        response.end();
      };
      more();
    },
  });

/** Another lease is served. */
async function assertServed(scene: Scene): Promise<void> {
  const other = await scene.t.lease(['API_KEY']);
  const answer = await callThrough(scene.t, other.token, scene.url('/fine'), { headers: { 'x-api-key': other.placeholders['API_KEY'] } });
  assert.equal(answer.status, 200, answer.body);
}

describe('who is slow', { timeout: 600_000 }, () => {
  test('with a body that stops is refused after half a minute, and nothing of it is sent', async () => {
    await using scene = await startSlow();
    await scene.reset();
    const socket = await openTls(scene);
    const answering = exchangeRaw(
      socket,
      `POST /x HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nContent-Length: 1000\r\n\r\nhalf of it`,
    );
    assert.equal(await gauge(scene.t, 'centaur_egress_tunnels_open'), 1);
    const answer = await answering;
    await assertDenied(scene, answer, { status: 408, code: 'REQUEST_TOO_SLOW' });
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { what: 'the end of the tunnel' });
    socket.destroy();
  });

  test('with a body that trickles is held here until all of it was searched, and keeps nobody else waiting', async () => {
    await using scene = await startSlow();
    await scene.reset();
    const sockets = await Promise.all(Array.from({ length: 10 }, () => openTls(scene)));
    const answering = sockets.map((socket) =>
      exchangeRaw(socket, `POST /x HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\nContent-Length: 20\r\n\r\n`),
    );
    for (let i = 0; i < 19; i += 1) {
      for (const socket of sockets) socket.write('x');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertUntouched(scene);
    await assertServed(scene);
    assert.equal(scene.service.seen.length, 1);
    for (const socket of sockets) socket.write('y');
    for (const { status } of await Promise.all(answering)) assert.equal(status, 200);
    assert.equal(scene.service.seen.filter(({ body }) => body === `${'x'.repeat(19)}y`).length, 10);
    for (const socket of sockets) socket.destroy();
  });

  test('to read is waited for: the answer stays at the service, the memory stays free, and others are served', async () => {
    await using scene = await startSlow();
    const memory = process.memoryUsage().rss;
    const sockets = await Promise.all(Array.from({ length: 40 }, () => openTls(scene)));
    for (const socket of sockets) {
      socket.pause();
      socket.write(`GET /long HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    }
    await eventually(() => scene.service.seen.length === 40, { what: 'the requests at the service' });
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const grown = process.memoryUsage().rss - memory;
    assert.ok(grown < MEMORY_MOST, `${Math.round(grown / 1e6)} MB for 40 answers of 64 MB that nobody reads`);
    await assertServed(scene);
    // when they leave, so does what was held for them
    for (const socket of sockets) socket.destroy();
    await eventually(async () => (await gauge(scene.t, 'centaur_egress_tunnels_open')) === 0, { what: 'the end of the tunnels' });
    const outcomes = async () => (await scene.entries()).filter(({ action }) => action === 'egress.outcome');
    await eventually(async () => (await outcomes()).length === 41, { what: 'an outcome of each' });
    assert.equal((await outcomes()).filter(({ details }) => details.error === 'CLIENT_GONE').length, 40);
    await assertNothingLeaked(scene.t, '', [scene.lease.token]);
  });

  test('to read one stream of HTTP/2 keeps no other waiting', async () => {
    await using scene = await startSlow();
    const socket = await openTls(scene, { alpn: ['h2'] });
    const session = http2.connect(`https://${scene.authority}`, {
      createConnection: () => socket,
      settings: { initialWindowSize: 65_535 },
    });
    session.on('error', () => undefined);
    const ask = (path: string) => session.request({ ':path': path, ':authority': scene.authority, 'x-api-key': scene.placeholder });
    session.setLocalWindowSize(16 << 20);
    const slow = Array.from({ length: 10 }, () => ask('/long').on('error', () => undefined));
    await eventually(() => scene.service.seen.length === 10, { what: 'the requests at the service' });
    const fine = ask('/fine');
    let status = 0;
    fine.on('response', (headers) => (status = Number(headers[':status']))).resume();
    await eventually(() => status !== 0, { what: 'the answer to the other request' });
    assert.equal(status, 200);
    for (const each of slow) each.close(http2.constants.NGHTTP2_CANCEL);
    session.destroy();
    await assertServed(scene);
  });
});
