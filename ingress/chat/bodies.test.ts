import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { eventually } from '../../test/support/wait.ts';
import { createBodyReader } from './index.ts';

const sockets: Socket[] = [];
const servers: Server[] = [];
after(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close().closeAllConnections();
});

interface Seen {
  arrived: number;
  /** What became of it: how many bytes it has, or why not. */
  found: string | undefined;
}

/** What came, in the order in which it came. */
async function serve(limits: Parameters<typeof createBodyReader>[0]) {
  const read = createBodyReader(limits);
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const one: Seen = { arrived: 0, found: undefined };
    seen.push(one);
    void read(request).then((found) => {
      one.found = typeof found === 'string' ? found : `${found.length}: ${found.toString()}`;
      response.end(one.found);
    });
    request.on('data', (part: Buffer) => (one.arrived += part.length));
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  /** Sends the beginning of a body. */
  const open = (head: string, body: string): Socket => {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n${body}`);
    return socket;
  };
  const post = async (body: string) => (await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body })).text();
  return { seen, open, post };
}

const PATIENT = { most: 1000, withinMs: 600_000 };

test('hundreds that hold the room give way to one that is sent at once, those first that came first', async () => {
  const { seen, open, post } = await serve({ ...PATIENT, room: 30_000 });
  for (let i = 0; i < 300; i++) open('content-length: 1000', 'x'.repeat(100));
  await eventually(() => seen.length === 300 && seen.every(({ arrived }) => arrived === 100), { what: 'all to hold what they may' });
  assert.ok(seen.every(({ found }) => found === undefined));
  assert.equal(await post('y'.repeat(250)), `250: ${'y'.repeat(250)}`);
  assert.deepEqual(
    seen.map(({ found }) => found).slice(0, 4),
    ['gave way', 'gave way', 'gave way', undefined],
    'no more of them than was needed',
  );
  assert.equal(seen.filter(({ found }) => found === 'gave way').length, 3);
  // what was read counts no more
  for (let i = 0; i < 5; i++) assert.match(await post('z'.repeat(250)), /^250: /);
  assert.equal(seen.filter(({ found }) => found === 'gave way').length, 3);
});

test('a body in many pieces is read as it was sent, and takes the room of its bytes', async () => {
  const { seen, open } = await serve({ ...PATIENT, room: 1000 });
  const socket = open('transfer-encoding: chunked', '');
  for (let i = 0; i < 1000; i++) socket.write(`1\r\n${i % 10}\r\n`);
  socket.write('0\r\n\r\n');
  await eventually(() => seen[0]?.found !== undefined);
  assert.equal(seen[0]?.found, `1000: ${'0123456789'.repeat(100)}`);
});

test('one that is too large or cut off is not read, and holds nothing any more', async () => {
  const { seen, open, post } = await serve({ ...PATIENT, room: 1000 });
  assert.equal(await post('x'.repeat(1001)), 'too large');
  const socket = open('content-length: 1000', 'x'.repeat(900));
  await eventually(() => seen[1]?.arrived === 900, { what: 'most of it' });
  socket.destroy();
  await eventually(() => seen[1]?.found === 'cut off', { what: 'the end of it' });
  assert.match(await post('x'.repeat(1000)), /^1000: /);
  assert.equal(seen.length, 3);
});

test('one that is too slow is waited for no longer', async () => {
  const { seen, open } = await serve({ ...PATIENT, room: 1000, withinMs: 50 });
  open('content-length: 10', 'x');
  await eventually(() => seen[0]?.found === 'cut off');
});
