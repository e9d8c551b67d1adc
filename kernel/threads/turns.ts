/**
 * What the process that runs a turn reads and writes. Every write holds the row of the turn's run and finds it to be this
 * worker's: a worker that was declared dead changes nothing here.
 */
import { activePolicy, withdrawApprovals } from '../policy/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { exhaustedBudget, type Prices, recordUsage, workflowOf } from '../usage/index.ts';
import { type Asker, userOfWords } from '../vault/index.ts';
import { storeAttachments, type NewAttachment } from './attachments.ts';
import { ThreadError } from './errors.ts';
import { appendIn, type TurnOwner } from './events.ts';
import { oweDelivery } from './owed.ts';
import { parsePersona, type ThreadPersona } from './personas.ts';
import { stateEvent } from './requests.ts';
import type { ExecutionStatus, MessagePart, NewEvent, TerminalReason } from './types.ts';

/** Notified with the execution's id when something was said to a running turn. */
export const TURNS_CHANNEL = 'centaur_turns';

export interface Turn {
  readonly threadKey: string;
  readonly executionId: string;
  readonly generation: number;
  readonly status: ExecutionStatus;
  /** By another worker, or in another try: its harness may have it already. */
  readonly begunBefore: boolean;
  /** Milliseconds of the wall clock. */
  readonly startedAt: number;
  /** The life of the worker that it belongs to from now on. */
  readonly workerId: number | null;
  readonly harness: string;
  readonly persona: ThreadPersona | null;
  /** Instructions for this thread alone. */
  readonly override: string | null;
  readonly model: string | null;
  readonly effort: string | null;
  readonly userId: string | null;
  /** Whose grants count in it. */
  readonly asker: Asker;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly traceId: string;
  readonly messages: readonly { readonly role: string; readonly parts: readonly MessagePart[] }[];
  /** Where the thread's sandbox was, and how much of its output is stored. */
  readonly sandbox: SandboxRecord;
}

export interface SandboxRecord {
  readonly state: string;
  readonly sandboxId: string | null;
  readonly backend: string | null;
  readonly host: string | null;
  readonly agentThreadId: string | null;
  readonly logOffset: number;
}

export interface TurnSignal {
  readonly position: number;
  readonly kind: 'steer';
  readonly body: unknown;
}

export interface TurnEnd {
  readonly status: 'completed' | 'failed_permanent' | 'cancelled';
  readonly reason: TerminalReason;
  readonly resultText: string;
  readonly resultJson?: unknown;
  readonly errorText?: string | undefined;
  readonly usage?: unknown;
  /** Appended before the terminal event. */
  readonly events?: readonly NewEvent[];
  readonly logOffset?: number;
  /** Of the last word to the turn that the harness was given; later ones become messages that wait. */
  readonly signalPosition?: number;
  /** What the harness needs to go on in another sandbox. */
  readonly snapshot?: { readonly agentThreadId: string; readonly data: Buffer; readonly sha256: Buffer } | undefined;
}

/** What turns are paid by. */
export interface Accounts {
  readonly prices: Prices;
  /** The model that a harness uses when nobody names one, where that is known. */
  modelOf(harness: string): string | undefined;
}

/**
 * Takes the turn, or takes it over. One that has not begun, and for which a budget has nothing left, ends here.
 *
 * @throws ThreadError EXECUTION_NOT_FOUND, TURN_TAKEN_OVER; PolicyError POLICY_BROKEN while nobody knows what the budgets are
 */
