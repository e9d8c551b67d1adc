/**
 * `npm run test:faults:approvals`: runs ask people, by `ctx.approval` and by a tool at a gate, while workers and deciders are killed
 * with SIGKILL: at every named point of `points.ts`, and anywhere in between. At the end:
 *
 *  1. every acknowledged run has ended, as its approval says;
 *  2. each question was asked once;
 *  3. each was decided once: one audit entry of it, one event for the run;
 *  4. what was approved was done exactly once (by a tool that died in the middle: at most once, and the run says that nobody knows);
 *     what was denied, expired or cancelled was not done;
 *  5. nothing waits any more, and nothing is left open.
 *
 *   npm run test:faults:approvals -- --kills 300 --seed 7
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { createEngine } from '../../kernel/engine/index.ts';
import { startEmbeddedPostgres } from '../../kernel/store/embedded/index.ts';
import { connectStore, migrate } from '../../kernel/store/index.ts';
import { localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { createApprovals } from '../../runtime/outside/index.ts';
import { createRegistry } from '../support/registry.ts';
import type { Mode } from './approvals-worker.ts';
import { DECIDER_POINTS, DIED_AT, WORKER_POINTS } from './points.ts';
import { seeded } from './random.ts';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '300' }, seed: { type: 'string' } } });
const KILLS = Number(values.kills);
const SEED = Number(values.seed ?? Math.floor(Math.random() * 1e6));
const LEASE_MS = 1500;
/** Who has not died at its point by then dies where it is. */
const LIFE_MS = { worker: 3000, decider: 1000 };
/** Runs that are not over: with more, a worker that is born does little else than claim them. */
const OPEN_MOST = 40;
const MODES: readonly Mode[] = ['approve', 'approve', 'deny', 'either', 'late', 'never'];
const random = seeded(SEED);
const between = (low: number, high: number) => low + random() * (high - low);
const oneOf = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

console.log(`seed ${SEED}; repeat with: npm run test:faults:approvals -- --kills ${KILLS} --seed ${SEED}`);
const folder = mkdtempSync(join(tmpdir(), 'centaur-faults-'));
const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true });
await migrate(server.url);
const admin = new pg.Pool({ connectionString: server.url, max: 2 });
admin.on('error', () => {});
await admin.query('create table fault_refunds (run_id uuid, amount int)');
const masterKey = randomBytes(32);
const store = await connectStore({ url: server.url });
const installation = await openInstallation({ store, master: localMasterKey(masterKey), log: () => {}, seal: { delayMs: 200 } });
const registry = createRegistry();
for (const name of ['refund', 'remove']) registry.define(name, () => null);
const client = await createEngine({ store, registry, approvals: createApprovals(installation) });

type Role = 'worker' | 'decider';
const POINTS = { worker: WORKER_POINTS, decider: DECIDER_POINTS };
const children = new Set<ChildProcess>();
const deaths = new Map<string, number>([...WORKER_POINTS, ...DECIDER_POINTS, 'anywhere'].map((name) => [name, 0]));
const started = new Map<string, { readonly workflow: string; readonly mode: Mode }>();
let kills = 0;
let cancelled = 0;
const cancels: Promise<void>[] = [];

async function spawn(role: Role, at: string | undefined): Promise<ChildProcess> {
  const child = fork(new URL('./approvals-worker.ts', import.meta.url), [role], {
    env: {
      ...process.env,
      NODE_NO_WARNINGS: '1',
      // most of a life would be reading the same files again
      NODE_COMPILE_CACHE: join(folder, 'compiled'),
      DATABASE_URL: server.url,
      FAULT_MASTER: masterKey.toString('hex'),
      FAULT_LEASE_MS: String(LEASE_MS),
      FAULT_POINT: at ?? '',
      FAULT_NTH: random() < 0.7 ? '1' : '3',
    },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  children.add(child);
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.split('\n'))
      if (line.startsWith(DIED_AT)) deaths.set(line.slice(DIED_AT.length), (deaths.get(line.slice(DIED_AT.length)) ?? 0) + 1);
  });
  await new Promise<void>((resolve) => {
    child.once('message', () => resolve());
    child.once('exit', () => resolve());
  });
  return child;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await new Promise<void>((resolve) => child.once('exit', () => resolve()));
  children.delete(child);
}

