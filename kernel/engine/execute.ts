/** Running a run: from its claimed row, through its handler, to its end. */
import { RunCancelledError, type TransactionClient } from '@centaur/sdk';
import { describeError } from '@centaur/sdk/values';
import { classifyFailure, type Queryable, sqlState } from '../store/index.ts';
import { withdrawOf } from './approvals.ts';
import { createAsking } from './asking.ts';
import { type ContextHost, createContext, never } from './context.ts';
import type { Core } from './core.ts';
import { pushWrite, workflowFor } from './core.ts';
import { EngineError, HOST_CRASHES_MAX, HostCrashedError, HostUnavailableError } from './errors.ts';
import { assertAlive, FencedError, type Of, type StartRow, type Write } from './flush.ts';
import { type Call, createFrame, type Frame, type FrameHost, type FrameRun, type HistoryRow, type Mismatch } from './frame.ts';
import { callHandler, failureOf, hostedRunOf } from './handler.ts';
import { toJson } from './json.ts';
import { nextDelay, resolveRetry } from './retry.ts';
import { rewindForRetry } from './rewind.ts';
import { prepareStart } from './start.ts';
import type { StoredError } from './types.ts';
import { type Waits, wakeRuns } from './waits.ts';

/**
 * Crashes in a row that a run was in, without it getting further, after which it fails. Long before that it is held
 * back between them (see the worker's `reap`), so that those it takes down with it get further in the meantime.
 */
export const CRASHES_MAX = 30;

/** What the signals of a run that has ended tell. One for all: making an error costs more than ending a run. */
const ENDED = new Error('the run has ended');

/** Rolls a transaction step back whose run has left this process: one that only stood still would keep its connection and its locks. */
const LEFT = new Error('the run has left this process');

const UNIQUE_VIOLATION = '23505';
/** More often is no coincidence: then the run fails. */
const OVERTAKEN_MAX = 5;
const OVERTAKEN_KEPT = 1000;

/** How long a replay may wait for a call that the code no longer makes. */
const REPLAY_STALL_MS = 10_000;

export interface Executor {
  /** Runs a run that this worker owns. */
  execute(run: FrameRun & { readonly crashes: number }, history: readonly HistoryRow[]): void;
  startHere(row: StartRow): void;
  evict(frame: Frame): void;
  cancelHere(runId: string): void;
}

