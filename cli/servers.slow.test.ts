import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { createPlace } from '../test/support/cli.ts';
import { createTestDatabase } from '../test/support/database.ts';
import { eventually } from '../test/support/wait.ts';

const ECHO = `export const WORKFLOW_NAME = 'echo';\nexport async function handler(input, ctx) { return ctx.step('echo', () => input); }`;
/** Its first step ends when it may, or never. */
const SLOW = `import { existsSync, writeFileSync } from 'node:fs';
export const WORKFLOW_NAME = 'slow';
export async function handler(input, ctx) {
  await ctx.step('slow', async () => {
    writeFileSync(input.began, '');
    while (!input.may || !existsSync(input.may)) await new Promise((resolve) => setTimeout(resolve, 20));
    writeFileSync(input.ended, '');
  });
  await ctx.step('next', () => 1);
  return 'done';
}`;

test('an empty home becomes a server with its own Postgres and an admin key that is shown once', async () => {
  await using place = createPlace();
  place.write('echo.ts', ECHO);
  const up = await place.serve('up');
  const key = /Admin key +(ck_\S+)/.exec(up.output.stdout)?.[1] ?? '';
  const file = path.join(place.folder, 'home', 'admin.key');
  assert.equal(readFileSync(file, 'utf8'), `${key}\n`);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.ok(!up.output.stderr.includes(key), 'a log is no place for a key');
  const first = await place.run(['run', 'echo', '{"a": 1}', '--wait']);
  assert.deepEqual([first.code, first.stdout], [0, '{"a":1}\n']);

  // What a killed server leaves behind is taken up
  up.child.kill('SIGKILL');
  await up.finished;
  const again = await place.serve('up');
  assert.ok(!again.output.stdout.includes('ck_'));
  assert.equal(JSON.parse((await place.run(['runs', 'ls', '--json'])).stdout).items.length, 1);

  const second = await place.run(['up']);
  assert.deepEqual([second.code, /another "centaur up" is running on .*\nStop it first/.test(second.stderr)], [1, true]);
  assert.equal((await fetch(`${again.url}/readyz`)).status, 200, 'the first one lives on');

  again.child.kill('SIGTERM');
  const { code, stderr } = await again.finished;
  assert.equal(code, 0);
  assert.match(stderr, /"message":"stopped"/);
});

test('an API and a worker in processes of their own share the work', async () => {
  await using database = await createTestDatabase();
  await using place = createPlace({ DATABASE_URL: database.url });
  place.write('echo.ts', ECHO);
  const api = await place.serve('api');
  const waiting = place.start(['run', 'echo', '7', '--wait']);
  await eventually(() => waiting.output.stderr.includes('queued'));
  const worker = await place.serve('worker');
  assert.deepEqual([(await waiting.finished).stdout, worker.url], ['7\n', '']);
  worker.child.kill('SIGTERM');
  assert.equal((await worker.finished).code, 0);
  assert.equal((await fetch(`${api.url}/readyz`)).status, 200);
});

test('a step in progress ends before a server stops, and the rest of the run is handed back', async () => {
  await using database = await createTestDatabase();
  await using place = createPlace({ DATABASE_URL: database.url });
  place.write('slow.ts', SLOW);
  const up = await place.serve('up');
  const [began, may, ended] = ['began', 'may', 'ended'].map((name) => path.join(place.folder, name)) as [string, string, string];
  const id = (await place.run(['run', 'slow', JSON.stringify({ began, may, ended })])).stdout.trim();
  await eventually(() => existsSync(began));
  up.child.kill('SIGTERM');
  await eventually(() => up.output.stderr.includes('stopping'));
  assert.equal((await fetch(`${up.url}/readyz`)).status, 503);
  writeFileSync(may, '');
  assert.equal((await up.finished).code, 0);
  assert.ok(existsSync(ended), 'the step was cut off');

  await place.serve('up');
  const { code, stdout } = await place.run(['runs', 'tail', id, '--json']);
  assert.equal(code, 0);
  const steps = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((each) => each.event === 'step.completed');
  assert.deepEqual(
    steps.map((each) => [each.data.name, each.data.attempts]),
    [
      ['slow', 1],
      ['next', 1],
    ],
  );
});

test('a second signal ends a server at once', async () => {
  await using database = await createTestDatabase();
  await using place = createPlace({ DATABASE_URL: database.url });
  place.write('slow.ts', SLOW);
  const up = await place.serve('up');
  const began = path.join(place.folder, 'began');
  await place.run(['run', 'slow', JSON.stringify({ began })]);
  await eventually(() => existsSync(began));
  up.child.kill('SIGINT');
  await eventually(() => up.output.stderr.includes('stopping'));
  up.child.kill('SIGINT');
  // in order it would end with 0, or wait for the step
  assert.equal((await up.finished).code, 130);
});

