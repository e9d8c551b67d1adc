/**
 * The shapes on the wire. Requests are strict: an unknown field is refused. Answers are described for the documents;
 * the tests hold every answer against them.
 */
import { z } from 'zod';
import { RUN_STATUSES } from '../engine/index.ts';
import { SCOPE_PATTERN, SCOPES_TEXT } from './scopes.ts';

/** Names under which a shape appears in the OpenAPI document. */
export const components = z.registry<{ id: string }>();

export function named<Schema extends z.ZodType>(id: string, schema: Schema): Schema {
  components.add(schema, { id });
  return schema;
}

export const time = z.string().meta({ format: 'date-time' });
const anyJson = z.unknown().describe('Any JSON value');
const name = z.string().min(1).max(128);

export const RunStatusSchema = named('RunStatus', z.enum(RUN_STATUSES as readonly [string, ...string[]]));

export const ErrorSchema = named(
  'Error',
  z.strictObject({
    code: z.string().describe('What was refused, in SCREAMING_SNAKE: compare this, not the message'),
    message: z.string(),
    details: z.unknown().optional(),
  }),
);

const StoredErrorSchema = named(
  'RunError',
  z.looseObject({ code: z.string(), message: z.string(), name: z.string().optional(), details: z.unknown().optional() }),
);

// ---- requests

export const RunPath = z.strictObject({ run_id: z.string().describe('Id of the run') });

export const StartBody = named(
  'StartRun',
  z.strictObject({
    workflow_name: z.string().min(1),
    input: anyJson.optional(),
    eager_start: z.boolean().optional().describe('Start at once in the process that answers, when it works and has room. Default true'),
    trigger_key: z
      .string()
      .min(1)
      .max(512)
      .optional()
      .describe('Idempotency key: a second start with the same key and input answers with the first run'),
    queue: name.optional(),
    priority: z.int().min(-100).max(100).optional().describe('Higher goes first. Default 0'),
    concurrency_key: z.string().min(1).max(256).optional(),
    run_at: time.optional().describe('RFC 3339. The run starts no sooner'),
    trace_id: z.string().optional().describe('32 hex digits; default: that of the traceparent header, else the run’s own'),
    asked_by: z
      .string()
      .max(300)
      .optional()
      .describe(
        'For bots (scope `chats.use`): who asked for it in a chat, such as slack:T1:U1. The run is that person’s, who must be linked and may start it',
      ),
  }),
);

export const RunQuery = z.strictObject({
  workflow_name: name.regex(/^[A-Za-z0-9_.-]+$/, 'expected the name of a workflow').optional(),
  status: RunStatusSchema.optional(),
  after: z.string().optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).optional().describe('Default 50'),
});

export const ForkBody = named(
  'ForkRun',
  z.strictObject({
    from_step: z
      .union([z.string().min(1).max(300), z.int().min(0)], { error: 'expected the name of a step, or its seq' })
      .describe('The first step that is executed anew: its name, or its seq'),
    input: anyJson.optional().describe('Default: the input of the run that is forked'),
    tampered: z.literal('accept').optional().describe('Fork also when the journal is not the one that was sealed; else that is refused'),
  }),
);

export const EventQuery = z.strictObject({
  after_event_id: z.string().optional().describe('Id of the last event already seen; the Last-Event-ID header works too'),
});

export const EmitBody = named(
  'EmitEvent',
  z.strictObject({
    event_type: z.string().min(1),
    correlation_id: z.string().min(1),
    payload: anyJson.optional(),
    event_key: z
      .string()
      .min(1)
      .max(512)
      .optional()
      .describe('Idempotency key: a second event of the type with the same key, correlation id and payload is the first one'),
  }),
);

export const QueuePath = z.strictObject({ name });

