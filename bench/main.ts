/**
 * `npm run bench [-- --quick] [--only B,C] [--engines centaur,dbos] [--repeat 5] [--write]`: Centaur, its peers and the
 * bare Postgres on one machine in one run. Repetitions are interleaved, so that a slow minute of the machine hits all
 * alike; each measurement has a process and a database of its own; what is reported are medians.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import pg from 'pg';
import type { AdapterModule } from './adapter.ts';
import { commits, diskSync, findPgbench, roundTrip } from './floor.ts';
import { deferred, type Figures } from './measure.ts';
import { measureRecovery } from './recovery.ts';
import { type Machine, type Measurements, report } from './report.ts';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PEERS = path.join(HERE, 'peers');
const REPORT = path.join(HERE, '..', 'docs', 'benchmarks.md');
/** For one that hangs: slowness is a figure, and no failure. */
const LONGEST_MS = 900_000;

const ENGINES: Readonly<Record<string, string>> = {
  centaur: path.join(HERE, 'engine', 'centaur.ts'),
  DBOS: path.join(PEERS, 'dbos.ts'),
  Restate: path.join(PEERS, 'restate.ts'),
  'pg-boss': path.join(PEERS, 'pg-boss.ts'),
  'graphile-worker': path.join(PEERS, 'graphile-worker.ts'),
};
const DURABLE = ['centaur', 'DBOS', 'Restate'];
const ALL = Object.keys(ENGINES);

/** Which engines can do which workload: the job queues know no steps, no events, and no way to sleep in mid-job. */
const PLAN: Readonly<Record<string, readonly string[]>> = {
  A: ALL,
  'A-bulk': ['centaur', 'pg-boss', 'graphile-worker'],
  B: DURABLE,
  C: DURABLE,
  D: ALL,
  E: DURABLE,
  F: DURABLE,
  G: DURABLE,
  long: ['centaur'],
  idle: ['centaur', 'DBOS', 'pg-boss', 'graphile-worker'],
};

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    repeat: { type: 'string' },
    only: { type: 'string' },
    engines: { type: 'string' },
  },
});
const repeat = Number(flags.repeat ?? 3);
const workloads = chosen('--only', flags.only, Object.keys(PLAN));
const engines = chosen('--engines', flags.engines, ALL);
if (!Number.isInteger(repeat) || repeat < 1) stop(`--repeat: ${flags.repeat} is not a whole number above 0`);

findPgbench();
if (!existsSync(path.join(PEERS, 'node_modules')) && engines.some((engine) => engine !== 'centaur')) {
  say('installing the peers into bench/peers (once)');
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: PEERS, stdio: ['ignore', 2, 2] });
  if (status !== 0) stop('installing the peers failed: see above');
}

await using cleanup = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    stopped = true;
    void cleanup.disposeAsync().finally(() => process.exit(130));
  });
let stopped = false;
const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-bench-'));
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const postgres = await startEmbeddedPostgres({
  dataDir: path.join(folder, 'postgres'),
  settings: { max_connections: '300' },
});
cleanup.defer(() => postgres.stop());
const admin = new pg.Client(postgres.url);
await admin.connect();
cleanup.defer(() => admin.end());

const machine = await describeMachine();
const measurements: Measurements = new Map();
let failures = 0;
const began = performance.now();
for (const workload of workloads) {
  for (let repetition = 1; repetition <= repeat; repetition++) {
    await floorOf(workload);
    for (const engine of (PLAN[workload] ?? []).filter((each) => engines.includes(each))) {
      try {
        note(workload, engine, repetition, await measure(engine, workload));
      } catch (error) {
        // whether a peer can keep up with a small run on a busy machine is its own affair
        if (engine === 'centaur' || !flags.quick) failures++;
        say(`${workload} ${engine} failed: ${(error as Error).message}`);
      }
    }
  }
}

// Measurements that failed because it was stopped are no report
if (stopped) await new Promise<never>(() => {});
const text = report({ machine, measurements, repeat, quick: flags.quick, minutes: (performance.now() - began) / 60_000 });
console.log(text);
if (flags.write) writeFileSync(REPORT, text);
if (failures > 0) {
  say(`${failures} measurements failed`);
  process.exitCode = 1;
}

