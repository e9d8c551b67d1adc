/** What clients say to turns that wait or run: end, or take this too. */
import { createHash, randomUUID } from 'node:crypto';
import { canonicalJson, type Queryable, type Store } from '../store/index.ts';
import { ThreadError } from './errors.ts';
import { appendIn } from './events.ts';
import { oweDelivery } from './owed.ts';
import { checkExecutionId, checkThreadKey, hashOf, lockThread, stateEvent, storeAnswer, storedAnswer } from './requests.ts';
import { TURNS_CHANNEL } from './turns.ts';
import { type ExecutionStatus, type MessagePart, TERMINAL_STATUSES, type TerminalReason } from './types.ts';

export interface CancelAnswer {
  readonly execution_id: string;
  readonly thread_key: string;
  /** `cancelled` when it had not begun; `cancel_requested` when it is told to end. */
  readonly status: ExecutionStatus;
  readonly idempotent: boolean;
}

/** @throws ThreadError EXECUTION_NOT_FOUND, EXECUTION_FINISHED */
export async function cancelExecution(store: Store, executionId: string): Promise<CancelAnswer> {
  checkExecutionId(executionId);
  return store.transaction((tx) => cancelOne(tx, executionId));
}

async function cancelOne(tx: Queryable, executionId: string): Promise<CancelAnswer> {
  const { thread_key } = await find(tx, executionId);
  await lockThread(tx, thread_key, 'existing');
  const { status } = await find(tx, executionId);
  if (status === 'cancelled' || status === 'cancel_requested') return { execution_id: executionId, thread_key, status, idempotent: true };
  if (TERMINAL_STATUSES.includes(status)) throw new ThreadError('EXECUTION_FINISHED', `the execution has ended: ${status}`);
  return {
    execution_id: executionId,
    thread_key,
    status: await cancelIn(tx, thread_key, executionId, status, 'cancelled'),
    idempotent: false,
  };
}

/** Of runs that were cancelled, unless another run waits for the turn: a fork. */
const ASKED_BY_CANCELLED = `select e.execution_id from agent_execution_requests e join workflow_runs_finished f on f.run_id = e.asked_by
  where e.asked_by is not null and e.status in ('queued', 'running') and f.status = 'n'
    and not exists (
      select from workflow_waits w join workflow_runs r on r.run_id = w.run_id where w.event_type = '$run' and w.correlation_id = e.run_id::text)`;

/** Ends turns that workflows asked for whose runs were cancelled. Answers how many. */
export async function cancelAsked(store: Store): Promise<number> {
  const { rows } = await store.query<{ execution_id: string }>(`${ASKED_BY_CANCELLED} limit 100`);
  for (const { execution_id } of rows)
    await store.transaction(async (tx) => {
      // it may have ended meanwhile, or its workflow may have been begun again
      const { rowCount } = await tx.query(`${ASKED_BY_CANCELLED} and e.execution_id = $1`, [execution_id]);
      if (rowCount === 1) await cancelOne(tx, execution_id);
    });
  return rows.length;
}

/** Every turn of the thread that has not ended. In the caller's transaction, which holds the thread's row. */
export async function cancelAll(tx: Queryable, threadKey: string, reason: TerminalReason): Promise<readonly string[]> {
  const { rows } = await tx.query<{ execution_id: string; status: ExecutionStatus }>(
    `select execution_id, status from agent_execution_requests where thread_key = $1 and status in ('queued', 'running') order by created_at, execution_id`,
    [threadKey],
  );
  for (const { execution_id, status } of rows) await cancelIn(tx, threadKey, execution_id, status, reason);
  return rows.map((row) => row.execution_id);
}

async function cancelIn(
  tx: Queryable,
  threadKey: string,
  executionId: string,
  status: ExecutionStatus,
  reason: TerminalReason,
): Promise<ExecutionStatus> {
  if (status === 'queued') {
    // the run finds it ended when its turn comes
    const { rows } = await tx.query<{ platform: string; delivery: string }>(
      `update agent_execution_requests set status = 'cancelled', terminal_reason = $3, completed_at = now(), updated_at = now()
       where thread_key = $1 and execution_id = $2 returning platform, delivery`,
      [threadKey, executionId, reason],
    );
    const end = { status: 'cancelled', reason, text: '', errorText: null } as const;
    const owed = rows[0] === undefined ? [] : await oweDelivery(tx, { threadKey, executionId }, rows[0], end);
    await appendIn(tx, threadKey, executionId, [
      ...owed,
      stateEvent(threadKey, executionId, { status: 'cancelled', terminal_reason: reason }),
    ]);
    return 'cancelled';
  }
  await tx.query(
    `update agent_execution_requests set status = 'cancel_requested', updated_at = now() where thread_key = $1 and execution_id = $2`,
    [threadKey, executionId],
  );
  await appendIn(tx, threadKey, executionId, [stateEvent(threadKey, executionId, { status: 'cancel_requested' })]);
  await tx.query(`select pg_notify('${TURNS_CHANNEL}', $1)`, [executionId]);
  return 'cancel_requested';
}

