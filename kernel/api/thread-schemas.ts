/** The shapes of threads on the wire. */
import { z } from 'zod';
import { EXECUTION_STATUSES, PROMPT_PARTS } from '../threads/index.ts';
import { named, time } from './schemas.ts';

const threadKey = z.string().min(1).max(512).describe('Names the conversation, such as slack:C123:1700000000.000100');
const id = z.string().min(1).max(512);
const name = z.string().min(1).max(128);
const object = z.record(z.string(), z.unknown());
const generation = z.int().min(1).describe('`assignment_generation` of the spawn that the caller knows');

/** A content block of the Messages API: text, image or document. Others are handed to the harness as they are. */
const Part = z.looseObject({ type: z.string().min(1).max(64) }).superRefine((part, context) => {
  if (part.type === 'text' && typeof part['text'] !== 'string')
    context.addIssue({ code: 'custom', path: ['text'], message: 'is required: expected a string' });
  if ((part.type === 'image' || part.type === 'document') && (typeof part['source'] !== 'object' || part['source'] === null))
    context.addIssue({ code: 'custom', path: ['source'], message: 'is required: expected an object' });
});
const Parts = z.array(Part).min(1).max(100);

export const ThreadPath = z.strictObject({ thread_key: threadKey });
export const ExecutionPath = z.strictObject({ execution_id: id });
export const AttachmentPath = z.strictObject({ attachment_id: z.string() });

const page = {
  after: z.string().optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).default(50).describe('Default 50'),
};
export const ThreadQuery = z.strictObject(page);
export const MessageQuery = z.strictObject({ thread_key: threadKey, ...page });
export const AttachmentQuery = z.strictObject({ thread_key: threadKey });

export const ThreadEventQuery = z.strictObject({
  after_event_id: z.coerce
    .number({ error: 'expected the id of an event: a whole number' })
    .int('expected the id of an event: a whole number')
    .min(0)
    .optional()
    .describe('Id of the last event already seen; the Last-Event-ID header works too. Default 0: from the beginning'),
  execution_id: id.optional().describe('Only events of this turn; the stream ends with its last one'),
});

export const SpawnBody = named(
  'SpawnThread',
  z.strictObject({
    thread_key: threadKey,
    spawn_id: id.optional().describe('Idempotency key: a second request with it gets the first one’s answer'),
    harness: name.optional().describe('Default: that of the persona, else that of the installation'),
    persona_id: name.optional(),
    agents_md_override: z.string().max(100_000).optional().describe('Instructions for this thread'),
  }),
);

export const MessageBody = named(
  'SendMessage',
  z
    .strictObject({
      thread_key: threadKey,
      assignment_generation: generation,
      message_id: id.optional().describe('Idempotency key'),
      role: z.enum(['user', 'assistant', 'system']).optional(),
      parts: Parts.optional().describe('Content blocks. Base64 data above 2 KiB becomes an attachment'),
      event: z
        .looseObject({
          message: z.looseObject({ role: z.enum(['user', 'assistant', 'system']).optional(), content: z.union([z.string(), Parts]) }),
        })
        .optional()
        .describe('Instead of role and parts: a message event with `message.content`'),
      user_id: name.optional(),
      metadata: object.optional(),
    })
    .refine((body) => (body.parts === undefined) !== (body.event === undefined), {
      error: 'expected either parts or event',
      path: ['parts'],
    }),
);

const execute = {
  execute_id: id.optional().describe('Idempotency key'),
  harness: name.optional(),
  model: name.optional(),
  effort: z.enum(['low', 'medium', 'high', 'max']).optional().describe('How much the model may think, where the harness can be told'),
  delivery: object.optional().describe('Where the final answer is to go; given to whoever delivers'),
  platform: name.optional().describe('Whose deliveries it belongs to. Default: `delivery.platform`, else `dev`, which owes no delivery'),
  user_id: name.optional(),
  metadata: object.optional(),
};

export const ExecuteBody = named(
  'Execute',
  z
    .strictObject({
      thread_key: threadKey,
      assignment_generation: generation.optional().describe('Left out together with `message`: spawns, sends and executes in one'),
      message: z
        .union([z.string().min(1), Parts])
        .optional()
        .describe('Text, or content blocks'),
      persona_id: name.optional(),
      ...execute,
    })
    .refine((body) => body.assignment_generation !== undefined || body.message !== undefined, {
      error: 'is required, unless a message is given',
      path: ['assignment_generation'],
    }),
);