/** On a slow machine few of those who are born get as far as their point. */
function enough(): boolean {
  return kills >= KILLS && (kills >= 2 * KILLS || KILLS < 100 || [...deaths.values()].every((n) => n > 0));
}

/** One life after the other, each to its death: at its point, or where it is when its time is up. */
async function dying(role: Role): Promise<void> {
  for (let turn = 0; !enough(); turn++) {
    // the point that was reached least
    const points = POINTS[role];
    const least = Math.min(...points.map((name) => deaths.get(name) ?? 0));
    const at = turn % 4 === 3 ? undefined : oneOf(points.filter((name) => (deaths.get(name) ?? 0) <= least + 1));
    const child = await spawn(role, at);
    const timer = setTimeout(
      () => {
        deaths.set('anywhere', (deaths.get('anywhere') ?? 0) + 1);
        child.kill('SIGKILL');
      },
      at === undefined ? between(0, 400) : LIFE_MS[role],
    );
    await ended(child);
    clearTimeout(timer);
    if (child.signalCode !== 'SIGKILL') throw new Error(`a ${role} ended by itself: ${child.exitCode ?? child.signalCode}`);
    kills += 1;
  }
}

async function feed(): Promise<void> {
  while (!enough()) {
    await pause(between(10, 80));
    const { rows } = await admin.query<{ n: number }>('select count(*)::int as n from workflow_runs');
    if ((rows[0]?.n ?? 0) >= OPEN_MOST) continue;
    const workflow = random() < 0.75 ? 'refund' : 'remove';
    // a question of a tool has a day
    const mode = workflow === 'refund' ? oneOf(MODES) : oneOf(['approve', 'deny', 'either'] as const);
    const { run_id: runId } = await client.start({ workflow_name: workflow, input: { mode, amount: Math.ceil(random() * 1000) } });
    started.set(runId, { workflow, mode });
    if (random() < 0.15) cancels.push(cancelLater(runId, between(0, 800)));
  }
}

async function cancelLater(runId: string, ms: number): Promise<void> {
  await pause(ms);
  await client.cancelRun(runId).then(
    () => (cancelled += 1),
    (error: { code?: string }) => {
      if (error.code !== 'RUN_FINISHED') throw error;
    },
  );
}

async function untilDone(): Promise<void> {
  await Promise.all([spawn('worker', undefined), spawn('decider', undefined)]);
  for (const deadline = Date.now() + 480_000; ;) {
    const { rows } =
      await admin.query(`select r.run_id, r.workflow_name, r.status::text, r.owner, w.dead, r.wake_at, s.name, s.status::text as step, s.wake_at as due,
         a.state, a.expires_at from workflow_runs r left join workers w on w.worker_id = r.owner
       left join workflow_steps s using (run_id) left join approvals a using (run_id) limit 5`);
    // the repair of waits sweeps those of runs that were cancelled just as their worker died
    const { rows: waits } = await admin.query('select from workflow_waits limit 1');
    if (rows.length === 0 && waits.length === 0) return;
    if (Date.now() > deadline) {
      console.error(rows);
      throw new Error('runs did not end after the kills');
    }
    await pause(100);
  }
}

interface Facts {
  readonly run_id: string;
  readonly workflow_name: string;
  readonly status: string;
  readonly result: string | null;
  readonly error: string | null;
  readonly states: readonly string[];
  readonly asked: number;
  readonly transitions: number;
  readonly events: number;
  readonly withdrawals: number;
  readonly done: number;
}

