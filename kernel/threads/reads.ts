/** What is told of threads, messages and executions. */
import type { Store } from '../store/index.ts';
import { isUserOfRun, userOfWords } from '../vault/index.ts';
import { ThreadError } from './errors.ts';
import { checkExecutionId } from './requests.ts';
import type { ExecutionStatus, ExecutionView, MessagePart, MessageView, Page, TerminalReason, ThreadView } from './types.ts';

const EXECUTION = `e.execution_id, e.execute_id, e.thread_key, e.assignment_generation, e.run_id, e.harness, e.persona_id, e.model, e.status,
  e.terminal_reason, e.result_text, e.result_json, e.error_text, e.usage, e.metadata, s.agent_thread_id, e.created_at, e.started_at, e.completed_at,
  e.updated_at`;

interface ExecutionRow {
  readonly execution_id: string;
  readonly execute_id: string;
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly run_id: string | null;
  readonly harness: string;
  readonly persona_id: string | null;
  readonly model: string | null;
  readonly status: ExecutionStatus;
  readonly terminal_reason: TerminalReason | null;
  readonly result_text: string | null;
  readonly result_json: string | null;
  readonly error_text: string | null;
  readonly usage: string | null;
  readonly metadata: string;
  readonly agent_thread_id: string | null;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly completed_at: number | null;
  readonly updated_at: number;
}

/** @throws ThreadError EXECUTION_NOT_FOUND */
export async function getExecution(store: Store, executionId: string): Promise<ExecutionView> {
  checkExecutionId(executionId);
  const { rows } = await store.query<ExecutionRow>(
    `select ${EXECUTION} from agent_execution_requests e join sandbox_sessions s using (thread_key) where e.execution_id = $1`,
    [executionId],
  );
  const [row] = rows;
  if (row === undefined) throw new ThreadError('EXECUTION_NOT_FOUND', `there is no execution ${executionId}`);
  return toExecution(row);
}

/** Newest first. */
export async function listExecutions(
  store: Store,
  threadKey: string,
  { after, limit }: { readonly after?: string | undefined; readonly limit: number },
): Promise<Page<ExecutionView>> {
  if (after !== undefined) checkExecutionId(after);
  const { rows } = await store.query<ExecutionRow>(
    `select ${EXECUTION} from agent_execution_requests e join sandbox_sessions s using (thread_key)
     where e.thread_key = $1 and ($2::uuid is null or e.execution_id < $2) order by e.execution_id desc limit $3`,
    [threadKey, after ?? null, limit + 1],
  );
  return page(rows.map(toExecution), limit, (item) => item.execution_id);
}

function toExecution(row: ExecutionRow): ExecutionView {
  return {
    ...row,
    result_json: parsed(row.result_json),
    usage: parsed(row.usage),
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    created_at: time(row.created_at) as string,
    started_at: time(row.started_at),
    completed_at: time(row.completed_at),
    updated_at: time(row.updated_at) as string,
  };
}

/** Oldest first. @throws ThreadError MESSAGE_NOT_FOUND for a cursor that is no message of the thread */
export async function listMessages(
  store: Store,
  threadKey: string,
  { after, limit }: { readonly after?: string | undefined; readonly limit: number },
): Promise<Page<MessageView>> {
  let position = 0;
  if (after !== undefined) {
    const { rows } = await store.query<{ position: number }>(
      'select position from agent_message_requests where thread_key = $1 and message_id = $2',
      [threadKey, after],
    );
    if (rows[0] === undefined) throw new ThreadError('MESSAGE_NOT_FOUND', `after: the thread has no message ${JSON.stringify(after)}`);
    position = rows[0].position;
  }
  const { rows } = await store.query<{
    id: string;
    role: string;
    parts: string;
    user_id: string | null;
    vouched: boolean;
    metadata: string | null;
    delivered_execution_id: string | null;
    created_at: number;
  }>(
    `select message_id as id, role, parts, user_id, vouched, metadata, delivered_execution_id, created_at from agent_message_requests
     where thread_key = $1 and position > $2 order by position limit $3`,
    [threadKey, position, limit + 1],
  );
  const items = rows.map((row) => ({
    ...row,
    parts: JSON.parse(row.parts) as MessagePart[],
    metadata: parsed(row.metadata) as Record<string, unknown> | null,
    created_at: time(row.created_at) as string,
  }));
  return page(items, limit, (item) => item.id);
}

const THREAD = `s.thread_key, s.title, s.state, a.harness, a.assignment_generation, a.persona_id, a.persona ->> 'sha256' as persona_sha256,
  s.last_event as last_event_id,
  (select count(*)::int from agent_message_requests m where m.thread_key = s.thread_key and m.delivered_execution_id is null) as pending_messages,
  (select e.execution_id from agent_execution_requests e where e.thread_key = s.thread_key and e.status in ('running', 'cancel_requested') limit 1)
    as active_execution_id, s.trace_id, s.created_at, s.last_used_at, s.last_used_at::text as used`;

interface ThreadRow extends Omit<ThreadView, 'created_at' | 'last_used_at'> {
  readonly created_at: number;
  readonly last_used_at: number;
  /** To the microsecond, as a cursor needs it. */
  readonly used: string;
}

