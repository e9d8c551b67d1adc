/** How a run asks people, and how what it asks ends with it: all that is written about that outside of the flush. */
import { classifyFailure } from '../store/index.ts';
import {
  APPROVAL_EVENT,
  type ApprovalDetail,
  approvalDetail,
  type Approvals,
  type CheckedQuestion,
  OPEN_MOST,
  withdrawOf,
} from './approvals.ts';
import { never } from './context.ts';
import type { Core } from './core.ts';
import { EngineError } from './errors.ts';
import { assertAlive, FencedError } from './flush.ts';
import type { Call, Frame } from './frame.ts';

/** Questions that are being stored at a time: they leave connections to everybody else. */
const ASKS_MOST = 3;

export function createAsking(core: Core) {
  let asking = 0;
  const waitToAsk: (() => void)[] = [];

  return {
    ask,
    expire: (frame: Frame, approvalId: string) => untilTold(frame, () => approvals().expire(approvalId)),
    use: (frame: Frame, approvalId: string, args: unknown) => untilTold(frame, () => approvals().use(approvalId, args)),
    withdraw: (approvalId: string) => core.store.transaction((tx) => approvals().withdraw(tx, [approvalId])),
    withdrawOpen,
    tidyCancelled,
  };

  function approvals(): Approvals {
    if (core.options.approvals !== undefined) return core.options.approvals;
    throw new EngineError('INVALID_REQUEST', 'this process asks nobody: approvals need the keys of an installation (CENTAUR_MASTER_KEY)');
  }

  /** As long as Postgres is away, it is tried again; for a run that has left this process, never. */
  async function untilTold<T>(frame: Frame, work: () => Promise<T>, hasLeft = () => frame.closed): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (hasLeft()) await never();
        if (classifyFailure(error) === 'rejected') throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.min(1000, 20 * 2 ** attempt)));
      }
    }
  }

  /**
   * The question, its audit entry and the row that says that the call waits for it commit together: a call that is made again
   * after a crash has asked, or has not. The lock on the run's row makes a try whose commit is unknown, a cancellation and this wait
   * for each other.
   */
  async function ask(
    frame: Frame,
    call: Call,
    question: CheckedQuestion,
  ): Promise<{ readonly detail: string; readonly expiresAt: number } | undefined> {
    const { run } = frame;
    const { workerId, life } = core;
    const serving = approvals();
    return untilTold(frame, async () => {
      if (asking >= ASKS_MOST) await new Promise<void>((resolve) => waitToAsk.push(resolve));
      else asking += 1;
      try {
        return await core.store.transaction(async (tx) => {
          await assertAlive(tx, workerId);
          const held = await tx.query(`select 1 from workflow_runs where run_id = $1 and owner = $2 and status = 'r' for update`, [
            run.runId,
            workerId,
          ]);
          if (held.rowCount !== 1) return undefined;
          const { rows } = await tx.query<{ seq: number; detail: string | null; wake_at: number }>(
            `select seq, detail, wake_at from workflow_steps where run_id = $1 and status = 'p' and (kind = 'a' or seq = $2)`,
            [run.runId, call.seq],
          );
          const known = rows.find(({ seq, detail }) => seq === call.seq && approvalDetail(detail) !== undefined);
          if (known !== undefined) return { detail: known.detail as string, expiresAt: known.wake_at };
          if (rows.length >= OPEN_MOST)
            throw new EngineError('TOO_LARGE', `approval "${call.name}": ${OPEN_MOST} questions of this run are open; that is the most`);
          const { binding, ...asked } = question;
          const { approvalId, expiresAt } = await serving.ask(tx, {
            ...asked,
            runId: run.runId,
            workflow: run.workflow,
            traceId: run.traceId,
            step: call.name,
          });
          const detail: ApprovalDetail = { approval_id: approvalId, gate: question.gate, binding, args: question.args };
          const json = JSON.stringify(detail);
          await tx.query(
            `with step as (
               insert into workflow_steps (run_id, seq, attempt, attempts, kind, status, name, detail, wake_at, started_at)
               values ($1, $2, $3, 1, 'a', 'p', $4, $5::json, to_timestamp($6::float8), to_timestamp($7::float8)))
             insert into workflow_waits (run_id, seq, event_type, correlation_id) values ($1, $2, '${APPROVAL_EVENT}', $8)`,
            [run.runId, call.seq, run.attempt, call.name, json, expiresAt / 1000, call.startedAt / 1000, approvalId],
          );
          return { detail: json, expiresAt };
        });
      } catch (error) {
        if (!(error instanceof FencedError)) throw error;
        core.onFenced(life);
        return undefined;
      } finally {
        const next = waitToAsk.shift();
        if (next === undefined) asking -= 1;
        else next();
      }
    });
  }

  /** What people are asked by a handler that has ended is withdrawn first: after that, nobody would. */
  async function withdrawOpen(frame: Frame): Promise<void> {
    const { life } = core;
    const { runId } = frame.run;
    if (!frame.asks || core.options.approvals === undefined) return;
    try {
      await untilTold(
        frame,
        () => core.store.transaction((tx) => withdrawOf(core, tx, [runId])),
        () => core.closed || core.life !== life,
      );
    } catch (error) {
      core.log({
        level: 'error',
        message: 'what a run asks people stays open until its time is up',
        run_id: runId,
        error: (error as Error).message,
      });
    }
  }

  /** What was on its way when the run was cancelled was stored after it: a row of a wait, a question of a tool's call. */
  async function tidyCancelled(runId: string, frame: Frame | undefined): Promise<void> {
    const { life } = core;
    while (frame !== undefined && frame.writing > 0 && !core.closed && core.life === life)
      await new Promise((resolve) => setTimeout(resolve, 5));
    if (core.closed) return;
    try {
      await core.store.transaction(async (tx) => {
        // who retries it, or is retrying it, takes its waits from its history
        const ended = await tx.query(`select 1 from workflow_runs_finished where run_id = $1 and status = 'n' for update`, [runId]);
        if (ended.rowCount === 0) return;
        await tx.query('delete from workflow_waits where run_id = $1', [runId]);
        await withdrawOf(core, tx, [runId]);
      });
    } catch (error) {
      core.log({ level: 'warn', message: 'a wait of a cancelled run is left', run_id: runId, error: (error as Error).message });
    }
  }
}
