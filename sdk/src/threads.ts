/** Threads over the API: what is said in them, and what their agents do. */
import { type Tailed, tail, type TailOptions } from './tail.ts';
import { parseJson, query, refusal, request, send, type Transport, unreachable } from './transport.ts';
import type {
  AcceptedExecution,
  Assignment,
  Attachment,
  ExecutionChange,
  ExecutionView,
  InputPart,
  MessageView,
  PromptView,
  ReleasedThread,
  StoredMessage,
  ThreadEvent,
  ThreadView,
} from './thread-wire.ts';
import type { Page } from './wire.ts';

export interface SpawnOptions {
  /** The idempotency key: a second request with it gets the first one's answer. */
  readonly spawnId?: string;
  /** Default: that of the persona, else that of the installation. */
  readonly harness?: string;
  readonly personaId?: string;
  /** Instructions for this thread, at most 100,000 characters. */
  readonly agentsMdOverride?: string;
}

export interface MessageOptions {
  /** `assignment_generation` of the spawn that the caller knows. */
  readonly assignmentGeneration: number;
  /** The idempotency key. */
  readonly messageId?: string;
  /** Default `user`. */
  readonly role?: 'user' | 'assistant' | 'system';
  readonly userId?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

interface TurnOptions {
  /** The idempotency key: a second request with it and the same content gets the first one's turn. */
  readonly executeId?: string;
  readonly harness?: string;
  readonly model?: string;
  /** How much the model may think, where the harness can be told. */
  readonly effort?: 'low' | 'medium' | 'high' | 'max';
  /** Where the final answer is to go; given to whoever delivers. */
  readonly delivery?: Readonly<Record<string, unknown>>;
  /** Whose deliveries it belongs to. Default: `delivery.platform`, else `dev`, which owes no delivery. */
  readonly platform?: string;
  readonly userId?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export interface SendOptions extends TurnOptions {
  readonly personaId?: string;
}

export interface ExecuteOptions extends TurnOptions {
  /** `assignment_generation` of the spawn that the caller knows. */
  readonly assignmentGeneration: number;
}

export interface PageOptions {
  /** `next` of the page before. */
  readonly after?: string;
  /** 1 to 200, default 50. */
  readonly limit?: number;
}

export interface ThreadEventOptions extends Omit<TailOptions, 'afterId'> {
  /** Id of the last event already seen. Default 0: from the beginning. */
  readonly after?: number;
  /** Only events of this turn; they end with it. */
  readonly executionId?: string;
}

export interface ThreadsClient {
  /** Spawns when needed, sends and executes, in one request. Retry it safely by giving an `executeId`. */
  send(threadKey: string, message: string | readonly InputPart[], options?: SendOptions): Promise<AcceptedExecution>;
  /** Assigns the thread to a harness; without options it attaches to what the thread is assigned to. */
  spawn(threadKey: string, options?: SpawnOptions): Promise<Assignment>;
  /** Stores a message. It waits until a turn takes it: see `execute`. */
  message(threadKey: string, message: string | readonly InputPart[], options: MessageOptions): Promise<StoredMessage>;
  /** Has the messages that wait answered in a turn, which begins when those before it have ended. */
  execute(threadKey: string, options: ExecuteOptions): Promise<AcceptedExecution>;
  /** Ends a turn: at once when it waits; one that runs is told, and its events say when it has ended. */
  cancel(executionId: string): Promise<ExecutionChange>;
  /** Says something to a turn that runs. */
  steer(
    executionId: string,
    content: string | readonly InputPart[],
    options?: { readonly messageId?: string; readonly userId?: string },
  ): Promise<ExecutionChange>;
  /** Ends the assignment, so that the next spawn begins anew. Turns go on, unless they are cancelled with it. */
  release(threadKey: string, options?: { readonly releaseId?: string; readonly cancelInflight?: boolean }): Promise<ReleasedThread>;
  get(threadKey: string): Promise<ThreadView>;
  /** What its next turn would be told, part by part. */
  prompt(threadKey: string): Promise<PromptView>;
  /** Those used last come first. */
  list(options?: PageOptions): Promise<Page<ThreadView>>;
  /** Oldest first. */
  messages(threadKey: string, options?: PageOptions): Promise<Page<MessageView>>;
  /** Turns, newest first. */
  executions(threadKey: string, options?: PageOptions): Promise<Page<ExecutionView>>;
  execution(executionId: string): Promise<ExecutionView>;
  attachments(threadKey: string): Promise<Page<Attachment>>;
  readAttachment(attachmentId: string): Promise<Uint8Array>;
  /**
   * The thread's events: what happened so far (or after `after`), then what happens. Reconnects, and neither misses an event
   * nor yields one twice. It ends with the turn of `executionId`; without one only the reader or the signal ends it.
   */
  events(threadKey: string, options?: ThreadEventOptions): AsyncIterable<ThreadEvent>;
}

export function createThreadsClient(api: Transport): ThreadsClient {
  const get = <T>(path: string) => request<T>(api, 'GET', path);
  const post = <T>(path: string, body?: unknown) => request<T>(api, 'POST', path, body);
  const execution = (executionId: string) => get<ExecutionView>(executionPath(executionId));

  return {
    send: (threadKey, message, { personaId, ...options } = {}) =>
      post('/agent/execute', { thread_key: threadKey, message, persona_id: personaId, ...turnBody(options) }),
    spawn: (threadKey, { spawnId, harness, personaId, agentsMdOverride } = {}) =>
      post('/agent/spawn', {
        thread_key: threadKey,
        spawn_id: spawnId,
        harness,
        persona_id: personaId,
        agents_md_override: agentsMdOverride,
      }),
    message: (threadKey, message, { assignmentGeneration, messageId, role, userId, metadata }) =>
      post('/agent/message', {
        thread_key: threadKey,
        assignment_generation: assignmentGeneration,
        message_id: messageId,
        role,
        parts: partsOf(message),
        user_id: userId,
        metadata,
      }),
    execute: (threadKey, { assignmentGeneration, ...options }) =>
      post('/agent/execute', { thread_key: threadKey, assignment_generation: assignmentGeneration, ...turnBody(options) }),
    cancel: (executionId) => post(`${executionPath(executionId)}/cancel`),
    steer: (executionId, content, { messageId, userId } = {}) =>
      post(`${executionPath(executionId)}/steer`, { content_blocks: partsOf(content), message_id: messageId, user_id: userId }),
    release: (threadKey, { releaseId, cancelInflight } = {}) =>
      post(`${threadPath(threadKey)}/release`, { release_id: releaseId, cancel_inflight: cancelInflight }),
    get: (threadKey) => get(threadPath(threadKey)),
    prompt: (threadKey) => get(`${threadPath(threadKey)}/prompt`),
    list: ({ after, limit } = {}) => get(`/agent/threads${query({ after, limit })}`),
    messages: (threadKey, { after, limit } = {}) => get(`/agent/messages${query({ thread_key: threadKey, after, limit })}`),
    executions: (threadKey, { after, limit } = {}) => get(`${threadPath(threadKey)}/executions${query({ after, limit })}`),
    execution,
    attachments: (threadKey) => get(`/agent/attachments${query({ thread_key: threadKey })}`),
    readAttachment: (attachmentId) => readBytes(api, `/agent/attachments/${encodeURIComponent(attachmentId)}/download`),
    events: (threadKey, { after, executionId, ...options } = {}) =>
      tail(api, `${threadPath(threadKey)}/events${query({ execution_id: executionId })}`, eventsOf(executionId, after, execution), {
        ...options,
        ...(after === undefined ? {} : { afterId: String(after) }),
      }),
  };
}

/** How the events of a thread are read, and when there are no more. */
function eventsOf(
  executionId: string | undefined,
  after = 0,
  execution: (executionId: string) => Promise<ExecutionView>,
): Tailed<ThreadEvent> {
  let last = after;
  return {
    read({ id, event, data }) {
      const number = Number(id ?? 0);
      // a proxy that drops Last-Event-ID has the server begin anew
      if (number <= last) return undefined;
      last = number;
      return { id: number, event, data: JSON.parse(data) as ThreadEvent['data'] };
    },
    isLast: ({ data }) => data.type === 'execution.state' && data.execution_id === executionId && isFinal(data.status),
    // a reader that resumes behind the turn's last event is sent nothing more
    ...(executionId === undefined ? {} : { isOver: async () => isFinal((await execution(executionId)).status) }),
  };
}

const isFinal = (status: string): boolean => status === 'completed' || status === 'failed_permanent' || status === 'cancelled';

function turnBody({ executeId, harness, model, effort, delivery, platform, userId, metadata }: TurnOptions): object {
  return { execute_id: executeId, harness, model, effort, delivery, platform, user_id: userId, metadata };
}

function partsOf(content: string | readonly InputPart[]): readonly InputPart[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}

async function readBytes(api: Transport, path: string): Promise<Uint8Array> {
  const response = await send(api, path, { headers: api.headers });
  if (!response.ok) throw refusal(response.status, parseJson(await response.text()));
  const buffer: ArrayBuffer = await response.arrayBuffer().catch((error: unknown) => Promise.reject(unreachable(api, error)));
  return new Uint8Array(buffer);
}

const threadPath = (threadKey: string): string => `/agent/threads/${encodeURIComponent(threadKey)}`;
const executionPath = (executionId: string): string => `/agent/executions/${encodeURIComponent(executionId)}`;