export const QueueLimitsBody = named(
  'QueueLimits',
  z.strictObject({
    concurrency: z.int().min(1).nullable().optional().describe('Most runs that execute at the same moment; null for no limit'),
    concurrency_per_key: z.int().min(1).nullable().optional().describe('Most unfinished runs per concurrency key'),
    rate_limit: z
      .strictObject({ limit: z.int().min(1).max(10_000), period_ms: z.int().min(1).max(86_400_000) })
      .nullable()
      .optional()
      .describe('Most runs started in any window of the period'),
  }),
);

export const KeyPath = z.strictObject({ key_id: z.string().max(64) });

export const CreateKeyBody = named(
  'CreateKey',
  z.strictObject({
    name: z.string().min(1).max(100).describe('What it is for'),
    scopes: z
      .array(z.string().regex(SCOPE_PATTERN, `expected ${SCOPES_TEXT}`))
      .min(1)
      .max(50),
  }),
);

// ---- answers

export const StartedRunSchema = named(
  'StartedRun',
  z.strictObject({
    run_id: z.string(),
    workflow_name: z.string(),
    status: RunStatusSchema,
    created: z.boolean().describe('False when the trigger key was known: then this is the first run'),
    idempotent: z.boolean(),
  }),
);

const summaryFields = {
  run_id: z.string(),
  workflow_name: z.string(),
  workflow_version: z.string().nullable(),
  status: RunStatusSchema,
  queue: z.string(),
  priority: z.number(),
  concurrency_key: z.string().nullable(),
  attempt: z.number(),
  parent_run_id: z.string().nullable(),
  trace_id: z.string(),
  trigger_key: z.string().nullable(),
  started_by: z
    .string()
    .nullable()
    .describe(
      'Who asked for it, such as `user:ann`, `key:ck_…` or `webhook:github`. Of a child: who asked for the run that started it. Null: a schedule or the platform',
    ),
  created_at: time,
  started_at: time.nullable(),
  ended_at: time.nullable(),
  run_at: time.nullable().describe('When a delayed or sleeping run continues'),
  error: StoredErrorSchema.nullable(),
};

export const RunSummarySchema = named('RunSummary', z.strictObject(summaryFields));

export const StepSchema = named(
  'Step',
  z.strictObject({
    seq: z.number().describe('Position in the order in which the handler called'),
    name: z.string(),
    kind: z.enum(['step', 'transaction', 'sleep', 'event', 'start_workflow', 'wait_workflow', 'patch', 'approval']),
    status: z.enum(['pending', 'completed', 'failed', 'timed_out']),
    result: anyJson,
    error: StoredErrorSchema.nullable(),
    started_at: time,
    ended_at: time.nullable(),
    attempts: z.number(),
  }),
);

const WaitingOnSchema = named(
  'WaitingOn',
  z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('sleep'), name: z.string(), until: time }),
    z.strictObject({
      type: z.literal('event'),
      name: z.string(),
      event_type: z.string(),
      correlation_id: z.string(),
      deadline: time.nullable(),
    }),
    z.strictObject({ type: z.literal('workflow'), name: z.string(), run_id: z.string(), deadline: time.nullable() }),
    z.strictObject({
      type: z.literal('approval'),
      name: z.string(),
      approval_id: z.string(),
      gate: z.string(),
      deadline: time.nullable(),
    }),
    z.strictObject({ type: z.literal('retry'), name: z.string(), until: time, attempts: z.number(), error: StoredErrorSchema.nullable() }),
  ]),
);

export const RunDetailSchema = named(
  'Run',
  z.strictObject({
    ...summaryFields,
    input: anyJson,
    result: anyJson,
    waiting_on: z.array(WaitingOnSchema),
    steps: z.array(StepSchema),
    attempts: z
      .array(z.strictObject({ attempt: z.number(), error: StoredErrorSchema.nullable(), started_at: time.nullable(), ended_at: time }))
      .describe('Earlier attempts of a retried run'),
    children: z.array(z.strictObject({ run_id: z.string(), workflow_name: z.string(), status: RunStatusSchema })),
  }),
);

