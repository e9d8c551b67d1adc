import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { createPlace, type Place } from '../test/support/cli.ts';
import { createTestDatabase, type TestDatabase } from '../test/support/database.ts';
import { eventually } from '../test/support/wait.ts';

const ORDER = `import { appendFileSync } from 'node:fs';
export const WORKFLOW_NAME = 'order';
export async function handler(input, ctx) {
  const first = await ctx.step('look up', () => { appendFileSync(input.mark, 'x'); return { price: 12 }; });
  await ctx.sleep('pause', 20);
  const both = await Promise.all([ctx.step('left', () => { appendFileSync(input.mark, 'x'); return 1; }), ctx.step('right', () => 2)]);
  const failed = await ctx.step('fails', () => { throw new Error('no'); }).catch((error) => error.message);
  return { price: first.price, both, failed, id: ctx.uuid() };
}
`;
const PYTHON = `WORKFLOW_NAME = "snake"

async def handler(input, ctx):
    def mark():
        with open(input["mark"], "a") as file:
            file.write("x")
        return 7
    first = await ctx.step("first", mark)
    await ctx.sleep("pause", 0.02)
    return {"first": first, "draw": ctx.random()}
`;
/** What a run did not do, and its replay does. */
const TURNS = `import { existsSync } from 'node:fs';
export const WORKFLOW_NAME = 'turns';
export async function handler(input, ctx) {
  if (existsSync(input.file + '.loop')) for (;;);
  if (existsSync(input.file + '.flood')) for (const all = [];;) all.push(new Array(1e6).fill(Math.random()));
  return ctx.step('one', () => 1);
}
`;

/** Whatever a handler could do beside its steps. What it got done says a replay; the run itself tried nothing. */
const REACHES = `import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import * as dns from 'node:dns';
import { existsSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
export const WORKFLOW_NAME = 'reaches';
const opened = (socket, event) => new Promise((resolve, reject) => socket.once('error', reject).once(event, resolve));
export async function handler({ file, port, udp }, ctx) {
  const done = [];
  const ways = {
    fetch: () => fetch('http://127.0.0.1:' + port),
    connect: () => opened(connect(port, '127.0.0.1'), 'connect'),
    tls: () => opened(connectTls(port, '127.0.0.1', { rejectUnauthorized: false }), 'secureConnect'),
    unix: () => opened(connect(file + '.sock'), 'connect'),
    listen: async () => opened((await import('node:http')).createServer().listen(0), 'listening'),
    datagram: () => new Promise((resolve, reject) => createSocket('udp4').send('x', udp, '127.0.0.1', (error) => (error ? reject(error) : resolve()))),
    lookup: () => lookup('localhost'),
    resolver: () => new dns.promises.Resolver().resolve4('localhost'),
    write: () => writeFileSync(file + '.written', 'x'),
    program: () => { if (spawnSync('true').error) throw new Error('no'); },
    thread: () => new Worker('0', { eval: true }),
    signal: () => process.kill(process.ppid, 0),
    tell: () => process.send({ report: { verdict: 'same' } }),
    binding: () => process.binding('tcp_wrap'),
    database: () => { if (!Object.entries(process.env).some(([, value]) => /postgres(ql)?:/.test(value))) throw new Error('no'); },
  };
  if (existsSync(file))
    for (const [way, go] of Object.entries(ways))
      try { await go(); done.push(way); } catch {}
  return ctx.step('one', () => 1).then(() => done);
}
`;

interface Ready extends AsyncDisposable {
  readonly place: Place;
  readonly database: TestDatabase;
  run(workflow: string, input: object): Promise<string>;
  tamper(sql: string, params: readonly unknown[]): Promise<void>;
  mark(): { readonly file: string; count(): number };
}

async function start(env: Readonly<Record<string, string>>): Promise<Ready> {
  const database = await createTestDatabase();
  const place = createPlace({ DATABASE_URL: database.url, CENTAUR_MASTER_KEY: randomBytes(32).toString('base64'), ...env });
  place.write('order.ts', ORDER);
  place.write('snake.py', PYTHON);
  place.write('turns.ts', TURNS);
  place.write('reaches.ts', REACHES);
  await place.serve('api');
  await place.serve('worker');
  return {
    place,
    database,
    async run(workflow, input) {
      const started = await place.run(['run', workflow, JSON.stringify(input)]);
      assert.equal(started.code, 0, started.stderr);
      const id = started.stdout.trim();
      assert.equal((await place.run(['runs', 'tail', id])).code, 0);
      return id;
    },
    async tamper(sql, params) {
      const client = new pg.Client(database.url);
      await client.connect();
      await client.query(sql, [...params]);
      await client.end();
    },
    mark() {
      const file = path.join(place.folder, `mark-${randomBytes(4).toString('hex')}`);
      writeFileSync(file, '');
      return { file, count: () => readFileSync(file, 'utf8').length };
    },
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await database.drop();
    },
  };
}

