import type { AgentRequest } from '../engine/index.ts';
import type { Store, StoreLogEntry } from '../store/index.ts';
import { executeFor, startAgent } from './agents.ts';
import { addAttachment, listAttachments, type NewAttachment, readAttachment } from './attachments.ts';
import { cancelAsked, cancelExecution, type CancelAnswer, release, type ReleaseAnswer, steerExecution } from './control.ts';
import {
  claimDeliveries,
  type ClaimedDelivery,
  type DeliveryClaim,
  type DeliveryView,
  failDelivery,
  listDeliveries,
  renewDelivery,
  retryDelivery,
  settleDelivery,
} from './deliveries.ts';
import { createEventLog, EVENTS_CHANNEL, type TurnOwner } from './events.ts';
import {
  claimEvents,
  failEvent,
  giveUpEvents,
  type InboxClaim,
  type InboxEvent,
  listEvents,
  pruneEvents,
  putEvent,
  renewEvent,
  retryEvent,
  settleEvent,
} from './inbox.ts';
import { createInboxWrites } from './inbox-writes.ts';
import { oweForgotten } from './owed.ts';
import { allowedTools } from './personas.ts';
import { readPrompt } from './prompt.ts';
import { getExecution, getThread, listExecutions, listMessages, listThreads, runningTurn, turnOf, userOfTurn } from './reads.ts';
import { acceptExecution, type Catalogue, spawn, storeMessage } from './requests.ts';
import { createTails, type Frames } from './tail.ts';
import {
  type Accounts,
  beginTurn,
  endAbandoned,
  finishTurn,
  forgetSandbox,
  hasEvent,
  keepAttachment,
  readSignals,
  readSnapshot,
  recordSandbox,
  type SandboxRecord,
  type SandboxUse,
  sandboxUse,
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
  PromptView,
  SpawnRequest,
  StoredMessage,
  ThreadView,
} from './types.ts';

export interface Threads {
  spawn(request: SpawnRequest): Promise<Assignment & { readonly idempotent: boolean }>;
  message(request: MessageRequest): Promise<StoredMessage>;
  /** Accepted when it answers: the turn itself begins when its place in the queue comes. */
  execute(request: ExecuteRequest): Promise<AcceptedExecution>;
  /** For a message that was just sent: also when another request's turn has taken it along, and answers it. */
  executeFor(messageId: string, request: ExecuteRequest): Promise<AcceptedExecution>;
  /** For a workflow: all of the above, once for each id. */
  startAgent(request: AgentRequest): ReturnType<typeof startAgent>;
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
  /** What its next turn would be told and given, as things are now. */
  getPrompt(threadKey: string): Promise<PromptView>;
  /** The only tools that it may call, by name; null: all. */
  allowedTools(threadKey: string): Promise<readonly string[] | null>;
  /** Whose turn it is that runs now: undefined when there is none, or when more than one user, or nobody in particular, asked for it. */
  userOfTurn(threadKey: string): Promise<string | undefined>;
  /** Of the turn that runs now: its trace, in 32 hex digits, and the channel that it was asked for in. */
  turnOf(threadKey: string): Promise<{ readonly traceId?: string | undefined; readonly channel?: string | undefined }>;
  /** Of the turn that runs now. */
  runningTurn(threadKey: string): ReturnType<typeof runningTurn>;
  listAttachments(threadKey: string): Promise<readonly Attachment[]>;
  /** A file that came beside messages and turns, such as the result of a tool. */
  attach(threadKey: string, file: NewAttachment): Promise<Attachment>;
  readAttachment(attachmentId: string, threadKey?: string): Promise<Attachment & { readonly data: Buffer }>;
  /** Server-sent events: what was missed, then what comes. */
  follow(
    threadKey: string,
    after: number,
    options: { readonly executionId?: string | undefined; readonly signal: AbortSignal },
  ): AsyncGenerator<Frames>;
  readonly readers: number;

  readonly deliveries: {
    claim(request: DeliveryClaim, signal?: AbortSignal): Promise<readonly ClaimedDelivery[]>;
    renew(executionId: string, consumerId: string, leaseSeconds: number, progress?: unknown): ReturnType<typeof renewDelivery>;
    settle(executionId: string, consumerId: string): Promise<{ readonly idempotent: boolean }>;
    fail(executionId: string, request: Parameters<typeof failDelivery>[2]): ReturnType<typeof failDelivery>;
    retry(executionId: string): Promise<void>;
    list(filter: Parameters<typeof listDeliveries>[1]): Promise<Page<DeliveryView>>;
  };