export interface ReleaseAnswer {
  readonly thread_key: string;
  readonly released: boolean;
  readonly assignment_generation?: number;
  readonly runtime_id?: string;
  readonly reason?: 'no_active_assignment';
}

/** Ends the assignment. Turns that wait or run go on, unless the caller cancels them: see `cancel`. */
export async function release(
  store: Store,
  request: { readonly thread_key: string; readonly release_id?: string | undefined; readonly cancel_inflight?: boolean | undefined },
): Promise<ReleaseAnswer & { readonly idempotent: boolean }> {
  checkThreadKey(request.thread_key);
  const hash = hashOf([request.cancel_inflight ?? false]);
  return store.transaction(async (tx) => {
    await lockThread(tx, request.thread_key, 'existing');
    const known = await storedAnswer<ReleaseAnswer>(tx, request.thread_key, 'release', request.release_id, hash);
    if (known !== undefined) return { ...known, idempotent: true };
    const { rows } = await tx.query<{ assignment_generation: number; runtime_id: string }>(
      `update agent_runtime_assignments set state = 'released', released_at = now(), updated_at = now()
       where thread_key = $1 and state = 'active' returning assignment_generation, runtime_id`,
      [request.thread_key],
    );
    const [ended] = rows;
    const answer: ReleaseAnswer =
      ended === undefined
        ? { thread_key: request.thread_key, released: false, reason: 'no_active_assignment' }
        : { thread_key: request.thread_key, released: true, ...ended };
    if (ended !== undefined)
      await appendIn(tx, request.thread_key, null, [
        { kind: 'assignment_released', data: { type: 'assignment.released', assignment_generation: ended.assignment_generation } },
      ]);
    if (request.cancel_inflight === true) await cancelAll(tx, request.thread_key, 'released');
    await storeAnswer(tx, request.thread_key, 'release', request.release_id, hash, answer);
    return { ...answer, idempotent: false };
  });
}

/** More input for a running turn. @throws ThreadError EXECUTION_NOT_FOUND, EXECUTION_NOT_RUNNING, IDEMPOTENCY_PAYLOAD_MISMATCH */
export async function steerExecution(
  store: Store,
  executionId: string,
  request: {
    readonly content_blocks: readonly MessagePart[];
    readonly message_id?: string | undefined;
    readonly user_id?: string | undefined;
    readonly vouched?: boolean | undefined;
  },
): Promise<{ readonly execution_id: string; readonly thread_key: string; readonly status: 'steered'; readonly idempotent: boolean }> {
  checkExecutionId(executionId);
  const signalId = request.message_id ?? randomUUID();
  const hash = createHash('sha256').update(canonicalJson(request.content_blocks)).digest();
  return store.transaction(async (tx) => {
    const { thread_key } = await find(tx, executionId);
    await lockThread(tx, thread_key, 'existing');
    const { rows: known } = await tx.query<{ request_hash: Buffer }>(
      'select request_hash from agent_execution_signals where thread_key = $1 and execution_id = $2 and signal_id = $3',
      [thread_key, executionId, signalId],
    );
    if (known[0] !== undefined) {
      if (!known[0].request_hash.equals(hash))
        throw new ThreadError('IDEMPOTENCY_PAYLOAD_MISMATCH', `message_id: ${JSON.stringify(signalId)} was used before with another body`);
      return { execution_id: executionId, thread_key, status: 'steered' as const, idempotent: true };
    }
    const { status } = await find(tx, executionId);
    if (status !== 'running')
      throw new ThreadError('EXECUTION_NOT_RUNNING', `the execution is not running, it is ${status}: send a message instead`);
    await tx.query(
      `insert into agent_execution_signals (thread_key, execution_id, signal_id, kind, body, request_hash, user_id, vouched) values ($1, $2, $3, 'steer', $4, $5, $6, $7)`,
      [thread_key, executionId, signalId, JSON.stringify(request.content_blocks), hash, request.user_id ?? null, request.vouched ?? false],
    );
    await appendIn(tx, thread_key, executionId, [
      {
        kind: 'steered',
        data: { type: 'execution.steered', message_id: signalId, content: request.content_blocks, user_id: request.user_id ?? null },
      },
    ]);
    await tx.query(`select pg_notify('${TURNS_CHANNEL}', $1)`, [executionId]);
    return { execution_id: executionId, thread_key, status: 'steered' as const, idempotent: false };
  });
}

async function find(tx: Queryable, executionId: string): Promise<{ readonly thread_key: string; readonly status: ExecutionStatus }> {
  const { rows } = await tx.query<{ thread_key: string; status: ExecutionStatus }>(
    'select thread_key, status from agent_execution_requests where execution_id = $1',
    [executionId],
  );
  const [row] = rows;
  if (row === undefined) throw new ThreadError('EXECUTION_NOT_FOUND', `there is no execution ${executionId}`);
  return row;
}