for (const hosts of ['in_process', 'process'])
  test(`with an API and a worker apart and hosts ${hosts}, a replay is the same and does nothing`, { timeout: 300_000 }, async (t) => {
    await using ready = await start({ WORKFLOW_HOSTS: hosts });
    const { place } = ready;
    const replay = (...args: string[]) => place.run(['replay', ...args]);
    const mark = ready.mark();
    const order = await ready.run('order', { mark: mark.file });
    const snake = await ready.run('snake', { mark: mark.file });
    assert.equal(mark.count(), 3);
    await eventually(async () => JSON.parse((await replay(snake, '--json')).stdout).journal.state === 'intact');

    await t.test('in TypeScript and in Python', async () => {
      for (const run of [order, snake]) {
        const { code, stdout, stderr } = await replay(run);
        assert.equal(code, 0, stdout + stderr);
        assert.match(stdout, /same\n {2}run .*\n {2}journal {2}as it was sealed .*\n {2}code .*the same/);
      }
      assert.equal(mark.count(), 3, 'no step ran');
    });

    await t.test('one that loops or floods is stopped, and live runs go on meanwhile', async () => {
      const file = path.join(place.folder, 'turn');
      const run = await ready.run('turns', { file });
      for (const [what, pattern] of [
        ['loop', /took longer than 2 s|process .*ended|does not answer/],
        ['flood', /memory|process|took longer/],
      ] as const) {
        writeFileSync(`${file}.${what}`, '');
        const stuck = replay(run, '--timeout', what === 'loop' ? '2' : '60');
        const beside = await place.run(['run', 'order', JSON.stringify({ mark: mark.file }), '--wait']);
        assert.equal(beside.code, 0);
        const { code, stderr } = await stuck;
        assert.deepEqual([code, pattern.test(stderr)], [1, true], stderr);
        writeFileSync(`${file}.${what}`, '');
        const { rmSync } = await import('node:fs');
        rmSync(`${file}.${what}`);
      }
    });

    await t.test('changed code is told, and a fork goes on from a step before it differs', async () => {
      place.write('order.ts', ORDER.replace("ctx.step('right'", "ctx.step('wrong'"));
      await eventually(async () => /wrong/.test((await replay(order)).stdout));
      const { code, stdout } = await replay(order);
      assert.equal(code, 6);
      assert.match(stdout, /call 3: the journal has step "right", and the code calls step "wrong"/);
      assert.equal(
        (await replay(order, '--same-code')).code,
        hosts === 'process' ? 0 : 1,
        'where hosts run, the code of before is still there',
      );
      const refused = await replay(order, '--fork-from', 'fails');
      assert.deepEqual([refused.code, /not forked: the code differs .* at call 3/.test(refused.stderr)], [6, true]);
      const forked = await replay(order, '--fork-from', 'left');
      assert.equal(forked.code, 0, forked.stderr);
      assert.equal((await place.run(['runs', 'tail', forked.stdout.trim()])).code, 0);
    });

    await t.test('a tampered journal is named by the step, by both commands, and not forked', async () => {
      await ready.tamper(`update workflow_steps set outcome = '{"price":1}' where run_id = $1 and name = 'look up'`, [order]);
      const { code, stdout } = await replay(order);
      assert.deepEqual([code, /tampered[^]*call 0, "look up": the step was changed/.test(stdout)], [6, true], stdout);
      const all = await place.run(['audit', 'verify', '--journals']);
      assert.deepEqual([all.code, all.stdout.includes(`run ${order}: step "look up": the step was changed`)], [1, true], all.stdout);
      assert.equal((await replay(order, '--fork-from', 'left')).code, 6);
      const api = await place.run(['runs', 'fork', order, '--from', 'left']);
      assert.deepEqual([api.code, /is not the one that was sealed/.test(api.stderr)], [1, true], api.stderr);
      assert.equal((await replay(order, '--fork-from', 'left', '--anyway')).code, 0);
    });

    await t.test('the audit log alone tells of it, on the server and from a file', async () => {
      const file = path.join(place.folder, 'export.jsonl');
      // while anybody on the server writes for long, what came later is in no batch
      await eventually(
        async () => {
          const { stdout } = await place.run(['replay', '--from-audit', '--run', order]);
          return /journal\.seal .*batch \d+/.test(stdout) && /run\.fork .*batch \d+/.test(stdout);
        },
        { what: 'the log to be sealed' },
      );
      assert.equal((await place.run(['audit', 'export', '-o', file])).code, 0);
      const offline = { CENTAUR_API_URL: 'http://127.0.0.1:9' };
      for (const [args, env] of [
        [[], {}],
        [['--file', file], offline],
      ] as const) {
        const { code, stdout, stderr } = await place.run(['replay', '--from-audit', '--run', order, ...args], { env });
        assert.equal(code, 0, stdout + stderr);
        assert.match(stdout, new RegExp(`journal\\.seal .*order ${order} completed, from .* 5 steps, asked for by key:\\S+ .*batch \\d+`));
        assert.match(stdout, /run\.fork .*run:/);
      }
      writeFileSync(file, readFileSync(file, 'utf8').replace(/completed/, 'cancelled'));
      const { code, stdout } = await place.run(['replay', '--from-audit', '--run', order, '--file', file], { env: offline });
      assert.deepEqual([code, /not as they were written/.test(stdout)], [6, true], stdout);
    });
  });

test('a replay in a process of its own reaches nothing: no network, no file, no process, no database', async () => {
  await using ready = await start({ WORKFLOW_HOSTS: 'in_process' });
  const { place } = ready;
  const heard: string[] = [];
  const file = path.join(place.folder, 'reach');
  const servers = [createServer(() => heard.push('tcp')), createServer(() => heard.push('unix'))] as const;
  await new Promise<void>((resolve) => servers[0].listen(0, '127.0.0.1', resolve));
  await new Promise<void>((resolve) => servers[1].listen(`${file}.sock`, resolve));
  const datagrams = createSocket('udp4').on('message', () => heard.push('udp'));
  await new Promise<void>((resolve) => datagrams.bind(0, '127.0.0.1', resolve));
  try {
    const run = await ready.run('reaches', { file, port: (servers[0].address() as AddressInfo).port, udp: datagrams.address().port });
    writeFileSync(file, '');
    const { code, stdout, stderr } = await place.run(['replay', run]);
    assert.equal(code, 0, stdout + stderr);
    assert.deepEqual([heard, existsSync(`${file}.written`)], [[], false]);
  } finally {
    for (const server of servers) server.close();
    datagrams.close();
  }
});