/** One line of the stream; `id`, `event` and `data` are the fields of a server-sent event. */
export const RunEventSchema = named(
  'RunEvent',
  z.discriminatedUnion('event', [
    z.strictObject({ id: z.string(), event: z.enum(['step.completed', 'step.failed', 'step.timed_out']), data: StepSchema }),
    z.strictObject({
      id: z.string(),
      event: z.literal('run.retrying'),
      data: z.strictObject({ attempt: z.number(), error: StoredErrorSchema.nullable() }),
    }),
    z.strictObject({
      id: z.string(),
      event: z.enum(['run.completed', 'run.failed', 'run.cancelled']),
      data: z.strictObject({ ...summaryFields, result: anyJson }),
    }),
    z.strictObject({
      id: z.null(),
      event: z.literal('run.status'),
      data: z.strictObject({ status: RunStatusSchema, waiting_on: z.array(WaitingOnSchema), error: StoredErrorSchema.nullable() }),
    }),
  ]),
);

export const EmittedEventSchema = named(
  'EmittedEvent',
  z.strictObject({
    event_id: z.string(),
    event_type: z.string(),
    correlation_id: z.string(),
    runs_woken: z.number().describe('Parked runs that it woke'),
    idempotent: z.boolean().describe('The event key was known: nothing was stored'),
  }),
);

const scheduleFields = {
  input: anyJson.optional(),
  allow_overlap: z.boolean().optional(),
  queue: z.string().optional(),
  catchup: z.number().optional(),
  enabled: z.boolean().optional(),
  schedule_id: z.string().optional(),
  thread_key: z.string().optional(),
  slack_channel: z.string().optional(),
  no_delivery: z.boolean().optional(),
};

const ScheduleSpecSchema = named(
  'Schedule',
  z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('cron'), cron: z.string(), timezone: z.string().optional(), ...scheduleFields }),
    z.strictObject({ type: z.literal('interval'), seconds: z.number(), ...scheduleFields }),
  ]),
);

export const ScheduleSchema = named(
  'ScheduleState',
  z.strictObject({
    schedule_id: z.string(),
    workflow_name: z.string(),
    spec: ScheduleSpecSchema,
    enabled: z.boolean(),
    next_at: time.nullable(),
    last_at: time.nullable(),
    last_run_id: z.string().nullable(),
    skipped: z.number().describe('Ticks passed over because the run before was unfinished, or the catch-up limit was reached'),
  }),
);

export const QueueSchema = named(
  'Queue',
  z.strictObject({
    name: z.string(),
    concurrency: z.number().nullable(),
    concurrency_per_key: z.number().nullable(),
    rate_limit: z.strictObject({ limit: z.number(), period_ms: z.number() }).nullable(),
    queued: z.number(),
    running: z.number(),
  }),
);

export const WorkflowSchema = named(
  'Workflow',
  z.strictObject({
    name: z.string(),
    version: z.string().describe('Identifies the code: it changes when the file, or one it imports, does'),
    source: z.string().nullable().describe('The file it was loaded from'),
    queue: z.string(),
    input_schema: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe('JSON Schema of the input; null when there is none, or its library cannot tell'),
    schedules: z.array(ScheduleSpecSchema),
  }),
);

export const FileProblemSchema = named(
  'FileProblem',
  z.strictObject({ file: z.string(), line: z.number().optional(), column: z.number().optional(), message: z.string() }),
);

const keyFields = {
  key_id: z.string(),
  name: z.string(),
  scopes: z.array(z.string()),
  created_at: time,
  last_used_at: time.nullable(),
  revoked_at: time.nullable(),
};
export const KeySchema = named('Key', z.strictObject(keyFields));
export const CreatedKeySchema = named('CreatedKey', z.strictObject({ ...keyFields, key: z.string().describe('Shown this once') }));

export function page<Item extends z.ZodType>(item: Item) {
  return z.strictObject({ items: z.array(item), next: z.string().nullable().describe('Pass it as `after` to read on; null at the end') });
}
