/** A client of the HTTP API: `fetch` and nothing else, so it runs on Node 20, Deno and in browsers. */
import { type ChatsClient, createChatsClient } from './chats.ts';
import { createDeliveriesClient, type DeliveriesClient } from './deliveries.ts';
import { createInboxClient, type InboxClient } from './inbox.ts';
import { type TailOptions, type Tailed, tail } from './tail.ts';
import { createThreadsClient, type ThreadsClient } from './threads.ts';
import { CentaurApiError, query, request, type Transport } from './transport.ts';
import type { InputField } from './context.ts';
import type {
  EmittedEvent,
  FinishedRun,
  Page,
  RunDetail,
  RunEvent,
  RunId,
  RunStatus,
  RunSummary,
  ScheduleView,
  StartedRun,
  WorkflowView,
} from './wire.ts';
import type { WorkflowRef } from './workflow.ts';

export { CentaurApiError };
export type { TailOptions };

export interface ClientOptions {
  /** Where the API answers, such as `http://127.0.0.1:8080`; with or without `/api`. */
  readonly url: string;
  readonly apiKey?: string;
  /** Replaces the global `fetch`: for a proxy, or a test. */
  readonly fetch?: typeof globalThis.fetch;
}

export interface StartOptions {
  /** The idempotency key: a second start with the same key and input answers with the first run. At most 512 characters. */
  readonly triggerKey?: string;
  /** Start at once in the process that answers, when it works and has room. Default true. */
  readonly eagerStart?: boolean;
  readonly queue?: string;
  /** -100 to 100; higher goes first. */
  readonly priority?: number;
  readonly concurrencyKey?: string;
  /** The run starts no sooner. */
  readonly runAt?: Date | string;
  /** 32 hex digits that join the run to a trace. Default: the run's own. */
  readonly traceId?: string;
  /** For bots of chats: who asked for it there, such as `slack:T1:U1`. They must be linked to a user who may start it, and the run is theirs. */
  readonly askedBy?: string;
}

/** One entry of `startRuns`. */
export type StartEntry<Input = unknown, Result = unknown> = StartOptions & {
  readonly workflow: WorkflowRef<Input, Result> | string;
} & InputField<NoInfer<Input>>;

export interface RunFilter {
  readonly workflowName?: string;
  readonly status?: RunStatus;
  /** `next` of the page before. Runs are listed newest first. */
  readonly after?: string;
  /** 1 to 200, default 50. */
  readonly limit?: number;
}

export interface WaitForRunOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds. The run itself goes on when the wait is given up. */
  readonly timeout?: number;
}

export interface Client {
  /** Starts a run. Retry it safely by giving a `triggerKey`. */
  startRun<Input = unknown, Result = unknown>(
    workflow: WorkflowRef<Input, Result> | string,
    ...rest: StartArguments<NoInfer<Input>>
  ): Promise<StartedRun<Result>>;
  /** Starts many runs in one request: all of them, or none when one is refused. Answers in order. */
  startRuns<Input = unknown, Result = unknown>(entries: readonly StartEntry<Input, Result>[]): Promise<StartedRun<Result>[]>;
  getRun<Result = unknown>(runId: RunId<Result> | string): Promise<RunDetail<Result>>;
  listRuns(filter?: RunFilter): Promise<Page<RunSummary>>;
  /** Ends an unfinished run, and its unfinished children, as cancelled. */
  cancelRun(runId: string): Promise<RunSummary>;
  /** Queues a failed, cancelled or stuck run again; completed steps are kept. */
  retryRun(runId: string): Promise<RunSummary>;
  /** Starts a new run with the history before a step (its name, or its seq) copied, optionally with another input. */
  forkRun<Result = unknown>(
    runId: RunId<Result> | string,
    fork: { readonly fromStep: string | number; readonly input?: unknown },
  ): Promise<StartedRun<Result>>;
  /** Sends an event to whichever run waits, or will wait, for this type and correlation id. Retry it safely by giving an `eventKey`. */
  emitEvent(event: {
    readonly eventType: string;
    readonly correlationId: string;
    readonly payload?: unknown;
    /** The idempotency key: a second event of the type with the same key, correlation id and payload is the first one. At most 512 characters. */
    readonly eventKey?: string;
  }): Promise<EmittedEvent>;
  listWorkflows(): Promise<Page<WorkflowView>>;
  listSchedules(): Promise<Page<ScheduleView>>;
  /** Waits for a run to end, across restarts of the API, and returns it; a failed run is returned, not thrown. */
  waitForRun<Result = unknown>(runId: RunId<Result> | string, options?: WaitForRunOptions): Promise<FinishedRun<Result>>;
  /** The run's events from the start (or after `afterId`) until its end. Reconnects and misses none that is durable. */
  tailRun(runId: string, options?: TailOptions): AsyncIterable<RunEvent>;
  /** Conversations with agents. */
  readonly threads: ThreadsClient;
  /** Final answers that are owed to channels. */
  readonly deliveries: DeliveriesClient;
  /** What chat services say. */
  readonly inbox: InboxClient;
  /** Who in a chat is whom, and approvals shown there. */
  readonly chats: ChatsClient;
}

