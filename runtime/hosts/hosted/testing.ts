/** Hosts as plain processes, with an engine behind them, for the tests of this room. */
import type { TestContext } from 'node:test';
import { createTestEngine, type TestEngine } from '../../../test/support/engine.ts';
import { directory, type WorkflowDirectory } from '../node/testing.ts';
import { createHosts, createWorkflowTransactions, type Hosts, type HostsLogEntry } from './index.ts';
import { launchPlain } from './launch.ts';

export interface HostedEngine {
  readonly dir: WorkflowDirectory;
  readonly hosts: Hosts;
  readonly test: TestEngine;
  readonly logged: HostsLogEntry[];
  readonly metrics: unknown[];
  readonly transactions: ReturnType<typeof createWorkflowTransactions>;
  /** The next so many starts of a process fail. */
  failStarts(count: number): void;
}

/** Ends with the test. */
export async function hostedEngine(
  t: TestContext,
  files: Readonly<Record<string, string>>,
  options: Parameters<typeof createTestEngine>[0] = {},
): Promise<HostedEngine> {
  const dir = directory(t, files);
  const state = directory(t);
  const logged: HostsLogEntry[] = [];
  const metrics: unknown[] = [];
  let failing = 0;
  const log = (entry: HostsLogEntry) => void logged.push(entry);
  const hosts = await createHosts({
    dirs: [dir.dir],
    stateDir: state.dir,
    watch: false,
    log,
    launch: (program, label, onClose, purpose) => {
      if (purpose === 'run' && failing-- > 0) throw new Error('no process can be started');
      return launchPlain({ program, label, python: 'python3', memoryMb: 512, log, onClose });
    },
  });
  const test = await createTestEngine({ registry: hosts.registry, ...options });
  const transactions = createWorkflowTransactions(test.store, (entry) => void logged.push(entry as HostsLogEntry));
  hosts.serve({
    startRun: ({ from, ...request }) => test.engine.startFrom(from, request),
    metric: (metric) => void metrics.push(metric),
    runTransaction: transactions.run,
    log,
  });
  t.after(async () => {
    await transactions.close();
    await test[Symbol.asyncDispose]();
    await hosts.close();
  });
  return {
    dir,
    hosts,
    test,
    logged,
    metrics,
    transactions,
    failStarts(count) {
      failing = count;
    },
  };
}
