/** Customers, and the money that they pay and get back. */
import { method } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { amount, between, currency, get, id, list, metadata, paging, post, since, until } from './api.ts';

const customer = id('cus', 'customer');
const payment_intent = id('pi', 'payment intent');
const charge = z
  .string()
  .regex(/^(ch|py)_[\w-]+$/)
  .describe('Id of the charge, `ch_…`');
const payment_method = z
  .string()
  .regex(/^(pm|card|src|ba)_[\w-]+$/)
  .describe('Id of the payment method, `pm_…`');
const email = z.email();

const person = {
  name: z.string().max(256).optional(),
  email: email.optional(),
  phone: z.string().max(20).optional(),
  description: z.string().max(350).optional(),
  metadata,
};

export const paymentMethods = {
  get_customer: method({
    description: 'One customer.',
    risk: 'read',
    input: z.strictObject({ customer }),
    run: ({ customer }, ctx) => get(ctx, at`/v1/customers/${customer}`),
  }),

  list_customers: method({
    description: 'Customers, newest first. By anything but the email address: search.',
    risk: 'read',
    input: z.strictObject({
      email: email.optional().describe('Exactly this, small and capital letters as stored'),
      since,
      until,
      ...paging,
    }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/customers', { ...query, ...between({ since, until }) }),
  }),

  create_customer: method({
    description: 'Makes a customer. Look first whether there is one: Stripe keeps several with the same address.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ ...person }),
    run: (input, ctx) => post(ctx, '/v1/customers', input),
  }),

  update_customer: method({
    description: 'Changes a customer. What is left out stays; an empty text unsets.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ customer, ...person, email: z.union([email, z.literal('')]).optional() }),
    run: ({ customer, ...fields }, ctx) => post(ctx, at`/v1/customers/${customer}`, fields),
  }),

  get_payment_intent: method({
    description: 'One payment: how far it is, and why it failed if it did.',
    risk: 'read',
    input: z.strictObject({ payment_intent }),
    run: ({ payment_intent }, ctx) => get(ctx, at`/v1/payment_intents/${payment_intent}`),
  }),

  list_payment_intents: method({
    description: 'Payments, newest first.',
    risk: 'read',
    input: z.strictObject({ customer: customer.optional(), since, until, ...paging }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/payment_intents', { ...query, ...between({ since, until }) }),
  }),

  create_payment_intent: method({
    description: 'Begins a payment. With confirm and a payment method the customer is charged at once.',
    risk: 'financial',
    idempotent: true,
    input: z
      .strictObject({
        amount,
        currency,
        customer: customer.optional(),
        payment_method: payment_method.optional(),
        confirm: z.boolean().default(false).describe('Charge now'),
        off_session: z.boolean().optional().describe('The customer is not there to answer questions of the bank. Only with confirm'),
        capture_method: z
          .enum(['automatic', 'automatic_async', 'manual'])
          .optional()
          .describe('manual: only reserve; capture_payment_intent takes it'),
        description: z.string().optional(),
        receipt_email: email.optional().describe('Stripe sends a receipt there'),
        metadata,
      })
      .refine(({ confirm, payment_method }) => !confirm || payment_method !== undefined, {
        path: ['payment_method'],
        message: 'needed to confirm',
      }),
    run: (input, ctx) =>
      post(ctx, '/v1/payment_intents', {
        ...input,
        // without a page of the shop there is nowhere to send the customer to
        automatic_payment_methods: { enabled: true, ...(input.confirm ? { allow_redirects: 'never' } : {}) },
      }),
  }),

  confirm_payment_intent: method({
    description: 'Charges the customer of a payment that was begun.',
    risk: 'financial',
    idempotent: true,
    input: z.strictObject({
      payment_intent,
      payment_method: payment_method.optional().describe('Default: the one that the payment has'),
      off_session: z.boolean().optional(),
    }),
    run: ({ payment_intent, ...fields }, ctx) => post(ctx, at`/v1/payment_intents/${payment_intent}/confirm`, fields),
  }),

  capture_payment_intent: method({
    description: 'Takes money that a payment has reserved. What is not taken of it is let go.',
    risk: 'financial',
    idempotent: true,
    input: z.strictObject({ payment_intent, amount_to_capture: amount.optional().describe('Default: all that is reserved') }),
    run: ({ payment_intent, ...fields }, ctx) => post(ctx, at`/v1/payment_intents/${payment_intent}/capture`, fields),
  }),

  cancel_payment_intent: method({
    description: 'Cancels a payment that has not been made; what it has reserved is let go. It cannot be taken up again.',
    risk: 'destructive',
    idempotent: true,
    input: z.strictObject({
      payment_intent,
      cancellation_reason: z.enum(['duplicate', 'fraudulent', 'requested_by_customer', 'abandoned']).optional(),
    }),
    run: ({ payment_intent, ...fields }, ctx) => post(ctx, at`/v1/payment_intents/${payment_intent}/cancel`, fields),
  }),

  get_charge: method({
    description: 'One charge: what was taken, and what was given back.',
    risk: 'read',
    input: z.strictObject({ charge }),
    run: ({ charge }, ctx) => get(ctx, at`/v1/charges/${charge}`),
  }),

  list_charges: method({
    description: 'Charges, newest first.',
    risk: 'read',
    input: z.strictObject({ customer: customer.optional(), payment_intent: payment_intent.optional(), since, until, ...paging }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/charges', { ...query, ...between({ since, until }) }),
  }),

  create_refund: method({
    description: 'Gives money back to a customer: all of a payment, or the amount said. It cannot be taken back.',
    risk: 'financial',
    idempotent: true,
    input: z
      .strictObject({
        payment_intent: payment_intent.optional(),
        charge: charge.optional(),
        amount: amount.optional().describe('In the smallest unit of the currency. Default: all that is left of the payment'),
        reason: z.enum(['duplicate', 'fraudulent', 'requested_by_customer']).optional(),
        metadata,
      })
      .refine(({ payment_intent, charge }) => (payment_intent === undefined) !== (charge === undefined), 'give payment_intent or charge'),
    run: (input, ctx) => post(ctx, '/v1/refunds', input),
  }),

  get_refund: method({
    description: 'One refund.',
    risk: 'read',
    input: z.strictObject({
      refund: z
        .string()
        .regex(/^(re|pyr)_[\w-]+$/)
        .describe('Id of the refund, `re_…`'),
    }),
    run: ({ refund }, ctx) => get(ctx, at`/v1/refunds/${refund}`),
  }),

  list_refunds: method({
    description: 'Refunds, newest first.',
    risk: 'read',
    input: z.strictObject({ payment_intent: payment_intent.optional(), charge: charge.optional(), since, until, ...paging }),
    run: ({ since, until, ...query }, ctx) => list(ctx, '/v1/refunds', { ...query, ...between({ since, until }) }),
  }),
};