test('a promise that a workflow forgot is logged and ends nothing', async () => {
  await using database = await createTestDatabase();
  await using place = createPlace({ DATABASE_URL: database.url });
  place.write('echo.ts', ECHO);
  place.write(
    'forgets.ts',
    `export const WORKFLOW_NAME = 'forgets';\nexport async function handler() { void Promise.reject(new Error('forgotten')); return 1; }`,
  );
  const up = await place.serve('up');
  await place.run(['run', 'forgets', '--wait']);
  await eventually(() => /a promise was rejected that nobody waits for.*forgotten/.test(up.output.stderr));
  assert.equal((await place.run(['run', 'echo', '1', '--wait'])).code, 0);
});

test('off a terminal each log line is one JSON object', async () => {
  await using database = await createTestDatabase({ empty: true });
  await using place = createPlace({ DATABASE_URL: database.url, CENTAUR_LOG_LEVEL: 'debug' });
  place.write('echo.ts', ECHO);
  const up = await place.serve('up');
  await place.run(['runs', 'ls']);
  // what stands behind the last line break is not whole yet
  const read = () =>
    up.output.stderr
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  const request = await eventually(() => read().find((entry) => entry.message === 'request'));
  assert.ok(read().some((entry) => entry.message === 'migrated the database'));
  assert.deepEqual([request.level, request.method, request.path, request.status], ['debug', 'GET', '/api/workflows/runs', 200]);
});

test('a port in use is told by the variable that sets it, before a Postgres is started', async () => {
  await using place = createPlace();
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  const { code, stderr } = await place.run(['up'], { env: { PORT: String(port) } });
  taken.close();
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`PORT: ${port} on 127\\.0\\.0\\.1 is in use by another program\n.*set PORT`));
  assert.ok(!existsSync(path.join(place.folder, 'home', 'postgres')));
});

test('a database that is unreachable, unknown or too old stops the start with what to do, and without its password', async () => {
  await using database = await createTestDatabase();
  await using place = createPlace();
  const old = await serveOldPostgres();
  const unknown = new URL(database.url);
  unknown.pathname = '/no_such_database';
  const wrong = new URL(database.url);
  wrong.password = 'wrong-secret';
  const refused: [string, RegExp][] = [
    [
      'postgres://centaur:hidden-secret@127.0.0.1:9/centaur',
      /cannot reach Postgres at 127\.0\.0\.1:9\/centaur: .*; is it running, and is DATABASE_URL right\?/,
    ],
    [unknown.href, /has no such database: create it, or correct DATABASE_URL/],
    [wrong.href, /refused the user or password of DATABASE_URL/],
    [old.url, /Postgres 14 is too old: DATABASE_URL must name Postgres 15 or newer/],
  ];
  for (const role of ['up', 'worker'] as const) {
    for (const [DATABASE_URL, message] of refused) {
      const { code, stderr } = await place.run([role], { env: { DATABASE_URL } });
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.ok(!stderr.includes('secret') && !stderr.includes('    at '), stderr);
    }
  }
  old.close();
});

test('an API or a worker without DATABASE_URL, and settings that are wrong, are refused by name', async () => {
  await using place = createPlace();
  for (const role of ['api', 'worker']) {
    const { code, stderr } = await place.run([role]);
    assert.deepEqual([code, new RegExp(`DATABASE_URL: "centaur ${role}" needs it`).test(stderr)], [1, true]);
  }
  const { code, stderr } = await place.run(['up'], { env: { PORT: 'high', CENTAUR_API_KEY: 'short', WORKFLOW_DIRS: 'nowhere' } });
  assert.equal(code, 2);
  for (const name of ['PORT', 'CENTAUR_API_KEY', 'WORKFLOW_DIRS']) assert.match(stderr, new RegExp(`^ +${name}: `, 'm'));
  assert.ok(!stderr.includes('short'), 'a bad key may be a good one with a typing error');
});

/** Postgres' protocol as far as a client gets that asks for the version. A server this old cannot be installed here. */
async function serveOldPostgres(): Promise<{ readonly url: string; close(): void }> {
  const message = (type: string, ...parts: Buffer[]) => {
    const body = Buffer.concat(parts);
    const head = Buffer.alloc(5);
    head.write(type);
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  const int16 = (value: number) => Buffer.from([value >> 8, value & 255]);
  const int32 = (value: number) => Buffer.concat([int16(value >> 16), int16(value & 65_535)]);
  const field = (name: string, oid: number) =>
    Buffer.concat([Buffer.from(`${name}\0`), int32(0), int16(0), int32(oid), int16(-1), int32(-1), int16(0)]);
  const value = (text: string) => Buffer.concat([int32(text.length), Buffer.from(text)]);
  const ready = message('Z', Buffer.from('I'));
  const answer = Buffer.concat([
    message('T', int16(2), field('version', 23), field('encoding', 25)),
    message('D', int16(2), value('140012'), value('UTF8')),
    message('C', Buffer.from('SELECT 1\0')),
    ready,
  ]);
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(Buffer.concat([message('R', int32(0)), ready]));
      socket.on('data', (data) => (data[0] === 0x51 ? socket.write(answer) : undefined));
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  return { url: `postgres://centaur@127.0.0.1:${port}/centaur`, close: () => server.close() };
}
