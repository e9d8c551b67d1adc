/**
 * `npm run demo`: a workflow is killed with SIGKILL in mid-run, twice, and completes; then the log of an outside
 * service is held against the checkpoints to show that no completed step ran twice. Then a program without a key calls a
 * service through the firewall (`firewall.ts`), and an agent without a key works in a sandbox (`agents.ts`). Exits 0 only
 * when all of that holds.
 *
 *   npm run demo [-- --harness claude|codex|pi]    the third act alone, with a real CLI
 *
 * The workflows are in `workflows/`, the service in `service.ts`, the killed process in `worker.ts`, the proof in
 * `proof.ts`.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Engine, type RunDetail, createEngine } from '@centaur/kernel/engine';
import { connectStore, migrate } from '@centaur/kernel/store';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { createNodeHost } from '@centaur/runtime/hosts/node';
import { REAL } from '../../test/harnesses/install.ts';
import { showAgents } from './agents.ts';
import { showFirewall } from './firewall.ts';
import { type Kill, holds, judge } from './proof.ts';
import * as screen from './screen.ts';
import { EXPECTED_TOTAL, startService } from './service.ts';
import { type WorkerProcess, startWorker } from './worker-process.ts';
import type { Report } from './worker.ts';

/** The steps that ask the service for something, in the order of the table. */
const STEPS = [
  'fetch_orders',
  'fetch_rates',
  'convert',
  ...['north', 'south', 'east'].flatMap((region) => [`${region}/count_stock`, `${region}/summarise`]),
  'publish',
  'announce',
];
/** The step that the first kill interrupts, in a child workflow while its siblings run. */
const INTERRUPTED = 'south/count_stock';

/** Ten times what it takes on a machine that does nothing else. */
const LONGEST_MS = 600_000;

let workers = 0;

await using cleanup = new AsyncDisposableStack();
// Whatever happens, nothing of the demo outlives it
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanup.disposeAsync().finally(() => process.exit(130)));
const watchdog = setTimeout(() => {
  screen.verdict(false, `Gave up after ${LONGEST_MS / 1000} s.`);
  void cleanup.disposeAsync().finally(() => process.exit(1));
}, LONGEST_MS);
cleanup.defer(() => clearTimeout(watchdog));

const harness = readHarness();
const proven = await (harness === undefined ? allActs() : showAgents(harness, cleanup).then((problems) => problems.length === 0)).catch(
  (error: Error) => {
    screen.verdict(false, `The demo failed: ${error.message}`);
    return false;
  },
);
process.exitCode = proven ? 0 : 1;

/** One after the other, also when one does not hold: each proves something of its own. */
async function allActs(): Promise<boolean> {
  const first = await demo();
  const second = await showFirewall(cleanup);
  const third = await showAgents('demo', cleanup);
  return first && second.length === 0 && third.length === 0;
}

function readHarness(): (typeof REAL)[number] | undefined {
  const name = readName();
  const found = REAL.find((each) => each === name);
  if (name === undefined || found !== undefined) return found;
  console.error(`Usage: npm run demo [-- --harness ${REAL.join('|')}]
Without an argument all three acts run, the third with a small harness that is built in; with one, the third alone with that CLI.`);
  return process.exit(2);
}

/** Undefined without arguments; empty when they are not understood. */
function readName(): string | undefined {
  try {
    return parseArgs({ options: { harness: { type: 'string' } } }).values.harness;
  } catch {
    return '';
  }
}

