import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { type AddressInfo, createServer as createLine } from 'node:net';
import { test } from 'node:test';
import { forward } from './bots.ts';

test('what goes on to a bot is what its service says, and no key or cookie that came with it', async () => {
  let seen: IncomingHttpHeaders = {};
  const bot = createServer((request, response) => {
    seen = request.headers;
    response.end();
  }).listen(0, '127.0.0.1');
  await once(bot, 'listening');
  try {
    const said = { 'content-type': 'application/x-www-form-urlencoded', 'x-slack-signature': 'v0=1', 'x-slack-request-timestamp': '17' };
    const others = { authorization: 'Bearer x', 'x-api-key': 'x', cookie: 'x=y', 'x-forwarded-for': '127.0.0.1', forwarded: 'for=x' };
    const request = new Request('http://127.0.0.1/webhooks/slack', { method: 'POST', body: 'payload=x', headers: { ...said, ...others } });
    const where = `http://127.0.0.1:${(bot.address() as AddressInfo).port}`;
    const answer = await forward({ slack: () => where }, { slug: 'slack', request, incoming: undefined });
    assert.equal(answer?.status, 200);
    for (const [name, value] of Object.entries(said)) assert.equal(seen[name], value);
    for (const name of Object.keys(others)) assert.equal(seen[name], undefined, name);
  } finally {
    bot.closeAllConnections();
    bot.close();
  }
});

test('a bot at an address with https is asked by TLS', async () => {
  const said = Promise.withResolvers<Buffer>();
  const bot = createLine((line) => {
    line.on('error', () => {});
    line.once('data', (first: Buffer) => {
      said.resolve(first);
      line.destroy();
    });
  }).listen(0, '127.0.0.1');
  await once(bot, 'listening');
  try {
    const request = new Request('http://127.0.0.1/webhooks/slack', { method: 'POST', body: 'payload=x' });
    const where = `https://127.0.0.1:${(bot.address() as AddressInfo).port}`;
    const answer = forward({ slack: () => where }, { slug: 'slack', request, incoming: undefined });
    await assert.rejects(answer, (error) => (error as { code?: string }).code === 'BOT_UNAVAILABLE');
    assert.equal((await said.promise)[0], 22, 'a handshake');
  } finally {
    bot.close();
  }
});
