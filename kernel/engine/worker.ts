/**
 * The worker: its lease, the recovery of other workers' runs, and the loop that claims.
 *
 * A worker is a row with a lease that it renews. Two of its connections also hold a session lock on its id: `kill -9`
 * frees it at once, so that the next worker need not wait for the lease to run out. Whoever finds a lease expired or
 * the lock free marks the row dead, and only then, in a second commit, takes its runs. A worker that finds its own row
 * dead has been declared gone: it drops all it holds and begins again under a new id.
 */
import { hostname } from 'node:os';
import type pg from 'pg';
import { APPROVAL_EVENT } from './approvals.ts';
import { claimRuns, nextDue } from './claim.ts';
import { type Core, roomForRuns, WORKER_LOCKS } from './core.ts';
import type { Executor } from './execute.ts';
import { FencedError } from './flush.ts';
import { applyRetention } from './retention.ts';
import { nextScheduleAt, runDueSchedules } from './schedules.ts';
import type { Waits } from './waits.ts';

export interface Worker {
  start(): Promise<void>;
  kick(): void;
  renewal(): Promise<void>;
  /** Becomes a new worker after the old row was found dead. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Looking without being told: notifications are hints and may be lost. */
const POLL_MS = 1000;
const REPAIR_MS = 15_000;
const RETENTION_MS = 3_600_000;

export function createWorker(core: Core, executor: Executor, waits: Waits): Worker {
  let claiming = false;
  let again = false;
  let stopped = true;
  let dueTimer: NodeJS.Timeout | undefined;
  let scheduleTimer: NodeJS.Timeout | undefined;
  const timers: NodeJS.Timeout[] = [];
  const unlisten: (() => void)[] = [];
  const decided = new Set<string>();
  let telling = false;
  let renewing = false;

  async function start(): Promise<void> {
    await register();
    stopped = false;
    await core.store.listener.onConnect(holdLock);
    unlisten.push(await core.store.listener.on('centaur_work', kick));
    // after the decision has committed, with its event: a run that is being parked or claimed just now sees one or the other
    unlisten.push(
      await core.store.listener.on('centaur_approvals', (id) => {
        if (id !== '') decided.add(id);
        void tellOfDecisions();
      }),
    );
    await listenForRuns();
    every(core.options.leaseMs / 3, beat);
    every(POLL_MS, async () => {
      await core.queues.refresh();
      kick();
    });
    every(REPAIR_MS, () => {
      core.strays = true;
      return waits.repair();
    });
    const { retentionDays, audit } = core.options;
    every(RETENTION_MS, () => applyRetention(core.store, { retentionDays, audit, now: new Date(core.store.now()) }));
    await reap();
    // the connections of a process killed a moment ago may take some milliseconds to end
    for (const ms of [50, 150, 400]) setTimeout(() => void quietly('looking for dead workers', reap), ms).unref();
    kick();
    void tick();
    void quietly('repairing waits', () => waits.repair('all'));
  }

  /** Many at once are one look. */
  async function tellOfDecisions(): Promise<void> {
    if (telling) return;
    telling = true;
    while (decided.size > 0 && !stopped) {
      const pairs = [...decided].map((correlationId) => ({ eventType: APPROVAL_EVENT, correlationId }));
      decided.clear();
      await quietly('telling runs of decisions', () => waits.wake(pairs));
    }
    telling = false;
  }

  async function register(): Promise<void> {
    const asked = performance.now();
    const { rows } = await core.store.query<{ worker_id: number }>(
      `insert into workers (lease_until, host, pid) values (now() + make_interval(secs => $1), $2, $3) returning worker_id`,
      [core.options.leaseMs / 1000, hostname(), process.pid],
    );
    core.workerId = rows[0]?.worker_id as number;
    core.openWriters();
    renewed(asked);
  }

  let awaitingRenewal: (() => void)[] = [];

  /** Counted from when the renewal was asked for: the answer may have taken long. */
  function renewed(askedAt: number): void {
    core.leaseHeldUntil = askedAt + core.options.leaseMs;
    const waiting = awaitingRenewal;
    awaitingRenewal = [];
    for (const resolve of waiting) resolve();
  }

  function renewal(): Promise<void> {
    void quietly('renewing the lease', beat);
    return new Promise((resolve) => awaitingRenewal.push(resolve));
  }

  /** The session lock is shared, and the writer's connection holds it too: losing one of the two is not death. */
  async function holdLock(client: pg.Client): Promise<void> {
    if (core.workerId === null) return;
    await client.query('select pg_advisory_lock_shared($1, $2)', [WORKER_LOCKS, core.workerId]);
    // a lock says nothing about a server that was restarted since: its sessions all ended
    await client.query('update workers set session_epoch = pg_postmaster_start_time() where worker_id = $1 and not dead', [core.workerId]);
  }

  /** After a time without notifications: whoever was told then has not heard it. */
  async function catchUp(): Promise<void> {
    kick();
    for (const runId of core.frames.keys()) await waits.nudge(runId);
    await waits.repair('all');
  }

  let unlistenRuns: (() => void) | undefined;
  async function listenForRuns(): Promise<void> {
    unlistenRuns?.();
    unlistenRuns = await core.store.listener.on(`centaur_worker_${core.workerId}`, (payload) => {
      if (payload.startsWith('cancel:')) void quietly('ending a cancelled run', () => cancelIfGone(payload.slice(7)));
      else if (payload !== '') void quietly('waking a run', () => waits.nudge(payload));
      else void quietly('looking for what was sent meanwhile', catchUp);
    });
  }

  /** Whoever may log in to the database can notify, a workflow's own role too: the row decides. */
  async function cancelIfGone(runId: string): Promise<void> {
    const { rowCount } = await core.store.query(`select 1 from workflow_runs where run_id = $1 and owner = $2 and status = 'r'`, [
      runId,
      core.workerId,
    ]);
    if (rowCount === 0) executor.cancelHere(runId);
  }

  function every(ms: number, work: () => Promise<unknown>): void {
    timers.push(setInterval(() => void quietly('a periodic task', work), ms));
  }

  async function quietly(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      if (!stopped) await work();
    } catch (error) {
      if (error instanceof FencedError) core.onFenced();
      else if (!stopped) core.log({ level: 'warn', message: `${what} failed; trying again`, error: (error as Error).message });
    }
  }

