import type { Store, StoreLogEntry } from '../store/index.ts';
import { listAttachments, type NewAttachment, readAttachment } from './attachments.ts';
import { cancelAll, cancelExecution, type CancelAnswer, steerExecution } from './control.ts';
import { claimDeliveries, type ClaimedDelivery, failDelivery, renewDelivery, retryDelivery, settleDelivery } from './deliveries.ts';
import { createEventLog, EVENTS_CHANNEL, type TurnOwner } from './events.ts';
import { getExecution, getThread, listExecutions, listMessages, listThreads } from './reads.ts';
import { acceptExecution, type Catalogue, lockThread, release, type ReleaseAnswer, spawn, storeMessage } from './requests.ts';
import { createTails, type Frames } from './tail.ts';
import {
  beginTurn,
  finishTurn,
  keepAttachment,
  readSignals,
  readSnapshot,
  recordSandbox,
  type SandboxRecord,
  type Turn,
  type TurnEnd,
  TURNS_CHANNEL,
  type TurnSignal,
} from './turns.ts';
import type {
  AcceptedExecution,
  Assignment,
  Attachment,
  ExecuteRequest,
  ExecutionView,
  MessageRequest,
  MessageView,
  NewEvent,
  Page,
  SpawnRequest,
  StoredMessage,
  ThreadView,
} from './types.ts';

export interface Threads {
  spawn(request: SpawnRequest): Promise<Assignment & { readonly idempotent: boolean }>;
  message(request: MessageRequest): Promise<StoredMessage>;
  /** Accepted when it answers: the turn itself begins when its place in the queue comes. */
  execute(request: ExecuteRequest): Promise<AcceptedExecution>;
  cancel(executionId: string): Promise<CancelAnswer>;
  steer(
    executionId: string,
    request: Parameters<typeof steerExecution>[2],
  ): Promise<{ readonly execution_id: string; readonly thread_key: string; readonly status: 'steered'; readonly idempotent: boolean }>;
  release(request: Parameters<typeof release>[1]): Promise<ReleaseAnswer & { readonly idempotent: boolean }>;

  getThread(threadKey: string): Promise<ThreadView>;
  listThreads(query: { readonly after?: string | undefined; readonly limit: number }): Promise<Page<ThreadView>>;
  listMessages(threadKey: string, query: { readonly after?: string | undefined; readonly limit: number }): Promise<Page<MessageView>>;
  getExecution(executionId: string): Promise<ExecutionView>;
  listExecutions(threadKey: string, query: { readonly after?: string | undefined; readonly limit: number }): Promise<Page<ExecutionView>>;
  listAttachments(threadKey: string): Promise<readonly Attachment[]>;
  readAttachment(attachmentId: string): Promise<Attachment & { readonly data: Buffer }>;
  /** Server-sent events: what was missed, then what comes. */
  follow(
    threadKey: string,
    after: number,
    options: { readonly executionId?: string | undefined; readonly signal: AbortSignal },
  ): AsyncGenerator<Frames>;
  readonly readers: number;

  readonly deliveries: {
    claim(request: Parameters<typeof claimDeliveries>[1]): Promise<readonly ClaimedDelivery[]>;
    renew(executionId: string, consumerId: string, leaseSeconds: number): Promise<void>;
    settle(executionId: string, consumerId: string): Promise<{ readonly idempotent: boolean }>;
    fail(executionId: string, request: Parameters<typeof failDelivery>[2]): Promise<{ readonly state: 'retry_wait' | 'dead_letter' }>;
    retry(executionId: string): Promise<void>;
  };

  /** For whoever runs turns. */
  readonly turns: {
    begin(owner: TurnOwner): Promise<Turn>;
    append(owner: TurnOwner, events: readonly NewEvent[], logOffset?: number): Promise<void>;
    recordSandbox(owner: TurnOwner, sandbox: Omit<SandboxRecord, 'agentThreadId'>): Promise<void>;
    keepAttachment(owner: TurnOwner, attachment: NewAttachment & { readonly id: string }): Promise<void>;
    readSnapshot(threadKey: string): ReturnType<typeof readSnapshot>;
    readSignals(
      owner: TurnOwner,
      position: number,
    ): Promise<{ readonly signals: readonly TurnSignal[]; readonly cancelRequested: boolean }>;
    /** Calls back when something may have been said to the turn. Returns how to stop. */
    onSignal(executionId: string, listener: () => void): () => void;
    finish(owner: TurnOwner, end: TurnEnd): Promise<void>;
    /** Starts what was accepted and not started, because a process died between two commits. */
    startForgotten(): Promise<number>;
  };

  close(): Promise<void>;
}

export interface ThreadsOptions {
  readonly store: Store;
  readonly catalogue: Catalogue;
  /** Puts the turn into its queue, as a run of the engine; a second call for the same execution does nothing. */
  readonly startTurn: (turn: { readonly threadKey: string; readonly executionId: string }) => Promise<void>;
  /** Of this process; null when it is none. */
  readonly workerId: () => number | null;
  readonly log: (entry: StoreLogEntry) => void;
}

