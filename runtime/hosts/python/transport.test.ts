import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { HERE, Host, type Message, PYTHON } from './testing.ts';

const folder = path.join(HERE, 'fixtures/main');
const host = new Host([folder]);
const place = mkdtempSync(path.join(tmpdir(), 'centaur-python-'));
const env = { PATH: process.env['PATH'], PYTHONPYCACHEPREFIX: path.join(tmpdir(), 'centaur-python-tests'), WORKFLOW_DIRS: folder };
after(() => {
  rmSync(place, { recursive: true });
  return host.end();
});

const start = (id: string, workflow: string, input: unknown = null) => ({
  type: 'workflow.start',
  run_id: id,
  task_id: id,
  workflow_name: workflow,
  input,
  attempt: 1,
  seed: 's',
  now: 1,
  live: true,
  history_length: 0,
  patches: [],
  lease_until: 1e15,
});

test('lines may come in pieces and many at once, and may be larger than a read', async () => {
  const pong = host.ask({ type: 'host.ping', id: 'a' });
  assert.equal((await pong)['id'], 'a');
  const answers = await Promise.all([1, 2].map((id) => host.ask({ type: 'host.ping', id })));
  assert.deepEqual(
    answers.map(({ id }) => id),
    [1, 2],
  );
  const large = await host.ask({ type: 'host.ping', id: 'x'.repeat(3 * 1024 * 1024) });
  assert.equal(large['id'].length, 3 * 1024 * 1024);
});

test('what it does not understand is answered once, and ends nothing', async () => {
  for (const message of [{ type: 'what.is.this' }, { no: 'type' }, { type: 'workflow.start' }]) {
    assert.equal((await host.ask(message as Message))['type'], 'host.error');
  }
  host.child.stdin.write('not json\n');
  const [garbage, pong] = await Promise.all([host.ask({ type: 'host.ping', id: '1' }), host.ask({ type: 'host.ping', id: '2' })]);
  assert.match(garbage['message'] as string, /not JSON/);
  assert.equal(pong['id'], '1');
});

test('the end of the input ends it, also while a handler waits or holds the thread', async () => {
  await Promise.all(
    [{ do: 'cancel' }, { do: 'block' }].map(async (input) => {
      const waiting = new Host([folder]);
      waiting.send(start('r', 'failing', input));
      await new Promise((resolve) => setTimeout(resolve, 400));
      const began = Date.now();
      assert.equal(await waiting.end(), 0);
      assert(Date.now() - began < 60_000, `${JSON.stringify(input)}: ended after ${Date.now() - began} ms`);
    }),
  );
});

test('input from a file is answered as far as it goes', () => {
  const file = path.join(place, 'in');
  writeFileSync(file, `${JSON.stringify(start('r', 'replay'))}\n{"type":"host.ping","id":"p"}`);
  const input = openSync(file, 'r');
  const { stdout, status } = spawnSync(PYTHON, [path.join(HERE, 'workflow-host')], {
    stdio: [input, 'pipe', 'inherit'],
    env,
    encoding: 'utf8',
  });
  closeSync(input);
  const types = stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as Message)['type'] as string);
  assert.equal(status, 0);
  assert.deepEqual(types.toSorted(), ['ctx.log', 'ctx.patch', 'ctx.step.put', 'host.pong']);
});

test('with CENTAUR_HOST_SOCKET it talks over that, and the handler may print as it likes', async () => {
  const socket = path.join(place, 'socket');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const child = spawn(PYTHON, [path.join(HERE, 'workflow-host')], { env: { ...env, CENTAUR_HOST_SOCKET: socket } });
  let printed = '';
  child.stderr.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const result = await new Promise<Message>((resolve) => {
    server.once('connection', (connection) => {
      createInterface({ input: connection }).once('line', (line) => {
        resolve(JSON.parse(line) as Message);
        connection.end();
      });
      connection.write(`${JSON.stringify(start('r', 'imports'))}\n`);
    });
  });
  assert.equal(result['type'], 'workflow.result');
  // with all that it has printed
  assert.equal(await new Promise((resolve) => child.once('close', resolve)), 0);
  assert.match(printed, /printed/);
  server.close();
});
