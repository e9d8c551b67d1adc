import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import pg from 'pg';
import { freePort } from '../../../test/support/ports.ts';
import { eventually } from '../../../test/support/wait.ts';
import { StoreError } from '../errors.ts';
import { findBinaries } from './binaries.ts';
import { startEmbeddedPostgres, stopEmbeddedPostgres } from './index.ts';

const IS_ROOT = process.getuid?.() === 0;

/** A folder that Postgres' user can reach; whatever runs on it is stopped at the end. */
function temporaryHome(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'centaur-embedded-'));
  chmodSync(folder, 0o755);
  t.after(async () => {
    if (existsSync(join(folder, 'home'))) await stopEmbeddedPostgres({ dataDir: join(folder, 'home') }).catch(() => {});
    rmSync(folder, { recursive: true, force: true });
  });
  return join(folder, 'home');
}

async function query<Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Another process that starts the server on `dataDir`, prints `up` and stays. */
function startElsewhere(dataDir: string): ChildProcess {
  const code = `
    const { startEmbeddedPostgres } = await import(${JSON.stringify(new URL('./index.ts', import.meta.url).href)});
    const server = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, throwaway: true });
    console.log(JSON.stringify({ pid: server.pid, adopted: server.adopted }));
    setInterval(() => {}, 1000);`;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
}

async function reported(child: ChildProcess): Promise<{ pid: number; adopted: boolean }> {
  const [line] = (await once(child.stdout as NonNullable<ChildProcess['stdout']>, 'data')) as [Buffer];
  return JSON.parse(line.toString()) as { pid: number; adopted: boolean };
}

async function killGroup(child: ChildProcess): Promise<void> {
  process.kill(-(child.pid as number), 'SIGKILL');
  await once(child, 'exit');
}

function isStoreError(code: string, pattern: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof StoreError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    return true;
  };
}

test('data, address and durability stay across restarts of every kind', async (t) => {
  const dataDir = temporaryHome(t);
  const server = await startEmbeddedPostgres({ dataDir, throwaway: true, port: await freePort() });
  const { url, port } = server;
  await query(url, 'create table kept (n int); insert into kept values (1)');
  const [durable] = await query<{ all: string }>(
    url,
    `select concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')) as all`,
  );
  assert.equal(durable?.all, 'on on on');

  await server.restart();
  await query(url, 'insert into kept values (2)');
  await server.restart('immediate');
  process.kill(server.pid, 'SIGKILL');
  await server.restart();
  await query(url, 'insert into kept values (3)');
  await server.stop();
  await assert.rejects(query(url, 'select 1'), /ECONNREFUSED/);

  const again = await startEmbeddedPostgres({ dataDir });
  assert.deepEqual([again.port, again.url, again.adopted], [port, url, false]);
  assert.deepEqual(await query(url, 'select n from kept order by n'), [{ n: 1 }, { n: 2 }, { n: 3 }]);
});

test('only the owner can read the password, and only 127.0.0.1 with the password gets in', async (t) => {
  const dataDir = temporaryHome(t);
  const server = await startEmbeddedPostgres({ dataDir, throwaway: true });
  const file = join(dataDir, 'pg', 'centaur.password');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(join(dataDir, 'pg')).mode & 0o777, 0o700);
  await assert.rejects(query(server.url.replace(readFileSync(file, 'utf8'), 'another'), 'select 1'), /password authentication failed/);
  const [settings] = await query<{ addresses: string; sockets: string }>(
    server.url,
    `select current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets`,
  );
  assert.deepEqual(settings, { addresses: '127.0.0.1', sockets: '' });
});

test('a server whose parent was killed is adopted, and stops all the same', async (t) => {
  const dataDir = temporaryHome(t);
  const parent = startElsewhere(dataDir);
  const { pid } = await reported(parent);
  await killGroup(parent);

  const server = await startEmbeddedPostgres({ dataDir });
  assert.deepEqual([server.adopted, server.pid], [true, pid]);
  await query(server.url, 'select 1');
  await server.stop();
  assert.equal(existsSync(join(dataDir, 'pg', 'postmaster.pid')), false);
  await assert.rejects(query(server.url, 'select 1'), /ECONNREFUSED/);
});

test('a start that was killed while it made the cluster leaves nothing that hinders the next', async (t) => {
  let dataDir = '';
  // a machine that is busy looks too late, and then again at another one
  for (let tries = 0; tries === 0 || (existsSync(join(dataDir, 'pg')) && tries < 10); tries++) {
    dataDir = temporaryHome(t);
    const begun = (name: string) => name === 'pg' || (name.startsWith('init-') && existsSync(join(dataDir, name, 'pg', 'base')));
    const parent = startElsewhere(dataDir);
    await eventually(() => existsSync(dataDir) && readdirSync(dataDir).some(begun));
    await killGroup(parent);
  }
  assert.equal(existsSync(join(dataDir, 'pg')), false, 'killed too late to show anything');

  const server = await startEmbeddedPostgres({ dataDir, throwaway: true });
  await query(server.url, 'select 1');
  assert.deepEqual(readdirSync(dataDir).sort(), ['pg', 'port', 'postgres.log']);
});

