/** Usage: what models were asked for, and what it cost. */
import { z } from 'zod';
import { listUsage } from '../../usage/index.ts';
import { named } from '../schemas.ts';
import { ok, route } from '../route.ts';

const DAY_MS = 86_400_000;
const SINCE_DAYS = 30;

const UsageQuery = z.strictObject({
  by: z.enum(['thread', 'workflow', 'user', 'model', 'day']).default('day').describe('What is summed up'),
  since: z.iso
    .datetime({ offset: true, error: 'expected an RFC 3339 time' })
    .optional()
    .describe('From the day, in UTC, that it is in. Default: 30 days ago'),
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe('The largest so many; of days, the newest'),
});

const UsageSchema = named(
  'Usage',
  z.strictObject({
    key: z.string().nullable().describe('Of the thread, workflow, user or model, or the day; null: of none, and of the total'),
    turns: z.number(),
    input_tokens: z.number().describe('Without what was read from or written to a cache'),
    output_tokens: z.number(),
    cache_read_tokens: z.number(),
    cache_write_tokens: z.number(),
    reasoning_tokens: z.number().describe('As part of the output'),
    cost_micros: z.number().nullable().describe('Millionths of the currency of the prices; null when none of the models had a price'),
    unpriced_tokens: z.number().describe('Of models without a price: the cost lacks them'),
  }),
);

export const usageRoutes = [
  route({
    id: 'listUsage',
    method: 'GET',
    path: '/usage',
    group: 'Usage',
    summary: 'Tokens and cost of turns, by thread, workflow, user, model or day',
    description: 'A turn counts on the day of UTC on which it ended; one that runs is not in it.',
    access: { scope: 'threads.read' },
    query: UsageQuery,
    responses: {
      200: {
        description: 'The sums',
        schema: z.strictObject({ since: z.iso.date(), items: z.array(UsageSchema), total: UsageSchema }),
      },
    },
    async handle({ query: { by, since, limit } }, { store }) {
      const from = since === undefined ? store.now() - SINCE_DAYS * DAY_MS : Date.parse(since);
      return ok({ since: new Date(from).toISOString().slice(0, 10), ...(await listUsage(store, { by, since: from, limit })) });
    },
  }),
];