  async function beat(): Promise<void> {
    if (renewing) return;
    renewing = true;
    const { life } = core;
    try {
      const asked = performance.now();
      const { rowCount } = await core.store.query(
        `update workers set lease_until = now() + make_interval(secs => $2) where worker_id = $1 and not dead returning 1`,
        [core.workerId, core.options.leaseMs / 1000],
      );
      // an answer to a question of an earlier life
      if (core.life !== life) return;
      if (rowCount !== 1) throw new FencedError();
      renewed(asked);
      await core.store.syncClock();
      await reap();
    } finally {
      renewing = false;
    }
  }

  /** Two commits in this order: the death, which fences the worker's writes, then the handing over of its runs. Each beat repeats the second. */
  async function reap(): Promise<void> {
    const { rows: suspects } = await core.store.query<{ worker_id: number; host: string; pid: number; expired: boolean; late: boolean }>(
      `select worker_id, host, pid, lease_until < now() as expired, lease_until < now() + make_interval(secs => $3) as late
       from workers where worker_id <> $1 and not dead
         and (lease_until < now() or (session_epoch = pg_postmaster_start_time() and pg_try_advisory_xact_lock($2, worker_id)))`,
      [core.workerId, WORKER_LOCKS, (core.options.leaseMs * 0.6) / 1000],
    );
    // a lock is also free when only the connections were cut: on this machine the process tells, elsewhere a missed renewal
    const gone = suspects
      .filter((worker) => worker.expired || (worker.host === hostname() ? !isRunning(worker.pid) : worker.late))
      .map((worker) => worker.worker_id);
    const { rows: dead } = await core.store.query<{ worker_id: number }>(
      `update workers set dead = true, ended_at = now() where worker_id = any($1::int[]) and not dead returning worker_id`,
      [gone],
    );
    const { rows } = await core.store.query<{ run_id: string }>(
      // whoever was there at many crashes in a row may be their cause, and is held back for up to a minute
      `with taken as (update workflow_runs r set status = 's', owner = null, recoveries = r.recoveries + 1,
         (wake_at, held_until) = (select at, at from (
           select now() + case when r.recoveries < 5 then interval '0' else make_interval(secs => least(60, 0.25 * 2 ^ (r.recoveries - 5))) end) h(at))
       from workers w where w.dead and r.owner = w.worker_id and r.status = 'r' returning r.run_id, w.worker_id),
       noted as (insert into workflow_takeovers (run_id, worker_id) select run_id, worker_id from taken on conflict do nothing)
       select run_id from taken`,
    );
    if (dead.length > 0 || rows.length > 0) {
      core.log({ level: 'warn', message: 'took over runs of dead workers', workers: dead.map((row) => row.worker_id), runs: rows.length });
      kick();
      void quietly('repairing waits', () => waits.repair());
    }
  }

