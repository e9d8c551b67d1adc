/**
 * `npm run test:faults`: worker processes are killed, paused and cut off at random instants while an outside witness
 * records every step they execute. At the end the database and the witness must agree:
 *
 *  1. every acknowledged start and event is there, and every run completed;
 *  2. no step began again after the execution that counted. What counts is when its function began: a process that is
 *     paused between that and its call of the witness makes the call when it wakes up, and nobody can take that back;
 *  3. the work inside transaction steps happened exactly once;
 *  4. nothing is left owned by a dead worker, parked without reason, or waiting.
 *
 *   npm run test:faults -- --kills 200 --seed 7
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { createEngine, type Engine } from '../../kernel/engine/index.ts';
import { startEmbeddedPostgres } from '../../kernel/store/embedded/index.ts';
import { connectStore, migrate } from '../../kernel/store/index.ts';
import { createRegistry } from '../support/registry.ts';
import { seeded } from './random.ts';
import { defineWorkload, type Testimony } from './workload.ts';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '200' }, seed: { type: 'string' } } });
const KILLS = Number(values.kills);
const SEED = Number(values.seed ?? Math.floor(Math.random() * 1e6));
const PAUSES = 10;
const LEASE_MS = 1500;
const random = seeded(SEED);
const between = (low: number, high: number) => low + random() * (high - low);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

console.log(`seed ${SEED}; repeat with: npm run test:faults -- --kills ${KILLS} --seed ${SEED}`);
const folder = mkdtempSync(join(tmpdir(), 'centaur-faults-'));
const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true });
await migrate(server.url);
const witness: Testimony[] = [];
const listener = createServer((request, response) => {
  witness.push(JSON.parse(decodeURIComponent((request.url ?? '').slice(1))) as Testimony);
  response.end();
});
await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
const witnessPort = String((listener.address() as AddressInfo).port);

const admin = new pg.Pool({ connectionString: server.url, max: 2 });
admin.on('error', () => {});
await admin.query('create table fault_payments (run_id uuid)');
const registry = createRegistry();
defineWorkload(registry, witnessPort);
const store = await connectStore({ url: server.url });
const client: Engine = await createEngine({ store, registry, log: () => {} });

const started: string[] = [];
const counts = { kills: 0, pauses: 0, cuts: 0, restarts: 0, starts: 0 };
const workers = new Set<ChildProcess>();

function spawnWorker(): Promise<ChildProcess> {
  const child = fork(new URL('./worker.ts', import.meta.url), {
    env: {
      ...process.env,
      NODE_NO_WARNINGS: '1',
      DATABASE_URL: server.url,
      FAULT_WITNESS: witnessPort,
      FAULT_LEASE_MS: String(LEASE_MS),
      FAULT_CLOCK: random() < 0.5 ? 'jumps' : '',
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  workers.add(child);
  child.on('exit', () => workers.delete(child));
  return new Promise((resolve) => {
    child.once('message', () => resolve(child));
    child.once('exit', () => resolve(child));
  });
}

/** Acknowledged only when the call came back: those must never be lost. */
async function startSome(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    try {
      const run = await client.start({ workflow_name: 'work' });
      started.push(run.run_id);
      counts.starts += 1;
      await client.emitEvent({ event_type: 'go', correlation_id: run.run_id, payload: counts.starts });
    } catch (error) {
      // Postgres was away: not acknowledged, or the event was not. An event is owed to every acknowledged run
      const missing = started.at(-1);
      if (missing !== undefined) owed.add(missing);
      if ((error as { code?: string }).code !== 'STORE_UNAVAILABLE') throw error;
    }
  }
}
const owed = new Set<string>();

async function emitOwed(): Promise<void> {
  for (const run of owed) {
    await client.emitEvent({ event_type: 'go', correlation_id: run, payload: 0 });
    owed.delete(run);
  }
}

async function waitForAll(what: string, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const { rows } = await admin.query('select count(*)::int as n from workflow_runs');
    if (rows[0].n === 0) return;
    if (Date.now() > deadline) {
      const { rows: left } = await admin.query(
        'select r.run_id, r.workflow_name, r.status::text, r.owner, r.wake_at, w.dead, r.error::text from workflow_runs r left join workers w on w.worker_id = r.owner limit 10',
      );
      console.error(left);
      if (left[0] !== undefined)
        console.table(
          (
            await admin.query(
              'select seq, ord, attempt, attempts, kind::text, status::text, name, wake_at from workflow_steps where run_id = $1 order by seq',
              [left[0].run_id],
            )
          ).rows,
        );
      throw new Error(`${what}: ${rows[0].n} runs did not end`);
    }
    await pause(50);
  }
}