export function createExecutor(core: Core, waits: Waits): Executor {
  const asking = createAsking(core);
  const frameHost: FrameHost = {
    now: () => core.store.now(),
    push: (write) => pushWrite(core, write),
    onParked,
    onMismatch: (frame, problem) => void stick(frame, problem),
    onRejected: (frame, error) => void failRejected(frame, error),
    onFenced: () => core.onFenced(),
    onDelivered(frame) {
      if (frame.replaying) core.counters.replayed += 1;
      core.touched(frame.run.runId);
    },
  };

  const contextHost: ContextHost = {
    now: () => core.store.now(),
    log: (entry) => core.log(entry),
    prepareStart: (request, parent) => prepareStart(core, request, parent, null),
    startAgent: core.options.startAgent,
    outside: core.options.outside ?? {},
    onStarted(row) {
      core.counters.started += 1;
      if (row.status === 'r') startHere(row);
      else core.kick();
    },
    checkWait: (frame, call) => waits.checkWait(frame, call),
    transactionStep,
    ask: asking.ask,
    expireApproval: asking.expire,
    useApproval: asking.use,
    withdrawApproval: asking.withdraw,
    leaseInDoubt: () => (performance.now() < core.leaseHeldUntil ? undefined : core.renewal()),
    countStep() {
      core.counters.executed += 1;
    },
    timeStep: (seconds) => core.stepSeconds.add(seconds),
  };

  function startHere(row: StartRow): void {
    // not while it committed, but before this: the worker was declared dead, and whoever took the run over runs it
    if (!core.starting.has(row.runId)) return;
    execute(
      {
        runId: row.runId,
        workflow: row.workflow,
        version: row.version,
        attempt: 1,
        seed: row.runId,
        traceId: row.traceId ?? row.runId,
        queue: row.queue,
        key: row.key,
        input: row.input,
        startedAt: row.startedAt ?? 0,
        crashes: 0,
      },
      [],
    );
  }

  function execute(run: FrameRun & { readonly crashes: number }, history: readonly HistoryRow[]): void {
    // claimed or started while this process was closing, which hands back what is its own: others run it
    if (core.closed) return;
    const frame = createFrame(frameHost, run, history);
    core.frames.set(run.runId, frame);
    if (frame.replaying) watchStall(frame, workflowFor(core, run.workflow, run.version)?.hosted !== undefined);
    void runHandler(frame, run.crashes);
  }

  async function runHandler(frame: Frame, crashes: number): Promise<void> {
    const { run } = frame;
    const workflow = workflowFor(core, run.workflow, run.version);
    // its file went away since it was claimed
    if (workflow === undefined) {
      core.strays = true;
      return drop(frame);
    }
    try {
      if (crashes > CRASHES_MAX)
        throw new EngineError('CRASH_LOOP', `its worker died ${crashes} times in a row on this run without it getting further`);
      const hosted = () => hostedRunOf(frame, crashes, () => core.leaseHeldUntil);
      const result = await callHandler(workflow, run.input, createContext(contextHost, frame), hosted);
      if (frame.closed) return;
      await frame.join();
      if (frame.closed || frame.unreached()) return;
      await asking.withdrawOpen(frame);
      if (frame.closed) return;
      finish(frame, 'c', toJson(result, `result of ${run.workflow}`), null);
    } catch (error) {
      if (frame.closed) return;
      if (error instanceof HostUnavailableError) return resume(frame, error, { crashed: 0, delayMs: error.delayMs });
      if (error instanceof HostCrashedError) {
        if (crashes + 1 < HOST_CRASHES_MAX) return resume(frame, error, { crashed: 1, delayMs: 250 * (2 ** Math.min(crashes, 7) - 1) });
        // steps whose function is gone with its process never end; what is being written comes first
        if (!(await leave(frame))) return;
        return end(frame, error, crashes > CRASHES_MAX);
      }
      await frame.join();
      if (!frame.closed) await end(frame, error, crashes > CRASHES_MAX);
    }
  }

  /** Takes a run out of memory once all that it wrote is stored. False when this worker has lost it meanwhile. */
  async function leave(frame: Frame): Promise<boolean> {
    const { life } = core;
    frame.close();
    while (frame.writing > 0 && !core.closed && core.life === life) await new Promise((resolve) => setTimeout(resolve, 5));
    return core.life === life && !core.closed;
  }

  /** The process of its code is gone. What it had stored counts; it goes on from there, a little later each time. */
  async function resume(
    frame: Frame,
    error: EngineError,
    { crashed, delayMs }: { readonly crashed: 0 | 1; readonly delayMs: number },
  ): Promise<void> {
    const { run } = frame;
    const { workerId } = core;
    if (!(await leave(frame))) return;
    core.log({
      level: 'warn',
      message: 'a run goes on in another process',
      run_id: run.runId,
      workflow_name: run.workflow,
      error: error.message,
    });
    await withFence(frame, (tx) =>
      tx.query(
        `update workflow_runs set status = 's', owner = null, recoveries = recoveries + $4::int, error = $3::json,
           (wake_at, held_until) = (select at, at from (select now() + make_interval(secs => $5)) h(at))
         where run_id = $1 and owner = $2`,
        [run.runId, workerId, JSON.stringify(describeError(error)), crashed, delayMs / 1000],
      ),
    );
    drop(frame);
    core.kick();
  }

  /** A handler that threw: the run's retry policy decides whether that is the end. */
  async function end(frame: Frame, error: unknown, final: boolean): Promise<void> {
    const { run } = frame;
    const stored = failureOf(error);
    const policy = workflowFor(core, run.workflow, run.version)?.retry;
    const delayMs =
      policy === undefined || final || (error instanceof EngineError && !(error instanceof HostCrashedError))
        ? null
        : nextDelay(resolveRetry(policy, `retry of ${run.workflow}`), run.attempt, stored, Math.random);
    if (delayMs === null) {
      const wasClosed = frame.closed;
      await asking.withdrawOpen(frame);
      if (frame.closed && !wasClosed) return;
      finish(frame, 'f', null, JSON.stringify(stored));
      return;
    }
    await withFence(frame, async (tx) => {
      const dropped = await rewindForRetry(tx, run.runId, stored.step_seq ?? null);
      if (dropped.length > 0) await core.options.approvals?.withdraw(tx, dropped);
      await tx.query(
        `insert into workflow_attempts (run_id, attempt, error, started_at) select run_id, attempt, $2::json, started_at from workflow_runs where run_id = $1`,
        [run.runId, JSON.stringify(stored)],
      );
      await tx.query(
        `update workflow_runs set attempt = attempt + 1, status = 's', owner = null, wake_at = to_timestamp($2::float8),
           held_until = to_timestamp($2::float8), error = $3::json, recoveries = 0
         where run_id = $1 and owner = $4`,
        [run.runId, (core.store.now() + delayMs) / 1000, JSON.stringify(stored), core.workerId],
      );
    });
    drop(frame);
    core.touched(run.runId);
    core.kick();
  }

  function finish(frame: Frame, status: 'c' | 'f', result: string | null, error: string | null): void {
    const { runId } = frame.run;
    const { life } = core;
    const write: Of<'finish'> = {
      type: 'finish',
      group: runId,
      bytes: 200 + (result?.length ?? 0) + (error?.length ?? 0),
      runId,
      status,
      result,
      error,
      hadWaits: frame.hadWaits,
      settle(failure) {
        if (failure instanceof FencedError) return core.onFenced(life);
        if (failure !== undefined) return void failRejected(frame, failure);
        core.counters[status === 'c' ? 'completed' : 'failed'] += 1;
        drop(frame);
        core.touched(runId);
        if (write.watched === true) {
          waits.wake([{ eventType: '$run', correlationId: runId }]).catch((error: Error) => {
            core.log({ level: 'warn', message: 'a run ended, but who waits for it is told later', run_id: runId, error: error.message });
          });
        }
        if (core.queues.isLimited(frame.run.queue)) core.kick();
      },
    };
    frame.close(ENDED);
    core.writer.push(write);
  }

  function drop(frame: Frame): void {
    if (core.frames.get(frame.run.runId) === frame) core.frames.delete(frame.run.runId);
    frame.close();
    if (core.frames.size < core.options.maxResidentRuns * 0.75) core.kick();
  }

  /** Postgres refused one of the run's rows: its memory and its history now disagree, so it ends here. */
  async function failRejected(frame: Frame, error: Error): Promise<void> {
    if (frame.closed && core.frames.get(frame.run.runId) !== frame) return;
    frame.close(error);
    const { runId } = frame.run;
    if (sqlState(error) === UNIQUE_VIOLATION && (overtaken.get(runId) ?? 0) < OVERTAKEN_MAX) return giveBack(frame);
    core.log({ level: 'error', message: 'a run failed because Postgres refused its row', run_id: frame.run.runId, error: error.message });
    const stored = { code: 'ROW_REJECTED', message: `Postgres refused a row of this run: ${error.message}` };
    await endDirectly(frame, stored);
  }

  const overtaken = new Map<string, number>();

  /**
   * The row is there already. A run that was cancelled and retried may have had a write on its way from before: it is a
   * true outcome, so the run begins again with it in its history.
   */
  async function giveBack(frame: Frame): Promise<void> {
    const { runId } = frame.run;
    if (overtaken.size > OVERTAKEN_KEPT) overtaken.clear();
    overtaken.set(runId, (overtaken.get(runId) ?? 0) + 1);
    core.log({ level: 'warn', message: 'a row of this run was there already; it is replayed from its history', run_id: runId });
    await withFence(frame, (tx) =>
      tx.query(`update workflow_runs set status = 's', owner = null, wake_at = now() where run_id = $1 and owner = $2`, [
        runId,
        core.workerId,
      ]),
    );
    drop(frame);
    core.kick();
  }

  async function endDirectly(frame: Frame, error: StoredError): Promise<void> {
    await withFence(frame, async (tx) => {
      await tx.query(
        `with gone as (delete from workflow_runs where run_id = $1 and owner = $2 returning *)
         insert into workflow_runs_finished (run_id, workflow_name, workflow_version, status, queue, priority, concurrency_key, attempt,
           parent_run_id, trace_id, seed, trigger_key, input, error, created_at, started_at, started_by)
         select run_id, workflow_name, workflow_version, 'f', queue, priority, concurrency_key, attempt, parent_run_id, trace_id, seed,
           trigger_key, input, $3::json, created_at, started_at, started_by from gone`,
        [frame.run.runId, core.workerId, JSON.stringify(error)],
      );
      await tx.query('delete from workflow_waits where run_id = $1', [frame.run.runId]);
      await withdrawOf(core, tx, [frame.run.runId]);
    });
    core.counters.failed += 1;
    drop(frame);
    core.touched(frame.run.runId);
    await waits.wake([{ eventType: '$run', correlationId: frame.run.runId }]).catch(() => {});
  }

  /** History and code disagree: the run stands still, with the difference on it, until someone decides. */
  async function stick(frame: Frame, problem: Mismatch): Promise<void> {
    if (frame.closed) return;
    frame.close(new Error(problem.message));
    const error: StoredError = {
      code: 'HISTORY_MISMATCH',
      message: problem.message,
      details: { expected: problem.expected, found: problem.found },
    };
    core.log({
      level: 'error',
      message: 'a run is stuck',
      run_id: frame.run.runId,
      workflow_name: frame.run.workflow,
      error: problem.message,
    });
    await withFence(frame, (tx) =>
      tx.query(`update workflow_runs set status = 'x', owner = null, wake_at = null, error = $2::json where run_id = $1 and owner = $3`, [
        frame.run.runId,
        JSON.stringify(error),
        core.workerId,
      ]),
    );
    drop(frame);
    core.touched(frame.run.runId);
  }

  function watchStall(frame: Frame, hosted: boolean): void {
    let progress = frame.progress;
    // a process that starts, or is busy, is not one that waits
    let rested = !hosted;
    const timer = setInterval(() => {
      if (frame.closed || !frame.replaying) return clearInterval(timer);
      const rests = !hosted || frame.isAtRest?.() === true;
      if (rests && rested && frame.executing === 0 && frame.progress === progress) {
        clearInterval(timer);
        void stick(frame, {
          message:
            'the replay waits for a call that the code no longer makes; restore the code, guard the change with ctx.patched, or fork the run',
          expected: frame.replayState.next,
          found: frame.replayState,
        });
      }
      rested = rests;
      progress = frame.progress;
    }, REPLAY_STALL_MS);
    timer.unref();
  }

  /** A transaction that writes only while this worker's lease holds; tried again as long as Postgres is away. */
  async function withFence(frame: Frame, work: (tx: Queryable) => Promise<unknown>): Promise<void> {
    const { workerId, life } = core;
    for (let attempt = 0; ; attempt++) {
      try {
        await core.store.transaction(async (tx) => {
          await assertAlive(tx, workerId);
          // the try before may have committed without telling, or the run was cancelled
          const held = await tx.query(`select 1 from workflow_runs where run_id = $1 and owner = $2 and status = 'r' for update`, [
            frame.run.runId,
            workerId,
          ]);
          if (held.rowCount === 1) await work(tx);
        });
        return;
      } catch (error) {
        if (error instanceof FencedError) return core.onFenced(life);
        if (classifyFailure(error) === 'rejected' || core.closed) {
          core.log({ level: 'error', message: 'a run could not be written', run_id: frame.run.runId, error: (error as Error).message });
          core.strays = true;
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, Math.min(1000, 20 * 2 ** attempt)));
      }
    }
  }

  /** A connection that breaks is not the step's failure: its work was rolled back whole, so it is done again. */
  async function transactionStep(frame: Frame, call: Call, work: (tx: TransactionClient) => Promise<string>): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const result = await tryTransaction(frame, call, work);
      if (result === 'done') return;
      if (frame.closed) await never();
      await new Promise((resolve) => setTimeout(resolve, Math.min(1000, 20 * 2 ** attempt)));
    }
  }

  /** The user's work and the step's row in one transaction. Its ord is taken only for the commit, with other outcomes held back. */
  async function tryTransaction(frame: Frame, call: Call, work: (tx: TransactionClient) => Promise<string>): Promise<'done' | 'again'> {
    const attempts = call.attempts + 1;
    const { workerId, life } = core;
    let hold: ReturnType<Frame['holdWrites']> | undefined;
    let outcome = '';
    let endedAt = 0;
    // what the work itself threw is the step's failure; what Postgres threw, into the work or beside it, may not be
    let thrownByWork: unknown;
    const thrownByStore = new WeakSet<object>();
    try {
      await core.store.transaction(async (tx) => {
        const query: TransactionClient['query'] = (sql, params) =>
          tx.query(sql, params).catch((error: Error) => {
            thrownByStore.add(error);
            throw error;
          }) as ReturnType<TransactionClient['query']> as never;
        try {
          outcome = await work({ query });
        } catch (error) {
          thrownByWork = error;
          throw error;
        }
        // a pending row of this call, and a fellow transaction's commit, come first
        while (hold === undefined) {
          await new Promise<void>((resolve) => frame.whenOpen(resolve));
          if (frame.closed) throw LEFT;
          if (!frame.held) hold = frame.holdWrites();
        }
        await assertAlive(tx, workerId);
        endedAt = Math.round(core.store.now());
        await tx.query(
          `insert into workflow_steps (run_id, seq, ord, attempt, attempts, kind, status, name, outcome, started_at, ended_at)
           values ($1, $2, $3, $4, $5, 't', 'o', $6, $7::json, to_timestamp($8::float8), to_timestamp($9::float8))
           on conflict (run_id, seq) do update set ord = excluded.ord, attempts = excluded.attempts, status = 'o', outcome = excluded.outcome,
             wake_at = null, detail = null, ended_at = excluded.ended_at where workflow_steps.status = 'p'`,
          [frame.run.runId, call.seq, hold.ord, frame.run.attempt, attempts, call.name, outcome, call.startedAt / 1000, endedAt / 1000],
        );
      });
    } catch (error) {
      if (error instanceof FencedError) {
        core.onFenced(life);
        await never();
      }
      if (error === LEFT) await never();
      const failure = classifyFailure(error);
      const committed = hold !== undefined && failure === 'ambiguous' && (await stepCommitted(frame, call, { workerId, life }));
      if (!committed) {
        hold?.release(false);
        const ours = thrownByWork === undefined || thrownByStore.has(thrownByWork as object);
        if (ours && failure !== 'rejected') return 'again';
        throw error;
      }
    }
    call.settling = true;
    const ord = hold?.ord as number;
    hold?.release(true);
    frame.handOut(ord, call.seq, { status: 'o', outcome, attempts, detail: null }, endedAt);
    return 'done';
  }

  /** After a broken commit: waits for the old transaction to end (it shares our row's lock), then looks. */
  async function stepCommitted(
    frame: Frame,
    call: Call,
    { workerId, life }: { readonly workerId: number | null; readonly life: number },
  ): Promise<boolean> {
    for (;;) {
      try {
        return await core.store.transaction(async (tx) => {
          const { rows } = await tx.query<{ dead: boolean }>('select dead from workers where worker_id = $1 for update', [workerId]);
          if (rows[0]?.dead !== false) throw new FencedError();
          const step = await tx.query(`select 1 from workflow_steps where run_id = $1 and seq = $2 and ord is not null`, [
            frame.run.runId,
            call.seq,
          ]);
          return step.rowCount === 1;
        });
      } catch (error) {
        if (error instanceof FencedError) {
          core.onFenced(life);
          await never();
        }
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  /** Sleeps longer than the residence time leave memory at once; other waits stay for it, since answers are often quick. */
  function onParked(frame: Frame): void {
    const wake = frame.nextWake;
    const soon = core.store.now() + core.options.residentMs;
    const onlyTimers = [...frame.calls.values()].every((call) => call.awaits === undefined);
    if (onlyTimers) {
      if (wake !== null && wake > soon) evict(frame);
      return;
    }
    const { progress } = frame;
    if (frame.evicting === progress) return;
    frame.evicting = progress;
    if (core.options.residentMs === 0) {
      if (frame.writing === 0) evict(frame);
      else frame.evicting = -1;
      return;
    }
    setTimeout(() => {
      if (!frame.closed && frame.progress === progress && frame.executing === 0 && frame.parked) evict(frame);
    }, core.options.residentMs).unref();
  }

  function evict(frame: Frame): void {
    const wakeAt = frame.nextWake;
    const waiting = [...frame.calls.values()].some((call) => call.awaits !== undefined);
    const { runId } = frame.run;
    const { life } = core;
    const unknown = [...frame.calls.values()].some((call) => call.awaits !== undefined && (!call.registered || call.looks > 0));
    const write: Write = {
      type: 'park',
      group: runId,
      bytes: 100,
      runId,
      status: waiting ? 'w' : 's',
      wakeAt,
      settle(error) {
        if (error instanceof FencedError) return core.onFenced(life);
        if (error !== undefined) return void failRejected(frame, error);
        drop(frame);
        core.touched(runId);
        // an event may have come since the last look that was over before this began
        if (unknown || frame.nudged) void wakeIfThere(runId);
        if (wakeAt !== null) core.kick();
      },
    };
    // its rows are on their way, in order; nothing more comes from this frame
    frame.close();
    core.writer.push(write);
  }

  async function wakeIfThere(runId: string): Promise<void> {
    try {
      await wakeRuns(core, [runId]);
    } catch {
      // the repair of waits finds it
    }
  }

  function cancelHere(runId: string): void {
    const frame = core.frames.get(runId);
    if (frame === undefined) return void asking.tidyCancelled(runId, undefined);
    core.frames.delete(runId);
    frame.close(new RunCancelledError());
    core.kick();
    void asking.tidyCancelled(runId, frame);
  }

  return { execute, startHere, evict, cancelHere };
}