/** Old enough that nobody is about to start it. */
const FORGOTTEN_S = 5;
const SWEEP_MS = 5000;

export async function createThreads(options: ThreadsOptions): Promise<Threads> {
  const { store, catalogue, workerId, log } = options;
  const events = createEventLog({ store, workerId, log });
  const tails = createTails(store);
  const listeners = new Map<string, Set<() => void>>();

  const stopEvents = await store.listener.on(EVENTS_CHANNEL, (payload) => {
    const cut = payload.indexOf(' ');
    if (cut < 0) tails.lookAll();
    else tails.touched(payload.slice(cut + 1), Number(payload.slice(0, cut)));
  });
  const stopTurns = await store.listener.on(TURNS_CHANNEL, (executionId) => {
    const told = executionId === '' ? [...listeners.values()] : [listeners.get(executionId) ?? new Set<() => void>()];
    for (const set of told) for (const listener of set) listener();
  });
  const sweep = setInterval(
    () =>
      startForgotten().catch((error: Error) =>
        log({ level: 'warn', message: 'looking for turns that were not started failed; trying again', error: error.message }),
      ),
    SWEEP_MS,
  );
  sweep.unref();

  async function startForgotten(): Promise<number> {
    const { rows } = await store.query<{ thread_key: string; execution_id: string }>(
      `select thread_key, execution_id from agent_execution_requests
       where run_id is null and status = 'queued' and created_at < now() - make_interval(secs => $1) order by created_at limit 100`,
      [FORGOTTEN_S],
    );
    for (const row of rows) await options.startTurn({ threadKey: row.thread_key, executionId: row.execution_id });
    return rows.length;
  }

  return {
    spawn: (request) => spawn(store, catalogue, request),
    message: (request) => storeMessage(store, request),
    async execute(request) {
      const accepted = await acceptExecution(store, catalogue, request);
      // what fails here is accepted all the same: the sweep starts it
      if (!accepted.idempotent || accepted.status === 'queued')
        await options
          .startTurn({ threadKey: accepted.thread_key, executionId: accepted.execution_id })
          .catch((error: Error) => log({ level: 'warn', message: 'a turn could not be started yet', error: error.message }));
      return accepted;
    },
    cancel: (executionId) => cancelExecution(store, executionId),
    steer: (executionId, request) => steerExecution(store, executionId, request),
    async release(request) {
      const answer = await release(store, request);
      if (request.cancel_inflight === true && !answer.idempotent)
        await store.transaction(async (tx) => {
          await lockThread(tx, request.thread_key, 'existing');
          await cancelAll(tx, request.thread_key, 'released');
        });
      return answer;
    },
    getThread: (threadKey) => getThread(store, threadKey),
    listThreads: (query) => listThreads(store, query),
    listMessages: (threadKey, query) => listMessages(store, threadKey, query),
    getExecution: (executionId) => getExecution(store, executionId),
    listExecutions: (threadKey, query) => listExecutions(store, threadKey, query),
    listAttachments: (threadKey) => listAttachments(store, threadKey),
    readAttachment: (attachmentId) => readAttachment(store, attachmentId),
    follow: (threadKey, after, following) => tails.follow(threadKey, after, following),
    get readers() {
      return tails.readers;
    },
    deliveries: {
      claim: (request) => claimDeliveries(store, request),
      renew: (executionId, consumerId, leaseSeconds) => renewDelivery(store, executionId, consumerId, leaseSeconds),
      settle: (executionId, consumerId) => settleDelivery(store, executionId, consumerId),
      fail: (executionId, request) => failDelivery(store, executionId, request),
      retry: (executionId) => retryDelivery(store, executionId),
    },
    turns: {
      begin: (owner) => beginTurn(store, workerId(), owner),
      append: (owner, batch, logOffset) => events.append(owner, batch, logOffset),
      recordSandbox: (owner, sandbox) => recordSandbox(store, workerId(), owner, sandbox),
      keepAttachment: (owner, attachment) => keepAttachment(store, workerId(), owner, attachment),
      readSnapshot: (threadKey) => readSnapshot(store, threadKey),
      readSignals: (owner, position) => readSignals(store, owner, position),
      onSignal(executionId, listener) {
        const set = listeners.get(executionId) ?? new Set();
        listeners.set(executionId, set);
        set.add(listener);
        return () => {
          set.delete(listener);
          if (set.size === 0) listeners.delete(executionId);
        };
      },
      async finish(owner, end) {
        // what the turn said before stands before its end
        await events.idle();
        await finishTurn(store, workerId(), owner, end);
      },
      startForgotten,
    },
    async close() {
      clearInterval(sweep);
      stopEvents();
      stopTurns();
      await events.idle();
      await events.close();
    },
  };
}