/** @throws ThreadError THREAD_NOT_FOUND */
export async function getThread(store: Store, threadKey: string): Promise<ThreadView> {
  const { rows } = await store.query<ThreadRow>(
    `select ${THREAD} from sandbox_sessions s left join agent_runtime_assignments a on a.thread_key = s.thread_key and a.state = 'active'
     where s.thread_key = $1`,
    [threadKey],
  );
  const [row] = rows;
  if (row === undefined) throw new ThreadError('THREAD_NOT_FOUND', `there is no thread ${JSON.stringify(threadKey)}`);
  return toThread(row);
}

/** Those used last come first. The cursor names the place of the last one: what is used meanwhile moves to the front. */
export async function listThreads(
  store: Store,
  { after, limit }: { readonly after?: string | undefined; readonly limit: number },
): Promise<Page<ThreadView>> {
  const cursor = after === undefined ? undefined : parseCursor(after);
  const { rows } = await store.query<ThreadRow>(
    `select ${THREAD} from sandbox_sessions s left join agent_runtime_assignments a on a.thread_key = s.thread_key and a.state = 'active'
     where $1::timestamptz is null or (s.last_used_at, s.thread_key) < ($1::timestamptz, $2)
     order by s.last_used_at desc, s.thread_key desc limit $3`,
    [cursor?.used ?? null, cursor?.key ?? '', limit + 1],
  );
  const { items, next } = page(rows, limit, ({ used, thread_key }) =>
    Buffer.from(JSON.stringify([used, thread_key])).toString('base64url'),
  );
  return { items: items.map(toThread), next };
}

function parseCursor(after: string): { readonly used: string; readonly key: string } {
  try {
    const [used, key] = JSON.parse(Buffer.from(after, 'base64url').toString()) as [unknown, unknown];
    if (typeof used === 'string' && typeof key === 'string' && /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\+00$/.test(used))
      return { used, key };
  } catch {
    // told below
  }
  throw new ThreadError('INVALID_REQUEST', 'after: expected the `next` of an earlier page');
}

function toThread({ used, ...row }: ThreadRow): ThreadView {
  void used;
  return { ...row, created_at: time(row.created_at) as string, last_used_at: time(row.last_used_at) as string };
}

function page<Item>(rows: readonly Item[], limit: number, cursor: (item: Item) => string): Page<Item> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, next: rows.length > limit && last !== undefined ? cursor(last) : null };
}

function parsed(text: string | null): unknown {
  return text === null ? null : (JSON.parse(text) as unknown);
}

function time(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/**
 * The one whom all of the running turn names: who asked for it, every message of it and every word since. Undefined when no turn runs, and when
 * anything in it is another's, a workflow's or without a name: what is a user's alone must not be used for what somebody else asked.
 */
export async function userOfTurn(store: Store, threadKey: string): Promise<string | undefined> {
  const { rows } = await store.query<{ userId: string | null; vouched: boolean; executionId: string }>(
    `with turn as (select thread_key, execution_id, user_id, vouched from agent_execution_requests
       where thread_key = $1 and status in ('running', 'cancel_requested'))
     select t.user_id as "userId", t.vouched, t.execution_id as "executionId" from turn t
     union select m.user_id, m.vouched, t.execution_id from turn t
       join agent_message_requests m on m.thread_key = t.thread_key and m.delivered_execution_id = t.execution_id
     union select s.user_id, s.vouched, t.execution_id from turn t
       join agent_execution_signals s on s.thread_key = t.thread_key and s.execution_id = t.execution_id and s.kind = 'steer'`,
    [threadKey],
  );
  if (new Set(rows.map(({ executionId }) => executionId)).size !== 1) return undefined;
  const users = new Set<string | undefined>();
  // by an account in a chat, and in the console, it is the same person
  for (const words of rows) users.add(await userOfWords(store, words));
  const [user] = users;
  return users.size !== 1 || user === undefined || isUserOfRun(user) ? undefined : user;
}

/** Of the turn that runs: its trace, in 32 hex digits, and the channel that it was asked for in. Nothing when none runs. */
export async function turnOf(
  store: Store,
  threadKey: string,
): Promise<{ readonly traceId?: string | undefined; readonly channel?: string | undefined }> {
  const { rows } = await store.query<{ trace_id: string | null; channel: string | null }>(
    `select trace_id, channel from agent_execution_requests where thread_key = $1 and status in ('running', 'cancel_requested')
     order by created_at desc limit 1`,
    [threadKey],
  );
  return { traceId: rows[0]?.trace_id?.replaceAll('-', ''), channel: rows[0]?.channel ?? undefined };
}

/** Of the turn that runs, however many wait behind it. */
export async function runningTurn(
  store: Store,
  threadKey: string,
): Promise<{ readonly executionId: string; readonly runId: string | null; readonly startedAt: number } | undefined> {
  const { rows } = await store.query<{ execution_id: string; run_id: string | null; started_at: number }>(
    `select execution_id, run_id, started_at from agent_execution_requests where thread_key = $1 and status = 'running'
     order by started_at desc limit 1`,
    [threadKey],
  );
  const [row] = rows;
  return row === undefined ? undefined : { executionId: row.execution_id, runId: row.run_id, startedAt: row.started_at };
}
