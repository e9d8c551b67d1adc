/**
 * `npm run bench:firewall [-- --quick] [--write]`: the firewall beside a direct connection and a peer, in one run.
 * Everything is on: TLS on both sides, lease, policy, durable audit, scan. Repetitions are interleaved; medians.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { storeEgressConfig } from '@centaur/kernel/firewall/config';
import { connectStore, migrate } from '@centaur/kernel/store';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { addGrant, createLease, openInstallation, putSecret, readMasterKey } from '@centaur/kernel/vault';
import { median, quantile } from '../measure.ts';
import { connectRoute, createCaller, requestFor, type Route } from './client.ts';
import { type Firewalls, report } from './report.ts';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const REPORT = path.join(HERE, '..', '..', 'docs', 'benchmarks-firewall.md');
/** A package of its own, so that a newcomer's install does not carry it. */
const PEERS = path.join(HERE, '..', 'peers', 'firewall');
const CONNECTIONS = 32;

const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
});
const sizes = flags.quick
  ? { repeat: 1, pacedSeconds: 1, closedSeconds: 1, stream: 16e6, idle: 50 }
  : { repeat: 3, pacedSeconds: 5, closedSeconds: 5, stream: 512e6, idle: 1000 };

await using cleanup = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanup.disposeAsync().finally(() => process.exit(130)));
const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-bench-'));
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'postgres') });
cleanup.defer(() => postgres.stop());

interface Told {
  readonly port: number;
  readonly caPem: string;
}

/** A process that tells where it listens. */
async function launch(file: string, environment: Readonly<Record<string, string>> = {}): Promise<{ child: ChildProcess; told: Told }> {
  const child = fork(file, {
    env: { ...process.env, ...environment },
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  cleanup.defer(() => void child.kill('SIGKILL'));
  const told = await new Promise<Told>((resolve, reject) =>
    child.once('message', resolve as (value: unknown) => void).once('exit', () => reject(new Error(`${path.basename(file)} ended`))),
  );
  return { child, told };
}

function ask<T>(child: ChildProcess, what: string): Promise<T> {
  return new Promise((resolve) => {
    child.once('message', resolve as (value: unknown) => void);
    child.send(what);
  });
}

const service = await launch(path.join(HERE, 'service.ts'));

/** A proxy under measurement, and what its clients hold instead of a key. */
interface Proxy {
  readonly child: ChildProcess;
  readonly route: Route;
  readonly key: string;
}

/** A firewall with so many secrets to look for. */
async function startOurs(secrets: number): Promise<Proxy> {
  const masterText = randomBytes(32).toString('base64');
  const database = `secrets_${secrets}_${randomBytes(3).toString('hex')}`;
  const admin = await connectStore({ url: postgres.url });
  await admin.query(`create database ${database}`);
  await admin.close();
  const url = new URL(postgres.url);
  url.pathname = `/${database}`;
  await migrate(url.href);
  const store = await connectStore({ url: url.href });
  const master = readMasterKey(masterText);
  const installation = await openInstallation({ store, master });
  const { audit } = installation;
  await storeEgressConfig(installation, 'bench', {
    allow_cidrs: ['127.0.0.1'],
    ca_pems: [service.told.caPem],
    limits: { tunnelsPerLease: 5000 },
  });
  for (let i = 0; i < secrets; i++)
    await putSecret({ store, audit, master }, 'bench', `KEY_${i}`, {
      value: `sk-proj-${randomBytes(24).toString('base64url')}`,
      hosts: [`localhost:${service.told.port}`],
    });
  await addGrant({ store, audit }, 'bench', 'user:bench', 'KEY_0');
  const { child, told } = await launch(path.join(HERE, 'proxy.ts'), { DATABASE_URL: url.href, CENTAUR_MASTER_KEY: masterText });
  const lease = await createLease({ store, audit }, 'bench', { principal: 'user:bench', secrets: ['KEY_0'], ttlSeconds: 3600 });
  await installation.close();
  await store.close();
  return {
    child,
    route: { ...service.told, proxy: { port: told.port, token: lease.token, caPem: told.caPem } },
    key: lease.placeholders['KEY_0'] ?? '',
  };
}

/** Undefined, after saying why, when it cannot be installed or does not start: the figures of the others are worth having. */
async function startMockttp(): Promise<Proxy | undefined> {
  try {
    if (!existsSync(path.join(PEERS, 'node_modules'))) {
      process.stderr.write('installing mockttp into bench/peers/firewall (once)\n');
      const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: PEERS, stdio: ['ignore', 2, 2] });
      if (status !== 0) throw new Error('installing it failed');
    }
    const { child, told } = await launch(path.join(PEERS, 'mockttp.ts'), { SERVICE_CA: service.told.caPem, KEY: 'sk-of-the-service' });
    // It takes a client with the address and port of one of its own connections for itself, in a loop. Linux gives a port
    // to two connections that lead to different places: on another address of this machine, its clients cannot be it.
    const proxy = { child, key: 'placeholder', route: { ...service.told, proxy: { ...told, from: '127.0.0.2' } } };
    await withCaller(proxy.route, (call) => call(requestFor(proxy.route.port, '/small', proxy.key)));
    return proxy;
  } catch (error) {
    process.stderr.write(`measured without mockttp: ${(error as Error).message}\n`);
    return undefined;
  }
}