test('of two processes that start at once on an empty folder, one serves and the other adopts it', async (t) => {
  const dataDir = temporaryHome(t);
  const both = [startElsewhere(dataDir), startElsewhere(dataDir)];
  const [one, other] = await Promise.all(both.map(reported));
  for (const child of both) await killGroup(child);
  assert.equal(one?.pid, other?.pid);
  assert.notEqual(one?.adopted, other?.adopted);
});

test('a lock file whose number now belongs to another program does not hinder the start', async (t) => {
  const dataDir = temporaryHome(t);
  const server = await startEmbeddedPostgres({ dataDir, throwaway: true });
  const lock = join(dataDir, 'pg', 'postmaster.pid');
  const text = readFileSync(lock, 'utf8');
  await server.stop();
  // of the same user as the server, as after the restart of a container: Postgres alone would refuse
  const owner = statSync(join(dataDir, 'pg'));
  const bystander = spawn('sleep', ['600'], IS_ROOT ? { uid: owner.uid, gid: owner.gid } : {});
  t.after(() => bystander.kill());
  writeFileSync(lock, text.replace(/^\d+/, String(bystander.pid)));
  chownSync(lock, owner.uid, owner.gid);

  const again = await startEmbeddedPostgres({ dataDir });
  assert.equal(again.adopted, false);
  await query(again.url, 'select 1');
  assert.equal(bystander.exitCode, null);
});

test('a port that is taken is left for another one, unless it was asked for', async (t) => {
  const dataDir = temporaryHome(t);
  const first = await startEmbeddedPostgres({ dataDir, throwaway: true });
  await first.stop();
  const squatter = createServer().listen(0, '127.0.0.1');
  t.after(() => squatter.close());
  await once(squatter, 'listening');
  const { port } = squatter.address() as AddressInfo;
  // as if it had been its own last time, which may be anybody's by now
  writeFileSync(join(dataDir, 'port'), `${port}\n`);

  await assert.rejects(startEmbeddedPostgres({ dataDir, port }), isStoreError('UNAVAILABLE', new RegExp(`port ${port}.*in use`)));
  const second = await startEmbeddedPostgres({ dataDir });
  assert.notEqual(second.port, port);
  await query(second.url, 'select 1');
});

test('a wrong setting, a foreign major version and a lost password each say what is wrong', async (t) => {
  const dataDir = temporaryHome(t);
  await assert.rejects(
    startEmbeddedPostgres({ dataDir, throwaway: true, settings: { shared_buffers: 'much' } }),
    isStoreError('UNAVAILABLE', /did not start: .*shared_buffers/),
  );
  const version = join(dataDir, 'pg', 'PG_VERSION');
  const made = readFileSync(version, 'utf8');
  writeFileSync(version, '14\n');
  await assert.rejects(
    startEmbeddedPostgres({ dataDir }),
    isStoreError('UNSUITABLE', /made by Postgres 14, this release has 1\d: .*pg_dump/),
  );
  writeFileSync(version, made);
  rmSync(join(dataDir, 'pg', 'centaur.password'));
  await assert.rejects(startEmbeddedPostgres({ dataDir }), isStoreError('UNSUITABLE', /password .* cannot be read/));
});

test('a platform without binaries is told to bring its own server', () => {
  assert.throws(
    () => findBinaries(import.meta.url, 'win32-x64'),
    isStoreError('UNSUITABLE', /no embedded Postgres for win32-x64: set DATABASE_URL/),
  );
});

test(
  'under root, the data of a closed folder lives elsewhere, and goes when a temporary folder has gone',
  { skip: !IS_ROOT },
  async (t) => {
    const closed = mkdtempSync(join(tmpdir(), 'centaur-embedded-'));
    t.after(() => rmSync(closed, { recursive: true, force: true }));
    const dataDir = join(closed, 'home');
    const notes: string[] = [];
    const server = await startEmbeddedPostgres({ dataDir, throwaway: true, onLog: (note) => notes.push(note) });
    const [where] = await query<{ data_directory: string }>(server.url, 'show data_directory');
    const shared = realpathSync(join(where?.data_directory ?? '', '..'));
    assert.equal(shared.startsWith(closed), false);
    assert.ok(notes.some((note) => note.includes(shared)));
    assert.match(readFileSync(join(dataDir, 'MOVED'), 'utf8'), new RegExp(shared));

    // opened later: the data stays where it is
    chmodSync(closed, 0o755);
    const again = await startEmbeddedPostgres({ dataDir });
    assert.equal(again.adopted, true);
    await again.stop();

    rmSync(closed, { recursive: true });
    const next = mkdtempSync(join(tmpdir(), 'centaur-embedded-'));
    t.after(() => rmSync(next, { recursive: true, force: true }));
    const other = await startEmbeddedPostgres({ dataDir: join(next, 'home'), throwaway: true });
    await other.stop();
    assert.equal(existsSync(shared), false);
  },
);

test('under root, data in a folder that was closed later is not begun anew', { skip: !IS_ROOT }, async (t) => {
  const dataDir = temporaryHome(t);
  const server = await startEmbeddedPostgres({ dataDir, throwaway: true });
  await server.stop();
  chmodSync(dataDir, 0o700);
  await assert.rejects(startEmbeddedPostgres({ dataDir }), isStoreError('UNSUITABLE', /holds a database, but is closed/));
  chmodSync(dataDir, 0o755);
});