/** The input may be left out only where leaving it out is a valid input. */
export type StartArguments<Input> = undefined extends Input
  ? [input?: Input, options?: StartOptions]
  : [input: Input, options?: StartOptions];

export function createClient({ url, apiKey, fetch = globalThis.fetch }: ClientOptions): Client {
  const api: Transport = {
    base: apiBase(url),
    headers: apiKey === undefined ? {} : { 'x-api-key': apiKey },
    fetch,
  };
  const get = <T>(path: string) => request<T>(api, 'GET', path);
  const post = <T>(path: string, body?: unknown) => request<T>(api, 'POST', path, body);

  return {
    startRun: (workflow, ...[input, options]) => post('/workflows/runs', startBody(workflow, input, options)),
    startRuns: (entries) =>
      post(
        '/workflows/runs',
        entries.map((entry) => startBody(entry.workflow, entry.input, entry)),
      ),
    getRun: (runId) => get(runPath(runId)),
    listRuns: ({ workflowName, status, after, limit } = {}) =>
      get(`/workflows/runs${query({ workflow_name: workflowName, status, after, limit })}`),
    cancelRun: (runId) => post(`${runPath(runId)}/cancel`),
    retryRun: (runId) => post(`${runPath(runId)}/retry`),
    forkRun: (runId, { fromStep, input }) => post(`${runPath(runId)}/fork`, { from_step: fromStep, input }),
    emitEvent: ({ eventType, correlationId, payload, eventKey }) =>
      post('/workflows/events', { event_type: eventType, correlation_id: correlationId, payload, event_key: eventKey }),
    listWorkflows: () => get('/workflows'),
    listSchedules: () => get('/workflows/schedules'),
    waitForRun: (runId, options) => waitForRun(api, runId, options),
    tailRun: (runId, options) => tail(api, `${runPath(runId)}/events`, RUN_EVENTS, options),
    threads: createThreadsClient(api),
    deliveries: createDeliveriesClient(api),
    inbox: createInboxClient(api),
    chats: createChatsClient(api),
  };
}

const RUN_EVENTS: Tailed<RunEvent> = {
  read: (event) => ({ ...event, data: JSON.parse(event.data) as unknown }) as RunEvent,
  isLast: isFinished,
};

function isFinished(event: RunEvent): event is RunEvent & { event: 'run.completed' | 'run.failed' | 'run.cancelled' } {
  return event.event === 'run.completed' || event.event === 'run.failed' || event.event === 'run.cancelled';
}

async function waitForRun<Result>(
  api: Transport,
  runId: string,
  { signal, timeout }: WaitForRunOptions = {},
): Promise<FinishedRun<Result>> {
  const late = timeout === undefined ? undefined : AbortSignal.timeout(timeout);
  const signals = [signal, late].filter((each) => each !== undefined);
  try {
    for await (const event of tail(api, `${runPath(runId)}/events`, RUN_EVENTS, { signal: AbortSignal.any(signals) })) {
      if (isFinished(event)) return event.data as FinishedRun<Result>;
    }
  } catch (error) {
    if (late?.aborted && !signal?.aborted) {
      throw new CentaurApiError(0, 'TIMEOUT', `run ${runId} did not end within ${timeout} ms; it goes on`, { cause: error });
    }
    throw error;
  }
  throw new Error(`the stream of run ${runId} ended without its last event`);
}

function startBody(workflow: { readonly name: string } | string, input: unknown, options: StartOptions = {}): object {
  const { runAt } = options;
  return {
    workflow_name: typeof workflow === 'string' ? workflow : workflow.name,
    input,
    trigger_key: options.triggerKey,
    eager_start: options.eagerStart,
    queue: options.queue,
    priority: options.priority,
    concurrency_key: options.concurrencyKey,
    run_at: runAt instanceof Date ? runAt.toISOString() : runAt,
    trace_id: options.traceId,
    asked_by: options.askedBy,
  };
}

function apiBase(url: string): string {
  const base = new URL(url).href.replace(/\/+$/, '');
  return base.endsWith('/api') ? base : `${base}/api`;
}

const runPath = (runId: string): string => `/workflows/runs/${encodeURIComponent(runId)}`;
