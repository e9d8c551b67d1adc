/**
 * F: a process is killed with SIGKILL when its runs are half through; another takes over. How long until all are done,
 * and how many steps ran again, counted by a log file outside of the engine.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Adapter } from './adapter.ts';
import { deferred, type Figures } from './measure.ts';

const RUNS = 20;
const STEPS = 20;
const STEP_MS = 25;
const LONGEST_MS = 900_000;

/** In the process that is killed, and in the one after it. */
export async function runInterrupted(adapter: Adapter, restart: boolean): Promise<void> {
  const log = process.env['BENCH_LOG'] ?? '';
  adapter.define('interrupted', async ({ run }: { run: number }, calls) => {
    for (let k = 0; k < STEPS; k++)
      await calls.step(`step ${k}`, async () => {
        appendFileSync(log, `${run}/${k}\n`);
        await pause(STEP_MS);
        return k;
      });
    return 1;
  });
  await adapter.launch();
  process.send?.('up');
  if (!restart) for (let run = 0; run < RUNS; run++) await adapter.start('interrupted', { run });
  while ((await adapter.done()) < RUNS) await pause(5);
  process.send?.('done', () => process.exit(0));
}

/** In the parent. */
export async function measureRecovery(spawn: {
  readonly file: string;
  readonly engine: string;
  readonly env: NodeJS.ProcessEnv;
}): Promise<Figures> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-bench-'));
  const log = path.join(folder, 'steps.log');
  writeFileSync(log, '');
  const executed = () => readFileSync(log, 'utf8').split('\n').filter(Boolean);
  const start = (what: string) =>
    fork(spawn.file, [spawn.engine, what], { env: { ...spawn.env, BENCH_LOG: log }, stdio: ['ignore', 2, 2, 'ipc'] });
  const deadline = performance.now() + LONGEST_MS;
  let child: ChildProcess | undefined;
  try {
    child = start('F');
    while (executed().length < (RUNS * STEPS) / 2) {
      if (performance.now() > deadline) throw new Error(`not half done after ${LONGEST_MS / 1000} s`);
      await pause(5);
    }
    const exited = new Promise((resolve) => child?.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    const began = performance.now();
    child = start('F-restart');
    const up = await told(child, 'up', deadline);
    const done = await told(child, 'done', deadline);
    const all = executed();
    const distinct = new Set(all).size;
    return {
      'up to done ms': done - up,
      'exec to done ms': done - began,
      'executed again': all.length - distinct,
      lost: RUNS * STEPS - distinct,
    };
  } finally {
    child?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** When the child said `what`. */
async function told(child: ChildProcess, what: string, deadline: number): Promise<number> {
  const { promise, resolve, reject } = deferred<number>();
  const onMessage = (message: unknown) => message === what && resolve(performance.now());
  const onExit = () => reject(new Error(`ended before it said ${what}`));
  const timer = setTimeout(() => reject(new Error(`has not said ${what} in time`)), deadline - performance.now());
  child.on('message', onMessage).once('exit', onExit);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    child.off('message', onMessage).off('exit', onExit);
  }
}