  /** What chat services have said, until somebody has acted on it. */
  readonly inbox: {
    put(event: InboxEvent): ReturnType<typeof putEvent>;
    claim(request: InboxClaim, signal?: AbortSignal): ReturnType<typeof claimEvents>;
    renew(platform: string, eventId: string, consumerId: string, leaseSeconds: number): Promise<void>;
    settle(platform: string, eventId: string, consumerId: string): ReturnType<typeof settleEvent>;
    fail(platform: string, eventId: string, request: Parameters<typeof failEvent>[2]): ReturnType<typeof failEvent>;
    retry(platform: string, eventId: string): Promise<void>;
    list(filter: Parameters<typeof listEvents>[1]): ReturnType<typeof listEvents>;
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
    hasEvent(owner: TurnOwner, kind: string, approvalId?: string): Promise<boolean>;
    sandboxUse(threadKeys: readonly string[]): Promise<readonly SandboxUse[]>;
    forgetSandbox(threadKey: string, sandboxId: string): Promise<boolean>;
    /** Starts what was accepted and not started, because a process died between two commits. */
    startForgotten(): Promise<number>;
  };

  close(): Promise<void>;
}

export interface ThreadsOptions {
  readonly store: Store;
  readonly catalogue: Catalogue;
  /** Puts the turn into its queue, as a run of the engine, and answers the run's id; a second call for the same execution answers the same. */
  readonly startTurn: (turn: { readonly threadKey: string; readonly executionId: string; readonly traceId: string }) => Promise<string>;
  /** Of this process; null when it is none. */
  readonly workerId: () => number | null;
  readonly log: (entry: StoreLogEntry) => void;
  /** Default: no prices, and no model known that nobody names. */
  readonly accounts?: Accounts;
}

/** Old enough that nobody is about to start it. */
const FORGOTTEN_S = 5;
const SWEEP_MS = 5000;

