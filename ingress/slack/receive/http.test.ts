/** Slack's door while others, who have signed nothing, stand in it. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { listen } from './http.ts';
import { sign } from './signature.ts';

test('hundreds that hold bodies open keep nothing of Slack out', async () => {
  const heard: unknown[] = [];
  const room = 1024 * 1024;
  const door = await listen(
    {
      host: '127.0.0.1',
      port: 0,
      signingSecret: 'secret',
      hear: async ({ body }) => (heard.push(body['event_id']), { kind: 'acknowledged', kept: 'stored' }),
      problem: async () => undefined,
      log: () => {},
      now: Date.now,
    },
    { most: room, room, withinMs: 600_000 },
  );
  const sockets: Socket[] = [];
  // as fresh as Slack's, and signed by somebody else
  const forged = Object.entries(sign('other', '{}', Date.now())).map(([name, value]) => `${name}: ${value}\r\n`);
  const isFull = Promise.withResolvers<void>();
  const hold = (body: string): void => {
    const socket = connect(Number(new URL(door.url).port), '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    // nobody is answered before the room is full
    socket.once('data', () => isFull.resolve()).once('close', () => isFull.resolve());
    socket.write(`POST /api/webhooks/slack HTTP/1.1\r\nhost: x\r\ncontent-length: ${room}\r\n${forged.join('')}\r\n${body}`);
  };
  const send = async (n: number): Promise<number> => {
    const body = JSON.stringify({ type: 'event_callback', event_id: `Ev${n}`, event: {} });
    const headers = { 'content-type': 'application/json', ...sign('secret', body, Date.now()) };
    return (await fetch(`${door.url}/api/webhooks/slack`, { method: 'POST', headers, body })).status;
  };
  try {
    for (let i = 0; i < 256; i++) hold('x'.repeat(room / 256));
    hold('one more');
    await isFull.promise;
    for (let n = 0; n < 20; n++) assert.equal(await send(n), 200);
    assert.equal(heard.length, 20);
  } finally {
    for (const socket of sockets) socket.destroy();
    await door.close();
  }
});
