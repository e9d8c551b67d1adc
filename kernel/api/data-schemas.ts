/** The shapes of data care on the wire. */
import { z } from 'zod';
import { named, time } from './schemas.ts';
import { text } from './trust-schemas.ts';

const subject = text(6, 520).describe('`thread:<key>`, or `user:<name>` of a person as messages and turns name them in `user_id`');
const pathId = z.string().max(64).toLowerCase();
const counts = z.record(z.string(), z.int()).describe('Rows, by table');

export const SubjectQuery = z.strictObject({ subject });
export const HoldPath = z.strictObject({ hold_id: pathId });
export const HoldsQuery = z.strictObject({ all: z.enum(['true', 'false']).optional().describe('Also those that were released') });
export const ErasurePath = z.strictObject({ erasure_id: pathId });

export const HoldBody = named('PlaceHold', z.strictObject({ subject, reason: text(1, 1000) }));
export const HoldSchema = named(
  'Hold',
  z.strictObject({
    hold_id: z.string(),
    subject: z.string(),
    reason: z.string(),
    created_by: z.string(),
    created_at: time,
    released_at: time.nullable(),
  }),
);

export const ErasureBody = named(
  'Erase',
  z.strictObject({ subject, confirm: text(1, 520).describe('The subject once more') }).refine((body) => body.confirm === body.subject, {
    path: ['confirm'],
    error: 'expected the subject once more: what is erased does not come back',
  }),
);
export const ErasureSchema = named(
  'Erasure',
  z.strictObject({
    erasure_id: z.string(),
    subject: z.string(),
    state: z.enum(['running', 'done']),
    counts,
    problem: z.string().nullable().describe('Why it waits'),
    requested_by: z.string(),
    created_at: time,
    finished_at: time.nullable(),
  }),
);
export const PlanSchema = named(
  'ErasurePlan',
  z.strictObject({
    subject: z.string(),
    counts,
    threads: z.array(z.string()).describe('These go as a whole'),
    shared: z.array(z.string()).describe('In these, what the person said is emptied, with the turns in which they had a word'),
    in_the_way: z.array(z.string()),
    not_covered: z.array(z.string()),
  }),
);

export const DueSchema = named(
  'RetentionDue',
  z.strictObject({
    what: z.enum(['runs', 'webhook_deliveries', 'threads', 'tool_calls', 'leases', 'audit']),
    days: z.int().nullable().describe('Null: kept for ever'),
    due: z.int(),
    kept: z.int(),
    because: z.string().nullable(),
  }),
);
export const PrunedSchema = named('Pruned', z.strictObject({ pruned: z.record(z.string(), z.int()) }));
