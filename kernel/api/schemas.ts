/** The bodies that the API takes. Routes validate with them, and the OpenAPI document is made from them. */
import { z } from 'zod';

export const StartBody = z
  .strictObject({
    workflow_name: z.string().min(1).describe('Name of a loaded workflow'),
    input: z.json().optional().describe("The handler's input; checked against the workflow's schema"),
    eager_start: z.boolean().optional().describe('Start in the answering process when it can; default true'),
    trigger_key: z.string().min(1).max(512).optional().describe('Idempotency key: the same key and input answer with the first run'),
    queue: z.string().min(1).max(128).optional(),
    priority: z.int().min(-100).max(100).optional().describe('Higher goes first; default 0'),
    concurrency_key: z.string().min(1).max(256).optional().describe('Runs of one key take turns'),
    run_at: z.iso.datetime({ offset: true }).optional().describe('Start no sooner'),
    trace_id: z.string().regex(/^[0-9a-f]{32}$/).optional(),
  })
  .meta({ id: 'StartRun' });

export const StartMany = z.array(StartBody).max(10_000);

export const ForkBody = z.strictObject({
  from_step: z.union([z.string().min(1), z.int().min(0)]).describe("A step's name or seq; the history before it is copied"),
  input: z.json().optional(),
});

export const EmitBody = z.strictObject({
  event_type: z.string().min(1).max(512),
  correlation_id: z.string().min(1).max(512),
  payload: z.json().optional(),
});

export const QueueBody = z.strictObject({
  concurrency: z.int().min(1).max(1_000_000).nullable().optional(),
  concurrency_per_key: z.int().min(1).max(1_000_000).nullable().optional(),
  rate_limit: z.strictObject({ limit: z.int().min(1).max(10_000), period_ms: z.int().min(1).max(86_400_000) }).nullable().optional(),
});

export const KeyBody = z.strictObject({ name: z.string().min(1).max(128), scopes: z.array(z.string()).min(1).max(100) });