export async function createThreads(options: ThreadsOptions): Promise<Threads> {
  const { store, catalogue, workerId, log } = options;
  const accounts: Accounts = options.accounts ?? { prices: [], modelOf: () => undefined };
  const events = createEventLog({ store, workerId, log });
  const inboxWrites = createInboxWrites({ store, log });
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
      Promise.all([
        startForgotten(),
        endAbandoned(store, accounts),
        cancelAsked(store),
        pruneEvents(store),
        giveUpEvents(store),
        oweForgotten(store),
      ]).catch((error: Error) =>
        log({ level: 'warn', message: 'looking for turns that were left behind failed; trying again', error: error.message }),
      ),
    SWEEP_MS,
  );
  sweep.unref();

  /** A turn belongs to the life of the worker in which it was begun, also when the process has another one by now. */
  function workerOf(owner: TurnOwner): number | null {
    return owner.workerId ?? workerId();
  }

  async function startForgotten(): Promise<number> {
    const { rows } = await store.query<{ thread_key: string; execution_id: string }>(
      `select thread_key, execution_id from agent_execution_requests
       where run_id is null and status = 'queued' and created_at < now() - make_interval(secs => $1) order by created_at limit 100`,
      [FORGOTTEN_S],
    );
    // one that cannot be started does not hold up the others
    const started = await Promise.allSettled(rows.map((row) => startTurn({ threadKey: row.thread_key, executionId: row.execution_id })));
    for (const result of started) if (result.status === 'rejected') throw result.reason;
    return rows.length;
  }

  async function startTurn(turn: { readonly threadKey: string; readonly executionId: string }): Promise<string> {
    const { rows } = await store.query<{ trace_id: string | null }>(
      'select trace_id from agent_execution_requests where thread_key = $1 and execution_id = $2',
      [turn.threadKey, turn.executionId],
    );
    const runId = await options.startTurn({ ...turn, traceId: rows[0]?.trace_id ?? turn.executionId });
    await store.query('update agent_execution_requests set run_id = $3 where thread_key = $1 and execution_id = $2 and run_id is null', [
      turn.threadKey,
      turn.executionId,
      runId,
    ]);
    return runId;
  }

  /** Nothing is told of a thread that is not there. @throws ThreadError THREAD_NOT_FOUND */
  async function ofKnown<T extends { readonly items: readonly unknown[] }>(threadKey: string, reading: Promise<T>): Promise<T> {
    const page = await reading;
    if (page.items.length === 0) await getThread(store, threadKey);
    return page;
  }

  const threads: Threads = {
    spawn: (request) => spawn(store, catalogue, request),
    startAgent: (request) => startAgent(store, threads, startTurn, request),
    message: (request) => storeMessage(store, request),
    async execute(request) {
      const accepted = await acceptExecution(store, catalogue, request);
      // what fails here is accepted all the same: the sweep starts it
      if (!accepted.idempotent || accepted.status === 'queued')
        await startTurn({ threadKey: accepted.thread_key, executionId: accepted.execution_id }).catch((error: Error) =>
          log({ level: 'warn', message: 'a turn could not be started yet', error: error.message }),
        );
      return accepted;
    },
    executeFor: (messageId, request) => executeFor(store, threads, messageId, request),
    cancel: (executionId) => cancelExecution(store, executionId),
    steer: (executionId, request) => steerExecution(store, executionId, request),
    release: (request) => release(store, request),
    getThread: (threadKey) => getThread(store, threadKey),
    listThreads: (query) => listThreads(store, query),
    listMessages: (threadKey, query) => ofKnown(threadKey, listMessages(store, threadKey, query)),
    getExecution: (executionId) => getExecution(store, executionId),
    listExecutions: (threadKey, query) => ofKnown(threadKey, listExecutions(store, threadKey, query)),
    getPrompt: (threadKey) => readPrompt(store, catalogue, threadKey),
    allowedTools: (threadKey) => allowedTools(store, threadKey),
    userOfTurn: (threadKey) => userOfTurn(store, threadKey),
    turnOf: (threadKey) => turnOf(store, threadKey),
    runningTurn: (threadKey) => runningTurn(store, threadKey),
    listAttachments: async (threadKey) =>
      (
        await ofKnown(
          threadKey,
          listAttachments(store, threadKey).then((items) => ({ items })),
        )
      ).items,
    attach: (threadKey, file) => addAttachment(store, threadKey, file),
    readAttachment: (attachmentId, threadKey) => readAttachment(store, attachmentId, threadKey),
    follow: (threadKey, after, following) => tails.follow(threadKey, after, following),
    get readers() {
      return tails.readers;
    },
    deliveries: {
      claim: (request, signal) => claimDeliveries(store, request, signal),
      renew: (executionId, consumerId, leaseSeconds, progress) => renewDelivery(store, executionId, consumerId, leaseSeconds, progress),
      settle: (executionId, consumerId) => settleDelivery(store, executionId, consumerId),
      fail: (executionId, request) => failDelivery(store, executionId, request),
      retry: (executionId) => retryDelivery(store, executionId),
      list: (filter) => listDeliveries(store, filter),
    },
    inbox: {
      put: (event) => putEvent(store, inboxWrites, event),
      claim: (request, signal) => claimEvents(store, request, signal),
      renew: (platform, event_id, consumerId, leaseSeconds) => renewEvent(store, { platform, event_id }, consumerId, leaseSeconds),
      settle: (platform, event_id, consumerId) => settleEvent(store, inboxWrites, { platform, event_id }, consumerId),
      fail: (platform, event_id, request) => failEvent(store, { platform, event_id }, request),
      retry: (platform, event_id) => retryEvent(store, { platform, event_id }),
      list: (filter) => listEvents(store, filter),
    },
    turns: {
      begin: (owner) => beginTurn(store, accounts, workerOf(owner), owner),
      append: (owner, batch, logOffset) => events.append(owner, batch, logOffset),
      recordSandbox: (owner, sandbox) => recordSandbox(store, workerOf(owner), owner, sandbox),
      keepAttachment: (owner, attachment) => keepAttachment(store, workerOf(owner), owner, attachment),
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
      finish: (owner, end) => finishTurn(store, accounts, workerOf(owner), owner, end),
      hasEvent: (owner, kind, approvalId) => hasEvent(store, owner, kind, approvalId),
      sandboxUse: (threadKeys) => sandboxUse(store, threadKeys),
      forgetSandbox: (threadKey, sandboxId) => forgetSandbox(store, threadKey, sandboxId),
      startForgotten,
    },
    async close() {
      clearInterval(sweep);
      stopEvents();
      stopTurns();
      await events.idle();
      await Promise.all([events.close(), inboxWrites.close()]);
    },
  };
  return threads;
}