export const SteerBody = named(
  'Steer',
  z.strictObject({ content_blocks: Parts, message_id: id.optional().describe('Idempotency key'), user_id: name.optional() }),
);

export const ReleaseBody = named(
  'ReleaseThread',
  z.strictObject({
    release_id: id.optional().describe('Idempotency key'),
    cancel_inflight: z.boolean().optional().describe('Also cancels turns that wait or run. Default false'),
  }),
);

const consumer = id.describe('Names the process that delivers');
const lease = z.int().min(15).max(600);
const wait = z.int().min(0).max(30_000).default(0).describe('When there is nothing, wait so long for it');
const PROGRESS_LONGEST = 8192;
export const ClaimBody = named(
  'ClaimDeliveries',
  z.strictObject({
    consumer_id: consumer,
    limit: z.int().min(1).max(20).default(5),
    lease_seconds: lease.default(60).describe('15 to 600. Renew it while delivering takes longer'),
    platform: name.optional(),
    live: z.boolean().default(false).describe('Also answers of turns that have not ended, for whoever shows them while they run'),
    wait_ms: wait,
  }),
);
export const HeartbeatBody = named(
  'RenewDelivery',
  z.strictObject({
    consumer_id: consumer,
    lease_seconds: lease.default(60),
    progress: z
      .unknown()
      .refine((value) => (JSON.stringify(value) ?? '').length <= PROGRESS_LONGEST, `longer than ${PROGRESS_LONGEST} characters of JSON`)
      .optional()
      .describe('How far it has come, for the next consumer. What was said before stays when it is left out'),
  }),
);
export const DeliveredBody = named('SettleDelivery', z.strictObject({ consumer_id: consumer }));
export const FailedBody = named(
  'FailDelivery',
  z.strictObject({
    consumer_id: consumer,
    error: z.string().min(1).max(10_000),
    error_class: name.optional(),
    retry_after_seconds: z.int().min(5).max(600).optional(),
    non_retryable: z.boolean().optional().describe('It can never succeed: a dead letter'),
  }),
);

// ---- answers

export const AssignmentSchema = named(
  'Assignment',
  z.strictObject({
    ok: z.literal(true),
    thread_key: z.string(),
    assignment_generation: z.int(),
    runtime_id: z.string(),
    harness: z.string(),
    engine: z.string().nullable(),
    persona_id: z.string().nullable(),
    persona_sha256: z.string().nullable().describe('Of the persona’s file, as it was when the thread was given it'),
    prompt_ref: z.string(),
    effective_agents_md_sha256: z.string().nullable(),
    state: z.enum(['active', 'released']),
    assignment_state: z.string(),
    trace_id: z.string(),
    idempotent: z.boolean(),
  }),
);

export const StoredMessageSchema = named(
  'StoredMessage',
  z.strictObject({
    ok: z.literal(true),
    message_id: z.string(),
    stored_event_id: z.string(),
    attachment_ids: z.array(z.string()),
    idempotent: z.boolean(),
  }),
);

export const MessageSchema = named(
  'Message',
  z.strictObject({
    id: z.string(),
    role: z.string(),
    parts: z.array(z.looseObject({ type: z.string() })),
    user_id: z.string().nullable(),
    vouched: z.boolean().describe('Somebody answered for who the user is: their own session, or the bot of the chat'),
    metadata: object.nullable(),
    delivered_execution_id: z.string().nullable(),
    created_at: time,
  }),
);

const status = z.enum(EXECUTION_STATUSES);

export const AcceptedExecutionSchema = named(
  'AcceptedExecution',
  z.strictObject({
    ok: z.literal(true),
    execution_id: z.string(),
    execute_id: z.string(),
    thread_key: z.string(),
    assignment_generation: z.int(),
    status,
    final_key: z.string(),
    delivery_token: z.string(),
    idempotent: z.boolean(),
  }),
);

export const ExecutionSchema = named(
  'Execution',
  z.strictObject({
    execution_id: z.string(),
    execute_id: z.string(),
    thread_key: z.string(),
    assignment_generation: z.int(),
    run_id: z.string().nullable().describe('The run of the engine that runs the turn'),
    harness: z.string(),
    persona_id: z.string().nullable(),
    model: z.string().nullable(),
    status,
    terminal_reason: z.string().nullable(),
    result_text: z.string().nullable(),
    result_json: z.unknown(),
    error_text: z.string().nullable(),
    usage: z.unknown(),
    metadata: object,
    agent_thread_id: z.string().nullable(),
    created_at: time,
    started_at: time.nullable(),
    completed_at: time.nullable(),
    updated_at: time,
  }),
);

