/**
 * What clients ask of a thread: spawn, message, execute, release. Each takes the thread's row first, so that requests on a
 * thread happen one after another; each with an id of its own happens once.
 */
import { createHash, randomUUID } from 'node:crypto';
import { canonicalJson, isUuid, type Queryable, type Store, traceUuidOf, uuidv7 } from '../store/index.ts';
import { type Extracted, extractAttachments, storeAttachments } from './attachments.ts';
import { ThreadError } from './errors.ts';
import { appendIn } from './events.ts';
import { openDelivery } from './owed.ts';
import { type Assigned, hashOfText, parsePersona, type Personas, resolvePersona, type ThreadPersona } from './personas.ts';
import type {
  AcceptedExecution,
  Assignment,
  ExecuteRequest,
  ExecutionStatus,
  MessageRequest,
  PromptView,
  SpawnRequest,
  StoredMessage,
} from './types.ts';

/** What a thread can be assigned to, as the runtime knows it. */
export interface Catalogue extends Personas {
  /** Names of the harnesses that may be asked for. */
  readonly harnesses: readonly string[];
  readonly defaultHarness: string;
  /** What the next turn of a thread with this assignment would be told, were it this user's alone. */
  describePrompt?(assigned: Assigned, user: string | undefined): Promise<Omit<PromptView, 'thread_key'>>;
}

const ID_LONGEST = 512;
const METADATA_LONGEST = 64 * 1024;

/** @throws ThreadError UNKNOWN_HARNESS, UNKNOWN_PERSONA_ID, ACTIVE_ASSIGNMENT_PROMPT_MISMATCH, IDEMPOTENCY_PAYLOAD_MISMATCH */
export async function spawn(
  store: Store,
  catalogue: Catalogue,
  request: SpawnRequest,
): Promise<Assignment & { readonly idempotent: boolean }> {
  checkThreadKey(request.thread_key);
  const hash = hashOf([request.harness ?? null, request.persona_id ?? null, request.agents_md_override ?? null]);
  checkHarness(catalogue, request.harness);
  return store.transaction(async (tx) => {
    const thread = await lockThread(tx, request.thread_key, 'create');
    const known = await storedAnswer<Assignment>(tx, request.thread_key, 'spawn', request.spawn_id, hash);
    // as it was answered before there were hashes
    if (known !== undefined) return { ...known, persona_sha256: known.persona_sha256 ?? null, idempotent: true };
    const active = await activeAssignment(tx, request.thread_key);
    let assignment: Assignment;
    if (active !== undefined && isSame(active, request)) assignment = toAssignment(active, thread.trace_id);
    else {
      const wanted = resolve(catalogue, request);
      if (active === undefined) assignment = toAssignment(await assign(tx, request, wanted), thread.trace_id);
      else
        throw new ThreadError(
          'ACTIVE_ASSIGNMENT_PROMPT_MISMATCH',
          `the thread is assigned to ${describe(active)}; release it before it is spawned with another harness, persona or prompt`,
          { assignment_generation: active.assignment_generation, harness: active.harness, persona_id: active.persona_id },
        );
    }
    await storeAnswer(tx, request.thread_key, 'spawn', request.spawn_id, hash, assignment);
    return { ...assignment, idempotent: false };
  });
}

interface Wanted {
  readonly harness: string;
  readonly persona: ThreadPersona | null;
}

function resolve(catalogue: Catalogue, { harness, persona_id }: SpawnRequest): Wanted {
  const persona = persona_id === undefined ? null : resolvePersona(catalogue, persona_id);
  const chosen = harness ?? persona?.harness ?? catalogue.defaultHarness;
  checkHarness(catalogue, chosen);
  return { harness: chosen, persona };
}

function checkHarness({ harnesses }: Catalogue, name: string | undefined): void {
  if (name !== undefined && !harnesses.includes(name))
    throw new ThreadError('UNKNOWN_HARNESS', `harness: ${JSON.stringify(name)} is not one of ${harnesses.join(', ')}`);
}

