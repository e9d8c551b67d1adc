/** What replays, and seals of journals, are on the wire. */
import { z } from 'zod';
import { named, RunStatusSchema } from './schemas.ts';

const problem = z.strictObject({
  run_id: z.string(),
  seq: z.number().optional(),
  step: z.string().optional().describe('Missing where the run itself is meant'),
  problem: z.string(),
});

export const ReplayBody = named(
  'ReplayRun',
  z.strictObject({
    code: z
      .enum(['present', 'same'])
      .optional()
      .describe('`present`, the default: the code that new runs get. `same`: that with which the run ended, or none'),
    timeout_seconds: z.number().min(1).max(300).optional().describe('Default 60'),
  }),
);

export const JournalStateSchema = named(
  'JournalState',
  z.discriminatedUnion('state', [
    z.strictObject({ state: z.literal('intact'), audit_id: z.string(), sealed_at: z.string() }),
    z.strictObject({ state: z.literal('tampered'), audit_id: z.string().nullable(), problems: z.array(problem) }),
    z.strictObject({ state: z.literal('unsealed'), why: z.enum(['pending', 'never', 'no_key']) }),
  ]),
);

export const ReplaySchema = named(
  'Replay',
  z.strictObject({
    run_id: z.string(),
    workflow_name: z.string(),
    status: RunStatusSchema,
    attempt: z.number(),
    verdict: z
      .enum(['same', 'different', 'tampered'])
      .describe('`tampered`: the journal is not the one that was sealed; no code was called'),
    difference: z
      .strictObject({
        what: z.enum(['name', 'kind', 'order', 'asks', 'past_end', 'ended_early', 'stalled', 'result', 'error', 'outcome']),
        seq: z.number().nullable(),
        step: z.string().nullable(),
        expected: z.unknown(),
        found: z.unknown(),
        message: z.string(),
      })
      .nullable()
      .describe('The first one; nothing was looked at beyond it'),
    journal: JournalStateSchema,
    calls: z.strictObject({ recorded: z.number(), replayed: z.number() }).nullable(),
    code: z.strictObject({ recorded: z.string().nullable(), present: z.string(), same: z.boolean() }).nullable(),
    ms: z.number(),
  }),
);

export const JournalsBody = named(
  'VerifyJournals',
  z.strictObject({
    after: z
      .string()
      .regex(/^[0-9a-f-]{36}$/)
      .optional()
      .describe('`next` of the answer before'),
  }),
);

export const JournalsSchema = named(
  'JournalsReport',
  z.strictObject({
    runs: z.number().describe('Seals that were held against the journals of their runs'),
    steps: z.number(),
    pruned: z.number().describe('Runs whose time was over'),
    retried: z.number().describe('Ends of runs that were retried afterwards'),
    problems: z.array(problem),
    next: z.string().nullable().describe('Where to go on; null at the end'),
  }),
);
