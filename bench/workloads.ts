/**
 * The workloads, each measured once in a process of its own on a fresh database. F, recovery, is in `recovery.ts`, since
 * it kills the process that it measures.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Adapter, Handler } from './adapter.ts';
import { each, gate, quantile, type Figures } from './measure.ts';

export interface Sizes {
  readonly runs: number;
  readonly parallelRuns: number;
  readonly stepsPerRun: number;
  readonly steps: number;
  readonly samples: number;
  readonly sleepers: number;
  /** How long before they are due the first sleeper starts, s. */
  readonly sleepSeconds: number;
  readonly longRun: number;
  readonly idleSeconds: number;
}

export const FULL: Sizes = {
  runs: 5000,
  parallelRuns: 200,
  stepsPerRun: 50,
  steps: 500,
  samples: 25,
  sleepers: 10_000,
  sleepSeconds: 20,
  longRun: 10_000,
  idleSeconds: 10,
};

/** Shows that everything runs and is told, also on a busy machine; its figures are no figures. */
export const QUICK: Sizes = {
  runs: 200,
  parallelRuns: 20,
  stepsPerRun: 10,
  steps: 50,
  samples: 3,
  sleepers: 50,
  sleepSeconds: 10,
  longRun: 500,
  idleSeconds: 1,
};

/** Starts in flight at once. */
const CONCURRENT_STARTS = 200;
/** Jobs per bulk call. */
const BULK = 500;

type Workload = (adapter: Adapter, sizes: Sizes) => Promise<Figures>;

export const WORKLOADS: Readonly<Record<string, Workload>> = {
  A: (adapter, sizes) =>
    throughput(adapter, sizes, (n, offset) => each(n, CONCURRENT_STARTS, (i) => adapter.start('noop', { i: i + offset }))),
  'A-bulk': (adapter, sizes) =>
    throughput(adapter, sizes, async (n, offset) => {
      for (let from = 0; from < n; from += BULK)
        await adapter.startMany?.(
          'noop',
          Array.from({ length: Math.min(BULK, n - from) }, (_, i) => ({ i: offset + from + i })),
        );
    }),
  B: parallelSteps,
  C: stepLatency,
  D: startLatency,
  E: wakeLatency,
  G: sleepers,
  long: longRun,
  idle,
};

/** A: runs that do nothing, from the first start to the last durable end. */
async function throughput(adapter: Adapter, { runs }: Sizes, start: (n: number, offset: number) => Promise<unknown>): Promise<Figures> {
  return { 'runs/s': runs * (await rounds(adapter, 'noop', async () => 1, { runs, start })) };
}

/** B: many runs at once, each with steps one after the other. */
async function parallelSteps(adapter: Adapter, { parallelRuns: runs, stepsPerRun }: Sizes): Promise<Figures> {
  const handler: Handler = async (_: unknown, calls) => {
    for (let k = 0; k < stepsPerRun; k++) await calls.step(`step ${k}`, async () => ({ i: k }));
    return 1;
  };
  const start = (n: number) => each(n, CONCURRENT_STARTS, (i) => adapter.start('steps', { i }));
  return { 'steps/s': runs * stepsPerRun * (await rounds(adapter, 'steps', handler, { runs, start })) };
}

/**
 * Rounds per second, a round being so many runs from the first start to the last durable end. A second of rounds goes
 * before the clock starts, as in a server that has been up for a while; then as many as fit into another, at least one.
 */
async function rounds(
  adapter: Adapter,
  name: string,
  handler: Handler,
  { runs, start }: { readonly runs: number; readonly start: (n: number, offset: number) => Promise<unknown> },
): Promise<number> {
  let ended = gate(0);
  let started = 0;
  adapter.define(name, async (input, calls) => {
    const result = await handler(input, calls);
    ended.pass();
    return result;
  });
  await adapter.launch();
  const round = async (n: number) => {
    ended = gate(n);
    const offset = started;
    started += n;
    await start(n, offset);
    await settled(adapter, ended, started);
  };
  await forASecond(() => round(Math.ceil(runs / 5)));
  const began = performance.now();
  const done = await forASecond(() => round(runs));
  return (done / (performance.now() - began)) * 1000;
}

/** Answers how often. */
async function forASecond(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  let times = 0;
  do {
    await work();
    times++;
  } while (performance.now() - began < 1000);
  return times;
}

/** C: one run alone; how long each of its steps takes. */
async function stepLatency(adapter: Adapter, { steps }: Sizes): Promise<Figures> {
  const times = await oneRun(adapter, steps + 50);
  const taken = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  const measured = taken.slice(50);
  return { 'p50 ms': quantile(measured, 0.5), 'p99 ms': quantile(measured, 0.99) };
}

/** One run with very many steps: what the last tenth of them costs beside the first. */
async function longRun(adapter: Adapter, { longRun: steps }: Sizes): Promise<Figures> {
  const warm = 200;
  const times = (await oneRun(adapter, steps + warm)).slice(warm);
  const tenth = Math.floor(steps / 10);
  const cost = (from: number, to: number) => ((times[to] ?? 0) - (times[from] ?? 0)) / (to - from);
  const last = times.length - 1;
  const first = cost(0, tenth);
  return {
    'first tenth, ms/step': first,
    'last tenth, ms/step': cost(last - tenth, last),
    'last / first': cost(last - tenth, last) / first,
  };
}

