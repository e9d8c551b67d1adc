/** Up to which moment a token request can be called off. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { Pool } from 'undici';
import { askEndpoint } from './token-endpoint.ts';
import type { Upstreams } from './upstream.ts';

let server: http.Server;
let asked: string[];

before(async () => {
  server = http
    .createServer((request, response) => {
      void (async () => {
        let body = '';
        for await (const part of request.setEncoding('utf8')) body += part;
        asked.push(`${request.headers['content-length']} ${request.headers['transfer-encoding']} ${body}`);
        server.emit('asked', response);
      })();
    })
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => server.close());

/** @param whileDialled when there is a connection, and nothing was sent on it yet */
async function ask(unless: AbortSignal, whileDialled: () => void = () => {}) {
  asked = [];
  const { port } = server.address() as net.AddressInfo;
  const pool = new Pool(`http://127.0.0.1:${port}`, {
    connect(_, callback) {
      const socket = net.connect(port, '127.0.0.1', () => {
        whileDialled();
        callback(null, socket);
      });
    },
  });
  try {
    return await askEndpoint(
      { pool: () => pool } as unknown as Upstreams,
      `http://127.0.0.1:${port}/token`,
      { refresh_token: 'ä' },
      { unsent: unless },
    );
  } finally {
    await pool.destroy();
  }
}

test('before it is sent: then the endpoint hears nothing', async () => {
  const calling = new AbortController();
  await assert.rejects(
    ask(calling.signal, () => calling.abort(new Error('called off'))),
    /called off/,
  );
  assert.deepEqual(asked, []);
  await assert.rejects(ask(calling.signal), /called off/);
});

test('not after that: its answer is read', async () => {
  const calling = new AbortController();
  server.once('asked', (response: http.ServerResponse) => {
    calling.abort(new Error('called off'));
    response.end('{"access_token":"x"}');
  });
  assert.deepEqual(await ask(calling.signal), { status: 200, fields: { access_token: 'x' } });
  assert.deepEqual(asked, ['20 undefined refresh_token=%C3%A4']);
});