export async function beginTurn(store: Store, accounts: Accounts, workerId: number | null, owner: TurnOwner): Promise<Turn> {
  return store.transaction(async (tx) => {
    await fence(tx, workerId, owner);
    // as whoever cancels does: what it finds stays so
    await lockRow(tx, owner.threadKey);
    const { rows } = await tx.query<{
      assignment_generation: number;
      status: ExecutionStatus;
      harness: string;
      persona: string | null;
      agents_md_override: string | null;
      model: string | null;
      effort: string | null;
      user_id: string | null;
      vouched: boolean;
      channel: string | null;
      metadata: string;
      started_at: number | null;
      run_id: string | null;
      asked_by: string | null;
      trace_id: string | null;
    }>(
      `select e.run_id, e.trace_id, e.asked_by, e.assignment_generation, e.status, e.harness, a.persona, a.agents_md_override, e.model, e.effort, e.user_id, e.vouched, e.channel, e.metadata, e.started_at
       from agent_execution_requests e left join agent_runtime_assignments a using (thread_key, assignment_generation)
       where e.thread_key = $1 and e.execution_id = $2`,
      [owner.threadKey, owner.executionId],
    );
    const [row] = rows;
    if (row === undefined) throw new ThreadError('EXECUTION_NOT_FOUND', `there is no execution ${owner.executionId}`);
    if (row.run_id !== null && row.run_id !== owner.runId) throw new ThreadError('TURN_TAKEN_OVER', 'this turn is run by another run');
    let { status } = row;
    if (status === 'queued') {
      const { budgets } = (await activePolicy(tx)).policy;
      const model = modelAsked(row, accounts) ?? undefined;
      const over =
        budgets.length === 0
          ? undefined
          : await exhaustedBudget(
              tx,
              budgets,
              {
                thread: owner.threadKey,
                workflow: await workflowOf(tx, row.asked_by),
                user: (await spenderOf(tx, row)) ?? undefined,
                harness: row.harness,
                model,
              },
              store.now(),
            );
      if (over !== undefined) {
        status = 'failed_permanent';
        const end = { status, reason: 'budget_exceeded', resultText: '', errorText: over.message } as const;
        await finishIn(tx, accounts, owner, end, store.now());
      }
    }
    if (status === 'queued') {
      status = 'running';
      await tx.query(
        `update agent_execution_requests set status = 'running', run_id = $3, started_at = now(), updated_at = now()
         where thread_key = $1 and execution_id = $2`,
        [owner.threadKey, owner.executionId, owner.runId],
      );
      await appendIn(tx, owner.threadKey, owner.executionId, [stateEvent(owner.threadKey, owner.executionId, { status: 'running' })]);
    }
    const messages = await tx.query<{ role: string; parts: string }>(
      'select role, parts from agent_message_requests where thread_key = $1 and delivered_execution_id = $2 order by position',
      [owner.threadKey, owner.executionId],
    );
    const session = await tx.query<{
      trace_id: string;
      state: string;
      sandbox_id: string | null;
      backend: string | null;
      host: string | null;
      agent_thread_id: string | null;
      log_offset: number;
    }>('select trace_id, state, sandbox_id, backend, host, agent_thread_id, log_offset from sandbox_sessions where thread_key = $1', [
      owner.threadKey,
    ]);
    const thread = session.rows[0] as (typeof session.rows)[number];
    return {
      threadKey: owner.threadKey,
      executionId: owner.executionId,
      generation: row.assignment_generation,
      status,
      begunBefore: row.status !== 'queued',
      startedAt: row.started_at ?? store.now(),
      workerId,
      harness: row.harness,
      persona: parsePersona(row.persona),
      override: row.agents_md_override,
      model: row.model,
      effort: row.effort,
      userId: row.user_id,
      asker: { account: row.vouched ? row.user_id : null, channel: row.channel },
      metadata: JSON.parse(row.metadata) as Record<string, unknown>,
      traceId: row.trace_id ?? thread.trace_id,
      messages: messages.rows.map(({ role, parts }) => ({ role, parts: JSON.parse(parts) as MessagePart[] })),
      sandbox: {
        state: thread.state,
        sandboxId: thread.sandbox_id,
        backend: thread.backend,
        host: thread.host,
        agentThreadId: thread.agent_thread_id,
        logOffset: thread.log_offset,
      },
    };
  });
}

/**
 * The end of a turn, in one commit: its last events, its result, the state of the harness, and the answer that is owed.
 * A turn that has ended already stays as it ended.
 *
 * @throws ThreadError TURN_TAKEN_OVER
 */
export async function finishTurn(store: Store, accounts: Accounts, workerId: number | null, owner: TurnOwner, end: TurnEnd): Promise<void> {
  await store.transaction(async (tx) => {
    await fence(tx, workerId, owner);
    await finishIn(tx, accounts, owner, end, store.now());
  });
}

