import { createWriter, isTransient } from '../store/index.ts';
import { createHistogram } from '../telemetry/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { ASKERS, passAskers } from './askers.ts';
import { type Core, type EngineOptions, WORKER_LOCKS } from './core.ts';
import { cancelRun, forkRun, retryRun } from './control.ts';
import { EngineError } from './errors.ts';
import { createExecutor } from './execute.ts';
import { FencedError, flush, wasCommitted, type Write } from './flush.ts';
import { createQueueCache, listQueues, setQueue, syncQueues } from './queues.ts';
import { getRun, listRuns, readRun, startedByOf, toSummary } from './reads.ts';
import { listSchedules, syncSchedules } from './schedules.ts';
import { commitStarts, parseRunId, prepareStart } from './start.ts';
import { createWatchers, tailRun } from './tail.ts';
import type { Engine, EngineStats, RunSummary } from './types.ts';
import { createWaits } from './waits.ts';
import { createWorker } from './worker.ts';

export type { EngineOptions } from './core.ts';

/** Tables partitioned by the time in their UUIDv7 keys. */
export const PARTITIONED = ['workflow_runs_finished', 'workflow_steps', 'workflow_attempts', 'workflow_events', 'journal_seals'] as const;

const DAY_MS = 86_400_000;

/** Most starts of one `startMany`. */
const START_MANY_MAX = 10_000;

/** Makes an engine on a migrated database. It serves starts and reads at once; `work` makes this process a worker. */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { store, registry } = options;
  const log = options.log ?? (() => {});
  const watchers = createWatchers();
  const core: Core = {
    store,
    registry,
    options: {
      store,
      registry,
      log,
      leaseMs: options.leaseMs ?? 10_000,
      queues: options.queues,
      maxResidentRuns: options.maxResidentRuns ?? 2000,
      residentMs: options.residentMs ?? 1000,
      retentionDays: options.retentionDays ?? 30,
      startAgent: options.startAgent,
      outside: options.outside ?? {},
      approvals: options.approvals,
    },
    log,
    frames: new Map(),
    starting: new Set(),
    counters: { fenced: 0, started: 0, completed: 0, failed: 0, cancelled: 0, executed: 0, replayed: 0 },
    stepSeconds: createHistogram('centaur_step_seconds'),
    queues: createQueueCache(store),
    workerId: null,
    writer: undefined as never,
    starts: undefined as never,
    openWriters,
    life: 0,
    strays: false,
    draining: false,
    closed: false,
    leaseHeldUntil: 0,
    renewal: () => worker.renewal(),
    kick: () => worker.kick(),
    onFenced,
    touched: (runId) => watchers.touched(runId),
  };
  openWriters();
  const waits = createWaits(core);
  const executor = createExecutor(core, waits);
  const worker = createWorker(core, executor, waits);
  let working = false;
  let refencing = false;

  await ensurePartitions(store, PARTITIONED, store.now());
  const partitionTimer = setInterval(() => {
    ensurePartitions(store, PARTITIONED, store.now()).catch((error: Error) =>
      log({ level: 'warn', message: 'making partitions failed; trying again', error: error.message }),
    );
  }, DAY_MS / 4);
  partitionTimer.unref();
  await core.queues.refresh();
  const stopQueues = await store.listener.on('centaur_queues', () => void core.queues.refresh().then(core.kick, () => {}));
  let stopRegistry = () => {};

  /** Everything held is dropped: another worker owns those runs by now. Their promises never settle. */
  function onFenced(life = core.life): void {
    if (life !== core.life || refencing || core.closed || !working) return;
    refencing = true;
    core.life += 1;
    core.counters.fenced += 1;
    log({
      level: 'warn',
      message: 'this worker lost its lease; it drops its runs and begins again under a new id',
      worker_id: core.workerId,
      runs: core.frames.size,
    });
    const reason = new FencedError();
    for (const frame of core.frames.values()) frame.close(reason);
    core.frames.clear();
    core.starting.clear();
    void beginAgain();
  }

  async function beginAgain(): Promise<void> {
    for (let attempt = 0; !core.closed; attempt++) {
      try {
        await worker.restart();
        break;
      } catch (error) {
        if (!isTransient(error)) log({ level: 'error', message: 'beginning again failed; trying again', error: (error as Error).message });
        await new Promise((resolve) => setTimeout(resolve, Math.min(2000, 50 * 2 ** attempt)));
      }
    }
    refencing = false;
  }

  function openWriters(): void {
    const old = [core.writer, core.starts];
    core.writer = openWriter(core, 'writer');
    core.starts = openWriter(core, 'starts');
    for (const writer of old) void writer?.idle().then(() => writer.close());
  }

  async function syncRegistry(): Promise<void> {
    try {
      await syncQueues(store, registry.list());
      const { problems } = await syncSchedules(store, registry.list(), { workerId: core.workerId });
      for (const problem of problems) log({ level: 'error', message: 'a schedule is off', problem });
      await core.queues.refresh();
    } catch (error) {
      log({ level: 'error', message: 'storing the schedules and queues of the workflow files failed', error: (error as Error).message });
    }
  }

  async function summary(runId: string): Promise<RunSummary> {
    const run = await readRun(store, runId);
    if (run === undefined) throw new EngineError('RUN_NOT_FOUND', `run ${runId} does not exist, or its retention has passed`);
    return toSummary(run);
  }

  const start: Engine['start'] = async (request, beside, by) => {
    const row = await prepareStart(core, request, null, by ?? null);
    const [started] = await commitStarts(core, [row], executor.startHere, beside);
    return started as NonNullable<typeof started>;
  };

  return guard({
    async work() {
      working = true;
      await syncRegistry();
      await worker.start();
      stopRegistry = registry.onChange(() => void syncRegistry());
    },
    async drain(graceMs = 10_000) {
      if (core.closed) return;
      core.draining = true;
      stopRegistry();
      const deadline = performance.now() + graceMs;
      // a step in progress may still finish and be stored; waits and sleeps need no one
      while ([...core.frames.values()].some((frame) => frame.executing > 0) && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const idle = Promise.all([core.writer.idle(), core.starts.idle()]);
      await Promise.race([idle, new Promise((resolve) => setTimeout(resolve, Math.max(1000, deadline - performance.now())).unref())]);
      core.closed = true;
      for (const frame of core.frames.values()) frame.close(new Error('the worker is shutting down'));
      core.frames.clear();
      clearInterval(partitionTimer);
      stopQueues();
      if (working)
        await worker
          .stop()
          .catch((error: Error) =>
            log({ level: 'warn', message: 'handing back runs failed; their lease will run out', error: error.message }),
          );
      await Promise.all([core.writer.close(), core.starts.close()]);
    },
    start,
    async startFrom(from, request) {
      const asking = parseRunId(from);
      const run = await start(request, { companion: ASKERS, row: asking }, (await startedByOf(store, asking)) ?? undefined);
      if (!run.created) await passAskers(store, asking, run.run_id);
      return run;
    },
    async startMany(requests, by) {
      if (requests.length > START_MANY_MAX)
        throw new EngineError('TOO_LARGE', `expected at most ${START_MANY_MAX} starts in one call, got ${requests.length}`);
      const rows = await Promise.all(
        requests.map((request, index) =>
          prepareStart(core, request, null, by ?? null).catch((error: unknown) => {
            if (error instanceof EngineError)
              throw new EngineError(error.code, `[${index}] ${error.message}`, {
                details: { index, ...(error.details as object | undefined) },
                cause: error,
              });
            throw error;
          }),
        ),
      );
      return commitStarts(core, rows, executor.startHere);
    },
    getRun: async (runId) => getRun(store, parseRunId(runId)),
    listRuns: (filter) => listRuns(store, filter),
    async cancelRun(runId) {
      await cancelRun(core, waits, parseRunId(runId));
      executor.cancelHere(parseRunId(runId));
      return summary(parseRunId(runId));
    },
    async retryRun(runId, by) {
      await retryRun(core, parseRunId(runId), by ?? null);
      return summary(parseRunId(runId));
    },
    forkRun: async (runId, fork, by, beside) => forkRun(core, parseRunId(runId), fork, by ?? null, beside),
    tailRun: (runId, tail = {}) => tailRun(core, watchers, parseRunId(runId), tail.afterId, tail.signal),
    emitEvent: (request) => waits.emit(request),
    listQueues: () => listQueues(store),
    async setQueue(name, limits) {
      const view = await setQueue(store, name, limits);
      await core.queues.refresh();
      return view;
    },
    listSchedules: () => listSchedules(store),
    stats: () => readStats(core),
  });
}

