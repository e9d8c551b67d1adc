/** Products and prices, subscriptions, invoices. */
import { method } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { between, currency, get, id, list, metadata, paging, post, remove, since, until } from './api.ts';

const customer = id('cus', 'customer');
const invoice = id('in', 'invoice');
const subscription = id('sub', 'subscription');
const price = z.string().min(1).describe('Id of the price, `price_…`');
const product = z
  .string()
  .regex(/^[\w-]+$/)
  .describe('Id of the product, `prod_…`');
const proration_behavior = z
  .enum(['create_prorations', 'always_invoice', 'none'])
  .optional()
  .describe('What becomes of time that is paid already: on the next invoice (default), on one of its own, nothing');

export const billingMethods = {
  list_products: method({
    description: 'Products, newest first.',
    risk: 'read',
    input: z.strictObject({ active: z.boolean().optional(), ...paging }),
    run: (query, ctx) => list(ctx, '/v1/products', query),
  }),

  get_product: method({
    description: 'One product.',
    risk: 'read',
    input: z.strictObject({ product }),
    run: ({ product }, ctx) => get(ctx, at`/v1/products/${product}`),
  }),

  create_product: method({
    description: 'Makes a product; create_price gives it a price.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ name: z.string().min(1), description: z.string().optional(), active: z.boolean().optional(), metadata }),
    run: (input, ctx) => post(ctx, '/v1/products', input),
  }),

  list_prices: method({
    description: 'Prices, newest first.',
    risk: 'read',
    input: z.strictObject({
      product: product.optional(),
      active: z.boolean().optional(),
      type: z.enum(['one_time', 'recurring']).optional(),
      ...paging,
    }),
    run: (query, ctx) => list(ctx, '/v1/prices', query),
  }),

  get_price: method({
    description: 'One price.',
    risk: 'read',
    input: z.strictObject({ price }),
    run: ({ price }, ctx) => get(ctx, at`/v1/prices/${price}`),
  }),

  create_price: method({
    description: 'Gives a product a price. The amount of a price never changes: make another one instead.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({
      product,
      currency,
      unit_amount: z.int().min(0).describe('In the smallest unit of the currency'),
      recurring: z
        .strictObject({ interval: z.enum(['day', 'week', 'month', 'year']), interval_count: z.int().positive().optional() })
        .optional()
        .describe('For subscriptions'),
      nickname: z.string().optional(),
      metadata,
    }),
    run: (input, ctx) => post(ctx, '/v1/prices', input),
  }),

  get_subscription: method({
    description: 'One subscription with what it is for.',
    risk: 'read',
    input: z.strictObject({ subscription }),
    run: ({ subscription }, ctx) => get(ctx, at`/v1/subscriptions/${subscription}`),
  }),

  list_subscriptions: method({
    description: 'Subscriptions, newest first; ended ones only with the status.',
    risk: 'read',
    input: z.strictObject({
      customer: customer.optional(),
      price: price.optional(),
      status: z
        .enum(['active', 'past_due', 'unpaid', 'canceled', 'incomplete', 'incomplete_expired', 'trialing', 'paused', 'ended', 'all'])
        .optional()
        .describe('Default: all that have not been canceled'),
      ...paging,
    }),
    run: (query, ctx) => list(ctx, '/v1/subscriptions', query),
  }),

  create_subscription: method({
    description: 'Subscribes a customer to prices. Unless there is a trial, the customer is charged or invoiced at once.',
    risk: 'financial',
    idempotent: true,
    input: z
      .strictObject({
        customer,
        items: z
          .array(z.strictObject({ price, quantity: z.int().positive().optional() }))
          .min(1)
          .max(20),
        trial_period_days: z.int().positive().max(730).optional(),
        collection_method: z.enum(['charge_automatically', 'send_invoice']).optional(),
        days_until_due: z.int().positive().optional().describe('Needed with send_invoice'),
        payment_behavior: z.enum(['allow_incomplete', 'default_incomplete', 'error_if_incomplete', 'pending_if_incomplete']).optional(),
        metadata,
      })
      .refine(({ collection_method, days_until_due }) => collection_method !== 'send_invoice' || days_until_due !== undefined, {
        path: ['days_until_due'],
        message: 'needed with send_invoice',
      }),
    run: (input, ctx) => post(ctx, '/v1/subscriptions', input),
  }),

  update_subscription: method({
    description: 'Changes what a subscription is for, or whether it ends with its period. What is left out stays.',
    risk: 'financial',
    idempotent: true,
    input: z.strictObject({
      subscription,
      items: z
        .array(
          z.strictObject({
            id: z
              .string()
              .regex(/^si_[\w-]+$/)
              .optional()
              .describe('Item to change (of get_subscription); left out: one more'),
            price: price.optional(),
            quantity: z.int().min(0).optional(),
            deleted: z.boolean().optional(),
          }),
        )
        .max(20)
        .optional(),
      cancel_at_period_end: z.boolean().optional(),
      proration_behavior,
      metadata,
    }),
    run: ({ subscription, ...fields }, ctx) => post(ctx, at`/v1/subscriptions/${subscription}`, fields),
  }),

  cancel_subscription: method({
    description:
      'Ends a subscription now; it cannot be taken up again. To end it with its period: update_subscription with cancel_at_period_end.',
    risk: 'destructive',
    input: z.strictObject({
      subscription,
      invoice_now: z.boolean().optional().describe('Invoice at once what has been used'),
      prorate: z.boolean().optional().describe('Credit the time that is paid and not used'),
    }),
    run: ({ subscription, ...fields }, ctx) => remove(ctx, at`/v1/subscriptions/${subscription}`, fields),
  }),

  get_invoice: method({
    description: 'One invoice with its lines.',
    risk: 'read',
    input: z.strictObject({ invoice }),
    run: ({ invoice }, ctx) => get(ctx, at`/v1/invoices/${invoice}`),
  }),

  list_invoices: method({
    description: 'Invoices, newest first.',
    risk: 'read',
    input: z.strictObject({
      customer: customer.optional(),
      subscription: subscription.optional(),
      status: z.enum(['draft', 'open', 'paid', 'uncollectible', 'void']).optional(),
      since,
      until,
      ...paging,
    }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/invoices', { ...query, ...between({ since, until }) }),
  }),

  create_invoice: method({
    description: 'Makes a draft of an invoice, which nobody sees. Add lines, then finalize_invoice.',
    risk: 'write',
    idempotent: true,
    input: z
      .strictObject({
        customer,
        collection_method: z.enum(['charge_automatically', 'send_invoice']).default('send_invoice'),
        days_until_due: z.int().positive().optional().describe('Needed with send_invoice'),
        description: z.string().optional(),
        metadata,
      })
      .refine(({ collection_method, days_until_due }) => collection_method !== 'send_invoice' || days_until_due !== undefined, {
        path: ['days_until_due'],
        message: 'needed with send_invoice',
      }),
    // a draft that finalizes itself after an hour would be more than a draft
    run: (input, ctx) => post(ctx, '/v1/invoices', { ...input, auto_advance: false, pending_invoice_items_behavior: 'exclude' }),
  }),

  add_invoice_line: method({
    description: 'Adds a line to a draft: a price with a quantity, or an amount with a description.',
    risk: 'write',
    idempotent: true,
    input: z
      .strictObject({
        customer,
        invoice,
        price: price.optional(),
        quantity: z.int().positive().optional(),
        amount: z.int().optional().describe('In the smallest unit of the currency; below zero: a credit'),
        currency: currency.optional(),
        description: z.string().optional(),
      })
      .refine(
        ({ price, amount, currency }) => (price === undefined ? amount !== undefined && currency !== undefined : amount === undefined),
        'give price, or amount and currency',
      ),
    run: ({ price, ...line }, ctx) => post(ctx, '/v1/invoiceitems', { ...line, ...(price === undefined ? {} : { pricing: { price } }) }),
  }),

  finalize_invoice: method({
    description: 'Makes a draft due: it gets a number and can no longer change. It is neither sent nor charged: send_invoice, pay_invoice.',
    risk: 'financial',
    idempotent: true,
    input: z.strictObject({ invoice }),
    run: ({ invoice }, ctx) => post(ctx, at`/v1/invoices/${invoice}/finalize`, { auto_advance: false }),
  }),

  send_invoice: method({
    description: 'Sends an invoice to the customer by email.',
    risk: 'customer_facing',
    idempotent: true,
    input: z.strictObject({ invoice }),
    run: ({ invoice }, ctx) => post(ctx, at`/v1/invoices/${invoice}/send`),
  }),

  pay_invoice: method({
    description: 'Charges the customer for an invoice now.',
    risk: 'financial',
    idempotent: true,
    input: z.strictObject({
      invoice,
      payment_method: z.string().optional().describe('Default: that of the customer'),
      paid_out_of_band: z.boolean().optional().describe('It was paid elsewhere: only note it'),
    }),
    run: ({ invoice, ...fields }, ctx) => post(ctx, at`/v1/invoices/${invoice}/pay`, fields),
  }),

  void_invoice: method({
    description: 'Declares a finalized invoice void. It cannot be taken back.',
    risk: 'destructive',
    idempotent: true,
    input: z.strictObject({ invoice }),
    run: ({ invoice }, ctx) => post(ctx, at`/v1/invoices/${invoice}/void`),
  }),
};
