/**
 * A refund that people sign off: small ones go through, others wait at a gate of the policy for as long as it gives. What was approved is
 * done, with the amount that was approved.
 *
 *   centaur approvals ls
 *   centaur approvals approve <approval> --reason 'the parcel came back'
 *
 * Shows: asking people, every verdict as an answer, an idempotency key for what must not happen twice.
 */
import { defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';
import { call } from './_shop.ts';

const Refund = z.object({
  /** Where the shop's services answer. */
  shop: z.url(),
  orderId: z.string().min(1),
  /** In cents. */
  amount: z.int().positive(),
});

/** In cents: what nobody is asked about. */
const SMALL = 2000;

export default defineWorkflow({
  name: 'refund_order',
  input: Refund,
  steps: ['sign off', 'refund'],
  handler: async ({ shop, orderId, amount }, ctx) => {
    let approved = amount;
    if (amount > SMALL) {
      const answer = await ctx.approval('sign off', {
        summary: `Refund ${(amount / 100).toFixed(2)} EUR of order ${orderId}?`,
        tool: 'shop.refund',
        args: { orderId, amount },
        expires: '8h',
      });
      if (answer.verdict !== 'approved') return { orderId, refunded: 0, verdict: answer.verdict, reason: answer.reason };
      // somebody may have changed it: what they approved counts
      approved = answer.args.amount;
    }
    await ctx.step('refund', () => call(shop, `/orders/${orderId}/refund`, { amount: approved }, `${ctx.runId}/refund`), {
      retry: { maxAttempts: 5, delay: '1s' },
    });
    return { orderId, refunded: approved, verdict: 'approved' as const, reason: null };
  },
});
