import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { connectTunnel, createTestFirewall, startService } from '../../test/support/firewall.ts';

const KEY = 'sk-ant-api03-Real0Key1With2Enough3Letters4InIt';

test('a client that speaks HTTP/2 gets the same: substitution, scan, many streams on one connection', async () => {
  await using service = await startService((request, response, body) => {
    response.writeHead(request.headers['x-api-key'] === KEY ? 200 : 401, { 'x-echo': String(request.headers['x-api-key']) });
    response.end(`${request.url} ${body.toString()} ${String(request.headers['x-api-key'])}`);
  });
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  await t.secret('API_KEY', { value: KEY, hosts: [`localhost:${service.port}`] });
  const lease = await t.lease(['API_KEY']);
  const tunnel = await connectTunnel(t.firewall.port, `localhost:${service.port}`, lease.token);
  assert.ok(tunnel instanceof net.Socket);
  const socket = tls.connect({ socket: tunnel, servername: 'localhost', ca: t.firewall.caPem, ALPNProtocols: ['h2'] });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  assert.equal(socket.alpnProtocol, 'h2');
  const session = http2.connect(`https://localhost:${service.port}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  const call = (path: string, body?: string) =>
    new Promise<{ status: number; echo: string; text: string }>((resolve, reject) => {
      const stream = session.request({
        ':path': path,
        ':method': body === undefined ? 'GET' : 'POST',
        'x-api-key': lease.placeholders['API_KEY'],
      });
      let head: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
      let text = '';
      stream
        .on('response', (headers) => (head = headers))
        .on('data', (chunk: Buffer) => (text += chunk.toString()))
        .on('error', reject);
      stream.on('end', () => resolve({ status: Number(head[':status']), echo: String(head['x-echo']), text }));
      stream.end(body);
    });
  const blank = '*'.repeat(KEY.length);
  assert.deepEqual(await call('/one'), { status: 200, echo: blank, text: `/one  ${blank}` });
  const many = await Promise.all(Array.from({ length: 20 }, (_, i) => call(`/many/${i}`, `body ${i}`)));
  assert.deepEqual(
    many.map(({ text }) => text),
    Array.from({ length: 20 }, (_, i) => `/many/${i} body ${i} ${blank}`),
  );
  assert.equal((await call('/../admin')).status, 400);
  session.destroy();
});
