/**
 * `npm run bench:firewall [-- --quick] [--write]`: the firewall beside a direct connection, in one run.
 * Everything is on: TLS on both sides, lease, policy, durable audit, scan. Repetitions are interleaved; medians.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
const CONNECTIONS = 32;

const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
});
const sizes = flags.quick
  ? { repeat: 1, pacedSeconds: 2, closedSeconds: 2, stream: 64e6, idle: 200 }
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

/** A firewall with so many secrets to look for. */
async function startOurs(secrets: number): Promise<{ child: ChildProcess; route: Route; key: string }> {
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

const ours = await startOurs(50);
const many = await startOurs(500);
const direct: Route = service.told;

/** Requests at a steady pace over 32 connections: what each of them takes. */
async function paced(route: Route, key: string, perSecond: number, seconds: number): Promise<{ p50: number; p99: number }> {
  const callers = await Promise.all(Array.from({ length: CONNECTIONS }, async () => createCaller(await connectRoute(route))));
  const request = requestFor(route.port, '/small', key);
  for (const call of callers) await call(request);
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
  route: Route,
  key: string,
  seconds: number,
  child: ChildProcess | undefined,
): Promise<{ perSecond: number; perCore: number; p50: number }> {
  const callers = await Promise.all(Array.from({ length: CONNECTIONS }, async () => createCaller(await connectRoute(route))));
  const request = requestFor(route.port, '/small', key);
  for (const call of callers) for (let i = 0; i < 20; i++) await call(request);
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

async function streamed(route: Route, key: string, bytes: number): Promise<number> {
  const call = createCaller(await connectRoute(route));
  await call(requestFor(route.port, '/stream/8000000', key));
  const began = performance.now();
  await call(requestFor(route.port, `/stream/${bytes}`, key));
  return bytes / 1e6 / ((performance.now() - began) / 1000);
}

/** From the moment the service writes an event to the moment it is here. */
async function events(route: Route, key: string): Promise<number> {
  const call = createCaller(await connectRoute(route));
  const delays: number[] = [];
  await call(requestFor(route.port, '/events', key), (chunk) => {
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
  ['ours', ours.route, ours.key, ours.child],
];
// in a process that has done nothing else: its memory is its own
note('ours KB per tunnel', await idleTunnels(many.route, many.key, many.child, sizes.idle));
// the first requests of a process compile it
for (const [, route, key] of routes) await closed(route, key, 2, undefined);
for (let round = 0; round < sizes.repeat; round++) {
  for (const [name, route, key, child] of routes) {
    const { p50, p99 } = await paced(route, key, 800, sizes.pacedSeconds);
    note(`${name} paced p50 ms`, p50);
    note(`${name} paced p99 ms`, p99);
    const full = await closed(route, key, sizes.closedSeconds, child);
    note(`${name} req/s`, full.perSecond);
    note(`${name} full p50 ms`, full.p50);
    if (child !== undefined) note(`${name} req/s per core`, full.perCore);
    note(`${name} MB/s`, await streamed(route, key, sizes.stream));
    note(`${name} event ms`, await events(route, key));
  }
  note('ours, 500 secrets MB/s', await streamed(many.route, many.key, sizes.stream));
}
const figures: Firewalls = new Map([...samples].map(([name, values]) => [name, median(values)]));
const text = report(figures, { repeat: sizes.repeat, idle: sizes.idle });
process.stdout.write(text);
if (flags.write) writeFileSync(REPORT, text);
// what was started is stopped, the database server too: only then may the process end
await cleanup.disposeAsync();
process.exit(0);