async function verify(): Promise<string[]> {
  const { rows } = await admin.query<Facts>(
    `select f.run_id, f.workflow_name, f.status::text, f.result::text, f.error::text,
       coalesce((select array_agg(a.state) from approvals a where a.run_id = f.run_id), '{}') as states,
       (select count(*)::int from audit_log l join approvals a on l.entry::json->>'resource' = 'approval:' || a.approval_id
         where a.run_id = f.run_id and l.action = 'approval.request') as asked,
       (select count(*)::int from audit_log l join approvals a on l.entry::json->>'resource' = 'approval:' || a.approval_id
         where a.run_id = f.run_id and l.action in ('approval.decide', 'approval.expire')) as transitions,
       (select count(*)::int from workflow_events e join approvals a on e.correlation_id = a.approval_id::text
         where a.run_id = f.run_id and e.payload->>'verdict' <> 'cancelled') as events,
       (select count(*)::int from workflow_events e join approvals a on e.correlation_id = a.approval_id::text
         where a.run_id = f.run_id and e.payload->>'verdict' = 'cancelled') as withdrawals,
       (select count(*)::int from fault_refunds r where r.run_id = f.run_id) as done
     from workflow_runs_finished f`,
  );
  const problems: string[] = [];
  const byId = new Map(rows.map((row) => [row.run_id, row]));
  for (const [runId, { workflow, mode }] of started) {
    const run = byId.get(runId);
    const say = (problem: string) => problems.push(`${workflow} ${mode} ${runId}: ${problem}; ${JSON.stringify(run)}`);
    if (run === undefined) {
      say('lost');
      continue;
    }
    for (const problem of wrongWith(run)) say(problem);
  }
  const left = await admin.query<{ waits: number; open: number; steps: number }>(
    `select (select count(*)::int from workflow_waits) as waits,
       (select count(*)::int from approvals where state = 'pending' and expires_at > now()) as open,
       (select count(*)::int from workflow_steps s join workflow_runs_finished f using (run_id) where s.status = 'p' and f.status = 'c') as steps`,
  );
  if (Object.values(left.rows[0] ?? {}).some((n) => n !== 0)) problems.push(`left over: ${JSON.stringify(left.rows[0])}`);
  return problems;
}

function* wrongWith({
  workflow_name: workflow,
  status,
  result,
  error,
  states,
  asked,
  transitions,
  events,
  withdrawals,
  done,
}: Facts): Generator<string> {
  const wasCancelled = status === 'n';
  const [state] = states;
  const approved = state === 'approved' || state === 'consumed';
  if (states.length > 1 || asked !== states.length) yield 'asked more than once';
  if (states.length === 0 && !wasCancelled) yield 'never asked';
  if (transitions > 1 || events > 1 || transitions !== events) yield 'decided more than once, or told more or less than once';
  if (withdrawals !== states.filter((state) => state === 'cancelled').length) yield 'withdrawn, and told more or less than once';
  if (transitions === 0 && !wasCancelled) yield 'ended without a decision';
  if (done > 1) yield 'done more than once';
  if (done > 0 && !approved) yield 'done without approval';
  if (wasCancelled) return;
  const code = error === null ? undefined : (JSON.parse(error) as { code: string }).code;
  if (workflow === 'refund') {
    const verdict = state === 'consumed' ? 'approved' : state;
    if (status !== 'c' || result !== JSON.stringify(verdict)) yield 'another verdict than was decided';
    if (state === 'approved') yield 'went on without using its approval';
    if (done !== (approved ? 1 : 0)) yield 'approved and not done, or done and not approved';
  } else if (status === 'c') {
    if (done !== 1 || state !== 'consumed') yield 'completed, but not done by what was approved';
  } else if (approved && code !== 'TOOL_CALL_UNKNOWN') yield 'approved, and failed otherwise than by a death in the middle';
  else if (!approved && code !== 'APPROVAL_DENIED') yield 'denied, and failed otherwise';
}

const begun = Date.now();
let failed = false;
try {
  await Promise.all([dying('worker'), dying('worker'), dying('decider'), dying('decider'), feed()]);
  await Promise.all(cancels);
  await untilDone();
  const problems = await verify();
  console.table(Object.fromEntries([...deaths].map(([at, n]) => [at, { kills: n }])));
  for (const [at, n] of deaths) if (n === 0 && KILLS >= 100) problems.push(`no process died at "${at}"`);
  const { rows: states } = await admin.query('select state, count(*)::int as n from approvals group by state order by state');
  console.log(
    `${started.size} runs, ${cancelled} of them cancelled; ${kills} kills; ${states.map(({ state, n }) => `${n} ${state}`).join(', ')}`,
  );
  for (const problem of problems.slice(0, 20)) console.error(`VIOLATION: ${problem}`);
  failed = problems.length > 0;
  console.log(failed ? `${problems.length} violations` : `no invariant was broken, in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  for (const child of children) child.kill('SIGKILL');
  await client.drain(100).catch(() => {});
  await installation.close();
  await store.close();
  await admin.end();
  await server.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}
process.exit(failed ? 1 : 0);
