/** Conversations: their messages, turns and streams. */
import { channelOfThread, readExternalId } from '@centaur/sdk';
import { ApiError } from '../errors.ts';
import { type Attribution, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { type Caller, isBot } from '../scopes.ts';
import { threadsOf } from '../services.ts';
import { canonicalAccount } from '../../vault/index.ts';
import { frameStream, STREAM_HEADERS } from '../stream.ts';
import {
  AcceptedExecutionSchema,
  AssignmentSchema,
  AttachmentPath,
  AttachmentQuery,
  AttachmentSchema,
  ControlledSchema,
  ExecuteBody,
  ExecutionPath,
  ExecutionSchema,
  MessageBody,
  MessageQuery,
  MessageSchema,
  PromptSchema,
  ReleaseBody,
  ReleasedSchema,
  SpawnBody,
  SteerBody,
  StoredMessageSchema,
  ThreadEventQuery,
  ThreadEventSchema,
  ThreadPath,
  ThreadQuery,
  ThreadSchema,
} from '../thread-schemas.ts';
import { type AcceptedExecution, type MessagePart, ThreadError } from '../../threads/index.ts';

/** Attachments travel as base64: a third more than their bytes. */
const MESSAGE_BYTES = 90 * 1024 * 1024;

export const threadRoutes = [
  route({
    id: 'spawnThread',
    method: 'POST',
    path: '/agent/spawn',
    group: 'Threads',
    summary: 'Assign a thread to a harness',
    description: 'Without harness and persona it attaches to what the thread is assigned to. Another harness needs a release first.',
    access: { scope: 'threads.write' },
    body: SpawnBody,
    example: { thread_key: 'slack:C123:1700000000.000100', harness: 'claude' },
    responses: { 200: { description: 'The assignment', schema: AssignmentSchema } },
    errors: ['UNKNOWN_HARNESS', 'UNKNOWN_PERSONA_ID', 'ACTIVE_ASSIGNMENT_PROMPT_MISMATCH', 'IDEMPOTENCY_PAYLOAD_MISMATCH'],
    attribute: ({ body }) => aboutThread('thread.spawn', body.thread_key),
    handle: async ({ body }, services) => ok({ ok: true, ...(await threadsOf(services).spawn(body)) }),
  }),
  route({
    id: 'sendMessage',
    method: 'POST',
    path: '/agent/message',
    group: 'Threads',
    summary: 'Add a message to a thread',
    description: 'It waits until a turn takes it: see `execute`.',
    access: { scope: 'threads.write' },
    body: MessageBody,
    maxBodyBytes: MESSAGE_BYTES,
    example: { thread_key: 'demo', assignment_generation: 1, parts: [{ type: 'text', text: 'What changed today?' }] },
    responses: { 200: { description: 'Stored', schema: StoredMessageSchema } },
    errors: [
      'NO_ACTIVE_ASSIGNMENT',
      'ASSIGNMENT_GENERATION_STALE',
      'IDEMPOTENCY_PAYLOAD_MISMATCH',
      'INVALID_BASE64_ATTACHMENT',
      'TOO_LARGE',
    ],
    attribute: ({ body }) => aboutThread('thread.message', body.thread_key),
    async handle({ body: { event, parts, role, ...body }, caller }, services) {
      const content = parts ?? event?.message.content ?? [];
      const message = {
        ...body,
        ...speakerOf(caller, body.user_id),
        role: role ?? event?.message.role,
        parts: (typeof content === 'string' ? [{ type: 'text', text: content }] : content) as readonly MessagePart[],
      };
      return ok({ ok: true, ...(await threadsOf(services).message(message)) });
    },
  }),
  route({
    id: 'listMessages',
    method: 'GET',
    path: '/agent/messages',
    group: 'Threads',
    summary: 'List a thread’s messages, oldest first',
    access: { scope: 'threads.read', ofThread: 'named' },
    query: MessageQuery,
    responses: { 200: { description: 'A page of messages', schema: page(MessageSchema) } },
    errors: ['MESSAGE_NOT_FOUND', 'THREAD_NOT_FOUND'],
    handle: async ({ query: { thread_key, ...query } }, services) => ok(await threadsOf(services).listMessages(thread_key, query)),
  }),
  route({
    id: 'execute',
    method: 'POST',
    path: '/agent/execute',
    group: 'Threads',
    summary: 'Have the messages that wait answered in a turn',
    description:
      'Answers when the turn is accepted; it begins when its place in the queue comes, one turn of a thread after the other. ' +
      'With `message` and without `assignment_generation` it spawns, sends and executes in one.',
    access: { scope: 'threads.write' },
    body: ExecuteBody,
    maxBodyBytes: MESSAGE_BYTES,
    example: { thread_key: 'demo', message: 'What changed today?' },
    responses: { 202: { description: 'Accepted', schema: AcceptedExecutionSchema } },
    errors: [
      'NO_ACTIVE_ASSIGNMENT',
      'ASSIGNMENT_GENERATION_STALE',
      'ACTIVE_ASSIGNMENT_PROMPT_MISMATCH',
      'NO_INPUT',
      'UNKNOWN_HARNESS',
      'UNKNOWN_PERSONA_ID',
      'IDEMPOTENCY_PAYLOAD_MISMATCH',
      'INVALID_BASE64_ATTACHMENT',
    ],
    attribute: ({ body }) => aboutThread('thread.execute', body.thread_key),
    async handle({ body: { message, persona_id, assignment_generation, ...given }, caller, traceId }, services) {
      const body = { ...given, ...speakerOf(caller, given.user_id) };
      const threads = threadsOf(services);
      const generation =
        assignment_generation ??
        (await threads.spawn({ thread_key: body.thread_key, harness: body.harness, persona_id })).assignment_generation;
      const channel = isBot(caller) ? channelOfThread(body.thread_key) : undefined;
      const request = { ...body, assignment_generation: generation, trace_id: traceId, channel };
      if (message === undefined) return toAccepted(await threads.execute(request));
      const { message_id } = await threads.message({
        thread_key: body.thread_key,
        assignment_generation: generation,
        parts: typeof message === 'string' ? [{ type: 'text', text: message }] : message,
        user_id: body.user_id,
        vouched: body.vouched,
        // so that a request that is repeated as a whole happens once
        ...(body.execute_id === undefined ? {} : { message_id: `${body.execute_id}:message` }),
      });
      return toAccepted(await threads.executeFor(message_id, request));
    },
  }),
  route({
    id: 'getExecution',
    method: 'GET',
    path: '/agent/executions/{execution_id}',
    group: 'Threads',
    summary: 'Read a turn',
    access: { scope: 'threads.read' },
    params: ExecutionPath,
    responses: { 200: { description: 'The turn', schema: ExecutionSchema } },
    errors: ['EXECUTION_NOT_FOUND'],
    handle: async ({ params }, services) => ok(await threadsOf(services).getExecution(params.execution_id)),
  }),
  route({
    id: 'cancelExecution',
    method: 'POST',
    path: '/agent/executions/{execution_id}/cancel',
    group: 'Threads',
    summary: 'End a turn',
    description: 'One that waits is cancelled at once; one that runs is told to end, and its stream says when it has.',
    access: { scope: 'threads.write' },
    params: ExecutionPath,
    responses: { 200: { description: 'Cancelled, or told', schema: ControlledSchema } },
    errors: ['EXECUTION_NOT_FOUND', 'EXECUTION_FINISHED'],
    attribute: ({ params }) => ({ action: 'execution.cancel', resource: `execution:${params.execution_id.slice(0, 100)}` }),
    handle: async ({ params }, services) => ok({ ok: true, ...(await threadsOf(services).cancel(params.execution_id)) }),
  }),
  route({
    id: 'steerExecution',
    method: 'POST',
    path: '/agent/executions/{execution_id}/steer',
    group: 'Threads',
    summary: 'Say something to a turn that runs',
    access: { scope: 'threads.write' },
    params: ExecutionPath,
    body: SteerBody,
    example: { content_blocks: [{ type: 'text', text: 'Only the open ones, please.' }] },
    responses: { 200: { description: 'It reaches the turn', schema: ControlledSchema } },
    errors: ['EXECUTION_NOT_FOUND', 'EXECUTION_NOT_RUNNING', 'IDEMPOTENCY_PAYLOAD_MISMATCH'],
    attribute: ({ params }) => ({ action: 'execution.steer', resource: `execution:${params.execution_id.slice(0, 100)}` }),
    handle: async ({ params, body, caller }, services) =>
      ok({
        ok: true,
        ...(await threadsOf(services).steer(params.execution_id, {
          ...body,
          ...speakerOf(caller, body.user_id),
          content_blocks: body.content_blocks,
        })),
      }),
  }),
  route({
    id: 'listThreads',
    method: 'GET',
    path: '/agent/threads',
    group: 'Threads',
    summary: 'List threads, those used last first',
    access: { scope: 'threads.read' },
    query: ThreadQuery,
    responses: { 200: { description: 'A page of threads', schema: page(ThreadSchema) } },
    handle: async ({ query }, services) => ok(await threadsOf(services).listThreads(query)),
  }),
  route({
    id: 'getThread',
    method: 'GET',
    path: '/agent/threads/{thread_key}',
    group: 'Threads',
    summary: 'Read a thread',
    access: { scope: 'threads.read', ofThread: 'named' },
    params: ThreadPath,
    responses: { 200: { description: 'The thread', schema: ThreadSchema } },
    errors: ['THREAD_NOT_FOUND'],
    handle: async ({ params }, services) => ok(await threadsOf(services).getThread(params.thread_key)),
  }),
  route({
    id: 'getThreadPrompt',
    method: 'GET',
    path: '/agent/threads/{thread_key}/prompt',
    group: 'Threads',
    summary: 'Read what a thread’s next turn would be told',
    description:
      'Part by part, in order, with who says so: texts for all agents, the persona, instructions for the thread, the tools, and the skills of a ' +
      'harness that does not look for them itself. It is put together anew, from what the process that answers serves at the moment.',
    access: { scope: 'threads.read', ofThread: 'named' },
    params: ThreadPath,
    responses: { 200: { description: 'The parts', schema: PromptSchema } },
    errors: ['THREAD_NOT_FOUND', 'PROMPT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await threadsOf(services).getPrompt(params.thread_key)),
  }),
  route({
    id: 'listExecutions',
    method: 'GET',
    path: '/agent/threads/{thread_key}/executions',
    group: 'Threads',
    summary: 'List a thread’s turns, newest first',
    access: { scope: 'threads.read', ofThread: 'named' },
    params: ThreadPath,
    query: ThreadQuery,
    responses: { 200: { description: 'A page of turns', schema: page(ExecutionSchema) } },
    errors: ['THREAD_NOT_FOUND'],
    handle: async ({ params, query }, services) => ok(await threadsOf(services).listExecutions(params.thread_key, query)),
  }),
  route({
    id: 'followThread',
    method: 'GET',
    path: '/agent/threads/{thread_key}/events',
    group: 'Threads',
    summary: 'Follow a thread as server-sent events',
    description:
      'What happened so far, then what happens. `id` is the event’s number in the thread, without gaps, `event` its kind and `data` one JSON object. ' +
      'A reader that lost its connection sends the last id it saw, in `Last-Event-ID` or `after_event_id`, and gets exactly what followed. ' +
      'With `execution_id` the stream ends with that turn. A comment every 15 s keeps the line open.',
    access: { scope: 'threads.read', ofThread: 'named' },
    params: ThreadPath,
    query: ThreadEventQuery,
    responses: { 200: { description: 'The stream', schema: ThreadEventSchema, contentType: 'text/event-stream' } },
    errors: ['THREAD_NOT_FOUND', 'EXECUTION_NOT_FOUND'],
    async handle({ params, query, caller, request }, services) {
      const threads = threadsOf(services);
      await threads.getThread(params.thread_key);
      if (query.execution_id !== undefined && (await threads.getExecution(query.execution_id)).thread_key !== params.thread_key)
        throw new ThreadError('EXECUTION_NOT_FOUND', `the thread has no execution ${query.execution_id}`);
      if (request.method === 'HEAD') return new Response(null, { headers: STREAM_HEADERS });
      const after = query.after_event_id ?? parseLastEventId(request.headers.get('last-event-id'));
      return frameStream({
        open: (signal) => threads.follow(params.thread_key, after, { executionId: query.execution_id, signal }),
        client: request.signal,
        server: services.closing,
        isAllowed: () => services.keys.isActive(caller),
        onChange: (open) => services.metrics.streams(open),
        log: services.log,
      });
    },
  }),
  route({
    id: 'releaseThread',
    method: 'POST',
    path: '/agent/threads/{thread_key}/release',
    group: 'Threads',
    summary: 'End a thread’s assignment',
    access: { scope: 'threads.write' },
    params: ThreadPath,
    body: ReleaseBody,
    example: { cancel_inflight: true },
    responses: { 200: { description: 'Released, or nothing was assigned', schema: ReleasedSchema } },
    errors: ['NO_ACTIVE_ASSIGNMENT', 'IDEMPOTENCY_PAYLOAD_MISMATCH'],
    attribute: ({ params }) => aboutThread('thread.release', params.thread_key),
    handle: async ({ params, body }, services) =>
      ok({ ok: true, ...(await threadsOf(services).release({ thread_key: params.thread_key, ...body })) }),
  }),
  route({
    id: 'listAttachments',
    method: 'GET',
    path: '/agent/attachments',
    group: 'Threads',
    summary: 'List a thread’s attachments',
    access: { scope: 'threads.read', ofThread: 'named' },
    query: AttachmentQuery,
    responses: { 200: { description: 'All of them, in order', schema: page(AttachmentSchema) } },
    errors: ['THREAD_NOT_FOUND'],
    async handle({ query }, services) {
      const items = await threadsOf(services).listAttachments(query.thread_key);
      return ok({ items: items.map((item) => ({ ...item, download_url: `/agent/attachments/${item.id}/download` })), next: null });
    },
  }),
  route({
    id: 'downloadAttachment',
    method: 'GET',
    path: '/agent/attachments/{attachment_id}/download',
    group: 'Threads',
    summary: 'Read an attachment’s bytes',
    access: { scope: 'threads.read', ofThread: 'found' },
    params: AttachmentPath,
    responses: { 200: { description: 'Its bytes, as a file to save', contentType: 'application/octet-stream' } },
    errors: ['ATTACHMENT_NOT_FOUND'],
    async handle({ params, caller }, services) {
      const { name, data } = await threadsOf(services).readAttachment(params.attachment_id, caller.thread);
      return new Response(new Uint8Array(data), {
        headers: {
          // never as what somebody else says that it is: a browser would show it as a page of ours
          'content-type': 'application/octet-stream',
          'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
          'x-content-type-options': 'nosniff',
          'cache-control': 'no-store',
        },
      });
    },
  }),
];

/** One that is no number of ours counts as none, as the standard of server-sent events asks. */
function parseLastEventId(header: string | null): number {
  return header !== null && /^\d{1,15}$/.test(header) ? Number(header) : 0;
}

function toAccepted(accepted: AcceptedExecution): { readonly status: 202; readonly body: object } {
  const { execution_id } = accepted;
  return { status: 202, body: { ok: true, ...accepted, final_key: execution_id, delivery_token: execution_id } };
}

function aboutThread(action: string, threadKey: string): Attribution {
  return { action, resource: `thread:${threadKey}`, threadKey };
}

/** Whose words they are: in a session, its person's and nobody else's; the key of a channel says whose it brings. */
function speakerOf(caller: Caller, said: string | undefined): { readonly user_id?: string; readonly vouched?: true } {
  const { user } = caller;
  // as links and grants have it
  const account = said === undefined || readExternalId(said) === undefined ? undefined : canonicalAccount(said);
  // a bot answers for accounts in its chat, and for nobody by their name
  if (user === undefined) return account === undefined ? {} : { user_id: account, ...(isBot(caller) ? { vouched: true } : {}) };
  if (said === undefined || said === user.name) return { user_id: user.name, vouched: true };
  throw new ApiError('FORBIDDEN', `user_id: what is said in this session is said by ${user.name}`);
}