async function killing(): Promise<void> {
  const slots = [spawnWorker(), spawnWorker()];
  const feeder = (async () => {
    while (counts.kills < KILLS) {
      await startSome(2);
      await pause(between(20, 80));
    }
  })();
  await Promise.all(
    slots.map(async (first) => {
      let child = await first;
      while (counts.kills < KILLS) {
        await pause(between(0, 250));
        child.kill('SIGKILL');
        counts.kills += 1;
        child = await spawnWorker();
      }
    }),
  );
  await feeder;
  await waitForAll('after the kills', 240_000);
}

/** Paused past its lease, a worker wakes up in a world that has gone on without it. */
async function pausing(): Promise<void> {
  for (let round = 0; round < PAUSES; round++) {
    await startSome(10);
    await pause(between(5, 60));
    const [victim] = workers;
    victim?.kill('SIGSTOP');
    counts.pauses += 1;
    await pause(LEASE_MS + between(500, 1200));
    victim?.kill('SIGCONT');
    await waitForAll('after a pause', 240_000);
  }
}

async function cutting(): Promise<void> {
  for (let round = 0; round < 30; round++) {
    await startSome(3);
    await pause(between(0, 60));
    await admin.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'centaur %' and random() < 0.4`,
    );
    counts.cuts += 1;
    // notifications that say nothing new, and ones that say it twice
    await admin.query(`select pg_notify('centaur_work', ''), pg_notify('centaur_work', 'again')`);
  }
  await emitOwed();
  await waitForAll('after the cuts', 240_000);
}

async function restarting(): Promise<void> {
  for (const mode of ['fast', 'immediate', 'immediate'] as const) {
    await startSome(10);
    await pause(between(0, 60));
    await server.restart(mode);
    counts.restarts += 1;
  }
  await emitOwed();
  await waitForAll('after the restarts of Postgres', 240_000);
}

async function verify(): Promise<string[]> {
  const problems: string[] = [];
  const { rows: runs } = await admin.query<{ run_id: string; status: string; error: string | null }>(
    `select run_id, status::text, error::text from workflow_runs_finished where workflow_name = 'work'`,
  );
  const ended = new Map(runs.map((run) => [run.run_id, run]));
  for (const id of started) {
    const run = ended.get(id);
    if (run === undefined) problems.push(`acknowledged run ${id} is lost`);
    else if (run.status !== 'c') problems.push(`run ${id} ended as ${run.status}: ${run.error}`);
  }
  const { rows: steps } = await admin.query<{ run_id: string; name: string; outcome: string }>(
    `select run_id, name, outcome::text from workflow_steps where kind = 's'`,
  );
  const counted = new Map(steps.map((step) => [`${step.run_id} ${step.name}`, JSON.parse(step.outcome) as string]));
  const executions = Map.groupBy(witness, ({ run, step }) => `${run} ${step}`);
  for (const [key, id] of counted) {
    const began = (executions.get(key) ?? []).toSorted((a, b) => a.began - b.began);
    const last = began.at(-1);
    if (last === undefined) problems.push(`${key} has a checkpoint, but nobody executed it`);
    else if (last.id !== id) {
      const after = last.began - (began.find((execution) => execution.id === id)?.began ?? Number.NaN);
      problems.push(`${key} began again ${after} us after the execution that counted`);
    }
  }
  const { rows: payments } = await admin.query<{ n: number; runs: number }>(
    'select count(*)::int as n, count(distinct run_id)::int as runs from fault_payments',
  );
  const paid = payments[0] as { n: number; runs: number };
  if (paid.n !== paid.runs || paid.runs !== runs.length) problems.push(`${runs.length} runs made ${paid.n} payments for ${paid.runs} runs`);
  const { rows: waits } = await admin.query<{ n: number }>('select count(*)::int as n from workflow_waits');
  if ((waits[0]?.n ?? 0) > 0) problems.push(`${waits[0]?.n} waits are left over`);
  return problems;
}

const begun = Date.now();
let failed = false;
try {
  for (const [name, phase] of Object.entries({ killing, pausing, cutting, restarting })) {
    const t = Date.now();
    await phase();
    console.log(`${name.padEnd(10)} ${((Date.now() - t) / 1000).toFixed(1)} s   ${JSON.stringify(counts)}`);
  }
  const problems = await verify();
  const again = witness.length - new Set(witness.map(({ run, step }) => `${run} ${step}`)).size;
  console.log(
    `${started.length} runs, ${witness.length} executions of steps; ${again} were of steps that a fault had interrupted before their commit`,
  );
  for (const problem of problems.slice(0, 20)) console.error(`VIOLATION: ${problem}`);
  failed = problems.length > 0;
  console.log(failed ? `${problems.length} violations` : `no invariant was broken, in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  for (const child of workers) child.kill('SIGKILL');
  listener.close();
  await client.drain(100).catch(() => {});
  await store.close();
  await admin.end();
  await server.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}
process.exit(failed ? 1 : 0);
