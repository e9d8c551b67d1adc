/** The account's balance, what happened in it, and search over all of it. */
import { method } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { between, get, id, list, paging, search, since, until } from './api.ts';

export const accountMethods = {
  get_balance: method({
    description: 'What the account has, for each currency: available to pay out, and pending. In the smallest unit.',
    risk: 'read',
    input: z.strictObject({}),
    async run(_input, ctx) {
      const { available, pending, livemode } = await get(ctx, '/v1/balance');
      return { available: sums(available), pending: sums(pending), livemode };
    },
  }),

  list_balance_transactions: method({
    description: 'What moved the balance, newest first: charges, refunds, fees, payouts.',
    risk: 'read',
    input: z.strictObject({
      type: z.string().optional().describe('`charge`, `refund`, `payout`, `adjustment` …'),
      payout: id('po', 'payout').optional().describe('Only what this payout paid out'),
      since,
      until,
      ...paging,
    }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/balance_transactions', { ...query, ...between({ since, until }) }),
  }),

  get_event: method({
    description: 'One event with the object as it was then.',
    risk: 'read',
    input: z.strictObject({ event: id('evt', 'event') }),
    run: ({ event }, ctx) => get(ctx, at`/v1/events/${event}`),
  }),

  list_events: method({
    description: 'What happened in the account in the last 30 days, newest first.',
    risk: 'read',
    input: z.strictObject({
      types: z.array(z.string()).max(20).optional().describe('`invoice.payment_failed`; `charge.*`'),
      delivery_success: z.boolean().optional().describe('false: those that a webhook has not taken'),
      since,
      until,
      ...paging,
    }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/events', { ...query, ...between({ since, until }) }),
  }),

  search: method({
    description:
      "Searches in Stripe's query language: `email:'ana@example.com'`, `status:'active' AND metadata['plan']:'pro'`, `amount>1000`. " +
      'What has just changed is found after a minute.',
    risk: 'read',
    input: z.strictObject({
      resource: z.enum(['customers', 'payment_intents', 'charges', 'invoices', 'subscriptions', 'products', 'prices']),
      query: z.string().min(1),
      ...paging,
    }),
    run: ({ resource, ...query }, ctx) => search(ctx, at`/v1/${resource}`, query),
  }),
};

function sums(parts: unknown): readonly unknown[] {
  return ((parts ?? []) as readonly { readonly amount: number; readonly currency: string }[]).map(({ amount, currency }) => ({
    amount,
    currency,
  }));
}