/** Ends turns whose run has ended without ending them: it was cancelled by itself, or failed at something else than the turn. */
export async function endAbandoned(store: Store, accounts: Accounts): Promise<number> {
  const { rows } = await store.query<{ thread_key: string; execution_id: string; run_id: string; status: string; error: string | null }>(
    `select e.thread_key, e.execution_id, f.run_id, f.status::text, f.error from agent_execution_requests e
     join workflow_runs_finished f on f.run_id = e.run_id where e.completed_at is null and f.status <> 'c' limit 100`,
  );
  for (const row of rows) {
    const owner = { threadKey: row.thread_key, executionId: row.execution_id, runId: row.run_id };
    const cancelled = row.status === 'n';
    const end: TurnEnd = {
      status: cancelled ? 'cancelled' : 'failed_permanent',
      reason: cancelled ? 'cancelled' : 'execution_error',
      resultText: '',
      ...(row.error === null ? {} : { errorText: (JSON.parse(row.error) as { message?: string }).message ?? row.error }),
    };
    await store.transaction((tx) => finishIn(tx, accounts, owner, end, store.now()));
  }
  return rows.length;
}

/** What was said to the turn too late for it is said to the next one. In the caller's transaction, which holds the thread's row. */
async function keepUnheard(tx: Queryable, { threadKey, executionId }: TurnOwner, position: number): Promise<void> {
  const { rows } = await tx.query<{ signal_id: string; body: string; request_hash: Buffer; user_id: string | null; vouched: boolean }>(
    `select signal_id, body, request_hash, user_id, vouched from agent_execution_signals
     where thread_key = $1 and execution_id = $2 and kind = 'steer' and position > $3 order by position`,
    [threadKey, executionId, position],
  );
  for (const { signal_id, body, request_hash, user_id, vouched } of rows) {
    const messageId = `steer-${executionId}-${signal_id}`.slice(0, 512);
    await tx.query(
      `with thread as (update sandbox_sessions set last_message = last_message + 1 where thread_key = $1 returning last_message, last_generation)
       insert into agent_message_requests (thread_key, message_id, position, assignment_generation, role, parts, request_hash, user_id, vouched)
       select $1, $2, last_message, last_generation, 'user', $3, $4, $5, $6 from thread on conflict do nothing`,
      [threadKey, messageId, body, request_hash, user_id, vouched],
    );
    await appendIn(tx, threadKey, null, [
      {
        kind: 'message_stored',
        data: { type: 'message.stored', message_id: messageId, role: 'user', parts: JSON.parse(body) as unknown, user_id },
      },
    ]);
  }
}

async function finishIn(tx: Queryable, accounts: Accounts, owner: TurnOwner, end: TurnEnd, nowMs: number): Promise<void> {
  await lockRow(tx, owner.threadKey);
  const text = plain(end.resultText);
  const errorText = end.errorText === undefined ? null : plain(end.errorText);
  const { rows } = await tx.query<{
    platform: string;
    delivery: string;
    harness: string;
    model: string | null;
    persona: string | null;
    user_id: string | null;
    vouched: boolean;
    asked_by: string | null;
  }>(
    `update agent_execution_requests set status = $3, terminal_reason = $4, result_text = $5, result_json = $6, error_text = $7, usage = $8,
         completed_at = now(), updated_at = now()
       where thread_key = $1 and execution_id = $2 and completed_at is null returning platform, delivery, harness, model, user_id, vouched, asked_by,
         (select persona from agent_runtime_assignments a where a.thread_key = agent_execution_requests.thread_key
            and a.assignment_generation = agent_execution_requests.assignment_generation) as persona`,
    [
      owner.threadKey,
      owner.executionId,
      end.status,
      end.reason,
      text,
      end.resultJson === undefined ? null : JSON.stringify(end.resultJson),
      errorText,
      end.usage === undefined ? null : JSON.stringify(end.usage),
    ],
  );
  const [execution] = rows;
  if (execution === undefined) return;
  await tx.query(
    `update sandbox_sessions set log_offset = coalesce($2, log_offset), agent_thread_id = coalesce($3, agent_thread_id), last_used_at = now()
       where thread_key = $1`,
    [owner.threadKey, end.logOffset ?? null, end.snapshot === undefined ? null : plain(end.snapshot.agentThreadId)],
  );
  if (end.snapshot !== undefined) {
    await tx.query(
      `insert into session_snapshots (thread_key, harness, agent_thread_id, execution_id, data, sha256) values ($1, $2, $3, $4, $5, $6)
         on conflict (thread_key) do update set harness = excluded.harness, agent_thread_id = excluded.agent_thread_id,
           execution_id = excluded.execution_id, data = excluded.data, sha256 = excluded.sha256, created_at = now()`,
      [owner.threadKey, execution.harness, plain(end.snapshot.agentThreadId), owner.executionId, end.snapshot.data, end.snapshot.sha256],
    );
  }
  await keepUnheard(tx, owner, end.signalPosition ?? 0);
  await withdrawApprovals(tx, { runId: owner.runId });
  const owed = await oweDelivery(tx, owner, execution, { status: end.status, reason: end.reason, text, errorText });
  await appendIn(tx, owner.threadKey, owner.executionId, [
    ...(end.events ?? []),
    ...owed,
    stateEvent(owner.threadKey, owner.executionId, {
      status: end.status,
      terminal_reason: end.reason,
      result_text: text,
      error_text: errorText ?? undefined,
    }),
  ]);
  const { harness, asked_by: askedBy } = execution;
  const userId = await spenderOf(tx, execution);
  const { executionId, threadKey } = owner;
  // last: turns of other threads that end wait for it until the commit
  await recordUsage(
    tx,
    accounts.prices,
    { executionId, threadKey, harness, model: modelAsked(execution, accounts), userId, askedBy },
    nowMs,
  );
}

