/**
 * Replays for a server: the code of a run is called again where it can harm nobody.
 *
 * It promises that a replay is over in time, takes a bounded part of the machine, and that no live run is in the process in
 * which it calls user code: that of a hosted workflow gets a host of its own without any rights, and that of one which runs in
 * the worker a child process that may neither write files nor start programs, has no network, and knows of no database. What the
 * platform brings itself is called here. It writes nothing to the database.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { EngineError, readJournal, type ReplayOptions, type ReplayReport, replayRun, type WorkflowRegistry } from '@centaur/kernel/engine';
import type { Store } from '@centaur/kernel/store';
import type { ReplayAnswer, ReplayRequest } from './messages.ts';

export interface Replays {
  /** @throws EngineError as `replayRun` does, and REPLAY_BUSY */
  replay(
    run: { readonly runId: string; readonly workflow: string; readonly version: string | null },
    options: ReplayOptions,
  ): Promise<ReplayReport>;
  close(): void;
}

export interface ReplaysOptions {
  readonly store: Store;
  readonly registry: WorkflowRegistry;
  /** Folders of workflow files, as they are now, for what runs in no host. */
  readonly dirs: () => readonly string[];
  readonly memoryMb?: number;
}

/** At a time, so that one may loop and others are still served. */
const RUNNING_MOST = 2;
const WAITING_MOST = 8;
const MEMORY_MB = 512;
const TIMEOUT_MS = 60_000;
/** Beyond the time of the replay: a process has to start and to load the files. */
const START_MS = 20_000;

const CHILD = fileURLToPath(new URL('./child.ts', import.meta.url));
/** What a child needs of its parent's environment is nothing that opens anything. */
const SECRET = /^(CENTAUR_|DATABASE_URL$|PG|.*(KEY|TOKEN|SECRET|PASSWORD))/;

export function createReplays(options: ReplaysOptions): Replays {
  const waiting: (() => void)[] = [];
  const children = new Set<ReturnType<typeof spawn>>();
  let running = 0;
  let closed = false;

  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (running >= RUNNING_MOST) {
      if (waiting.length >= WAITING_MOST)
        throw new EngineError('REPLAY_BUSY', `${RUNNING_MOST} replays are running and ${WAITING_MOST} wait: try again in a minute`);
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  }

  async function inChild(runId: string, more: ReplayOptions): Promise<ReplayReport> {
    const journal = await readJournal(options.store, runId);
    const { promise, resolve, reject } = Promise.withResolvers<ReplayReport>();
    if (closed) throw new EngineError('DRAINING', 'this process is shutting down; try another one');
    const stopped = (why: string) => new EngineError('REPLAY_STOPPED', `the replay's process ${why}: nothing is known of the run by it`);
    const flags = [`--max-old-space-size=${options.memoryMb ?? MEMORY_MB}`, '--no-warnings', '--permission', '--allow-fs-read=*'];
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !SECRET.test(name)));
    const child = spawn(process.execPath, [...flags, CHILD], {
      env,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
    });
    children.add(child);
    const timeoutMs = more.timeoutMs ?? TIMEOUT_MS;
    const timer = setTimeout(() => {
      reject(new EngineError('REPLAY_STOPPED', `the replay took longer than ${timeoutMs / 1000} s`));
      child.kill('SIGKILL');
    }, timeoutMs + START_MS);
    child.once('message', (message) => {
      const answer = message as ReplayAnswer;
      if ('report' in answer) resolve(answer.report);
      else reject(answer.code === null ? stopped(`failed: ${answer.message}`) : new EngineError(answer.code, answer.message));
      child.kill('SIGKILL');
    });
    child.once('error', (error) => reject(stopped(`did not start: ${error.message}`)));
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      children.delete(child);
      reject(stopped(`ended (${signal ?? code}); it may have run out of its ${options.memoryMb ?? MEMORY_MB} MiB`));
    });
    const request: ReplayRequest = { dirs: options.dirs(), journal, options: more };
    child.send(request, (error) => {
      if (error !== null) reject(stopped(`took no request: ${error.message}`));
    });
    return promise;
  }

  return {
    replay: ({ runId, workflow, version }, more) =>
      inTurn(() => {
        const found = options.registry.get(workflow, more.code === 'same' ? (version ?? undefined) : undefined);
        // what is unknown is refused there, in the same words
        const isHere = found === undefined || found.hosted !== undefined || found.source === 'built in';
        return isHere ? replayRun(options, runId, more) : inChild(runId, more);
      }),
    close() {
      closed = true;
      for (const child of children) child.kill('SIGKILL');
    },
  };
}