  /**
   * A claim that failed half-way may have committed: its runs are ours by their rows, and in nobody's memory. They go
   * back. Called by the claim loop alone, between its claims: so none of these rows can be one that is only just claimed.
   */
  async function releaseStrays(): Promise<void> {
    const released = await core.store.transaction(async (tx) => {
      // waits for what a broken connection of ours left running on the server
      const { rows: me } = await tx.query<{ dead: boolean }>('select dead from workers where worker_id = $1 for update', [core.workerId]);
      if (me[0]?.dead !== false) throw new FencedError();
      const { rows } = await tx.query<{ run_id: string }>(`select run_id from workflow_runs where owner = $1 and status = 'r'`, [
        core.workerId,
      ]);
      const strays = rows.map((row) => row.run_id).filter((id) => !core.frames.has(id) && !core.starting.has(id));
      if (strays.length > 0) {
        await tx.query(
          `update workflow_runs set status = 's', wake_at = now(), owner = null where run_id = any($1::uuid[]) and owner = $2 and status = 'r'`,
          [strays, core.workerId],
        );
      }
      return strays.length;
    });
    if (released > 0) core.log({ level: 'warn', message: 'released runs that nobody held', runs: released });
  }

  function kick(): void {
    again = true;
    if (!claiming && !stopped) void claimLoop();
  }

  async function claimLoop(): Promise<void> {
    claiming = true;
    try {
      while (again && !stopped && !core.draining) {
        again = false;
        if (core.strays) {
          core.strays = false;
          await releaseStrays();
        }
        if (roomForRuns(core) === 0) break;
        const { life } = core;
        const { claimed, more } = await claimRuns(core);
        // declared dead between its claim and the answer: somebody else has these runs by now
        if (core.life !== life) {
          core.strays = true;
          break;
        }
        for (const { run, history } of claimed) executor.execute(run, history);
        if (more) again = true;
      }
      if (!stopped && !core.draining) await armDueTimer();
    } catch (error) {
      core.strays = true;
      if (error instanceof FencedError) core.onFenced();
      else if (!stopped) {
        core.log({ level: 'warn', message: 'claiming runs failed; trying again', error: (error as Error).message });
        setTimeout(kick, 200).unref();
      }
    } finally {
      claiming = false;
      if (again && !stopped && !core.draining && roomForRuns(core) > 0) setImmediate(kick);
    }
  }

  async function armDueTimer(): Promise<void> {
    const at = await nextDue(core);
    clearTimeout(dueTimer);
    // it may have been stopped while Postgres answered
    if (stopped || at === null || roomForRuns(core) === 0) return;
    dueTimer = setTimeout(kick, Math.min(Math.max(1, Math.ceil(at - core.store.now())), 60_000));
  }

  /** Fires schedules when they are due, and looks again at least each minute. */
  async function tick(): Promise<void> {
    clearTimeout(scheduleTimer);
    let waitMs = 5_000;
    await quietly('running schedules', async () => {
      const loaded = core.registry.list().map((workflow) => workflow.name);
      const started = await runDueSchedules(core.store, loaded);
      if (started > 0) kick();
      const at = await nextScheduleAt(core.store, loaded);
      waitMs = at === null ? 60_000 : Math.min(60_000, Math.max(10, at.getTime() - core.store.now()));
    });
    if (!stopped) scheduleTimer = setTimeout(() => void tick(), waitMs);
  }

  async function restart(): Promise<void> {
    await register();
    await core.store.listener.onConnect(holdLock);
    await listenForRuns();
    kick();
  }

  async function stop(): Promise<void> {
    stopped = true;
    for (const timer of timers) clearInterval(timer);
    clearTimeout(dueTimer);
    clearTimeout(scheduleTimer);
    unlistenRuns?.();
    for (const off of unlisten) off();
    if (core.workerId === null) return;
    // hand back what is left, at once, instead of letting the lease run out
    await core.store.query('update workers set dead = true, ended_at = now() where worker_id = $1', [core.workerId]);
    await core.store.query(`update workflow_runs set status = 's', wake_at = now(), owner = null where owner = $1 and status = 'r'`, [
      core.workerId,
    ]);
    await core.store.query(`select pg_notify('centaur_work', '')`);
  }

  return { start, kick, renewal, restart, stop };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
