/** Schemas of traces. */
import { z } from 'zod';
import { SPAN_KINDS, SPANS_DEFAULT, SPANS_MOST } from '../traces/index.ts';
import { named } from './schemas.ts';

export const TracePath = z.strictObject({
  trace_id: z.string().max(64).describe('Id of a trace (32 hex digits), or of a run or a turn that is part of it'),
});

export const TraceQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^\d{1,5}$/, `expected a whole number from 1 to ${SPANS_MOST}`)
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= SPANS_MOST, `expected a whole number from 1 to ${SPANS_MOST}`)
    .optional()
    .describe(`Most spans of the answer. Default ${SPANS_DEFAULT}`),
});

export const TraceSchema = named(
  'Trace',
  z.strictObject({
    trace_id: z.string(),
    started_at: z.string(),
    duration_ms: z.number().nullable().describe('From the first beginning to the last end; null while anything is under way'),
    status: z.enum(['ok', 'error', 'open']),
    truncated: z.boolean().describe('Whether there is more than is told here'),
    spans: z
      .array(
        named(
          'Span',
          z.strictObject({
            span_id: z.string(),
            parent_id: z.string().nullable(),
            depth: z.number().int(),
            kind: z.enum(SPAN_KINDS),
            name: z.string(),
            start_ms: z.number().describe('Since the trace began'),
            duration_ms: z.number().nullable().describe('Null: it has not ended, or nobody wrote down that it did'),
            at_most: z.boolean().describe('It took no longer than that: it is known from what came next'),
            status: z.enum(['ok', 'error', 'denied', 'cancelled', 'open']),
            error: z.string().nullable().describe('A code, never a message'),
            attempt: z.number().int(),
            run_id: z.string().nullable(),
            thread_key: z.string().nullable(),
            actor: z.string().nullable(),
            audit_ids: z.array(z.string()).describe('Entries of the audit log that tell of it'),
            attributes: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
          }),
        ),
      )
      .describe('Depth first: each after what it is part of, in the order in which they began'),
  }),
);