/** Whose tokens they are: by whichever account in a chat somebody asks, they spend what is theirs. */
async function spenderOf(
  tx: Queryable,
  { user_id: userId, vouched }: { readonly user_id: string | null; readonly vouched: boolean },
): Promise<string | null> {
  return (vouched ? await userOfWords(tx, { userId, vouched }) : undefined) ?? userId;
}

/** What the turn is to use: as it was asked for, as its persona says, or as its harness is set. As `runtime/turns` starts it. */
function modelAsked(
  { model, persona, harness }: { readonly model: string | null; readonly persona: string | null; readonly harness: string },
  accounts: Accounts,
): string | null {
  return model ?? parsePersona(persona)?.model ?? accounts.modelOf(harness) ?? null;
}

/** Whether the turn has told of something of this kind; of this approval, where one is named. */
export async function hasEvent(store: Store, { threadKey, executionId }: TurnOwner, kind: string, approvalId?: string): Promise<boolean> {
  const { rowCount } = await store.query(
    `select 1 from agent_execution_events where thread_key = $1 and execution_id = $2 and event_kind = $3
       and ($4::text is null or strpos(event_json::text, $4) > 0) limit 1`,
    // as text: Postgres takes no field out of a JSON text with a zero byte anywhere in it. No string in it can look like this
    [threadKey, executionId, kind, approvalId === undefined ? null : `"approval_id":${JSON.stringify(approvalId)}`],
  );
  return rowCount > 0;
}

export interface SandboxUse {
  readonly threadKey: string;
  readonly sandboxId: string | null;
  /** A turn waits or runs. */
  readonly busy: boolean;
  readonly released: boolean;
  readonly idleMs: number;
}

/** How the threads of these keys use their sandboxes; those that are unknown are left out. */
export async function sandboxUse(store: Store, threadKeys: readonly string[]): Promise<readonly SandboxUse[]> {
  const { rows } = await store.query<{ thread_key: string; sandbox_id: string | null; busy: boolean; released: boolean; idle_s: number }>(
    `select s.thread_key, s.sandbox_id, extract(epoch from now() - s.last_used_at)::float8 as idle_s,
       exists (select from agent_execution_requests e where e.thread_key = s.thread_key and e.completed_at is null) as busy,
       not exists (select from agent_runtime_assignments a where a.thread_key = s.thread_key and a.released_at is null) as released
     from sandbox_sessions s where s.thread_key = any($1::text[])`,
    [threadKeys],
  );
  return rows.map((row) => ({
    threadKey: row.thread_key,
    sandboxId: row.sandbox_id,
    busy: row.busy,
    released: row.released,
    idleMs: row.idle_s * 1000,
  }));
}

/**
 * Parts a thread from its sandbox, unless a turn of it waits or runs, or it has another one by now.
 *
 * @returns whether it was parted: then nobody will use the sandbox again
 */
