/** The service behind the firewall, in a process of its own: small answers, long streams, server-sent events. */
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { createAuthority, makeCa } from '@centaur/kernel/firewall/ca';

const authority = await createAuthority(await makeCa());
const context = await authority.contextFor('localhost');
const small = JSON.stringify({ id: 'msg_01', object: 'answer', text: 'x'.repeat(160) });
/** Text like that of a model's answer: what a scanner meets. */
const block = Buffer.from(
  Array.from(
    { length: 1000 },
    (_, i) => `data: {"type":"content_block_delta","index":${i % 7},"delta":{"type":"text_delta","text":"word${(i * 7919) % 1000} "}}\n\n`,
  ).join(''),
).subarray(0, 65_536);

const server = https.createServer({ SNICallback: (_, callback) => callback(null, context), keepAlive: true }, (request, response) => {
  const { url = '' } = request;
  request.resume();
  if (url.startsWith('/stream/')) {
    let left = Number(url.slice('/stream/'.length));
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': left });
    const more = () => {
      while (left > 0) {
        const chunk = left < block.length ? block.subarray(0, left) : block;
        left -= chunk.length;
        if (!response.write(chunk)) return void response.once('drain', more);
      }
      response.end();
    };
    return more();
  }
  if (url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let sent = 0;
    const timer = setInterval(() => {
      // the wall clock of one machine: what the event is held against when it arrives
      response.write(`data: {"at":${performance.timeOrigin + performance.now()},"text":"word ${sent}"}\n\n`);
      if (++sent === 300) {
        clearInterval(timer);
        response.end();
      }
    }, 5);
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': small.length });
  response.end(small);
});
server.keepAliveTimeout = 120_000;
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port, caPem: authority.caPem }));
process.on('disconnect', () => process.exit(0));