interface AssignmentRow {
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly runtime_id: string;
  readonly harness: string;
  readonly engine: string | null;
  readonly persona_id: string | null;
  readonly prompt_ref: string;
  readonly effective_agents_md_sha256: string | null;
  readonly agents_md_override: string | null;
  readonly persona: string | null;
  readonly state: 'active' | 'released';
}

/**
 * Whether the request asks for nothing else than what is there; one that names nothing attaches to it. A thread keeps its persona as it
 * was, so that one whose file has changed since is the same.
 */
function isSame(active: AssignmentRow, request: SpawnRequest): boolean {
  const { harness, persona_id, agents_md_override } = request;
  if (harness === undefined && persona_id === undefined && agents_md_override === undefined) return true;
  return (
    (harness === undefined || active.harness === harness) &&
    active.persona_id === (persona_id ?? null) &&
    active.agents_md_override === (agents_md_override ?? null)
  );
}

function describe({ harness, persona_id }: AssignmentRow): string {
  return persona_id === null ? harness : `${harness} with the persona ${persona_id}`;
}

async function assign(tx: Queryable, request: SpawnRequest, wanted: Wanted): Promise<AssignmentRow> {
  const { harness, persona } = wanted;
  const prompt = [persona?.prompt ?? '', request.agents_md_override ?? ''].filter(Boolean).join('\n\n');
  const { rows } = await tx.query<AssignmentRow>(
    `with thread as (update sandbox_sessions set last_generation = last_generation + 1, harness = $2, last_used_at = now(), updated_at = now()
       where thread_key = $1 returning last_generation)
     insert into agent_runtime_assignments (thread_key, assignment_generation, runtime_id, harness, engine, persona_id, prompt_ref,
       effective_agents_md_sha256, agents_md_override, persona)
     select $1, last_generation, $3, $2, $2, $4, $5, $6, $7, $8 from thread returning *`,
    [
      request.thread_key,
      harness,
      randomUUID(),
      request.persona_id ?? null,
      request.persona_id === undefined ? `harness:${harness}` : `persona:${request.persona_id}`,
      prompt === '' ? null : hashOfText(prompt),
      request.agents_md_override ?? null,
      persona === null ? null : JSON.stringify(persona),
    ],
  );
  return rows[0] as AssignmentRow;
}

function toAssignment(row: AssignmentRow, traceId: string): Assignment {
  return {
    thread_key: row.thread_key,
    assignment_generation: row.assignment_generation,
    runtime_id: row.runtime_id,
    harness: row.harness,
    engine: row.engine,
    persona_id: row.persona_id,
    persona_sha256: parsePersona(row.persona)?.sha256 ?? null,
    prompt_ref: row.prompt_ref,
    effective_agents_md_sha256: row.effective_agents_md_sha256,
    state: row.state,
    assignment_state: 'assigned_idle',
    trace_id: traceId,
  };
}