export async function forgetSandbox(store: Store, threadKey: string, sandboxId: string): Promise<boolean> {
  return store.transaction(async (tx) => {
    await lockRow(tx, threadKey);
    const { rowCount } = await tx.query(
      `update sandbox_sessions s set state = 'idle', sandbox_id = null, host = null, log_offset = 0, updated_at = now()
       where thread_key = $1 and sandbox_id = $2
         and not exists (select from agent_execution_requests e where e.thread_key = s.thread_key and e.completed_at is null)`,
      [threadKey, sandboxId],
    );
    return rowCount > 0;
  });
}

/** Where the thread's sandbox is now. @throws ThreadError TURN_TAKEN_OVER */
export async function recordSandbox(
  store: Store,
  workerId: number | null,
  owner: TurnOwner,
  sandbox: {
    readonly state: string;
    readonly sandboxId: string | null;
    readonly backend: string | null;
    readonly host: string | null;
    readonly logOffset: number;
  },
): Promise<void> {
  await store.transaction(async (tx) => {
    await fence(tx, workerId, owner);
    await tx.query(
      `update sandbox_sessions set state = $2, sandbox_id = $3, backend = $4, host = $5, log_offset = $6, updated_at = now() where thread_key = $1`,
      [owner.threadKey, sandbox.state, sandbox.sandboxId, sandbox.backend, sandbox.host, sandbox.logOffset],
    );
  });
}

/** Something that a turn made, kept beside its events. */
export async function keepAttachment(
  store: Store,
  workerId: number | null,
  owner: TurnOwner,
  attachment: NewAttachment & { readonly id: string },
): Promise<void> {
  await store.transaction(async (tx) => {
    await fence(tx, workerId, owner);
    await storeAttachments(tx, owner.threadKey, { executionId: owner.executionId }, [attachment]);
  });
}

export async function readSnapshot(
  store: Store,
  threadKey: string,
): Promise<{ readonly harness: string; readonly agentThreadId: string; readonly data: Buffer; readonly sha256: Buffer } | undefined> {
  const { rows } = await store.query<{ harness: string; agent_thread_id: string; data: Buffer; sha256: Buffer }>(
    'select harness, agent_thread_id, data, sha256 from session_snapshots where thread_key = $1',
    [threadKey],
  );
  const [row] = rows;
  return row === undefined ? undefined : { harness: row.harness, agentThreadId: row.agent_thread_id, data: row.data, sha256: row.sha256 };
}

/** What was said to the turn after `position`, and whether it is to end. */
export async function readSignals(
  store: Store,
  { threadKey, executionId }: TurnOwner,
  position: number,
): Promise<{ readonly signals: readonly TurnSignal[]; readonly cancelRequested: boolean }> {
  const { rows } = await store.query<{ position: number; kind: TurnSignal['kind']; body: string }>(
    'select position, kind, body from agent_execution_signals where thread_key = $1 and execution_id = $2 and position > $3 order by position',
    [threadKey, executionId, position],
  );
  const state = await store.query<{ status: ExecutionStatus }>(
    'select status from agent_execution_requests where thread_key = $1 and execution_id = $2',
    [threadKey, executionId],
  );
  return {
    signals: rows.map((row) => ({ ...row, body: JSON.parse(row.body) as unknown })),
    cancelRequested: state.rows[0]?.status === 'cancel_requested',
  };
}

/** The lock that a takeover waits for, as the engine's own writes take it. */
async function fence(tx: Queryable, workerId: number | null, owner: TurnOwner): Promise<void> {
  const { rows } = await tx.query<{ mine: boolean }>(
    `with me as (select worker_id from workers where worker_id = $1 and not dead for key share)
     select r.owner = me.worker_id as mine from workflow_runs r, me where r.run_id = $2 for key share of r`,
    [workerId ?? -1, owner.runId],
  );
  if (rows[0]?.mine !== true) throw new ThreadError('TURN_TAKEN_OVER', 'another worker has taken this turn over');
}

async function lockRow(tx: Queryable, threadKey: string): Promise<void> {
  await tx.query('select 1 from sandbox_sessions where thread_key = $1 for update', [threadKey]);
}

/** Postgres keeps no zero byte in a text, and no half of a surrogate pair. */
function plain(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd');
}
