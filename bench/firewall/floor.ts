/**
 * The least that a proxy of this kind costs in Node: it ends TLS, sends each request on through the client library that the
 * firewall uses, and does nothing else. No lease, policy, log, substitution or search; it must never be used for anything.
 */
import http from 'node:http';
import type net from 'node:net';
import tls from 'node:tls';
import { Pool } from 'undici';
import { createAuthority, makeCa } from '@centaur/kernel/firewall/ca';
import { answerUsage } from './usage.ts';

const authority = await createAuthority(await makeCa());
const pools = new Map<string, Pool>();
const poolTo = (host: string): Pool => {
  const known = pools.get(host);
  if (known !== undefined) return known;
  const made = new Pool(`https://${host}`, { connections: 64, pipelining: 1, connect: { ca: process.env['SERVICE_CA'] } });
  pools.set(host, made);
  return made;
};

const inner = http.createServer((request, response) => {
  poolTo(request.headers.host ?? '').dispatch(
    { path: request.url ?? '/', method: request.method ?? 'GET', headers: request.rawHeaders, body: null, origin: '' },
    {
      onRequestStart() {},
      onResponseStart(controller, status) {
        response.writeHead(status, (controller.rawHeaders as (string | Buffer)[]).map(String));
      },
      onResponseData(controller, chunk) {
        if (response.write(chunk)) return;
        controller.pause();
        response.once('drain', () => controller.resume());
      },
      onResponseEnd() {
        response.end();
      },
      onResponseError(_, error) {
        response.destroy(error);
      },
    },
  );
});
const server = tls.createServer({ ...(await authority.leafFor('localhost')), ALPNProtocols: ['http/1.1'] }, (socket) =>
  inner.emit('connection', socket),
);
const outer = http.createServer();
outer.on('connect', (_, socket: net.Socket, head: Buffer) => {
  socket.setNoDelay(true);
  socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
  if (head.length > 0) socket.unshift(head);
  server.emit('connection', socket);
});
outer.listen(0, '127.0.0.1', () => process.send?.({ port: (outer.address() as net.AddressInfo).port, caPem: authority.caPem }));
answerUsage();