/** When each step of one run began. */
async function oneRun(adapter: Adapter, steps: number): Promise<number[]> {
  const ended = gate(1);
  const times: number[] = [];
  adapter.define('alone', async (_: unknown, calls) => {
    for (let k = 0; k < steps; k++) {
      times.push(performance.now());
      await calls.step(`step ${k}`, async () => ({ i: k }));
    }
    times.push(performance.now());
    ended.pass();
    return 1;
  });
  await adapter.launch();
  await adapter.start('alone', {});
  await settled(adapter, ended, 1);
  return times;
}

/** D: nothing is going on; from the call that starts a run to its first line of code. */
async function startLatency(adapter: Adapter, { samples }: Sizes): Promise<Figures> {
  let reached = () => undefined as unknown;
  adapter.define('first', async (_: unknown, calls) => {
    await calls.step('first', async () => {
      reached();
      return 1;
    });
    return 1;
  });
  await adapter.launch();
  const taken: number[] = [];
  for (let i = -2; i < samples; i++) {
    await pause(100 + Math.random() * 400);
    const began = performance.now();
    const first = new Promise((resolve) => (reached = () => resolve(undefined)));
    await Promise.all([adapter.start('first', { i }), first.then(() => i >= 0 && taken.push(performance.now() - began))]);
  }
  return { 'p50 ms': quantile(taken, 0.5), 'max ms': Math.max(...taken) };
}

/** E: from the call that emits an event to the line after the wait for it. */
async function wakeLatency(adapter: Adapter, { samples }: Sizes): Promise<Figures> {
  let waiting = () => undefined as unknown;
  let woken = () => undefined as unknown;
  adapter.define('waiter', async ({ key }: { key: string }, calls) => {
    waiting();
    await calls.waitFor(key);
    woken();
    return 1;
  });
  await adapter.launch();
  const taken: number[] = [];
  for (let i = -2; i < samples; i++) {
    const key = `key ${i}`;
    const parked = new Promise((resolve) => (waiting = () => resolve(undefined)));
    const [run] = await Promise.all([adapter.start('waiter', { key }), parked]);
    // longer for some than a run stays in memory, so that parked and evicted runs are both woken
    await pause(150 + (i % 2 === 0 ? 0 : 1200) + Math.random() * 200);
    const began = performance.now();
    const awake = new Promise((resolve) => (woken = () => resolve(undefined)));
    await Promise.all([adapter.emit?.(run, key), awake.then(() => i >= 0 && taken.push(performance.now() - began))]);
  }
  return { 'p50 ms': quantile(taken, 0.5), 'max ms': Math.max(...taken) };
}

/** G: very many runs asleep until the same moment; from that moment to the last one's durable end. */
async function sleepers(adapter: Adapter, { sleepers: n, sleepSeconds }: Sizes): Promise<Figures> {
  const woken = gate(n);
  let early = 0;
  adapter.define('sleeper', async ({ until }: { until: number }, calls) => {
    await calls.sleepUntil(until);
    if (Date.now() < until) early++;
    woken.pass();
    return 1;
  });
  await adapter.launch();
  const until = Date.now() + sleepSeconds * 1000;
  await each(n, CONCURRENT_STARTS, () => adapter.start('sleeper', { until }));
  const late = Date.now() >= until;
  await pause(Math.max(0, until - 1500 - Date.now()));
  globalThis.gc?.();
  await pause(200);
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  await pause(Math.max(0, until - Date.now()));
  const due = performance.now() - (Date.now() - until);
  await woken.passed;
  const awake = performance.now() - due;
  await settled(adapter, woken, n);
  // Started too slowly to be asleep together: not the same workload
  if (late) throw new Error(`${n} starts took longer than ${sleepSeconds} s`);
  return {
    'done ms': performance.now() - due,
    'awake ms': awake,
    'heap MB': heapUsed / 1e6,
    'memory MB': rss / 1e6,
    'woken early': early,
  };
}

/** What an installation with nothing to do costs: this process and Postgres, in percent of one core. Linux only. */
async function idle(adapter: Adapter, { idleSeconds }: Sizes): Promise<Figures> {
  adapter.define('noop', async () => 1);
  await adapter.launch();
  await pause(2000);
  const postmaster = Number(process.env['BENCH_POSTMASTER']);
  const [own, server] = [process.cpuUsage(), postgresCpu(postmaster)];
  await pause(idleSeconds * 1000);
  const used = process.cpuUsage(own);
  const serverUsed = postgresCpu(postmaster) - server;
  const percent = (seconds: number) => (seconds / idleSeconds) * 100;
  return { 'worker %': percent((used.user + used.system) / 1e6), 'Postgres %': percent(serverUsed) };
}

/** CPU seconds of a Postgres and all its processes so far, from /proc. */
function postgresCpu(postmaster: number): number {
  const TICKS_PER_SECOND = 100;
  let ticks = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let stat: string;
    try {
      stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    } catch {
      continue; // it has ended meanwhile
    }
    // the fields after the name in brackets: state, parent, …, user time, system time
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (Number(pid) === postmaster || Number(fields[1]) === postmaster) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

async function settled(adapter: Adapter, ended: { readonly passed: Promise<void> }, done: number): Promise<void> {
  await ended.passed;
  while ((await adapter.done()) < done) await pause(2);
}
