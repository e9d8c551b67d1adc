/** The inbox of chat services: requests, answers. */
import { z } from 'zod';
import { named, time } from './schemas.ts';

const platform = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, 'expected a name such as slack')
  .describe('The service, such as slack');
const eventId = z
  .string()
  .regex(/^[\x21-\x7e]{1,256}$/, 'expected 1 to 256 printable characters without spaces')
  .describe('The service’s own id: what is sent again under it is the same');
/** Postgres keeps no zero bytes. */
const text = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[^\0]*$/, 'must have no zero byte');
const consumer = text.describe('Names the process that acts on it');
const lease = z.int().min(5).max(600).default(60).describe('5 to 600. Renew it while it takes longer');
const BODY_LONGEST = 512 * 1024;

export const InboxPath = z.strictObject({ platform, event_id: eventId });
export const PutEventBody = named(
  'PutInboxEvent',
  z.strictObject({
    platform,
    event_id: eventId,
    conversation: text.describe('Events of one are handed out one at a time, in their order. Its thread’s key, where it has one'),
    body: z
      .unknown()
      .refine((value) => value !== undefined, 'is required')
      .refine((value) => (JSON.stringify(value) ?? '').length <= BODY_LONGEST, `longer than ${BODY_LONGEST} characters of JSON`)
      .describe('What the service said'),
  }),
);
export const ClaimEventsBody = named(
  'ClaimInboxEvents',
  z.strictObject({
    consumer_id: consumer,
    platform,
    limit: z.int().min(1).max(50).default(10),
    lease_seconds: lease,
    wait_ms: z.int().min(0).max(30_000).default(0).describe('When there is nothing, wait so long for it'),
  }),
);
export const RenewEventBody = named('RenewInboxEvent', z.strictObject({ consumer_id: consumer, lease_seconds: lease }));
export const SettleEventBody = named('SettleInboxEvent', z.strictObject({ consumer_id: consumer }));
export const FailEventBody = named(
  'FailInboxEvent',
  z.strictObject({
    consumer_id: consumer,
    error: z.string().min(1).max(10_000),
    retry_after_seconds: z.int().min(1).max(3600).optional(),
    non_retryable: z.boolean().optional().describe('It can never succeed: it is given up'),
  }),
);

const STATES = ['pending', 'claimed', 'retry_wait', 'done', 'dead_letter'] as const;
export const InboxQuery = z.strictObject({
  platform: platform.optional(),
  state: z.enum(STATES).optional(),
  after: z
    .string()
    .regex(/^\d{1,15}$/, 'expected `next` of the page before')
    .optional()
    .describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).default(50).describe('Default 50'),
});

export const InboxEventsSchema = named(
  'InboxEvents',
  z.strictObject({
    ok: z.literal(true),
    events: z.array(
      z.strictObject({
        platform: z.string(),
        event_id: z.string(),
        conversation: z.string(),
        body: z.unknown(),
        attempt_count: z.int(),
        received_at: time,
        lease_expires_at: time,
      }),
    ),
  }),
);
export const InboxViewSchema = named(
  'InboxEvent',
  z.strictObject({
    platform: z.string(),
    event_id: z.string(),
    conversation: z.string(),
    state: z.enum(STATES),
    attempt_count: z.int(),
    lease_owner: z.string().nullable().describe('The consumer that has it, or had it last'),
    last_error: z.string().nullable(),
    next_attempt_at: time.nullable().describe('Of one that waits'),
    received_at: time,
    settled_at: time.nullable(),
  }),
);
export const InboxChangeSchema = named(
  'InboxChange',
  z.strictObject({
    ok: z.literal(true),
    platform: z.string(),
    event_id: z.string(),
    state: z.enum(STATES),
    created: z.boolean().optional(),
    idempotent: z.boolean().optional(),
  }),
);