async function demo(): Promise<boolean> {
  screen.title('Centaur demo: a run that survives kill -9, twice');
  const service = await startService();
  cleanup.defer(() => service.close());
  const { url, engine } = await startEngine();
  screen.fact('service', `${service.url}, keeps its own request log`);

  const kills: Kill[] = [];
  const nextWorker = (what: string) => launch(url, service.url, what, (report) => show(report, kills.at(-1)));
  let worker = await nextWorker('starts with nothing');
  service.hold(INTERRUPTED);
  const { run_id: runId } = await engine.start({
    workflow_name: 'sales_report',
    input: { service: service.url },
    trigger_key: `demo-${Date.now()}`,
  });

  const arrived = () => service.requests.some(({ step }) => step === INTERRUPTED);
  await until('the interrupted step to be in flight, and its siblings to be done', async () => {
    const completed = await completedSteps(engine, runId);
    return arrived() && completed.has('north.wait') && completed.has('east.wait');
  });
  await killNow(`in the middle of ${INTERRUPTED}: the service has its request, and no answer was sent`);

  worker = await nextWorker('takes the run over');
  await until('the run to sleep', async () => (await engine.getRun(runId)).waiting_on.some(({ type }) => type === 'sleep'));
  screen.line('waiting', 'settle', 'the run sleeps; when it is to wake up is in Postgres');
  await pause(300);
  await killNow('while the run sleeps');

  screen.section('No worker is alive');
  const { runs_woken: woken } = await engine.emitEvent({
    event_type: 'report_approved',
    correlation_id: runId,
    payload: { by: 'ann' },
  });
  screen.line('waiting', 'approval', `ann approves; ${woken === 0 ? 'nobody waits for it yet, so it is kept' : 'the run is woken'}`);
  await pause(1500);
  screen.line('waiting', 'settle', 'the sleep has ended, unnoticed');

  worker = await nextWorker('finishes the run');
  const restartedAt = performance.now();
  for await (const event of engine.tailRun(runId)) if (event.event === 'run.completed' || event.event === 'run.failed') break;
  screen.line('completed', 'run', `completed ${Math.round(performance.now() - restartedAt)} ms after worker 3 was ready`);
  const run = await engine.getRun(runId);
  await worker.kill();
  return prove(run);

  async function killNow(when: string): Promise<void> {
    await worker.kill();
    // A request that the dead process had sent may still be in the service's socket
    await pause(20);
    const completed = await completedSteps(engine, runId);
    kills.push({ at: Date.now(), completed });
    screen.line('killed', `SIGKILL ${worker.pid}`, when);
  }

  function prove(finished: RunDetail): boolean {
    const findings = judge(STEPS, service.requests, kills);
    screen.section("Proof, from the service's own request log");
    screen.table(findings);
    const problems: string[] = [];
    if (!holds(findings)) problems.push('a step was repeated or is missing');
    if (finished.status !== 'completed') problems.push(`the run is ${finished.status}: ${JSON.stringify(finished.error)}`);
    const total = (finished.result as { total?: number } | null)?.total;
    if (total !== EXPECTED_TOTAL) problems.push(`the report's total is ${total}, not ${EXPECTED_TOTAL}`);
    const [first] = kills;
    if (first?.completed.has(INTERRUPTED) !== false) problems.push('the first kill interrupted nothing');
    if (kills.length !== 2 || kills.some(({ completed }) => completed.size === 0))
      problems.push('a kill came before anything was completed');
    const last = kills.at(-1)?.completed ?? new Set();
    const notReplayed = [...last].filter((step) => !step.includes('/') && STEPS.includes(step) && !worker.seen.replayed.has(step));
    if (notReplayed.length > 0) problems.push(`not replayed from its checkpoint: ${notReplayed.join(', ')}`);

    const once = findings.filter(({ verdict }) => verdict === 'once').length;
    screen.verdict(
      problems.length === 0,
      problems.length === 0
        ? `Killed twice, completed, total ${total} as expected. ${once} of ${findings.length} steps were asked for exactly once; none ran again after it had completed.`
        : `The proof fails: ${problems.join('; ')}.`,
    );
    return problems.length === 0;
  }
}

/** An engine on a database of its own, in a process that does not work: it starts runs and looks at them. */
async function startEngine(): Promise<{ url: string; engine: Engine }> {
  const startedAt = performance.now();
  const home = process.env['CENTAUR_HOME'];
  const dataDir = home === undefined ? throwawayDir() : path.join(home, 'demo');
  const postgres = await startEmbeddedPostgres({ dataDir, throwaway: home === undefined });
  cleanup.defer(() => postgres.stop());
  await migrate(postgres.url);
  const store = await connectStore({ url: postgres.url });
  cleanup.defer(() => store.close());
  const host = await createNodeHost({ dirs: [fileURLToPath(new URL('workflows', import.meta.url))], watch: false });
  cleanup.defer(() => host.close());
  const engine = await createEngine({ store, registry: host.registry });
  cleanup.defer(() => engine.drain(0));
  screen.fact('postgres', `embedded, port ${postgres.port}, ready in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  return { url: postgres.url, engine };
}

function throwawayDir(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'centaur-demo-'));
  // For root the server runs as another user, who has to get through to its data
  chmodSync(dir, 0o711);
  cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
  return path.join(dir, 'postgres');
}

async function launch(url: string, service: string, what: string, onReport: (report: Report) => void): Promise<WorkerProcess> {
  workers += 1;
  screen.section(`Worker ${workers} ${what}`);
  const worker = await startWorker({ DATABASE_URL: url, DEMO_SERVICE: service }, onReport);
  cleanup.defer(() => worker.kill());
  return worker;
}

function show(report: Report, lastKill: Kill | undefined): void {
  switch (report.type) {
    case 'problem':
      return screen.line('killed', 'problem', report.message);
    case 'completed':
      return screen.line('completed', report.step, 'ran, checkpointed');
    case 'replayed':
      return screen.line('replayed', report.step, 'from its checkpoint; its function was not called');
    case 'passed': {
      const known = lastKill?.completed.has(report.step) || lastKill?.completed.has(`${report.step}.wait`);
      return known
        ? screen.line('replayed', report.step, `from its checkpoint; ${report.what}`)
        : screen.line('completed', report.step, report.what);
    }
    case 'started':
      if (report.step === INTERRUPTED) screen.line('started', report.step, 'asks the service');
      return;
    case 'ready':
      return;
  }
}

/** Names of the steps that Postgres holds as completed, of the run and of its children. */
async function completedSteps(engine: Engine, runId: string): Promise<ReadonlySet<string>> {
  const run = await engine.getRun(runId);
  const children = await Promise.all(run.children.map((child) => engine.getRun(child.run_id)));
  const names = ({ steps }: RunDetail, prefix: string): string[] =>
    steps.filter((step) => step.status === 'completed').map((step) => prefix + step.name);
  return new Set([...names(run, ''), ...children.flatMap((child) => names(child, `${(child.input as { region: string }).region}/`))]);
}

async function until(what: string, holdsNow: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!(await holdsNow())) {
    if (performance.now() > deadline) throw new Error(`waited two minutes for ${what}`);
    await pause(10);
  }
}
