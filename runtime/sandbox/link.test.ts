import assert from 'node:assert/strict';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { encodeFrame, encodeJson, FRAME, LARGEST_FRAME } from './agent/frames.ts';
import { createLink } from './local/link.ts';
import { failsWith } from './testing.ts';

/** A link, and the other end of its line in the hands of an attacker. */
async function hostileAgent(t: TestContext) {
  const server = net.createServer();
  await new Promise<void>((listening) => {
    server.listen(0, '127.0.0.1', listening);
  });
  const arrived = new Promise<net.Socket>((connection) => {
    server.once('connection', connection);
  });
  const agent = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  agent.on('error', () => undefined);
  const { promise: closed, resolve } = Promise.withResolvers<string | null>();
  const link = createLink(await arrived, resolve);
  t.after(() => {
    link.close();
    agent.destroy();
    server.close();
  });
  return { link, agent, closed };
}

test('a frame that claims to be enormous ends the sandbox before its bytes arrive', async (t) => {
  const { agent, closed, link } = await hostileAgent(t);
  const head = encodeFrame(FRAME.data, 1, Buffer.alloc(0));
  head.writeUInt32LE(LARGEST_FRAME + 1, 0);
  const request = link.request({ op: 'read' }, { maxBytes: 10 });
  agent.write(head);
  assert.match((await closed) ?? '', /a frame of 1048577 bytes/);
  await assert.rejects(request, failsWith('SANDBOX_LOST'));
});

test('an answer that is longer than was asked for is cut off', async (t) => {
  const { agent, link } = await hostileAgent(t);
  const request = link.request({ op: 'read' }, { maxBytes: 1000 });
  for (let i = 0; i < 100; i++) agent.write(encodeFrame(FRAME.data, 1, Buffer.alloc(100)));
  await assert.rejects(request, failsWith('SANDBOX_LIMIT', /larger than 1000 bytes/));
});

test('frames of calls that nobody made are dropped; of the wrong kind, they end the sandbox', async (t) => {
  const { agent, closed, link } = await hostileAgent(t);
  const request = link.request({ op: 'read' }, { maxBytes: 10 });
  agent.write(encodeFrame(FRAME.out, 77, Buffer.from('x')));
  agent.write(encodeJson(FRAME.exit, 0, { code: 0 }));
  agent.write(encodeFrame(FRAME.exit, 1, Buffer.from('{}')));
  assert.match((await closed) ?? '', /frame 8 in a request/);
  await assert.rejects(request, failsWith('SANDBOX_LOST'));
});

test('what it says about failures and ends is believed only in form', async (t) => {
  const { agent, closed, link } = await hostileAgent(t);
  const failed = link.request({ op: 'read' });
  agent.write(encodeJson(FRAME.failed, 1, { code: '__proto__', message: { toString: 1 } }));
  await assert.rejects(failed, failsWith('SANDBOX_FILE', /could not do it/));
  const statuses: unknown[] = [];
  const spawned = link.spawn({ op: 'spawn' }, { output: () => undefined, exit: (status) => statuses.push(status) });
  agent.write(encodeJson(FRAME.data, 2, {}));
  await spawned;
  agent.write(encodeJson(FRAME.exit, 2, { code: 1.5, signal: 'SIGKILL; rm -rf /' }));
  const after = link.request({ op: 'read' });
  agent.write(encodeFrame(FRAME.failed, 3, Buffer.from('no json')));
  assert.match((await closed) ?? '', /broke the protocol/);
  await assert.rejects(after, failsWith('SANDBOX_LOST'));
  assert.deepEqual(statuses, [{ code: null, signal: null }]);
});