/** What bare Postgres does in the same minute. */
async function floorOf(workload: string): Promise<void> {
  const floors: Record<string, (url: string) => Promise<Figures>> = {
    A: async (url) => ({
      'commits/s, 1 client': (await commits(url, 1, 2))['commits/s'] ?? 0,
      'commits/s, 8 clients': (await commits(url, 8, 2))['commits/s'] ?? 0,
    }),
    B: async (url) => ({ 'commits/s, 32 clients': (await commits(url, 32, 3))['commits/s'] ?? 0 }),
    C: (url) => roundTrip(url, flags.quick ? 300 : 1000),
  };
  const floor = floors[workload];
  if (floor === undefined) return;
  const database = await freshDatabase();
  note(workload, 'floor', 0, await floor(database.url));
  await database.drop();
}

async function measure(engine: string, workload: string): Promise<Figures> {
  const file = ENGINES[engine] ?? '';
  const { startServer } = engine === 'Restate' ? ((await import(file)) as AdapterModule) : {};
  const database = await freshDatabase();
  const server = await startServer?.(path.join(folder, `server-${database.name}`));
  const env = {
    ...process.env,
    ...server?.env,
    NODE_COMPILE_CACHE: path.join(folder, 'compiled'),
    DATABASE_URL: database.url,
    BENCH_WORKLOAD: workload,
    BENCH_POSTMASTER: String(postgres.pid),
  };
  try {
    const script = path.join(HERE, 'child.ts');
    if (workload === 'F') return await measureRecovery({ file: script, engine: file, env });
    return await answerOf(
      fork(script, [file, workload, flags.quick ? 'quick' : 'full'], {
        env,
        execArgv: ['--expose-gc'],
        stdio: ['ignore', 2, 2, 'ipc'],
      }),
    );
  } finally {
    await server?.stop();
    await database.drop();
  }
}

async function answerOf(child: ChildProcess): Promise<Figures> {
  const { promise, resolve, reject } = deferred<Figures>();
  const timer = setTimeout(() => reject(new Error(`no answer in ${LONGEST_MS / 1000} s`)), LONGEST_MS);
  const exited = new Promise<void>((done) =>
    child.once('exit', (code, signal) => {
      reject(new Error(`ended with ${code ?? signal}`));
      done();
    }),
  );
  child.once('message', (figures) => resolve(figures as Figures));
  try {
    const figures = await promise;
    await exited;
    return figures;
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
  }
}

/** A database without statistics, after a checkpoint: every measurement begins alike. */
async function freshDatabase(): Promise<{ readonly name: string; readonly url: string; drop(): Promise<void> }> {
  const name = `bench_${process.hrtime.bigint()}`;
  await admin.query(`create database ${name} template template0`);
  await admin.query('checkpoint');
  const url = new URL(postgres.url);
  url.pathname = `/${name}`;
  return { name, url: url.href, drop: async () => void (await admin.query(`drop database if exists ${name} with (force)`)) };
}

function note(workload: string, engine: string, repetition: number, figures: Figures): void {
  const key = `${workload} ${engine}`;
  measurements.set(key, [...(measurements.get(key) ?? []), figures]);
  const shown = Object.entries(figures).map(([name, value]) => `${name} ${value < 100 ? value.toFixed(2) : Math.round(value)}`);
  say(`${workload} ${engine}${repetition > 0 ? ` ${repetition}/${repeat}` : ''}: ${shown.join(', ')}`);
}

async function describeMachine(): Promise<Machine> {
  const { rows } = await admin.query<{ server_version: string }>('show server_version');
  return {
    cores: os.availableParallelism(),
    processor: os.cpus()[0]?.model ?? 'unknown',
    memoryGb: os.totalmem() / 1e9,
    system: `${os.type()} ${os.release()}`,
    node: process.versions.node,
    postgres: rows[0]?.server_version ?? 'unknown',
    load: os.loadavg()[0] ?? 0,
    diskSyncMs: diskSync(folder),
  };
}

function chosen(flag: string, given: string | undefined, all: readonly string[]): readonly string[] {
  if (given === undefined) return all;
  const names = given.split(',');
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) stop(`${flag}: ${unknown} is not one of ${all.join(', ')}`);
  return all.filter((name) => names.includes(name));
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function stop(text: string): never {
  say(text);
  process.exit(2);
}