/** @throws ThreadError NO_ACTIVE_ASSIGNMENT, ASSIGNMENT_GENERATION_STALE, INVALID_BASE64_ATTACHMENT, TOO_LARGE, IDEMPOTENCY_PAYLOAD_MISMATCH */
export async function storeMessage(store: Store, request: MessageRequest): Promise<StoredMessage> {
  checkThreadKey(request.thread_key);
  checkMetadata(request.metadata);
  const messageId = request.message_id ?? `msg-${randomUUID()}`;
  checkId('message_id', messageId);
  const role = request.role ?? 'user';
  // the data too, so that another picture under the same id is noticed
  const hash = hashOf([role, request.parts, request.user_id ?? null]);
  const extracted = extractAttachments(request.parts);
  return store.transaction(async (tx) => {
    await lockThread(tx, request.thread_key, 'existing');
    const known = await tx.query<{ request_hash: Buffer }>(
      'select request_hash from agent_message_requests where thread_key = $1 and message_id = $2',
      [request.thread_key, messageId],
    );
    if (known.rows[0] !== undefined) {
      if (!known.rows[0].request_hash.equals(hash)) throw mismatch('message_id', messageId);
      const attachments = await tx.query<{ attachment_id: string }>(
        'select attachment_id from attachments where thread_key = $1 and message_id = $2 order by attachment_id',
        [request.thread_key, messageId],
      );
      return toStored(
        request.thread_key,
        messageId,
        attachments.rows.map((row) => row.attachment_id),
        true,
      );
    }
    await requireGeneration(tx, request.thread_key, request.assignment_generation);
    const ids = extracted.attachments.map(() => uuidv7(store.now()));
    const parts = extracted.parts(ids);
    await tx.query(
      `with thread as (update sandbox_sessions set last_message = last_message + 1, last_used_at = now() where thread_key = $1 returning last_message)
       insert into agent_message_requests (thread_key, message_id, position, assignment_generation, role, parts, user_id, metadata, request_hash, vouched)
       select $1, $2, last_message, $3, $4, $5, $6, $7, $8, $9 from thread`,
      [
        request.thread_key,
        messageId,
        request.assignment_generation,
        role,
        JSON.stringify(parts),
        request.user_id ?? null,
        request.metadata === undefined ? null : JSON.stringify(request.metadata),
        hash,
        request.vouched ?? false,
      ],
    );
    await storeAttachments(tx, request.thread_key, { messageId }, withIds(extracted, ids));
    await appendIn(tx, request.thread_key, null, [
      { kind: 'message_stored', data: { type: 'message.stored', message_id: messageId, role, parts, user_id: request.user_id ?? null } },
    ]);
    return toStored(request.thread_key, messageId, ids, false);
  });
}

function withIds(extracted: Extracted, ids: readonly string[]) {
  return extracted.attachments.map((attachment, i) => ({ ...attachment, id: ids[i] as string }));
}

function toStored(threadKey: string, messageId: string, attachmentIds: readonly string[], idempotent: boolean): StoredMessage {
  return { message_id: messageId, stored_event_id: `${threadKey}:${messageId}`, attachment_ids: attachmentIds, idempotent };
}

/**
 * Every message that no turn has taken becomes input of this one.
 *
 * @throws ThreadError NO_ACTIVE_ASSIGNMENT, ASSIGNMENT_GENERATION_STALE, NO_INPUT, UNKNOWN_HARNESS, IDEMPOTENCY_PAYLOAD_MISMATCH
 */
