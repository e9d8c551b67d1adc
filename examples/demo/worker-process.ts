/** Starting, watching and killing the worker processes of the demo. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { killProcess } from './servers.ts';
import type { Report } from './worker.ts';

export interface WorkerProcess {
  readonly pid: number;
  /** Steps that this process has reported, by what it reported of them. */
  readonly seen: Readonly<Record<'started' | 'completed' | 'replayed', ReadonlySet<string>>>;
  /** `kill -9`; resolves when the process is gone. */
  kill(): Promise<void>;
}

/** @returns the worker, once it works. @throws Error when it ends before that */
export async function startWorker(
  environment: Readonly<Record<string, string>>,
  onReport: (report: Report) => void,
): Promise<WorkerProcess> {
  const child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const seen = { started: new Set<string>(), completed: new Set<string>(), replayed: new Set<string>() };
  const ready = new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the worker ended with code ${code} before it was ready`)));
    child.on('message', (report: Report) => {
      if (report.type === 'ready') resolve();
      if ('step' in report && report.type !== 'passed') seen[report.type].add(report.step);
      onReport(report);
    });
  });
  await ready;
  return { pid: child.pid ?? 0, seen, kill: () => killProcess(child) };
}
