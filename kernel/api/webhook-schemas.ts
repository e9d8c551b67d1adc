/** The shapes of webhooks and their deliveries on the wire. */
import { z } from 'zod';
import { FileProblemSchema, named, page, time } from './schemas.ts';

export const SlugPath = z.strictObject({ slug: z.string().describe('As the workflow file declares it') });

/** 128 of a slug, and one more for a message that says so. */
const slug = z.string().min(1).max(129);

const id = z
  .string()
  .regex(/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i, 'expected the cursor of an earlier answer')
  .toLowerCase();

export const WebhookDeliveryPath = z.strictObject({ delivery_id: z.string().max(64).toLowerCase() });

export const WebhookDeliveryQuery = z.strictObject({
  slug: slug.optional(),
  after: id.optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).optional().describe('Default 50'),
});

const WebhookSchema = named(
  'Webhook',
  z.strictObject({
    slug: z.string(),
    workflow_name: z.string(),
    source: z.string().nullable().describe('The file of the workflow'),
    provider: z.string().nullable(),
    auth: z.string().describe('How a delivery proves who sent it'),
    auth_form: z
      .union([
        z.strictObject({
          header: z.string(),
          prefix: z.string(),
          encoding: z.enum(['hex', 'base64']),
          algorithm: z.enum(['sha1', 'sha256', 'sha512']),
          timestampHeader: z.string().optional(),
        }),
        z.strictObject({ header: z.string(), scheme: z.string() }),
      ])
      .nullable()
      .describe('Where the proof stands and in which form, for `hmac` and `bearer`'),
    secret_ref: z.string().nullable().describe('Name of the secret that verifies: in the vault, else in the API’s environment'),
    secret_problem: z.string().nullable().describe('Why it does not verify anything now'),
    methods: z.array(z.string()),
    enabled: z.boolean(),
  }),
);

export const WebhooksSchema = page(WebhookSchema).extend({ problems: z.array(FileProblemSchema) });

export const WebhookDeliverySchema = named(
  'WebhookDelivery',
  z.strictObject({
    delivery_id: z.string(),
    slug: z.string(),
    workflow_name: z.string(),
    received_at: time,
    trigger_key: z.string(),
    run_id: z.string(),
    created: z.boolean().describe('False when an earlier delivery with the same trigger key had started the run'),
    method: z.string(),
    source_ip: z.string().nullable(),
    content_type: z.string().nullable(),
    body_sha256: z.string(),
    body_bytes: z.number(),
    provider: z.string().nullable(),
    event: z.string().nullable().describe('What the provider calls it, such as `issues`'),
    redelivery_of: z.string().nullable().describe('Set when it was sent again from here'),
  }),
);

export const RedeliveredSchema = named(
  'WebhookRedelivery',
  z.strictObject({ delivery_id: z.string(), run_id: z.string(), workflow_name: z.string(), redelivery_of: z.string() }),
);

export const ReceivedSchema = named(
  'WebhookReceived',
  z.strictObject({
    ok: z.literal(true),
    run_id: z.string(),
    delivery_id: z.string(),
    created: z.boolean(),
    idempotent: z.boolean().describe('True when an earlier delivery with the same trigger key had started the run'),
  }),
);

export const NotStartedSchema = z.union([
  z.strictObject({ ok: z.literal(true), filtered: z.literal(true), run_id: z.null(), created: z.literal(false) }),
  z.strictObject({ challenge: z.string() }),
]);