export async function acceptExecution(store: Store, catalogue: Catalogue, request: ExecuteRequest): Promise<AcceptedExecution> {
  checkThreadKey(request.thread_key);
  checkMetadata(request.metadata);
  const executeId = request.execute_id ?? `exec-${randomUUID()}`;
  checkId('execute_id', executeId);
  if (request.harness !== undefined && !catalogue.harnesses.includes(request.harness))
    throw new ThreadError('UNKNOWN_HARNESS', `harness: ${JSON.stringify(request.harness)} is not one of ${catalogue.harnesses.join(', ')}`);
  const hash = hashOf([
    request.harness ?? null,
    request.model ?? null,
    request.effort ?? null,
    request.delivery ?? null,
    request.platform ?? null,
  ]);
  return store.transaction(async (tx) => {
    await lockThread(tx, request.thread_key, 'existing');
    const known = await tx.query<AcceptedRow & { request_hash: Buffer }>(
      `select execution_id, execute_id, thread_key, assignment_generation, status, request_hash
       from agent_execution_requests where thread_key = $1 and execute_id = $2`,
      [request.thread_key, executeId],
    );
    if (known.rows[0] !== undefined) {
      const { request_hash, ...execution } = known.rows[0];
      if (!request_hash.equals(hash)) throw mismatch('execute_id', executeId);
      return { ...execution, idempotent: true };
    }
    const assignment = await requireGeneration(tx, request.thread_key, request.assignment_generation);
    if (request.harness !== undefined && request.harness !== assignment.harness)
      throw new ThreadError(
        'ACTIVE_ASSIGNMENT_PROMPT_MISMATCH',
        `harness: the thread is assigned to ${assignment.harness}; release it before it goes on with another`,
      );
    const executionId = uuidv7(store.now());
    const { rowCount } = await tx.query(
      'update agent_message_requests set delivered_execution_id = $2 where thread_key = $1 and delivered_execution_id is null returning 1',
      [request.thread_key, executionId],
    );
    if (rowCount === 0) throw new ThreadError('NO_INPUT', 'no message of the thread waits for an answer: send one first');
    const delivery = request.delivery ?? {};
    const platform = request.platform ?? (typeof delivery['platform'] === 'string' ? delivery['platform'] : 'dev');
    await tx.query(
      `insert into agent_execution_requests (thread_key, execution_id, assignment_generation, execute_id, request_hash, harness, persona_id,
         model, effort, platform, delivery, metadata, user_id, asked_by, trace_id, vouched, channel)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
      [
        request.thread_key,
        executionId,
        assignment.assignment_generation,
        executeId,
        hash,
        assignment.harness,
        assignment.persona_id,
        request.model ?? null,
        request.effort ?? null,
        platform,
        JSON.stringify(delivery),
        JSON.stringify(request.metadata ?? {}),
        request.user_id ?? null,
        request.asked_by ?? null,
        traceUuidOf(request.trace_id) ?? executionId,
        request.vouched ?? false,
        request.channel ?? null,
      ],
    );
    await openDelivery(tx, { threadKey: request.thread_key, executionId }, { platform, delivery: JSON.stringify(delivery) });
    await appendIn(tx, request.thread_key, executionId, [stateEvent(request.thread_key, executionId, { status: 'queued' })]);
    return {
      execution_id: executionId,
      execute_id: executeId,
      thread_key: request.thread_key,
      assignment_generation: assignment.assignment_generation,
      status: 'queued',
      idempotent: false,
    };
  });
}

interface AcceptedRow {
  readonly execution_id: string;
  readonly execute_id: string;
  readonly thread_key: string;
  readonly assignment_generation: number;
  readonly status: ExecutionStatus;
}

/** The event by which a client learns where a turn stands; with a final status it is the last of the turn. */
export function stateEvent(
  threadKey: string,
  executionId: string,
  state: {
    readonly status: ExecutionStatus;
    readonly terminal_reason?: string | undefined;
    readonly result_text?: string | undefined;
    readonly error_text?: string | undefined;
  },
): { readonly kind: string; readonly data: Record<string, unknown> } {
  return { kind: 'execution_state', data: { type: 'execution.state', execution_id: executionId, thread_key: threadKey, ...state } };
}

// ---- what they share

/** The thread's row, held until the transaction ends. @throws ThreadError THREAD_NOT_FOUND, NO_ACTIVE_ASSIGNMENT */
export async function lockThread(tx: Queryable, threadKey: string, mode: 'create' | 'existing'): Promise<{ readonly trace_id: string }> {
  if (mode === 'create')
    await tx.query('insert into sandbox_sessions (thread_key, trace_id) values ($1, $2) on conflict do nothing', [threadKey, randomUUID()]);
  const { rows } = await tx.query<{ trace_id: string }>('select trace_id from sandbox_sessions where thread_key = $1 for update', [
    threadKey,
  ]);
  const [row] = rows;
  if (row === undefined)
    throw new ThreadError('NO_ACTIVE_ASSIGNMENT', `the thread ${JSON.stringify(threadKey)} has no assignment: spawn it first`);
  return row;
}

async function activeAssignment(tx: Queryable, threadKey: string): Promise<AssignmentRow | undefined> {
  const { rows } = await tx.query<AssignmentRow>(
    `select thread_key, assignment_generation, runtime_id, harness, engine, persona_id, prompt_ref, effective_agents_md_sha256,
       agents_md_override, persona, state
     from agent_runtime_assignments where thread_key = $1 and state = 'active'`,
    [threadKey],
  );
  return rows[0];
}

async function requireGeneration(tx: Queryable, threadKey: string, generation: number): Promise<AssignmentRow> {
  const active = await activeAssignment(tx, threadKey);
  if (active === undefined)
    throw new ThreadError('NO_ACTIVE_ASSIGNMENT', `the thread ${JSON.stringify(threadKey)} has no assignment: spawn it first`);
  if (active.assignment_generation !== generation)
    throw new ThreadError(
      'ASSIGNMENT_GENERATION_STALE',
      `assignment_generation: ${generation} is not the present one, ${active.assignment_generation}: the thread was assigned anew since`,
      { assignment_generation: active.assignment_generation },
    );
  return active;
}

export async function storedAnswer<Answer>(
  tx: Queryable,
  threadKey: string,
  kind: 'spawn' | 'release',
  requestId: string | undefined,
  hash: Buffer,
): Promise<Answer | undefined> {
  if (requestId === undefined) return undefined;
  checkId(`${kind}_id`, requestId);
  const { rows } = await tx.query<{ request_hash: Buffer; response: string }>(
    'select request_hash, response from agent_requests where thread_key = $1 and kind = $2 and request_id = $3',
    [threadKey, kind, requestId],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  if (!row.request_hash.equals(hash)) throw mismatch(`${kind}_id`, requestId);
  return JSON.parse(row.response) as Answer;
}

export async function storeAnswer(
  tx: Queryable,
  threadKey: string,
  kind: 'spawn' | 'release',
  requestId: string | undefined,
  hash: Buffer,
  answer: object,
): Promise<void> {
  if (requestId === undefined) return;
  await tx.query('insert into agent_requests (thread_key, kind, request_id, request_hash, response) values ($1, $2, $3, $4, $5)', [
    threadKey,
    kind,
    requestId,
    hash,
    JSON.stringify(answer),
  ]);
}

export function hashOf(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value)).digest();
}

function mismatch(field: string, id: string): ThreadError {
  return new ThreadError('IDEMPOTENCY_PAYLOAD_MISMATCH', `${field}: ${JSON.stringify(id)} was used before with another body`);
}

/** @throws ThreadError INVALID_REQUEST */
export function checkThreadKey(threadKey: string): void {
  if (threadKey === '' || Buffer.byteLength(threadKey) > ID_LONGEST)
    throw new ThreadError('INVALID_REQUEST', `thread_key: expected 1 to ${ID_LONGEST} bytes`);
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(threadKey) || !threadKey.isWellFormed())
    throw new ThreadError('INVALID_REQUEST', 'thread_key: control characters are not allowed');
  if (/^[[{]/.test(threadKey))
    throw new ThreadError('INVALID_REQUEST', 'thread_key: expected a key such as slack:C123:1700000000.000100, not JSON');
}

function checkId(field: string, id: string): void {
  // oxlint-disable-next-line no-control-regex
  if (id === '' || Buffer.byteLength(id) > ID_LONGEST || /[\u0000-\u001f\u007f]/.test(id) || !id.isWellFormed())
    throw new ThreadError('INVALID_REQUEST', `${field}: expected 1 to ${ID_LONGEST} bytes without control characters`);
}

function checkMetadata(metadata: object | undefined): void {
  if (metadata !== undefined && Buffer.byteLength(JSON.stringify(metadata)) > METADATA_LONGEST)
    throw new ThreadError('TOO_LARGE', `metadata: ${METADATA_LONGEST} bytes are the most`);
}

/** @throws ThreadError EXECUTION_NOT_FOUND */
export function checkExecutionId(executionId: string): void {
  if (!isUuid(executionId))
    throw new ThreadError('EXECUTION_NOT_FOUND', `there is no execution ${JSON.stringify(executionId.slice(0, 100))}`);
}