const ours = await startOurs(50);
const many = await startOurs(500);
const mockttp = await startMockttp();
const bare = await launch(path.join(HERE, 'floor.ts'), { SERVICE_CA: service.told.caPem });
const floor: Proxy = { child: bare.child, key: 'none', route: { ...service.told, proxy: bare.told } };
const direct: Route = service.told;

type Caller = ReturnType<typeof createCaller>;

/** Closes them afterwards: those that stay open slow down the proxies that look through all of theirs. */
async function withCallers<T>(route: Route, count: number, work: (callers: readonly Caller[]) => Promise<T>): Promise<T> {
  const sockets = await Promise.all(Array.from({ length: count }, () => connectRoute(route)));
  try {
    return await work(sockets.map(createCaller));
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

async function withCaller<T>(route: Route, work: (call: Caller) => Promise<T>): Promise<T> {
  const socket = await connectRoute(route);
  try {
    return await work(createCaller(socket));
  } finally {
    socket.destroy();
  }
}

/** Requests at a steady pace over 32 connections: what each of them takes. */
async function paced(
  callers: readonly Caller[],
  request: Buffer,
  perSecond: number,
  seconds: number,
): Promise<{ p50: number; p99: number }> {
  await Promise.all(callers.map((call) => call(request)));
  const times: number[] = [];
  const gap = (CONNECTIONS / perSecond) * 1000;
  const until = performance.now() + seconds * 1000;
  await Promise.all(
    callers.map(async (call, i) => {
      let next = performance.now() + (gap * i) / CONNECTIONS;
      while (next < until) {
        const wait = next - performance.now();
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
        const began = performance.now();
        await call(request);
        times.push(performance.now() - began);
        next += gap;
      }
    }),
  );
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

/** As many as 32 connections can take, one at a time on each. */
async function closed(
  callers: readonly Caller[],
  request: Buffer,
  seconds: number,
  child: ChildProcess | undefined,
): Promise<{ perSecond: number; perCore: number; p50: number }> {
  // all at once: a firewall waits ten seconds for the first request of a connection, which one after the other may take longer
  await Promise.all(
    callers.map(async (call) => {
      for (let i = 0; i < 20; i++) await call(request);
    }),
  );
  if (child !== undefined) await ask(child, 'cpu');
  const times: number[] = [];
  const began = performance.now();
  await Promise.all(
    callers.map(async (call) => {
      while (performance.now() - began < seconds * 1000) {
        const at = performance.now();
        await call(request);
        times.push(performance.now() - at);
      }
    }),
  );
  const took = (performance.now() - began) / 1000;
  const cpu = child === undefined ? Number.NaN : (await ask<{ cpuMicros: number }>(child, 'cpu')).cpuMicros;
  return { perSecond: times.length / took, perCore: (times.length / cpu) * 1e6, p50: quantile(times, 0.5) };
}

async function streamed(route: Route, key: string, bytes: number, call: Caller): Promise<number> {
  await call(requestFor(route.port, '/stream/8000000', key));
  const began = performance.now();
  await call(requestFor(route.port, `/stream/${bytes}`, key));
  return bytes / 1e6 / ((performance.now() - began) / 1000);
}

/** From the moment the service writes an event to the moment it is here. */
async function events(request: Buffer, call: Caller): Promise<number> {
  const delays: number[] = [];
  await call(request, (chunk) => {
    const now = performance.timeOrigin + performance.now();
    for (const [, at] of chunk.toString().matchAll(/"at":([\d.]+)/g)) delays.push(now - Number(at));
  });
  return quantile(delays.slice(50), 0.5);
}

async function idleTunnels(route: Route, key: string, child: ChildProcess, count: number): Promise<number> {
  const warm = createCaller(await connectRoute(route));
  for (let i = 0; i < 200; i++) await warm(requestFor(route.port, '/small', key));
  const { rss: before } = await ask<{ rss: number }>(child, 'memory');
  const sockets = [];
  const request = requestFor(route.port, '/small', key);
  for (let i = 0; i < count; i++) {
    const socket = await connectRoute(route);
    await createCaller(socket)(request);
    sockets.push(socket);
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const { rss } = await ask<{ rss: number }>(child, 'memory');
  for (const socket of sockets) socket.destroy();
  return (rss - before) / count / 1000;
}

const samples = new Map<string, number[]>();
const note = (name: string, value: number) => {
  samples.set(name, [...(samples.get(name) ?? []), value]);
  process.stderr.write(`${name}: ${value.toFixed(2)}\n`);
};
const routes: [string, Route, string, ChildProcess | undefined][] = [
  ['direct', direct, 'none', undefined],
  ['floor', floor.route, floor.key, floor.child],
  ['ours', ours.route, ours.key, ours.child],
];
if (mockttp !== undefined) routes.push(['mockttp', mockttp.route, mockttp.key, mockttp.child]);
// in a process that has done nothing else: its memory is its own
note('ours KB per tunnel', await idleTunnels(many.route, many.key, many.child, sizes.idle));
if (mockttp !== undefined) note('mockttp KB per tunnel', await idleTunnels(mockttp.route, mockttp.key, mockttp.child, sizes.idle));
// the first requests of a process compile it
for (const [, route, key] of routes)
  await withCallers(route, CONNECTIONS, (callers) => closed(callers, requestFor(route.port, '/small', key), 2, undefined));
const dropped = new Set<string>();
for (let round = 0; round < sizes.repeat; round++) {
  for (const each of routes.filter(([name]) => !dropped.has(name))) {
    try {
      await measure(...each);
    } catch (error) {
      if (each[0] !== 'mockttp') throw error;
      process.stderr.write(`went on without mockttp: ${(error as Error).message}\n`);
      dropped.add(each[0]);
    }
  }
  const commit = await commits();
  note('commit p50 ms', commit.p50);
  note('commit p99 ms', commit.p99);
  note('ours, 500 secrets MB/s', await stream(many.route, many.key));
}

async function measure(name: string, route: Route, key: string, child: ChildProcess | undefined): Promise<void> {
  const small = requestFor(route.port, '/small', key);
  const { p50, p99 } = await withCallers(route, CONNECTIONS, (callers) => paced(callers, small, 800, sizes.pacedSeconds));
  note(`${name} paced p50 ms`, p50);
  note(`${name} paced p99 ms`, p99);
  const full = await withCallers(route, CONNECTIONS, (callers) => closed(callers, small, sizes.closedSeconds, child));
  note(`${name} req/s`, full.perSecond);
  note(`${name} full p50 ms`, full.p50);
  if (child !== undefined) note(`${name} req/s per core`, full.perCore);
  note(`${name} MB/s`, await stream(route, key));
  const request = requestFor(route.port, '/events', key);
  note(`${name} event ms`, await withCaller(route, (call) => events(request, call)));
}

/** One row at a time, committed: what the log costs at the least before a request may be sent. */
async function commits(): Promise<{ p50: number; p99: number }> {
  const store = await connectStore({ url: postgres.url });
  await store.query('create table if not exists commits (entry text not null)');
  const times: number[] = [];
  for (let i = 0; i < 1000; i++) {
    const began = performance.now();
    await store.query('insert into commits values ($1)', ['x'.repeat(900)]);
    times.push(performance.now() - began);
  }
  await store.close();
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

function stream(route: Route, key: string): Promise<number> {
  return withCaller(route, (call) => streamed(route, key, sizes.stream, call));
}

const figures: Firewalls = new Map([...samples].map(([name, values]) => [name, median(values)]));
const text = report(figures, { repeat: sizes.repeat, idle: sizes.idle });
process.stdout.write(text);
if (flags.write) writeFileSync(REPORT, text);
// what was started is stopped, the database server too: only then may the process end
await cleanup.disposeAsync();
process.exit(0);