export const ControlledSchema = named(
  'ExecutionChange',
  z.strictObject({
    ok: z.literal(true),
    execution_id: z.string(),
    thread_key: z.string(),
    status: z.string(),
    idempotent: z.boolean(),
  }),
);

export const ReleasedSchema = named(
  'ReleasedThread',
  z.strictObject({
    ok: z.literal(true),
    thread_key: z.string(),
    released: z.boolean(),
    assignment_generation: z.int().optional(),
    runtime_id: z.string().optional(),
    reason: z.string().optional(),
    idempotent: z.boolean(),
  }),
);

export const ThreadSchema = named(
  'Thread',
  z.strictObject({
    thread_key: z.string(),
    title: z.string().nullable(),
    state: z.string(),
    harness: z.string().nullable(),
    assignment_generation: z.int().nullable(),
    persona_id: z.string().nullable(),
    persona_sha256: z.string().nullable().describe('Of the persona’s file, as it was when the thread was given it'),
    last_event_id: z.int(),
    pending_messages: z.int(),
    active_execution_id: z.string().nullable(),
    trace_id: z.string(),
    created_at: time,
    last_used_at: time,
  }),
);

const names = z.array(z.string());
export const PromptSchema = named(
  'Prompt',
  z.strictObject({
    thread_key: z.string(),
    harness: z.string(),
    model: z.string().nullable().describe('Null: that of the harness'),
    effort: z.string().nullable(),
    persona: z.strictObject({ name: z.string(), sha256: z.string() }).nullable(),
    sha256: z.string().nullable().describe('Of all parts together; null when there is nothing to say'),
    bytes: z.int().describe('Of all parts together'),
    parts: z
      .array(z.strictObject({ kind: z.enum(PROMPT_PARTS), source: z.string(), bytes: z.int(), text: z.string() }))
      .describe('In the order in which they are told, with an empty line between them'),
    tools: names.describe('Those that the agent may call'),
    skills: z
      .array(
        z.strictObject({
          name: z.string(),
          description: z.string(),
          source: z.string().describe('Its folder'),
          version: z.string(),
          bytes: z.int().describe('Of all its files'),
        }),
      )
      .describe('Those whose files are in the sandbox'),
    missing: z.strictObject({ tools: names, skills: names }).describe('What the persona names, and is not there'),
  }),
);

export const AttachmentSchema = named(
  'Attachment',
  z.strictObject({
    id: z.string(),
    thread_key: z.string(),
    name: z.string(),
    mime_type: z.string(),
    size: z.int(),
    message_id: z.string().nullable(),
    execution_id: z.string().nullable(),
    created_at: time,
    download_url: z.string(),
  }),
);

export const DeliveriesSchema = named(
  'Deliveries',
  z.strictObject({
    ok: z.literal(true),
    deliveries: z.array(
      z.strictObject({
        execution_id: z.string(),
        thread_key: z.string(),
        trace_id: z.string(),
        platform: z.string(),
        attempt_count: z.int(),
        delivery: z.unknown(),
        final_payload: z.unknown().describe('Null while the turn has not ended'),
        progress: z.unknown().describe('What the consumer before has noted'),
        lease_expires_at: time,
      }),
    ),
  }),
);

const DELIVERY_STATES = ['live', 'pending', 'sending', 'retry_wait', 'delivered', 'dead_letter'] as const;
export const DeliveryQuery = z.strictObject({
  state: z.enum(DELIVERY_STATES).optional(),
  platform: z.string().optional(),
  ...page,
});

export const DeliveryViewSchema = named(
  'Delivery',
  z.strictObject({
    execution_id: z.string(),
    thread_key: z.string(),
    platform: z.string(),
    state: z.enum(DELIVERY_STATES),
    attempt_count: z.int(),
    lease_owner: z.string().nullable().describe('The consumer that has it, or had it last'),
    last_error: z.string().nullable(),
    next_attempt_at: time.nullable().describe('Of one that waits'),
    created_at: time,
    delivered_at: time.nullable(),
  }),
);

export const DeliverySchema = named(
  'DeliveryChange',
  z.strictObject({ ok: z.literal(true), execution_id: z.string(), state: z.string(), idempotent: z.boolean().optional() }),
);

/** What stands in the stream's `data`; the kinds are in the reference of events. */
export const ThreadEventSchema = named('ThreadEvent', z.looseObject({ type: z.string() }));