function openWriter(core: Core, name: string) {
  const { workerId } = core;
  return createWriter<Write>({
    async connect() {
      const client = await core.store.connect(name);
      if (workerId !== null) await client.query('select pg_advisory_lock_shared($1, $2)', [WORKER_LOCKS, workerId]);
      return client;
    },
    flush: (client, batch) => flush(client, workerId, batch),
    committed: (client, batch) => wasCommitted(client, workerId, batch),
    isFatal: (error) => error instanceof FencedError,
    log: core.log,
  });
}

/** Postgres being away is one clear error, whatever the driver called it. */
function guard(engine: Engine): Engine {
  const wrap =
    <Args extends unknown[], T>(call: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> => {
      try {
        return await call(...args);
      } catch (error) {
        if (error instanceof EngineError || !isTransient(error)) throw error;
        throw new EngineError('STORE_UNAVAILABLE', 'Postgres cannot be reached right now; try again', { cause: error });
      }
    };
  const { tailRun: tail, stats, work, drain, ...rest } = engine;
  const wrapped = Object.fromEntries(Object.entries(rest).map(([name, call]) => [name, wrap(call as never)])) as unknown as typeof rest;
  return { ...wrapped, work, drain, stats, tailRun: tail };
}

function readStats(core: Core): EngineStats {
  const { counters, writer, starts } = core;
  return {
    worker_id: core.workerId,
    resident_runs: core.frames.size,
    flushes: writer.stats.flushes + starts.stats.flushes,
    flushed_ops: writer.stats.writes + starts.stats.writes,
    queued_ops: writer.queued + starts.queued,
    fenced: counters.fenced,
    runs_started: counters.started,
    runs_finished: { completed: counters.completed, failed: counters.failed, cancelled: counters.cancelled },
    steps_executed: counters.executed,
    steps_replayed: counters.replayed,
    step_seconds: core.stepSeconds.family(),
  };
}
